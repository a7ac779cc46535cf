"""Application credentials: what they give, what they forbid, and how they end."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from pileus.identity.application_credentials import models, secrets
from pileus.kernel.clock import iso_micro
from tests.identity.conftest import Cloud, Person


@pytest.fixture
def ann(cloud: Cloud) -> Person:
    return Person(cloud, "ann")


def make(person: Person, status: int = 201, token: str | None = None, **attributes: Any) -> dict[str, Any]:
    """Make an application credential."""
    body = {"application_credential": {"name": "app"} | attributes}
    path = f"/users/{person.id}/application_credentials"
    made: dict[str, Any] = person.call("POST", path, body, status=status, token=token)
    return made.get("application_credential", made)


def login(person: Person, made: dict[str, Any], status: int = 201, scope: Any = None, **other: Any) -> Any:
    """Log in with one."""
    sent = {"id": made["id"], "secret": made["secret"]} | other
    return person.cloud.authenticate({"application_credential": sent}, scope, status=status)


def token_of(person: Person, made: dict[str, Any]) -> str:
    token: str = login(person, made).headers["X-Subject-Token"]
    return token


def test_a_credential_and_its_tokens(ann: Person) -> None:
    made = make(ann, description="for the robot")
    assert made["project_id"] == ann.project
    assert made["user_id"] == ann.id
    assert {role["name"] for role in made["roles"]} == {"member", "reader"}
    assert made["unrestricted"] is False
    assert made["expires_at"] is None
    assert "access_rules" not in made
    assert made["links"]["self"].endswith(f"/v3/users/{ann.id}/application_credentials/{made['id']}")
    path = f"/users/{ann.id}/application_credentials"
    shown = ann.call("GET", f"{path}/{made['id']}", status=200)["application_credential"]
    assert shown == {key: value for key, value in made.items() if key != "secret"}
    assert ann.call("GET", path, status=200)["application_credentials"] == [shown]
    assert ann.call("GET", f"{path}?name=other", status=200)["application_credentials"] == []

    token = login(ann, made).json["token"]
    assert token["methods"] == ["application_credential"]
    assert token["project"]["id"] == ann.project
    assert token["user"]["id"] == ann.id
    assert {role["name"] for role in token["roles"]} == {"member", "reader"}
    assert token["application_credential"] == {"id": made["id"], "name": "app", "restricted": True}
    by_name = {"name": "app", "user": {"name": "ann", "domain": {"id": "default"}}, "secret": made["secret"]}
    assert ann.cloud.authenticate({"application_credential": by_name}).json["token"]["user"]["id"] == ann.id

    ann.call("DELETE", f"{path}/{made['id']}", status=204)
    ann.call("GET", f"{path}/{made['id']}", status=404)
    login(ann, made, 401)


def test_roles_are_chosen_of_those_in_the_token(ann: Person) -> None:
    reader = ann.cloud.role("reader")
    made = make(ann, roles=[{"name": "reader"}])
    assert [role["id"] for role in made["roles"]] == [reader]
    assert [role["name"] for role in login(ann, made).json["token"]["roles"]] == ["reader"]
    make(ann, 400, name="b", roles=[{"id": ann.cloud.role("admin")}])
    make(ann, 404, name="b", roles=[{"name": "nothing"}])
    make(ann, 400, name="b", roles=[{"name": "reader", "id": reader}])
    make(ann, 400, name="b", roles=[{}])


def test_secrets_of_ones_own(ann: Person) -> None:
    made = make(ann, secret="correct horse")
    assert made["secret"] == "correct horse"
    login(ann, made)
    login(ann, made, 401, secret="correct hors")
    login(ann, made, 401, secret=secrets.new_secret())
    generated = make(ann, name="generated")
    login(ann, generated, 401, secret="correct horse")
    with ann.cloud.db.read() as tx:
        stored = [row[0] for row in tx.all(sa.text("SELECT secret_hash FROM identity_application_credential"))]
    assert sorted(text.split("$")[1] for text in stored) == ["argon2id", "sha512"]


def test_refused(ann: Person) -> None:
    make(ann)
    make(ann, 409)
    make(ann, 400, name="")
    make(ann, 400, name="b", expires_at="yesterday")
    make(ann, 400, name="b", expires_at=iso_micro(ann.cloud.clock.now()))
    make(ann, 400, name="b", access_rules=[{"path": "v2", "method": "GET", "service": "compute"}])
    make(ann, 400, name="b", access_rules=[{"path": "/v2", "method": "STEAL", "service": "compute"}])
    make(ann, 404, name="b", access_rules=[{"id": "0" * 32}])
    unscoped = ann.cloud.authenticate(ann.password, "unscoped").headers["X-Subject-Token"]
    make(ann, 400, name="b", token=unscoped)
    make(ann, 403, name="b", token=ann.cloud.admin)


def test_a_credential_ends_and_so_do_its_tokens(ann: Person) -> None:
    ends = ann.cloud.clock.now() + 600_000_000
    made = make(ann, expires_at=iso_micro(ends))
    assert made["expires_at"] == iso_micro(ends)
    token = login(ann, made).json["token"]
    assert token["expires_at"] == f"{iso_micro(ends)}Z"
    ann.cloud.clock.advance(600)
    login(ann, made, 401)


def test_no_more_than_the_limit(ann: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ann.cloud.identity.application_credentials, "_maximum", 2)
    make(ann, name="one")
    make(ann, name="two")
    make(ann, 403, name="three")


def test_a_scope_cannot_be_asked_for(ann: Person) -> None:
    made = make(ann, unrestricted=True)
    login(ann, made, 401, scope=ann.scope)
    token = token_of(ann, made)
    for scope in (ann.scope, "unscoped", {"project": {"name": "admin", "domain": {"id": "default"}}}):
        ann.cloud.authenticate({"token": {"id": token}}, scope, status=403)


Change = Callable[[Person], object]
ENDINGS: dict[str, Change] = {
    "the credential is deleted": lambda p: p.call(
        "DELETE",
        "/users/{}/application_credentials/{}".format(
            p.id,
            p.call("GET", f"/users/{p.id}/application_credentials", status=200)["application_credentials"][0]["id"],
        ),
        status=204,
    ),
    "the owner loses the role": lambda p: p.cloud.ok(
        "DELETE", f"/projects/{p.project}/users/{p.id}/roles/{p.cloud.role('member')}"
    ),
    "the owner is disabled": lambda p: p.cloud.ok("PATCH", f"/users/{p.id}", {"user": {"enabled": False}}),
    "the owner is deleted": lambda p: p.cloud.ok("DELETE", f"/users/{p.id}"),
    "the project is disabled": lambda p: p.cloud.ok("PATCH", f"/projects/{p.project}", {"project": {"enabled": False}}),
    "the project is deleted": lambda p: p.cloud.ok("DELETE", f"/projects/{p.project}"),
    "the role is deleted": lambda p: p.cloud.ok("DELETE", f"/roles/{p.cloud.role('operator')}"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_ends_a_credential_voids_its_tokens_at_once(cloud: Cloud, ending: str) -> None:
    cloud.make("role", name="operator")
    ann = Person(cloud, "ann")
    cloud.ok("PUT", f"/projects/{ann.project}/users/{ann.id}/roles/{cloud.role('operator')}")
    roles = [{"name": "operator" if ending == "the role is deleted" else "member"}]
    made = make(ann, roles=roles, access_rules=[{"service": "identity", "method": "GET", "path": "/v3/auth/projects"}])
    token, neighbour = token_of(ann, made), cloud.node()
    assert neighbour.call("GET", "/auth/projects", token=token).status_code == 200
    ENDINGS[ending](ann)
    assert neighbour.call("GET", "/auth/projects", token=token).status_code == 401
    login(ann, made, 401)


def test_a_credential_does_not_come_back_with_the_role(ann: Person) -> None:
    made = make(ann)
    member = f"/projects/{ann.project}/users/{ann.id}/roles/{ann.cloud.role('member')}"
    ann.cloud.ok("DELETE", member)
    ann.cloud.ok("PUT", member)
    login(ann, made, 401)
    again = make(ann)
    for enabled in (False, True):
        ann.cloud.ok("PATCH", f"/users/{ann.id}", {"user": {"enabled": enabled}})
    login(ann, again, 401)


def test_another_password_leaves_the_credential(ann: Person) -> None:
    made = make(ann)
    token = token_of(ann, made)
    ann.cloud.ok("PATCH", f"/users/{ann.id}", {"user": {"password": "another"}})
    assert ann.cloud.call("GET", "/auth/projects", token=token).status_code == 401
    login(ann, made)


@pytest.mark.parametrize("unrestricted", [False, True])
def test_only_an_unrestricted_credential_makes_others(ann: Person, unrestricted: bool) -> None:
    made = make(ann, unrestricted=unrestricted, roles=[{"name": "reader"}])
    token = token_of(ann, made)
    answer = make(ann, 201 if unrestricted else 403, token=token, name="another")
    if unrestricted:
        assert [role["name"] for role in answer["roles"]] == ["reader"]
        make(ann, 400, token=token, name="third", roles=[{"name": "member"}])
    path = f"/users/{ann.id}/application_credentials/{made['id']}"
    ann.call("DELETE", path, token=token, status=204 if unrestricted else 403)


def test_who_sees_a_credential(cloud: Cloud, ann: Person) -> None:
    bob, made = Person(cloud, "bob"), make(ann)
    path = f"/users/{ann.id}/application_credentials"
    for method, where in (("GET", path), ("GET", f"{path}/{made['id']}"), ("DELETE", f"{path}/{made['id']}")):
        bob.call(method, where, status=403)
        assert cloud.call(method, where, token=None).status_code == 401
    bob.call("GET", f"/users/{bob.id}/application_credentials/{made['id']}", status=404)
    assert cloud.ok("GET", path)["application_credentials"]
    cloud.ok("DELETE", f"{path}/{made['id']}")


# --- access rules -------------------------------------------------------------------------------------------

PROJECTS = {"service": "identity", "method": "GET", "path": "/v3/auth/projects"}


def test_rules_are_enforced(ann: Person) -> None:
    made = make(ann, unrestricted=True, access_rules=[PROJECTS])
    (rule,) = made["access_rules"]
    assert rule == PROJECTS | {"id": rule["id"]}
    answer = login(ann, made)
    assert answer.json["token"]["application_credential"]["access_rules"] == [rule]
    token = answer.headers["X-Subject-Token"]
    ann.call("GET", "/auth/projects", token=token, status=200)
    for method, path in (
        ("HEAD", "/auth/projects"),
        ("GET", "/auth/domains"),
        ("GET", f"/projects/{ann.project}"),
        ("DELETE", "/auth/tokens"),
        ("POST", f"/users/{ann.id}/application_credentials"),
    ):
        assert ann.cloud.call(method, path, token=token).status_code == 401, path
    shown = ann.cloud.call("GET", "/auth/tokens", token=token, X_Subject_Token=token)
    assert shown.status_code == 200, "services ask this way what a token is"


def test_tokens_with_rules_make_nothing_that_would_be_without(ann: Person) -> None:
    path = f"/v3/users/{ann.id}/application_credentials"
    made = make(ann, unrestricted=True, access_rules=[{"service": "identity", "method": "POST", "path": path}])
    make(ann, 403, token=token_of(ann, made), name="free")


def test_rules_are_kept_and_shared(cloud: Cloud, ann: Person) -> None:
    one = make(ann, access_rules=[PROJECTS, PROJECTS])
    (rule,) = one["access_rules"]
    two = make(ann, name="two", access_rules=[{"id": rule["id"]}])
    assert make(ann, name="three", access_rules=[PROJECTS])["access_rules"] == two["access_rules"] == [rule]
    path = f"/users/{ann.id}/access_rules"
    (listed,) = ann.call("GET", path, status=200)["access_rules"]
    assert listed == rule | {"links": {"self": f"http://cloud.example/identity/v3{path}/{rule['id']}"}}
    assert ann.call("GET", f"{path}?service=image", status=200)["access_rules"] == []
    assert ann.call("GET", f"{path}/{rule['id']}", status=200)["access_rule"] == listed
    bob = Person(cloud, "bob")
    bob.call("GET", path, status=403)
    bob.call("GET", f"/users/{bob.id}/access_rules/{rule['id']}", status=404)
    make(bob, 404, access_rules=[{"id": rule["id"]}])

    ann.call("DELETE", f"{path}/{rule['id']}", status=403)
    for made in ann.call("GET", f"/users/{ann.id}/application_credentials", status=200)["application_credentials"]:
        ann.call("DELETE", f"/users/{ann.id}/application_credentials/{made['id']}", status=204)
    ann.call("DELETE", f"{path}/{rule['id']}", status=204)
    ann.call("GET", f"{path}/{rule['id']}", status=404)


def test_an_empty_list_of_rules_is_none(ann: Person) -> None:
    made = make(ann, access_rules=[])
    assert "access_rules" not in made
    ann.call("GET", "/auth/domains", token=token_of(ann, made), status=200)


def test_credentials_with_rules_go_with_their_owner(any_cloud: Cloud) -> None:
    """The rules must not keep the user, nor the user's domain, from being deleted."""
    domain = any_cloud.make("domain", name="far")
    project = any_cloud.make("project", name="one", domain_id=domain["id"])
    for name in ("ann", "bob"):
        user = any_cloud.user_with("member", f"projects/{project['id']}", name=name, domain_id=domain["id"])
        token = any_cloud.token({"project": {"id": project["id"]}}, id=user["id"], password="secret")
        body = {"application_credential": {"name": "app", "access_rules": [PROJECTS]}}
        made = any_cloud.call("POST", f"/users/{user['id']}/application_credentials", body, token=token)
        assert made.status_code == 201, made.text
    any_cloud.ok("DELETE", f"/users/{user['id']}")
    any_cloud.ok("PATCH", f"/domains/{domain['id']}", {"domain": {"enabled": False}})
    any_cloud.ok("DELETE", f"/domains/{domain['id']}")
    with any_cloud.db.read() as tx:
        tables = (models.application_credential, models.access_rule, models.application_credential_access_rule)
        left = [tx.scalar(sa.select(sa.func.count()).select_from(table)) for table in tables]
    assert left == [0, 0, 0]


def test_a_cached_token_with_rules_needs_no_database(ann: Person) -> None:
    token = token_of(ann, make(ann, access_rules=[PROJECTS]))
    reads: list[object] = []
    sa.event.listen(ann.cloud.db.engine, "before_cursor_execute", lambda *args: reads.append(args[2]))
    for _ in range(10):
        assert ann.cloud.identity.authenticate(token).access_rules
    assert reads == []
