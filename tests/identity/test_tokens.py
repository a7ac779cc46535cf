"""Logging in, and what tokens say."""

import logging
from typing import Any

import bcrypt
import pytest

from pileus.identity.users import store as users_store
from tests.identity.conftest import ADMIN_PASSWORD, Cloud


def test_login_answers_as_keystone(cloud: Cloud) -> None:
    result = cloud.login()
    token = result.json["token"]
    assert token["methods"] == ["password"]
    assert token["user"]["name"] == "admin"
    assert token["user"]["domain"] == {"id": "default", "name": "Default"}
    assert token["user"]["password_expires_at"] is None
    assert token["project"]["name"] == "admin"
    assert token["project"]["domain"] == {"id": "default", "name": "Default"}
    assert token["is_domain"] is False
    assert {role["name"] for role in token["roles"]} == {"admin", "manager", "member", "reader"}
    assert token["issued_at"] == "2023-11-14T22:13:20.000000Z"
    assert token["expires_at"] == "2023-11-14T23:13:20.000000Z"
    assert len(token["audit_ids"]) == 1
    compute = next(service for service in token["catalog"] if service["type"] == "compute")
    assert {endpoint["interface"] for endpoint in compute["endpoints"]} == {"public", "internal", "admin"}
    assert {endpoint["url"] for endpoint in compute["endpoints"]} == {"http://cloud.example/compute/v2.1"}
    assert {endpoint["region"] for endpoint in compute["endpoints"]} == {"RegionOne"}
    assert len(result.headers["X-Subject-Token"]) < 255


def test_unscoped_domain_system_and_default_project(cloud: Cloud) -> None:
    user = cloud.user_with("member", "domains/default", name="ann")
    who = {"id": user["id"], "password": "secret"}
    plain = cloud.login(**who).json["token"]
    assert not plain.keys() & {"catalog", "roles", "project", "domain", "is_domain"}

    on_domain = cloud.login({"domain": {"name": "Default"}}, **who).json["token"]
    assert on_domain["domain"] == {"id": "default", "name": "Default"}
    assert [role["name"] for role in on_domain["roles"]] == ["member", "reader"]
    assert on_domain["catalog"]
    cloud.login({"system": {"all": True}}, status=401, **who)

    project = cloud.make("project", name="home")
    cloud.ok("PATCH", f"/users/{user['id']}", {"user": {"default_project_id": project["id"]}})
    assert "project" not in cloud.login(**who).json["token"], "no role there: it falls back to no scope"
    cloud.ok("PUT", f"/projects/{project['id']}/users/{user['id']}/roles/{cloud.role('reader')}")
    assert cloud.login(**who).json["token"]["project"]["id"] == project["id"]
    assert "project" not in cloud.login("unscoped", **who).json["token"]


def test_system_scope(cloud: Cloud) -> None:
    who = {"name": "admin", "domain": {"name": "Default"}, "password": ADMIN_PASSWORD}
    result = cloud.login({"system": {"all": True}}, **who)
    assert result.json["token"]["system"] == {"all": True}
    actor = cloud.identity.authenticate(result.headers["X-Subject-Token"])
    assert actor.system
    assert actor.is_admin
    assert actor.project_id is None


def test_show_check_and_revoke(cloud: Cloud) -> None:
    issued = cloud.login()
    subject = issued.headers["X-Subject-Token"]
    shown = cloud.call("GET", "/auth/tokens", token=cloud.admin, X_Subject_Token=subject)
    assert shown.status_code == 200
    assert shown.json == issued.json, "a token means the same whenever it is asked for"
    assert shown.headers["X-Subject-Token"] == subject
    bare = cloud.call("GET", "/auth/tokens?nocatalog", token=cloud.admin, X_Subject_Token=subject)
    assert "catalog" not in bare.json["token"]
    assert cloud.call("HEAD", "/auth/tokens", token=cloud.admin, X_Subject_Token=subject).status_code == 200
    assert cloud.call("GET", "/auth/tokens", token=cloud.admin).status_code == 400

    assert cloud.call("DELETE", "/auth/tokens", token=subject, X_Subject_Token=subject).status_code == 204
    for method in ("GET", "HEAD", "DELETE"):
        assert cloud.call(method, "/auth/tokens", token=cloud.admin, X_Subject_Token=subject).status_code == 404
    assert cloud.call("GET", "/auth/projects", token=subject).status_code == 401


