"""OS-OAUTH1: consumers, the way from a request token to an access token, signatures."""

from typing import Any
from urllib.parse import parse_qs, quote

import pytest
import sqlalchemy as sa

from pileus.identity.oauth1 import models
from pileus.identity.oauth1.signature import signature
from pileus.kernel.clock import MICROSECONDS
from tests.identity.conftest import PUBLIC_URL, Cloud

BASE = f"{PUBLIC_URL}/identity/v3"


class Program:
    """A consumer outside the cloud: signs its requests."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        made = cloud.ok("POST", "/OS-OAUTH1/consumers", {"consumer": {"description": "a program"}})["consumer"]
        self.id, self.secret = made["id"], made["secret"]
        self.nonces = 0

    def header(self, path: str, *, url: str = "", token: dict[str, str] | None = None, **parameters: str) -> str:
        """The Authorization header of a POST. `token`: what it is signed with beside the consumer's secret."""
        self.nonces += 1
        given = {
            "oauth_consumer_key": self.id,
            "oauth_nonce": str(self.nonces),
            "oauth_signature_method": "HMAC-SHA1",
            "oauth_timestamp": str(self.cloud.clock.now() // MICROSECONDS),
            "oauth_version": "1.0",
            **({"oauth_token": token["oauth_token"]} if token else {}),
            **parameters,
        }
        secret = token["oauth_token_secret"] if token else ""
        signed = signature("POST", url or f"{BASE}{path}", given.items(), self.secret, secret)
        pairs = {**given, "oauth_signature": signed}
        return "OAuth " + ", ".join(f'{quote(name)}="{quote(value, safe="~")}"' for name, value in pairs.items())

    def post(self, path: str, header: str, body: Any = None, **headers: str) -> Any:
        return self.cloud.call("POST", path, body, Authorization=header, **headers)

    def ask(self, project: str, status: int = 201, **parameters: str) -> dict[str, str]:
        """A request token for a project."""
        path = "/OS-OAUTH1/request_token"
        answer = self.post(path, self.header(path, oauth_callback="oob", **parameters), Requested_Project_Id=project)
        assert answer.status_code == status, answer.text
        return _form(answer)

    def exchange(self, token: dict[str, str], verifier: str, status: int = 201, **parameters: str) -> dict[str, str]:
        """The access token for a request token."""
        path = "/OS-OAUTH1/access_token"
        answer = self.post(path, self.header(path, token=token, oauth_verifier=verifier, **parameters))
        assert answer.status_code == status, answer.text
        return _form(answer)


def _form(answer: Any) -> dict[str, str]:
    if answer.status_code != 201:
        return {}
    assert answer.headers["Content-Type"] == "application/x-www-form-urlencoded"
    return {name: values[0] for name, values in parse_qs(answer.text).items()}


def grant(cloud: Cloud, token: dict[str, str], *roles: dict[str, str], by: str = "", status: int = 200) -> str:
    """Authorise a request token; the verifier."""
    answer = cloud.call(
        "PUT", f"/OS-OAUTH1/authorize/{token['oauth_token']}", {"roles": list(roles)}, token=by or cloud.admin
    )
    assert answer.status_code == status, answer.text
    verifier: str = answer.json["token"]["oauth_verifier"] if status == 200 else ""
    return verifier


def admins_project(cloud: Cloud) -> str:
    found: str = cloud.login().json["token"]["project"]["id"]
    return found


def test_consumers(any_cloud: Cloud) -> None:
    cloud = any_cloud
    sent = {"description": "d", "colour": "red", "secret": "chosen"}
    made = cloud.ok("POST", "/OS-OAUTH1/consumers", {"consumer": sent})["consumer"]
    path = f"/OS-OAUTH1/consumers/{made['id']}"
    secret = made.pop("secret")
    assert secret != "chosen"
    assert made == {"id": made["id"], "description": "d", "colour": "red", "links": {"self": f"{BASE}{path}"}}
    assert cloud.ok("GET", path) == {"consumer": made}, "the secret is shown once"
    assert cloud.ok("GET", "/OS-OAUTH1/consumers")["consumers"] == [made]
    changed = cloud.ok("PATCH", path, {"consumer": {"description": "e"}})["consumer"]
    assert changed == {**made, "description": "e"}
    steal = cloud.call("PATCH", path, {"consumer": {"secret": "s"}}, token=cloud.admin)
    assert steal.status_code == 400
    with cloud.db.read() as tx:
        assert secret not in str(tx.all(sa.select(models.consumer)))
    cloud.ok("DELETE", path)
    assert cloud.call("GET", path, token=cloud.admin).status_code == 404
    assert cloud.call("DELETE", path, token=cloud.admin).status_code == 404


def test_from_a_request_to_an_access_token(any_cloud: Cloud) -> None:
    cloud, program = any_cloud, Program(any_cloud)
    project = admins_project(cloud)
    request = program.ask(project)
    assert request.keys() == {"oauth_token", "oauth_token_secret", "oauth_expires_at"}
    verifier = grant(cloud, request, {"id": cloud.role("member")}, {"name": "reader"})
    access = program.exchange(request, verifier)
    assert access["oauth_token"] != request["oauth_token"]
    program.exchange(request, verifier, status=401)

    user = cloud.login().json["token"]["user"]["id"]
    path = f"/users/{user}/OS-OAUTH1/access_tokens"
    own = f"{path}/{access['oauth_token']}"
    [shown] = cloud.ok("GET", path)["access_tokens"]
    assert (
        shown
        == cloud.ok("GET", own)["access_token"]
        == {
            "id": access["oauth_token"],
            "consumer_id": program.id,
            "authorizing_user_id": user,
            "project_id": project,
            "expires_at": access["oauth_expires_at"],
            "links": {"self": f"{BASE}{own}", "roles": f"{BASE}{own}/roles"},
        }
    )
    roles = cloud.ok("GET", f"{own}/roles")["roles"]
    assert sorted(role["name"] for role in roles) == ["member", "reader"]
    assert cloud.ok("GET", f"{own}/roles/{cloud.role('member')}")["role"]["name"] == "member"
    assert cloud.call("GET", f"{own}/roles/{cloud.role('admin')}", token=cloud.admin).status_code == 404
    assert cloud.call("GET", own.replace(user, "another"), token=cloud.admin).status_code == 404
    with cloud.db.read() as tx:
        stored = str([tx.all(sa.select(table)) for table in (models.access_token, models.request_token)])
    assert access["oauth_token_secret"] not in stored
    cloud.ok("DELETE", own)
    assert cloud.ok("GET", path)["access_tokens"] == []


def test_what_is_granted_is_held(cloud: Cloud) -> None:
    program = Program(cloud)
    project = cloud.make("project", name="p")["id"]
    request = program.ask(project)
    grant(cloud, request, {"name": "member"}, status=401)
    grant(cloud, request, status=400)
    grant(cloud, request, {"colour": "red"}, status=400)
    program.exchange(request, "guessed", status=401)
    request = program.ask(admins_project(cloud))
    grant(cloud, request, {"id": "none"}, status=401)
    grant(cloud, {"oauth_token": "none"}, {"name": "admin"}, status=404)
    member = cloud.user_with("member", f"projects/{project}")
    token = cloud.token({"project": {"id": project}}, id=member["id"], password="secret")
    grant(cloud, request, {"name": "member"}, by=token, status=403)
    verifier = grant(cloud, request, {"name": "member"})
    program.exchange(request, verifier[::-1] + "x", status=401)
    program.exchange(request, verifier)


def test_tokens_end(cloud: Cloud) -> None:
    program = Program(cloud)
    project = admins_project(cloud)
    late, later = program.ask(project), program.ask(project)
    verifier = grant(cloud, late, {"name": "member"})
    cloud.clock.advance(cloud.settings.oauth1_request_token_duration)
    cloud.admin = cloud.token()
    grant(cloud, later, {"name": "member"}, status=401)
    program.exchange(late, verifier, status=401)


def test_consumers_take_along_what_they_were_granted(any_cloud: Cloud) -> None:
    cloud, program = any_cloud, Program(any_cloud)
    project = admins_project(cloud)
    request, other = program.ask(project), program.ask(project)
    access = program.exchange(request, grant(cloud, request, {"name": "member"}))
    cloud.ok("DELETE", f"/OS-OAUTH1/consumers/{program.id}")
    user = cloud.login().json["token"]["user"]["id"]
    assert cloud.ok("GET", f"/users/{user}/OS-OAUTH1/access_tokens")["access_tokens"] == []
    assert access
    grant(cloud, other, {"name": "member"}, status=404)


# --- logging in ---------------------------------------------------------------------------------------------


class Delegated:
    """A user with the roles admin and member on a project, and a program that may act for it as a member."""

    def __init__(self, cloud: Cloud, *roles: str) -> None:
        self.cloud = cloud
        self.project = cloud.make("project", name="delegated")["id"]
        self.user = cloud.user_with("admin", f"projects/{self.project}", name="ann")
        self.program = Program(cloud)
        request = self.program.ask(self.project)
        own = cloud.token({"project": {"id": self.project}}, id=self.user["id"], password="secret")
        verifier = grant(cloud, request, *({"name": role} for role in roles or ("member",)), by=own)
        self.access = self.program.exchange(request, verifier)

    def login(self, scope: Any = None, **changes: str) -> Any:
        """Log in as the program does."""
        header = self.program.header("/auth/tokens", token=self.access, **changes)
        auth: dict[str, Any] = {"identity": {"methods": ["oauth1"], "oauth1": {}}}
        if scope is not None:
            auth["scope"] = scope
        return self.program.post("/auth/tokens", header, {"auth": auth})

    def token(self) -> str:
        found: str = self.login().headers["X-Subject-Token"]
        return found


def test_a_program_logs_in_for_a_user(any_cloud: Cloud) -> None:
    cloud, delegated = any_cloud, Delegated(any_cloud)
    answer = delegated.login()
    assert answer.status_code == 201, answer.text
    shown = answer.json["token"]
    assert shown["methods"] == ["oauth1"]
    assert (shown["user"]["id"], shown["project"]["id"]) == (delegated.user["id"], delegated.project)
    assert sorted(role["name"] for role in shown["roles"]) == ["member", "reader"], "with what the role implies"
    consumer = {"access_token_id": delegated.access["oauth_token"], "consumer_id": delegated.program.id}
    assert shown["OS-OAUTH1"] == consumer
    again = cloud.call("GET", "/auth/tokens", token=cloud.admin, X_Subject_Token=answer.headers["X-Subject-Token"])
    assert again.json["token"]["OS-OAUTH1"] == consumer
    assert delegated.login({"project": {"id": delegated.project}}).status_code == 201
    for scope in ({"project": {"id": admins_project(cloud)}}, {"system": {"all": True}}, "unscoped"):
        assert delegated.login(scope).status_code == 401, scope


def test_a_login_ends_with_what_was_granted(cloud: Cloud) -> None:
    delegated = Delegated(cloud)
    cloud.clock.advance(cloud.settings.oauth1_access_token_duration - 60)
    shown = delegated.login().json["token"]
    assert shown["expires_at"] == delegated.access["oauth_expires_at"]
    token = delegated.token()
    cloud.clock.advance(60)
    cloud.admin = cloud.token()
    assert cloud.call("GET", "/auth/tokens", token=cloud.admin, X_Subject_Token=token).status_code == 404
    assert delegated.login().status_code == 401


ENDS = {
    "access token": lambda d: d.cloud.ok(
        "DELETE", f"/users/{d.user['id']}/OS-OAUTH1/access_tokens/{d.access['oauth_token']}"
    ),
    "consumer": lambda d: d.cloud.ok("DELETE", f"/OS-OAUTH1/consumers/{d.program.id}"),
    "role": lambda d: d.cloud.ok("DELETE", f"/projects/{d.project}/users/{d.user['id']}/roles/{d.cloud.role('admin')}"),
    "user": lambda d: d.cloud.ok("DELETE", f"/users/{d.user['id']}"),
    "project": lambda d: d.cloud.ok("DELETE", f"/projects/{d.project}"),
    "user disabled": lambda d: d.cloud.ok("PATCH", f"/users/{d.user['id']}", {"user": {"enabled": False}}),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_is_taken_back_is_void_at_once(any_cloud: Cloud, end: str) -> None:
    cloud, delegated = any_cloud, Delegated(any_cloud)
    token = delegated.token()
    assert cloud.call("GET", "/auth/catalog", token=token).status_code == 200
    ENDS[end](delegated)
    assert cloud.call("GET", "/auth/catalog", token=token).status_code == 401
    assert delegated.login().status_code == 401


def test_logins_with_wrong_signatures(cloud: Cloud) -> None:
    delegated = Delegated(cloud)
    another = Program(cloud)
    assert delegated.login(oauth_token="0" * 32).status_code == 401
    assert delegated.login(oauth_consumer_key=another.id).status_code == 401
    unsigned = {"auth": {"identity": {"methods": ["oauth1"], "oauth1": {}}}}
    assert cloud.call("POST", "/auth/tokens", unsigned).status_code == 401
    header = delegated.program.header("/auth/tokens", token=delegated.access)
    nothing = {"auth": {"identity": {"methods": ["oauth1"]}}}
    assert delegated.program.post("/auth/tokens", header, nothing).status_code == 400
    assert delegated.program.post("/auth/tokens", header, unsigned).status_code == 201
    assert delegated.program.post("/auth/tokens", header, unsigned).status_code == 401, "a replay"
    alone = delegated.program.header("/auth/tokens")
    assert delegated.program.post("/auth/tokens", alone, unsigned).status_code == 400, "without an access token"
    delegated.access["oauth_token_secret"] = "0" * 32
    assert delegated.login().status_code == 401


def test_a_program_grants_and_keeps_nothing_more(cloud: Cloud) -> None:
    """A token of OAuth is not exchanged for another, and lets no further program in, whatever its roles are."""
    delegated = Delegated(cloud, "admin")
    token = delegated.token()
    rescope = {"auth": {"identity": {"methods": ["token"], "token": {"id": token}}}}
    assert cloud.call("POST", "/auth/tokens", rescope).status_code == 403
    request = delegated.program.ask(delegated.project)
    grant(cloud, request, {"name": "admin"}, by=token, status=403)
    own = f"/users/{delegated.user['id']}/OS-OAUTH1/access_tokens"
    assert cloud.call("GET", own, token=token).status_code == 403
    credential = {"application_credential": {"name": "mine"}}
    path = f"/users/{delegated.user['id']}/application_credentials"
    assert cloud.call("POST", path, credential, token=token).status_code == 403


# --- signatures ---------------------------------------------------------------------------------------------


def test_the_signature_of_the_specification() -> None:
    """The example of RFC 5849, section 1.2."""
    pairs = [
        ("oauth_consumer_key", "dpf43f3p2l4k3l03"), ("oauth_token", "nnch734d00sl2jdk"),
        ("oauth_signature_method", "HMAC-SHA1"), ("oauth_timestamp", "137131202"), ("oauth_nonce", "chapoH"),
        ("file", "vacation.jpg"), ("size", "original"),
    ]  # fmt: skip
    url = "HTTP://Photos.example.net:80/photos"
    assert signature("get", url, pairs, "kd94hf93k423kf44", "pfkkdhi9sl3r4s00") == "MdpQcU8iPSUjWoN/UDMsK2sui9I="


def test_a_replayed_request_counts_once(any_cloud: Cloud) -> None:
    cloud, program = any_cloud, Program(any_cloud)
    project, path = admins_project(cloud), "/OS-OAUTH1/request_token"
    header = program.header(path, oauth_callback="oob")
    statuses = [program.post(path, header, Requested_Project_Id=project).status_code for _ in range(3)]
    assert statuses == [201, 401, 401]
    cloud.clock.advance(601)
    assert program.post(path, header, Requested_Project_Id=project).status_code == 401, "too old by now"
    assert program.ask(project)
    with cloud.db.read() as tx:
        assert len(tx.all(sa.select(models.nonce))) == 1, "what is too old anyway is forgotten"


@pytest.mark.parametrize("seconds", [-601, 601])
def test_requests_out_of_their_time(cloud: Cloud, seconds: int) -> None:
    moment = cloud.clock.now() // MICROSECONDS + seconds
    assert Program(cloud).ask(admins_project(cloud), status=401, oauth_timestamp=str(moment)) == {}


def test_wrong_signatures(cloud: Cloud) -> None:
    program, project, path = Program(cloud), admins_project(cloud), "/OS-OAUTH1/request_token"

    def status(header: str, to: str = path) -> int:
        code: int = program.post(to, header, Requested_Project_Id=project).status_code
        return code

    assert status(program.header(path, url=f"{BASE}/OS-OAUTH1/access_token")) == 401
    assert status(program.header(path, url="http://falconframework.org/identity/v3" + path)) == 201, "the host it asked"
    assert status(program.header(path).replace(program.id, "0" * 32)) == 401
    assert status(program.header(path), f"{path}?more=1") == 401, "the query is signed too"
    program.secret = "0" * 32
    assert status(program.header(path)) == 401
    assert status("Bearer x") == 401
    assert program.cloud.call("POST", path, Requested_Project_Id=project).status_code == 401


@pytest.mark.parametrize(
    "change",
    [("oauth_nonce=", "nonce="), ("HMAC-SHA1", "PLAINTEXT"), ('"1.0"', '"2.0"'), ("oauth_timestamp=", 'x="'),
     ('oauth_version="1.0"', 'oauth_nonce="again"')],
)  # fmt: skip
def test_malformed_signatures(cloud: Cloud, change: tuple[str, str]) -> None:
    program, path = Program(cloud), "/OS-OAUTH1/request_token"
    header = program.header(path).replace(*change)
    assert program.post(path, header, Requested_Project_Id="p").status_code == 400


def test_an_unknown_project_is_told_to_consumers_only(cloud: Cloud) -> None:
    program, path = Program(cloud), "/OS-OAUTH1/request_token"
    assert program.ask("none", status=404) == {}
    assert program.post(path, program.header(path)).status_code == 400
    program.secret = "0" * 32
    assert program.ask("none", status=401) == {}
