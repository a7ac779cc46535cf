"""Passcodes, several methods in one login, the rules that ask for them, receipts; tokens that ended, for services."""

import base64
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pileus.identity.multifactor.totp import passcode, secret_of
from pileus.identity.settings import IdentitySettings
from pileus.kernel.clock import FakeClock, iso_micro_z
from pileus.kernel.db import Database
from tests.identity.conftest import Cloud, Person, cloud_on

SECRET = b"12345678901234567890"  # RFC 6238, appendix B


def test_passcodes_are_those_of_the_rfc() -> None:
    vectors = {59: "94287082", 1111111109: "07081804", 1234567890: "89005924", 20000000000: "65353130"}
    for seconds, expected in vectors.items():
        assert passcode(SECRET, seconds // 30) == expected[-6:]


def test_secrets_are_base32() -> None:
    text = base64.b32encode(SECRET).decode()
    for blob in (text, text.lower(), text.rstrip("="), f" {text}\n"):
        assert secret_of(blob) == SECRET
    for blob in ("", "1", "not base32!", "é"):
        assert secret_of(blob) is None


class Careful(Person):
    """A user who has a passcode."""

    def __init__(self, cloud: Cloud, name: str = "ann", **options: Any) -> None:
        super().__init__(cloud, name)
        blob = base64.b32encode(SECRET).decode()
        body = {"credential": {"type": "totp", "user_id": self.id, "blob": blob}}
        self.credential: str = self.call("POST", "/credentials", body, status=201)["credential"]["id"]
        if options:
            cloud.ok("PATCH", f"/users/{self.id}", {"user": {"options": options}})

    def totp(self, steps: int = 0, **user: Any) -> dict[str, Any]:
        """The method, with the passcode of so many steps ago."""
        code = passcode(SECRET, self.cloud.clock.now() // 30_000_000 - steps)
        return {"totp": {"user": {"id": self.id, "passcode": code} | user}}


BOTH = [["password", "totp"]]


def test_logging_in_with_a_passcode(cloud: Cloud) -> None:
    ann = Careful(cloud)
    token = cloud.authenticate(ann.totp(), ann.scope).json["token"]
    assert token["methods"] == ["totp"]
    assert token["user"]["id"] == ann.id
    cloud.clock.advance(60)
    named = {"id": None, "name": "ann", "domain": {"name": "Default"}}
    cloud.authenticate(ann.totp(**named))
    cloud.clock.advance(60)
    cloud.authenticate(ann.totp(1))
    cloud.clock.advance(120)
    bare = cloud.make("user", name="bare")["id"]
    others = ({"passcode": "000000"}, {"passcode": "é"}, {"passcode": ""}, {"id": "0" * 32}, {"id": bare})
    for refused in (ann.totp(2), ann.totp(-1), *(ann.totp(**other) for other in others)):
        cloud.authenticate(refused, status=401)
    cloud.authenticate(ann.totp(passcode=123456), status=400)
    cloud.ok("PATCH", f"/users/{ann.id}", {"user": {"enabled": False}})
    cloud.authenticate(ann.totp(), status=401)


def test_a_passcode_is_taken_once(any_cloud: Cloud) -> None:
    ann = Careful(any_cloud)
    sent = ann.totp()
    auth = {"auth": {"identity": {"methods": ["totp"], **sent}}}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: any_cloud.call("POST", "/auth/tokens", auth).status_code, range(4)))
    assert sorted(answers) == [201, 401, 401, 401]
    any_cloud.authenticate(ann.totp(1), status=401)
    any_cloud.clock.advance(30)
    any_cloud.authenticate(sent, status=401)
    any_cloud.authenticate(ann.totp())


def test_wrong_passcodes_lock_the_account_though_the_password_is_right(
    sqlite: Database, settings: IdentitySettings, tmp_path: Path, clock: FakeClock
) -> None:
    strict = replace(settings.security_compliance, lockout_failure_attempts=3, lockout_duration=60)
    for cloud in cloud_on(sqlite, replace(settings, security_compliance=strict), tmp_path, clock):
        ann = Careful(cloud)
        for _ in range(3):
            cloud.authenticate(ann.password | ann.totp(passcode="000000"), status=401)
        cloud.authenticate(ann.totp(), status=401)
        cloud.authenticate(ann.password)
        cloud.authenticate({"totp": {"user": {"id": "0" * 32, "passcode": "000000"}}}, status=401)
        clock.advance(60)
        cloud.authenticate(ann.password | ann.totp())


