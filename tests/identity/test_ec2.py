"""EC2 credentials and the requests that are signed with them, by the official clients."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from keystoneclient.contrib.ec2.utils import Ec2Signer

from pileus.identity.credentials import store as credentials_store
from tests.identity.conftest import Cloud, Person

MINUTE = 60


class Signing:
    """A user with an EC2 credential, and a service that asks about signatures."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.ann = Person(cloud, "ann")
        self.service = Person(cloud, "gateway", role="service")
        self.path = f"/users/{self.ann.id}/credentials/OS-EC2"
        self.ec2 = self.create()

    def create(self, token: str | None = None, status: int = 201, project: str | None = None) -> dict[str, Any]:
        """Make an EC2 credential."""
        body = {"tenant_id": project or self.ann.project}
        made: dict[str, Any] = self.ann.call("POST", self.path, body, status=status, token=token)
        return made.get("credential", made)

    @property
    def moment(self) -> datetime:
        """The present."""
        return datetime.fromtimestamp(self.cloud.clock.now() / 1_000_000, UTC)

    def version_2(self, ec2: dict[str, Any] | None = None, **params: str) -> dict[str, Any]:
        """A request that the official client has signed."""
        key = ec2 or self.ec2
        request: dict[str, Any] = {
            "access": key["access"], "host": "ec2.example:8773", "verb": "GET", "path": "/services/Cloud/",
            "params": {
                "Action": "DescribeInstances", "AWSAccessKeyId": key["access"], "SignatureVersion": "2",
                "SignatureMethod": "HmacSHA256", "Filter.1.Name": "tag:Größe~*",
                "Timestamp": self.moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            } | params,
        }  # fmt: skip
        signer = Ec2Signer(key["secret"])
        return request | {"signature": signer.generate({**request, "params": dict(request["params"])})}

    def version_4(self, ec2: dict[str, Any] | None = None, service: str = "ec2") -> dict[str, Any]:
        """A request that botocore has signed."""
        key = ec2 or self.ec2
        body = urlencode({"Action": "DescribeInstances", "Version": "2016-11-15"})
        request = AWSRequest("POST", "https://ec2.example/services/Cloud/", data=body)
        request.headers["Content-Type"] = "application/x-www-form-urlencoded"
        request.headers["Host"] = "ec2.example"
        auth = SigV4Auth(Credentials(key["access"], key["secret"]), service, "RegionOne")
        request.context["timestamp"] = self.moment.strftime("%Y%m%dT%H%M%SZ")
        request.headers["X-Amz-Date"] = request.context["timestamp"]
        text = auth.string_to_sign(request, auth.canonical_request(request))
        signature = auth.signature(text, request)
        scope = auth.scope(request)
        names = auth.signed_headers(auth.headers_to_sign(request))
        request.headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={names}, Signature={signature}"
        )
        return {
            "access": key["access"], "host": "ec2.example", "verb": "POST", "path": "/services/Cloud/",
            "params": {}, "headers": dict(request.headers.items()),
            "body_hash": hashlib.sha256(body.encode()).hexdigest(), "signature": signature,
        }  # fmt: skip

    def ask(self, request: dict[str, Any], status: int = 200, path: str = "/ec2tokens", who: str | None = None) -> Any:
        """Ask about a signature."""
        result = self.cloud.call("POST", path, {"credentials": request}, token=who or self.service.token)
        assert result.status_code == status, result.text
        return result

    # --- S3 ---

    def s3(self, text: str, ec2: dict[str, Any] | None = None, secret: str | None = None) -> dict[str, Any]:
        """A signed S3 request, as a gateway passes it on."""
        key = ec2 or self.ec2
        used = secret or key["secret"]
        if text.startswith("AWS4"):
            signing = f"AWS4{used}".encode()
            for part in text.split("\n")[2].split("/"):
                signing = hmac.digest(signing, part.encode(), "sha256")
            signature = hmac.digest(signing, text.encode(), "sha256").hex()
        else:
            signature = base64.b64encode(hmac.digest(used.encode(), text.encode(), "sha1")).decode()
        token = base64.urlsafe_b64encode(text.encode()).decode()
        return {"access": key["access"], "token": token, "signature": signature}

    def s3_version_4(self, seconds: float = 0) -> str:
        """What is signed of an S3 request of version 4, so long ago."""
        date = datetime.fromtimestamp(self.cloud.clock.now() / 1_000_000 - seconds, UTC).strftime("%Y%m%dT%H%M%SZ")
        return f"AWS4-HMAC-SHA256\n{date}\n{date[:8]}/us-east-1/s3/aws4_request\n{'0' * 64}"

    def s3_version_2(self, date: str, amz: str = "") -> str:
        """The same of version 2."""
        return f"GET\n\n\n{date}\n{amz}/bucket/key"