def test_rescoping_keeps_the_end_and_the_chain(cloud: Cloud) -> None:
    user = cloud.user_with("member", f"projects/{cloud.make('project', name='one')['id']}", name="ann")
    first = cloud.login(**{"id": user["id"], "password": "secret"})
    old = first.headers["X-Subject-Token"]
    cloud.clock.advance(600)

    def rescope(token: str) -> Any:
        project = {"name": "one", "domain": {"id": "default"}}
        auth = {"identity": {"methods": ["token"], "token": {"id": token}}, "scope": {"project": project}}
        return cloud.call("POST", "/auth/tokens", {"auth": auth})

    second = rescope(old)
    assert second.status_code == 201
    token = second.json["token"]
    assert token["expires_at"] == first.json["token"]["expires_at"]
    assert token["issued_at"] > first.json["token"]["issued_at"]
    assert set(token["methods"]) == {"password", "token"}
    assert token["audit_ids"][1:] == first.json["token"]["audit_ids"]
    third = rescope(second.headers["X-Subject-Token"]).json["token"]
    assert third["audit_ids"][1:] == first.json["token"]["audit_ids"]

    new = second.headers["X-Subject-Token"]
    assert cloud.call("DELETE", "/auth/tokens", token=cloud.admin, X_Subject_Token=new).status_code == 204
    assert rescope(old).status_code == 201, "the first token outlives one gained from it"
    assert rescope(new).status_code == 404
    cloud.clock.advance(3000)
    assert rescope(old).status_code == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_a_token_that_is_not_there_is_not_found_whoever_asks(cloud: Cloud, method: str) -> None:
    project = cloud.make("project", name="one")
    user = cloud.user_with("member", f"projects/{project['id']}", name="ann")
    who = {"id": user["id"], "password": "secret"}
    mine, dead = cloud.token(**who), cloud.token(**who)
    assert cloud.call("DELETE", "/auth/tokens", token=dead, X_Subject_Token=dead).status_code == 204
    for subject in (dead, "gAAAAnonsense"):
        assert cloud.call(method, "/auth/tokens", token=mine, X_Subject_Token=subject).status_code == 404
    assert cloud.call(method, "/auth/tokens", token=mine, X_Subject_Token=cloud.admin).status_code == 403


REFUSED_LOGINS: tuple[tuple[dict[str, Any], int], ...] = (
    ({}, 400),
    ({"identity": {}}, 400),
    ({"identity": {"methods": []}}, 401),
    ({"identity": {"methods": ["password"]}}, 400),
    ({"identity": {"methods": ["password"], "password": {"user": {"name": "admin", "password": "x"}}}}, 400),
    ({"identity": {"methods": ["oidc"]}}, 401),
    ({"identity": {"methods": ["token"], "token": {"id": "gAAAA"}}}, 404),
    ({"identity": {"methods": ["token"], "token": {"id": "\u00e9\U0001f600"}}}, 404),
    ({"identity": {"methods": ["password"], "password": {"user": {"id": "nobody", "password": 5}}}}, 400),
)


def test_refused_logins(cloud: Cloud) -> None:
    for auth, status in REFUSED_LOGINS:
        result = cloud.call("POST", "/auth/tokens", {"auth": auth})
        assert result.status_code == status, f"{auth}: {result.text}"
        assert result.json["error"]["code"] == status
        assert result.json["error"]["message"]


REFUSED_SCOPES: tuple[tuple[dict[str, Any], int], ...] = (
    ({"project": {"id": "0" * 32}}, 401),
    ({"project": {"name": "nothing", "domain": {"id": "default"}}}, 401),
    ({"project": {"name": "admin", "domain": {"name": "nowhere"}}}, 401),
    ({"project": {"name": "admin"}}, 400),
    ({"project": {}}, 400),
    ({"domain": {"id": "default"}}, 401),
    ({"domain": {"name": "nowhere"}}, 401),
    ({"system": {"all": False}}, 400),
    ({"project": {"id": "x"}, "domain": {"id": "x"}}, 400),
    ({"OS-TRUST:trust": {"id": "x"}}, 401),
    ({"OS-TRUST:trust": {}}, 400),
    ({"OS-TRUST:other": {"id": "x"}}, 400),
)