def test_several_methods_agree_on_one_user(cloud: Cloud) -> None:
    ann, bob = Careful(cloud), Person(cloud, "bob")
    token = cloud.authenticate(ann.password | ann.totp()).json["token"]
    assert set(token["methods"]) == {"password", "totp"}
    cloud.clock.advance(30)
    cloud.authenticate(bob.password | ann.totp(), status=401)
    cloud.clock.advance(30)
    wrong = {"password": {"user": {"id": ann.id, "password": "wrong"}}}
    cloud.authenticate(wrong | ann.totp(), status=401)
    cloud.clock.advance(30)
    parent = cloud.authenticate(ann.password)
    both = cloud.authenticate({"token": {"id": parent.headers["X-Subject-Token"]}} | ann.totp()).json["token"]
    assert set(both["methods"]) == {"password", "token", "totp"}
    assert both["expires_at"] == parent.json["token"]["expires_at"]
    assert both["audit_ids"][1:] == parent.json["token"]["audit_ids"]


def test_rules_ask_for_more_and_a_receipt_goes_on(cloud: Cloud) -> None:
    ann = Careful(cloud, multi_factor_auth_enabled=True, multi_factor_auth_rules=BOTH)
    answer = cloud.authenticate(ann.password, ann.scope, status=401)
    receipt = answer.headers["Openstack-Auth-Receipt"]
    assert "X-Subject-Token" not in answer.headers
    assert answer.headers["WWW-Authenticate"] == 'Keystone uri="http://cloud.example/identity"'
    now = cloud.clock.now()
    assert answer.json == {
        "receipt": {
            "methods": ["password"],
            "user": {"id": ann.id, "name": "ann", "domain": {"id": "default", "name": "Default"}},
            "issued_at": iso_micro_z(now),
            "expires_at": iso_micro_z(now + 300_000_000),
        },
        "required_auth_methods": BOTH,
    }
    token = cloud.authenticate(ann.totp(), ann.scope, Openstack_Auth_Receipt=receipt).json["token"]
    assert set(token["methods"]) == {"password", "totp"}
    cloud.clock.advance(30)
    cloud.authenticate(ann.password | ann.totp(), ann.scope)


def test_receipts_that_are_refused(cloud: Cloud) -> None:
    ann = Careful(cloud, multi_factor_auth_enabled=True, multi_factor_auth_rules=BOTH)
    receipt = cloud.authenticate(ann.password, status=401).headers["Openstack-Auth-Receipt"]
    bob = Careful(cloud, "bob", multi_factor_auth_enabled=True, multi_factor_auth_rules=BOTH)
    for person, sent in ((bob, receipt), (ann, receipt[:-4]), (ann, "nonsense"), (ann, cloud.admin), (ann, "x" * 9000)):
        cloud.clock.advance(30)
        refused = cloud.authenticate(person.totp(), status=401, Openstack_Auth_Receipt=sent)
        assert "Openstack-Auth-Receipt" not in refused.headers
    assert cloud.call("GET", "/auth/projects", token=receipt).status_code == 401, "a receipt is no token"
    cloud.clock.advance(300)
    cloud.authenticate(ann.totp(), status=401, Openstack_Auth_Receipt=receipt)
    receipt = cloud.authenticate(ann.password, status=401).headers["Openstack-Auth-Receipt"]
    cloud.ok("PATCH", f"/users/{ann.id}", {"user": {"password": "another"}})
    cloud.clock.advance(30)
    cloud.authenticate(ann.totp(), status=401, Openstack_Auth_Receipt=receipt)


