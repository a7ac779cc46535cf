"""Holes that identity services have had: each test is named after one, and shows that it is not here."""

import json
import logging
from typing import Any

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from pileus.identity.application_credentials import secrets
from tests.identity.conftest import Cloud, Person
from tests.identity.test_ec2 import Signing
from tests.identity.test_multifactor import BOTH, Careful


def _app(person: Person, token: str | None = None, **attributes: Any) -> dict[str, Any]:
    body = {"application_credential": {"name": "app"} | attributes}
    path = f"/users/{person.id}/application_credentials"
    made: dict[str, Any] = person.call("POST", path, body, status=201, token=token)["application_credential"]
    return made


def _login(made: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {"application_credential": {"id": made["id"], "secret": made["secret"]} | other}


@pytest.fixture
def ann(cloud: Cloud) -> Person:
    return Person(cloud, "ann")


# --- delegated tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("restriction", [{}, {"unrestricted": True, "rules": True}])
def test_restricted_application_credential_creating_ec2_credentials_or_trusts(
    cloud: Cloud, ann: Person, restriction: dict[str, Any]
) -> None:
    """CVE-2026-33551: also by the general API of credentials, and by changing one that is there."""
    bob = Person(cloud, "bob")
    own = ann.call("POST", f"/users/{ann.id}/credentials/OS-EC2", {"tenant_id": ann.project}, status=201)["credential"]
    if restriction.pop("rules", False):
        everything = [
            {"service": "identity", "method": method, "path": "/v3/**"} for method in ("POST", "PATCH", "DELETE")
        ]
        restriction["access_rules"] = everything
    token = cloud.authenticate(_login(_app(ann, **restriction))).headers["X-Subject-Token"]
    blob, whose = json.dumps({"access": "a", "secret": "s"}), {"user_id": ann.id}
    (stored,) = ann.call("GET", "/credentials", status=200)["credentials"]
    trust = {"trustor_user_id": ann.id, "trustee_user_id": bob.id, "project_id": ann.project,
             "impersonation": True, "roles": [{"name": "member"}]}  # fmt: skip
    made = ann.call("POST", "/OS-TRUST/trusts", {"trust": trust}, status=201)["trust"]
    for method, path, body in (
        ("POST", f"/users/{ann.id}/credentials/OS-EC2", {"tenant_id": ann.project}),
        ("POST", "/credentials", {"credential": {"type": "ec2", "project_id": ann.project, "blob": blob} | whose}),
        ("POST", "/credentials", {"credential": {"type": "totp", "blob": "GEZDGNBVGY3TQOJQ"} | whose}),
        ("PATCH", f"/credentials/{stored['id']}", {"credential": {"blob": blob}}),
        ("DELETE", f"/credentials/{stored['id']}", None),
        ("DELETE", f"/users/{ann.id}/credentials/OS-EC2/{own['access']}", None),
        ("POST", "/OS-TRUST/trusts", {"trust": trust}),
        ("DELETE", f"/OS-TRUST/trusts/{made['id']}", None),
        ("POST", f"/users/{ann.id}/application_credentials", {"application_credential": {"name": "another"}}),
    ):  # fmt: skip
        ann.call(method, path, body, token=token, status=403)


def test_restricted_application_credential_reading_secrets_that_are_not_restricted(cloud: Cloud, ann: Person) -> None:
    ec2 = ann.call("POST", f"/users/{ann.id}/credentials/OS-EC2", {"tenant_id": ann.project}, status=201)["credential"]
    (stored,) = ann.call("GET", "/credentials", status=200)["credentials"]
    token = cloud.authenticate(_login(_app(ann))).headers["X-Subject-Token"]
    assert ann.call("GET", "/credentials", token=token, status=200)["credentials"] == []
    assert ann.call("GET", f"/users/{ann.id}/credentials/OS-EC2", token=token, status=200)["credentials"] == []
    ann.call("GET", f"/credentials/{stored['id']}", token=token, status=403)
    ann.call("GET", f"/users/{ann.id}/credentials/OS-EC2/{ec2['access']}", token=token, status=403)


def test_user_in_an_application_credential_login_that_is_not_its_owner(cloud: Cloud, ann: Person) -> None:
    bob, made = Person(cloud, "bob"), _app(ann)
    default = {"domain": {"id": "default"}}
    for user in ({"id": bob.id}, {"id": "0" * 32}, {"name": "bob"} | default, {"name": "nobody"} | default):
        cloud.authenticate(_login(made, user=user), status=401)
        by_name = {"name": "app", "user": user, "secret": made["secret"]}
        cloud.authenticate({"application_credential": by_name}, status=401)
    assert cloud.authenticate(_login(made, user={"id": ann.id})).json["token"]["user"]["id"] == ann.id
    cloud.authenticate(_login(made) | bob.password, status=401)


def test_timing_of_unknown_application_credentials_and_wrong_secrets(cloud: Cloud, ann: Person) -> None:
    """An unknown one, a wrong secret, and a right secret of a disabled user cost the same hashes and read the same."""
    chosen = _app(ann, secret="correct horse")
    generated = _app(ann, name="generated")
    owner, nobody = {"id": ann.id}, {"id": "0" * 32}
    for wrong, hashes in (("wrong", 1), (secrets.new_secret(), 0)):
        answers = []
        for sent in (
            {"id": chosen["id"]}, {"id": generated["id"]}, {"id": "0" * 32}, {"name": "app", "user": owner},
            {"name": "generated", "user": owner}, {"name": "nothing", "user": owner}, {"name": "app", "user": nobody},
        ):  # fmt: skip
            before = cloud.passwords.verified
            answers.append(cloud.authenticate({"application_credential": sent | {"secret": wrong}}, status=401).json)
            assert cloud.passwords.verified == before + hashes, sent
        assert all(answer == answers[0] for answer in answers)


# --- tokens -------------------------------------------------------------------------------------------------


def test_revoked_tokens_reused(cloud: Cloud, ann: Person) -> None:
    token, neighbour = ann.token, cloud.node()
    assert neighbour.call("GET", "/auth/projects", token=token).status_code == 200
    assert cloud.call("DELETE", "/auth/tokens", token=token, X_Subject_Token=token).status_code == 204
    for node in (cloud, neighbour):
        assert node.call("GET", "/auth/projects", token=token).status_code == 401
        node.authenticate({"token": {"id": token}}, ann.scope, status=404)


def test_rescoped_tokens_reused(cloud: Cloud, ann: Person) -> None:
    """CVE-2012-3426: exchanging a token again and again never gains time, however it is asked for."""
    first = cloud.authenticate(ann.password)
    ends, token = first.json["token"]["expires_at"], first.headers["X-Subject-Token"]
    for scope in (ann.scope, None, "unscoped", ann.scope):
        cloud.clock.advance(600)
        answer = cloud.authenticate({"token": {"id": token}}, scope)
        assert answer.json["token"]["expires_at"] == ends
        assert answer.json["token"]["audit_ids"][1:] == first.json["token"]["audit_ids"]
        token = answer.headers["X-Subject-Token"]
    together = cloud.authenticate({"token": {"id": token}} | ann.password)
    assert together.json["token"]["expires_at"] == ends
    cloud.clock.advance(1200)
    cloud.authenticate({"token": {"id": token}}, ann.scope, status=404)


# --- signatures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["version_2", "version_4"])
@pytest.mark.parametrize(("seconds", "status"), [(0, 200), (899, 200), (-899, 200), (901, 401), (-901, 401)])
def test_ec2_signatures_outside_their_time_window(cloud: Cloud, version: str, seconds: int, status: int) -> None:
    signing = Signing(cloud)
    if seconds > 0:
        request = getattr(signing, version)()
        cloud.clock.advance(seconds)
    else:
        cloud.clock.advance(-seconds)
        request = getattr(signing, version)()
        cloud.clock.advance(seconds)
    signing.ask(request, status)


def test_ec2_signatures_without_their_time(cloud: Cloud) -> None:
    signing = Signing(cloud)
    signing.ask(signing.version_2(Timestamp=""), 401)
    request = signing.version_2()
    del request["params"]["Timestamp"]
    signing.ask(request, 401)
    request = signing.version_4()
    del request["headers"]["X-Amz-Date"]
    signing.ask(request, 401)
    signing.ask(request | {"params": {"X-Amz-Date": "yesterday"}}, 401)
    unsigned = signing.version_2(Timestamp="2001-01-01T00:00:00Z")
    now = signing.moment.strftime("%Y%m%dT%H%M%SZ")
    signing.ask(unsigned | {"headers": {"X-Amz-Date": now}}, 401)
    signing.ask(unsigned | {"params": unsigned["params"] | {"X-Amz-Date": now}}, 401)


def test_presigned_s3_requests_yielding_tokens(cloud: Cloud) -> None:
    """CVE-2025-65073: whoever is given the address of an object could get a token of its owner for it."""
    signing = Signing(cloud)
    request = AWSRequest("GET", "https://s3.example/bucket/key")
    auth = S3SigV4QueryAuth(Credentials(signing.ec2["access"], signing.ec2["secret"]), "s3", "us-east-1", 3600)
    request.context["timestamp"] = signing.moment.strftime("%Y%m%dT%H%M%SZ")
    auth._modify_request_before_signing(request)
    request.params = {}
    params = dict(pair.split("=", 1) for pair in request.url.partition("?")[2].split("&"))
    params = {name: value.replace("%2F", "/") for name, value in params.items()}
    params["X-Amz-Date"] = request.context["timestamp"]
    text = signing.s3_version_4()
    as_s3 = signing.s3(text)
    as_ec2 = {
        "access": signing.ec2["access"], "signature": as_s3["signature"], "verb": "GET", "path": "/bucket/key",
        "host": "s3.example", "params": params, "headers": {"Host": "s3.example"}, "body_hash": "UNSIGNED-PAYLOAD",
    }  # fmt: skip
    reader = signing.ann.token
    for path, body in (("/s3tokens", as_s3), ("/ec2tokens", as_ec2)):
        assert cloud.call("POST", path, {"credentials": body}).status_code == 401, "without a token"
        assert cloud.call("POST", path, {"credentials": body}, token=reader).status_code == 403, "with a user's"
    answer = signing.ask(as_s3, path="/s3tokens")
    assert "X-Subject-Token" not in answer.headers, "a gateway learns who it was, and gets nothing to act with"
    refused = signing.ask(as_ec2, 401)
    assert "S3" in refused.json["error"]["message"]


# --- ownership and policy -----------------------------------------------------------------------------------


def test_changing_a_credentials_owner(cloud: Cloud, ann: Person) -> None:
    bob = Person(cloud, "bob")
    body = {"credential": {"type": "cert", "user_id": ann.id, "blob": "b"}}
    made = ann.call("POST", "/credentials", body, status=201)["credential"]
    path = f"/credentials/{made['id']}"
    ann.call("PATCH", path, {"credential": {"user_id": bob.id}}, status=400)
    assert cloud.call("PATCH", path, {"credential": {"user_id": bob.id}}, token=cloud.admin).status_code == 400
    assert cloud.ok("GET", path)["credential"]["user_id"] == ann.id
    ann.call("POST", "/credentials", {"credential": body["credential"] | {"user_id": bob.id}}, status=403)


def test_request_body_or_query_overriding_the_policy_target(cloud: Cloud, ann: Person) -> None:
    """CVE-2019-19687 and its like: what rules ask about comes from the database, or from where it is acted upon."""
    bob = Person(cloud, "bob")
    made = _app(bob)
    own = f"user_id={ann.id}&target.user.id={ann.id}&target.credential.user_id={ann.id}&trust.trustor_user_id={ann.id}"
    mine = {"user_id": ann.id, "target": {"user": {"id": ann.id}, "credential": {"user_id": ann.id}}}
    trust = {"trustor_user_id": bob.id, "trustee_user_id": ann.id, "project_id": bob.project,
             "impersonation": True, "roles": [{"name": "member"}]}  # fmt: skip
    credential = bob.call(
        "POST", "/credentials", {"credential": {"type": "cert", "user_id": bob.id, "blob": "b"}}, status=201
    )
    for method, path, body in (
        ("GET", f"/users/{bob.id}/application_credentials", None),
        ("GET", f"/users/{bob.id}/application_credentials/{made['id']}", None),
        ("DELETE", f"/users/{bob.id}/application_credentials/{made['id']}", None),
        ("POST", f"/users/{bob.id}/application_credentials", {"application_credential": {"name": "b"} | mine} | mine),
        ("GET", f"/users/{bob.id}/access_rules", None),
        ("GET", f"/users/{bob.id}/credentials/OS-EC2", None),
        ("POST", f"/users/{bob.id}/credentials/OS-EC2", {"tenant_id": ann.project} | mine),
        ("POST", "/OS-TRUST/trusts", {"trust": trust | {"user_id": ann.id}} | {"trustor_user_id": ann.id}),
        ("PATCH", f"/credentials/{credential['credential']['id']}", {"credential": {"blob": "c"}} | mine),
        ("PATCH", f"/users/{bob.id}", {"user": {"enabled": False}} | mine),
        ("GET", f"/users/{bob.id}", None),
    ):  # fmt: skip
        ann.call(method, f"{path}?{own}", body, status=403)
    assert ann.call("GET", f"/credentials?user_id={bob.id}&{own}", status=200)["credentials"] == []


def test_forged_headers(cloud: Cloud, ann: Person) -> None:
    forged = {"X_User_Id": "admin", "X_Roles": "admin", "X_Is_Admin": "1", "X_Is_Admin_Project": "True",
              "X_Identity_Status": "Confirmed", "OpenStack_System_Scope": "all"}  # fmt: skip
    assert cloud.call("GET", "/users", **forged).status_code == 401
    assert cloud.call("GET", "/users", token=ann.token, **forged).status_code == 403


def test_secrets_in_any_log_at_debug(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    signing = Signing(cloud)
    careful = Careful(cloud, "cid", multi_factor_auth_enabled=True, multi_factor_auth_rules=BOTH)
    receipt = cloud.authenticate(careful.password, status=401).headers["Openstack-Auth-Receipt"]
    full = cloud.authenticate(careful.totp(), Openstack_Auth_Receipt=receipt).headers["X-Subject-Token"]
    made = _app(signing.ann)
    token = cloud.authenticate(_login(made)).headers["X-Subject-Token"]
    cloud.authenticate(_login(made, secret="wrong-hunter2"), status=401)
    signed = signing.ask(signing.version_2()).headers["X-Subject-Token"]
    signing.ask(signing.s3(signing.s3_version_4()), path="/s3tokens")
    cloud.call("GET", "/auth/projects", token=token)
    known = (receipt, full, made["secret"], token, "wrong-hunter2", signed, signing.ec2["secret"])
    assert not [secret for secret in known if secret in caplog.text]