def test_refused_scopes(cloud: Cloud) -> None:
    who = {"name": "admin", "domain": {"id": "default"}, "password": ADMIN_PASSWORD}
    for scope, status in REFUSED_SCOPES:
        assert cloud.login(scope, status=status, **who).json["error"]["code"] == status


def test_what_a_token_is_good_for(cloud: Cloud) -> None:
    project, other = cloud.make("project", name="one"), cloud.make("project", name="two")
    user = cloud.user_with("member", f"projects/{project['id']}", name="ann")
    group, domain = cloud.make("group", name="crew"), cloud.make("domain", name="far")
    cloud.ok("PUT", f"/groups/{group['id']}/users/{user['id']}")
    cloud.ok("PUT", f"/domains/{domain['id']}/groups/{group['id']}/roles/{cloud.role('reader')}")
    cloud.ok("PUT", f"/projects/{other['id']}/groups/{group['id']}/roles/{cloud.role('reader')}")
    token = cloud.token(**{"id": user["id"], "password": "secret"})
    projects = cloud.call("GET", "/auth/projects", token=token).json
    assert {one["id"] for one in projects["projects"]} == {project["id"], other["id"]}
    cloud.ok("PATCH", f"/projects/{other['id']}", {"project": {"enabled": False}})
    assert [one["id"] for one in cloud.call("GET", "/auth/projects", token=token).json["projects"]] == [project["id"]]
    assert [one["id"] for one in cloud.call("GET", "/auth/domains", token=token).json["domains"]] == [domain["id"]]
    assert cloud.call("GET", "/auth/system", token=token).json["system"] == []
    assert cloud.call("GET", "/auth/system", token=cloud.admin).json["system"] == [{"all": True}]
    assert cloud.call("GET", "/auth/catalog", token=token).status_code == 403
    catalog = cloud.call("GET", "/auth/catalog", token=cloud.admin).json["catalog"]
    assert {service["type"] for service in catalog} == {"identity", "image", "compute", "network"}


def test_unknown_user_costs_what_a_wrong_password_costs(cloud: Cloud) -> None:
    user = cloud.make("user", name="ann", password="secret", enabled=False)
    bare = cloud.make("user", name="bob")
    refused = [
        {"name": "admin", "domain": {"id": "default"}, "password": "wrong"},
        {"name": "nobody", "domain": {"id": "default"}, "password": "wrong"},
        {"name": "nobody", "domain": {"name": "nowhere"}, "password": "wrong"},
        {"id": "0" * 32, "password": "wrong"},
        {"id": user["id"], "password": "secret"},
        {"id": user["id"], "password": "wrong"},
        {"id": bare["id"], "password": ""},
    ]
    answers = []
    for who in refused:
        before = cloud.passwords.verified
        answers.append(cloud.login(status=401, **who).json)
        assert cloud.passwords.verified == before + 1, who
    assert all(answer == answers[0] for answer in answers)


def test_imported_bcrypt_hash_is_accepted_and_renewed(cloud: Cloud) -> None:
    user = cloud.make("user", name="imported")
    old = bcrypt.hashpw(b"from keystone", bcrypt.gensalt(4)).decode()
    with cloud.db.write() as tx:
        users_store.set_password(
            tx, user["id"], old, cloud.clock.now(), expires_at=None, self_service=False, remembered=1
        )
    token = cloud.token(**{"id": user["id"], "password": "from keystone"})
    with cloud.db.read() as tx:
        stored = users_store.password_of(tx, user["id"])
    assert stored is not None
    assert stored.hash.startswith("$argon2id$")
    assert cloud.identity.authenticate(token).user_id == user["id"], "renewing a hash revokes nothing"
    cloud.token(**{"id": user["id"], "password": "from keystone"})
    cloud.login(status=401, **{"id": user["id"], "password": "from keystone "})


def test_no_secret_is_logged(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    user = cloud.make("user", name="ann", password="hunter2-secret")
    token = cloud.token(**{"id": user["id"], "password": "hunter2-secret"})
    cloud.login(status=401, **{"id": user["id"], "password": "wrong-hunter3"})
    cloud.call("GET", "/users", token=token)
    assert not [secret for secret in ("hunter2", "hunter3", token) if secret in caplog.text]