@pytest.fixture
def signing(cloud: Cloud) -> Signing:
    return Signing(cloud)


def test_credentials(signing: Signing) -> None:
    ann, made = signing.ann, signing.ec2
    assert made["user_id"] == ann.id
    assert made["tenant_id"] == ann.project
    assert made["trust_id"] is None
    assert len(made["access"]) == len(made["secret"]) == 32
    assert made["links"]["self"].endswith(f"{signing.path}/{made['access']}")
    assert ann.call("GET", signing.path, status=200)["credentials"] == [made]
    assert ann.call("GET", f"{signing.path}/{made['access']}", status=200)["credential"] == made
    stored = ann.call("GET", "/credentials", status=200)["credentials"]
    assert [(one["type"], one["id"]) for one in stored] == [
        ("ec2", hashlib.sha256(made["access"].encode()).hexdigest())
    ]
    signing.create(status=404, project="0" * 32)

    bob = Person(signing.cloud, "bob")
    for method, path in (("GET", signing.path), ("POST", signing.path), ("GET", f"{signing.path}/{made['access']}"),
                         ("DELETE", f"{signing.path}/{made['access']}")):  # fmt: skip
        bob.call(method, path, {"tenant_id": bob.project}, status=403)
    bob.call("GET", f"/users/{bob.id}/credentials/OS-EC2/{made['access']}", status=404)
    ann.call("DELETE", f"{signing.path}/{made['access']}", status=204)
    ann.call("GET", f"{signing.path}/{made['access']}", status=404)
    signing.ask(signing.version_2(), 401)


@pytest.mark.parametrize("version", ["version_2", "version_4"])
def test_a_signed_request_gives_a_token(signing: Signing, version: str) -> None:
    request = getattr(signing, version)()
    answer = signing.ask(request)
    token = answer.json["token"]
    assert token["methods"] == ["ec2credential"]
    assert token["user"]["id"] == signing.ann.id
    assert token["project"]["id"] == signing.ann.project
    assert {role["name"] for role in token["roles"]} == {"member", "reader"}
    assert token["catalog"]
    actor = signing.cloud.identity.authenticate(answer.headers["X-Subject-Token"])
    assert (actor.user_id, actor.project_id) == (signing.ann.id, signing.ann.project)
    signing.ask(request | {"signature": request["signature"][:-2] + "AA"}, 401)
    signing.ask(request | {"path": "/services/Admin/"}, 401)
    signing.ask(getattr(signing, version)(signing.ec2 | {"secret": "0" * 32}), 401)
    signing.ask(getattr(signing, version)(signing.ec2 | {"access": "0" * 32}), 401)


def test_a_signature_without_the_hosts_port(signing: Signing) -> None:
    request = signing.version_2()
    signed = Ec2Signer(signing.ec2["secret"]).generate({**request, "host": "ec2.example"})
    signing.ask(request | {"signature": signed})


def test_bodies_that_are_none(signing: Signing) -> None:
    token = signing.service.token
    for body, status in (
        (None, 400), ({}, 401), ({"credentials": {}}, 401), ({"credentials": {"access": "x"}}, 401),
        ({"credentials": {"access": "x", "signature": 1}}, 400), ({"credentials": None}, 401),
        ({"credentials": {"access": "x", "signature": "y"}}, 401),
    ):  # fmt: skip
        for path in ("/ec2tokens", "/s3tokens"):
            assert signing.cloud.call("POST", path, body, token=token).status_code == status, (path, body)
    request = signing.version_2()
    for name in ("credential", "ec2Credentials"):
        assert signing.cloud.call("POST", "/ec2tokens", {name: request}, token=token).status_code == 200


def test_old_signature_versions_are_refused(signing: Signing) -> None:
    for version in ("0", "1"):
        request = signing.version_2(SignatureVersion=version)
        signing.ask(request, 401)
    signing.ask(signing.version_2(SignatureMethod="HmacSHA1"), 401)


def test_a_signature_of_version_4_must_cover_the_host(signing: Signing) -> None:
    request = signing.version_4()
    header = request["headers"]["Authorization"].replace(";host", "")
    signing.ask(request | {"headers": request["headers"] | {"Authorization": header}}, 401)
    signing.ask(request | {"headers": request["headers"] | {"Host": "other.example"}}, 401)