def test_rules_hold_for_every_way_to_a_token(cloud: Cloud) -> None:
    ann = Careful(cloud)
    made = ann.call(
        "POST", f"/users/{ann.id}/application_credentials", {"application_credential": {"name": "app"}}, status=201
    )["application_credential"]
    app = {"application_credential": {"id": made["id"], "secret": made["secret"]}}
    old = ann.token
    options = {"multi_factor_auth_enabled": True, "multi_factor_auth_rules": [*BOTH, ["application_credential"]]}
    cloud.ok("PATCH", f"/users/{ann.id}", {"user": {"options": options}})
    cloud.authenticate({"token": {"id": old}}, ann.scope, status=401)
    cloud.authenticate(app)
    full = cloud.authenticate(ann.password | ann.totp()).headers["X-Subject-Token"]
    cloud.authenticate({"token": {"id": full}}, ann.scope)
    cloud.ok("PATCH", f"/users/{ann.id}", {"user": {"options": {"multi_factor_auth_rules": BOTH}}})
    refused = cloud.authenticate(app, status=401)
    assert "Openstack-Auth-Receipt" not in refused.headers


def test_rules_that_are_off_or_not_there_ask_for_nothing(cloud: Cloud) -> None:
    cloud.authenticate(Careful(cloud, multi_factor_auth_rules=BOTH).password)
    cloud.authenticate(Careful(cloud, "bob", multi_factor_auth_enabled=True).password)
    cid = Careful(cloud, "cid", multi_factor_auth_enabled=True, multi_factor_auth_rules=[["retina"]])
    cloud.authenticate(cid.password | cid.totp(), status=401)
    cloud.ok("PATCH", f"/users/{cid.id}", {"user": {"options": {"multi_factor_auth_rules": None}}})
    cloud.authenticate(cid.password)


@pytest.mark.parametrize(
    "value", [True, ["password"], [[]], [["password", "password"]], [["a", "b"], ["b", "a"]], [[1]], {"a": 1}]
)
def test_rules_that_are_none(cloud: Cloud, value: Any) -> None:
    user = cloud.make("user", name="ann")
    body = {"user": {"options": {"multi_factor_auth_rules": value}}}
    assert cloud.call("PATCH", f"/users/{user['id']}", body, token=cloud.admin).status_code == 400


# --- allow_expired ------------------------------------------------------------------------------------------


def _shown(cloud: Cloud, who: str, subject: str, query: str = "?allow_expired=1") -> int:
    status: int = cloud.call("GET", f"/auth/tokens{query}", token=who, X_Subject_Token=subject).status_code
    return status


def test_services_are_shown_tokens_that_ended(cloud: Cloud) -> None:
    ann, nova = Person(cloud, "ann"), Person(cloud, "nova", role="service")
    subject, revoked = ann.token, ann.token
    assert cloud.call("DELETE", "/auth/tokens", token=revoked, X_Subject_Token=revoked).status_code == 204
    cloud.clock.advance(cloud.settings.token_lifetime)
    other = ann.token
    assert _shown(cloud, nova.token, subject, "") == 404
    assert _shown(cloud, nova.token, subject, "?allow_expired=0") == 404
    assert _shown(cloud, nova.token, subject) == 200
    assert cloud.call("GET", "/auth/projects", token=subject).status_code == 401, "it is still of no use"
    assert _shown(cloud, ann.token, subject) == 404, "users are not services"
    assert cloud.call("DELETE", "/auth/tokens", token=other, X_Subject_Token=other).status_code == 204
    assert _shown(cloud, nova.token, revoked) == 404, "what was revoked stays so beyond its end"
    cloud.clock.advance(cloud.settings.allow_expired_window - 1)
    assert _shown(cloud, nova.token, subject) == 200
    cloud.clock.advance(1)
    assert _shown(cloud, nova.token, subject) == 404


def test_a_token_that_ended_is_shown_only_as_long_as_it_would_mean_something(cloud: Cloud) -> None:
    ann, nova = Person(cloud, "ann"), Person(cloud, "nova", role="service")
    subject = ann.token
    cloud.clock.advance(cloud.settings.token_lifetime)
    cloud.admin = cloud.token()
    cloud.ok("PATCH", f"/users/{ann.id}", {"user": {"enabled": False}})
    assert _shown(cloud, nova.token, subject) == 404