def test_what_ends_a_credential(signing: Signing) -> None:
    cloud, ann = signing.cloud, signing.ann
    member = f"/projects/{ann.project}/users/{ann.id}/roles/{cloud.role('member')}"
    cloud.ok("DELETE", member)
    signing.ask(signing.version_2(), 401)
    cloud.ok("PUT", member)
    signing.ask(signing.version_2())
    cloud.ok("PATCH", f"/users/{ann.id}", {"user": {"enabled": False}})
    signing.ask(signing.version_2(), 401)


def test_s3_requests(signing: Signing) -> None:
    texts = (
        signing.s3_version_4(),
        signing.s3_version_2(format_datetime(signing.moment, usegmt=True)),
        signing.s3_version_2("", f"x-amz-date:{format_datetime(signing.moment, usegmt=True)}\n"),
        signing.s3_version_2(str(int(signing.moment.timestamp()) + 300)),
    )
    for text in texts:
        answer = signing.ask(signing.s3(text), path="/s3tokens")
        assert answer.json["token"]["project"]["id"] == signing.ann.project
        signing.ask(signing.s3(text, secret="0" * 32), 401, path="/s3tokens")
        signing.ask(signing.s3(text, ec2=signing.ec2 | {"access": "0" * 32}), 401, path="/s3tokens")


def test_s3_requests_of_another_time(signing: Signing) -> None:
    week = 7 * 86400
    now = int(signing.moment.timestamp())
    taken = (
        signing.s3_version_4(week - MINUTE),
        signing.s3_version_4(-14 * MINUTE),
        signing.s3_version_2(str(now + week)),
    )
    refused = (
        signing.s3_version_4(week + MINUTE), signing.s3_version_4(-16 * MINUTE), signing.s3_version_2(str(now - 1)),
        signing.s3_version_2(str(now + week + 1)), signing.s3_version_2(""), signing.s3_version_2("yesterday"),
        "", "AWS4-HMAC-SHA256", signing.s3_version_4().replace("/s3/", "/ec2/"),
        signing.s3_version_4().replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256-PAYLOAD"),
    )  # fmt: skip
    for text in taken:
        signing.ask(signing.s3(text), path="/s3tokens")
    for text in refused:
        sent = signing.s3(text) if text.count("\n") > 1 else signing.s3("x") | {
            "token": base64.b64encode(text.encode()).decode()
        }  # fmt: skip
        signing.ask(sent, 401, path="/s3tokens")
    signing.ask(signing.s3(signing.s3_version_4()) | {"token": "!!"}, 401, path="/s3tokens")


# --- bound to what the maker's token was gained with --------------------------------------------------------


class Bound:
    """What a credential is bound to."""

    def __init__(self, signing: Signing, kind: str) -> None:
        self.signing, self.kind = signing, kind
        cloud, ann = signing.cloud, signing.ann
        self.other = cloud.make("project", name="other")["id"]
        cloud.ok("PUT", f"/projects/{self.other}/users/{ann.id}/roles/{cloud.role('member')}")
        cloud.ok("PUT", f"/projects/{ann.project}/users/{ann.id}/roles/{cloud.role('manager')}")
        if kind == "trust":
            bob = Person(cloud, "bob")
            trust = {"trustor_user_id": ann.id, "trustee_user_id": bob.id, "project_id": ann.project,
                     "impersonation": True, "roles": [{"name": "member"}]}  # fmt: skip
            made = ann.call("POST", "/OS-TRUST/trusts", {"trust": trust}, status=201)["trust"]
            self.path = f"/OS-TRUST/trusts/{made['id']}"
            answer = cloud.authenticate(bob.password, {"OS-TRUST:trust": {"id": made["id"]}})
        else:
            body = {"application_credential": {"name": "app", "unrestricted": True, "roles": [{"name": "member"}]}}
            path = f"/users/{ann.id}/application_credentials"
            made = ann.call("POST", path, body, status=201)["application_credential"]
            self.path = f"{path}/{made['id']}"
            answer = cloud.authenticate({"application_credential": {"id": made["id"], "secret": made["secret"]}})
        self.id: str = made["id"]
        self.token: str = answer.headers["X-Subject-Token"]
        self.key = "trust_id" if kind == "trust" else "app_cred_id"


@pytest.fixture(params=["trust", "application credential"])
def bound(signing: Signing, request: pytest.FixtureRequest) -> Bound:
    return Bound(signing, request.param)


def test_a_bound_credential_gives_the_same_restriction(bound: Bound) -> None:
    signing = bound.signing
    ec2 = signing.create(bound.token)
    assert ec2["trust_id"] == (bound.id if bound.kind == "trust" else None)
    answer = signing.ask(signing.version_2(ec2))
    assert {role["name"] for role in answer.json["token"]["roles"]} == {"member", "reader"}
    assert answer.json["token"]["user"]["id"] == signing.ann.id
    assert answer.json["token"][{"trust": "OS-TRUST:trust"}.get(bound.kind, "application_credential")]["id"] == bound.id
    token = answer.headers["X-Subject-Token"]
    signing.cloud.authenticate({"token": {"id": token}}, signing.ann.scope, status=403)
    signing.create(token, status=403)
    signing.ann.call("DELETE", bound.path, status=204)
    assert signing.cloud.call("GET", "/auth/projects", token=token).status_code == 401
    signing.ask(signing.version_2(ec2), 401)


def test_a_bound_credential_is_for_the_same_project(bound: Bound) -> None:
    """CVE-2026-43001."""
    signing = bound.signing
    signing.create(bound.token, 403, project=bound.other)
    blob = json.dumps({"access": "a" * 32, "secret": "s"})
    body = {"credential": {"type": "ec2", "user_id": signing.ann.id, "project_id": bound.other, "blob": blob}}
    signing.ann.call("POST", "/credentials", body, token=bound.token, status=403)


def test_what_binds_a_credential_cannot_be_chosen_nor_changed(bound: Bound) -> None:
    ann = bound.signing.ann

    def body(project: str, **blob: str) -> dict[str, Any]:
        text = json.dumps({"access": "b" * 32, "secret": "s"} | blob)
        return {"credential": {"type": "ec2", "user_id": ann.id, "project_id": project, "blob": text}}

    for key in ("trust_id", "app_cred_id", "access_token_id"):
        ann.call("POST", "/credentials", body(ann.project, **{key: "1" * 32}), status=403)
        ann.call("POST", "/credentials", body(ann.project, **{key: "1" * 32}), token=bound.token, status=403)
    made = ann.call("POST", "/credentials", body(ann.project), token=bound.token, status=201)["credential"]
    assert json.loads(made["blob"])[bound.key] == bound.id
    path = f"/credentials/{made['id']}"
    ann.call("PATCH", path, {"credential": {"project_id": bound.other}}, status=403)
    ann.call("PATCH", path, {"credential": {"type": "cert"}}, status=403)
    free = json.dumps({"access": "b" * 32, "secret": "another"})
    changed = ann.call("PATCH", path, {"credential": {"blob": free}}, status=200)["credential"]
    assert json.loads(changed["blob"]) == {"access": "b" * 32, "secret": "another", bound.key: bound.id}


def test_a_bound_token_handles_its_own_credentials_alone(bound: Bound) -> None:
    signing, ann = bound.signing, bound.signing.ann
    free, own = signing.ec2, signing.create(bound.token)
    listed = ann.call("GET", signing.path, token=bound.token, status=200)["credentials"]
    assert [one["access"] for one in listed] == [own["access"]]
    assert len(ann.call("GET", "/credentials", token=bound.token, status=200)["credentials"]) == 1
    for ec2, status in ((free, 403), (own, 200)):
        credential_id = hashlib.sha256(ec2["access"].encode()).hexdigest()
        ann.call("GET", f"{signing.path}/{ec2['access']}", token=bound.token, status=status)
        ann.call("GET", f"/credentials/{credential_id}", token=bound.token, status=status)
        ann.call("DELETE", f"{signing.path}/{ec2['access']}", token=bound.token, status=204 if status == 200 else 403)
    passcodes = {"type": "totp", "user_id": ann.id, "blob": "GEZDGNBVGY3TQOJQ"}
    ann.call("POST", "/credentials", {"credential": passcodes}, token=bound.token, status=403)


def test_a_credential_bound_to_what_is_not_its_owners_gives_nothing(bound: Bound) -> None:
    """As it could come from a cloud that did not check when it was made."""
    signing = bound.signing
    eve = Person(signing.cloud, "eve")
    blob = json.dumps({"access": "e" * 32, "secret": "s"})
    known = {"type": "ec2", "user_id": eve.id, "project_id": signing.ann.project, "blob": blob}
    made = signing.cloud.ok("POST", "/credentials", {"credential": known})["credential"]
    service = signing.cloud.identity.credentials
    with signing.cloud.db.write() as tx:
        forged = service._sealed(json.dumps({"access": "e" * 32, "secret": "s", bound.key: bound.id}))
        credentials_store.CREDENTIALS.change(tx, made["id"], {"encrypted_blob": forged})
    signing.ask(signing.version_2({"access": "e" * 32, "secret": "s"}), 401)
