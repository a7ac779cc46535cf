"""Identity providers, mappings, protocols, service providers, and what a login through them leaves behind."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pileus.identity.federation.admission import Admission
from pileus.identity.federation.domain import Attributes
from pileus.kernel.errors import BadRequest, Forbidden, Unauthorized
from tests.identity.conftest import PUBLIC_URL, Cloud

IDPS = "/OS-FEDERATION/identity_providers"
MAPPINGS = "/OS-FEDERATION/mappings"
SPS = "/OS-FEDERATION/service_providers"
RULES: list[dict[str, Any]] = [
    {"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "name"}]},
    {"local": [{"groups": "{0}", "domain": {"id": "default"}}], "remote": [{"type": "groups"}]},
]
HOUR = 3600.0


def federate(cloud: Cloud, rules: list[dict[str, Any]] = RULES, version: str = "1.0", **provider: Any) -> str:
    """Trust the provider `house` with the protocol `openid`; the id of its domain."""
    made = cloud.ok("PUT", f"{IDPS}/house", {"identity_provider": {"enabled": True, **provider}}, status=201)
    body = {"mapping": {"rules": rules, "schema_version": version}}
    cloud.ok("PUT", f"{MAPPINGS}/people", body, status=201)
    cloud.ok("PUT", f"{IDPS}/house/protocols/openid", {"protocol": {"mapping_id": "people"}}, status=201)
    domain_id: str = made["identity_provider"]["domain_id"]
    return domain_id


def admission(cloud: Cloud) -> Admission:
    """Lets users in without a provider of OpenID Connect, which other tests have."""
    whole = cloud.identity
    return Admission(
        cloud.settings, whole.federation, whole.projects, whole.users, whole.roles, cloud.generation, cloud.clock
    )


def enter(cloud: Cloud, **attributes: str | tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """Log in with verified attributes: an unscoped token, and what it says."""
    given: Attributes = {name: (value,) if isinstance(value, str) else value for name, value in attributes.items()}
    admitted = cloud.db.transact(lambda tx: admission(cloud).admit(tx, "house", "openid", given))
    through = ("house", "openid") if admitted.federated else ("", "")
    token, _ = cloud.identity.tokens.issue_mapped(admitted.user, *through)
    shown = cloud.call("GET", "/auth/tokens", token=token, X_Subject_Token=token).json["token"]
    return token, shown


def rescoped(cloud: Cloud, token: str, scope: Any, status: int = 201) -> Any:
    auth = {"identity": {"methods": ["token"], "token": {"id": token}}, "scope": scope}
    result = cloud.call("POST", "/auth/tokens", {"auth": auth})
    assert result.status_code == status, result.text
    return result


# --- resources ----------------------------------------------------------------------------------------------


def test_identity_providers(any_cloud: Cloud) -> None:
    cloud = any_cloud
    body = {"identity_provider": {"description": "d", "remote_ids": ["b", "a"]}}
    made = cloud.ok("PUT", f"{IDPS}/house", body, status=201)["identity_provider"]
    link = f"{PUBLIC_URL}/identity/v3{IDPS}/house"
    assert made == {
        "id": "house",
        "domain_id": made["domain_id"],
        "enabled": False,
        "description": "d",
        "authorization_ttl": None,
        "remote_ids": ["a", "b"],
        "links": {"self": link, "protocols": f"{link}/protocols"},
    }
    domain = cloud.ok("GET", f"/domains/{made['domain_id']}")["domain"]
    assert (domain["name"], domain["enabled"]) == (made["domain_id"], True)
    assert cloud.ok("GET", f"{IDPS}/house")["identity_provider"] == made
    change = {"identity_provider": {"enabled": True, "remote_ids": ["c"], "authorization_ttl": 5}}
    changed = cloud.ok("PATCH", f"{IDPS}/house", change)["identity_provider"]
    assert changed == {**made, "enabled": True, "remote_ids": ["c"], "authorization_ttl": 5}
    other = {"identity_provider": {"domain_id": "default", "remote_ids": ["a"]}}
    cloud.ok("PUT", f"{IDPS}/other", other, status=201)
    assert [one["id"] for one in cloud.ok("GET", f"{IDPS}?enabled=true")["identity_providers"]] == ["house"]
    assert [one["id"] for one in cloud.ok("GET", f"{IDPS}?id=other")["identity_providers"]] == ["other"]
    refusals: list[tuple[str, str, dict[str, Any], int]] = [
        ("PUT", "house", {}, 409),
        ("PUT", "third", {"remote_ids": ["c"]}, 409),
        ("PUT", "third", {"domain_id": "0" * 32}, 404),
        ("PUT", "third", {"colour": "red"}, 400),
        ("PUT", "a b", {}, 400),
        ("PATCH", "house", {"domain_id": "default"}, 400),
        ("PATCH", "house", {"authorization_ttl": -1}, 400),
        ("PATCH", "nobody", {}, 404),
        ("GET", "nobody", {}, 404),
    ]
    for method, idp_id, attributes, status in refusals:
        answer = cloud.call(method, f"{IDPS}/{idp_id}", {"identity_provider": attributes}, token=cloud.admin)
        assert answer.status_code == status, (method, idp_id, attributes, answer.text)
    cloud.ok("DELETE", f"{IDPS}/house")
    assert cloud.call("GET", f"{IDPS}/house", token=cloud.admin).status_code == 404


def test_mappings_and_protocols(any_cloud: Cloud) -> None:
    cloud = any_cloud
    made = cloud.ok("PUT", f"{MAPPINGS}/people", {"mapping": {"rules": RULES}}, status=201)["mapping"]
    assert made == {
        "id": "people",
        "rules": RULES,
        "schema_version": "1.0",
        "links": {"self": f"{PUBLIC_URL}/identity/v3{MAPPINGS}/people"},
    }
    changed = cloud.ok("PATCH", f"{MAPPINGS}/people", {"mapping": {"rules": RULES[:1], "schema_version": "2.0"}})
    assert changed["mapping"] == {**made, "rules": RULES[:1], "schema_version": "2.0"}
    assert cloud.ok("GET", MAPPINGS)["mappings"] == [changed["mapping"]]
    wrong = cloud.call("PUT", f"{MAPPINGS}/wrong", {"mapping": {"rules": [{"local": []}]}}, token=cloud.admin)
    assert (wrong.status_code, "remote" in wrong.text) == (400, True)

    cloud.ok("PUT", f"{IDPS}/house", {"identity_provider": {}}, status=201)
    path = f"{IDPS}/house/protocols/openid"
    protocol = cloud.ok("PUT", path, {"protocol": {"mapping_id": "people"}}, status=201)["protocol"]
    link = f"{PUBLIC_URL}/identity/v3{IDPS}/house"
    assert protocol == {
        "id": "openid",
        "mapping_id": "people",
        "remote_id_attribute": None,
        "links": {"self": f"{link}/protocols/openid", "identity_provider": link},
    }
    assert cloud.ok("GET", path)["protocol"] == protocol
    attribute = cloud.ok("PATCH", path, {"protocol": {"remote_id_attribute": "HTTP_OIDC_ISS"}})["protocol"]
    assert attribute == {**protocol, "remote_id_attribute": "HTTP_OIDC_ISS"}
    assert cloud.ok("GET", f"{IDPS}/house/protocols")["protocols"] == [attribute]
    for method, where, body, status in (
        ("PUT", path, {"mapping_id": "people"}, 409),
        ("PUT", f"{path}2", {"mapping_id": "nothing"}, 400),
        ("PUT", f"{path}2", {}, 400),
        ("PUT", f"{IDPS}/nobody/protocols/openid", {"mapping_id": "people"}, 404),
        ("PATCH", path, {"mapping_id": "nothing"}, 400),
        ("PATCH", f"{path}2", {"mapping_id": "people"}, 404),
    ):
        answer = cloud.call(method, where, {"protocol": body}, token=cloud.admin)
        assert answer.status_code == status, (method, where, body, answer.text)
    assert cloud.call("DELETE", f"{MAPPINGS}/people", token=cloud.admin).status_code == 409, "in use"
    cloud.ok("DELETE", path)
    cloud.ok("DELETE", f"{MAPPINGS}/people")


def test_service_providers(any_cloud: Cloud) -> None:
    cloud = any_cloud
    urls = {"auth_url": "https://b.example/v3/auth", "sp_url": "https://b.example/ecp"}
    made = cloud.ok("PUT", f"{SPS}/beta", {"service_provider": urls}, status=201)["service_provider"]
    assert made == {
        "id": "beta",
        **urls,
        "enabled": False,
        "description": None,
        "relay_state_prefix": "ss:mem:",
        "links": {"self": f"{PUBLIC_URL}/identity/v3{SPS}/beta"},
    }
    changed = cloud.ok("PATCH", f"{SPS}/beta", {"service_provider": {"enabled": True, "relay_state_prefix": "x:"}})
    assert changed["service_provider"] == {**made, "enabled": True, "relay_state_prefix": "x:"}
    assert cloud.ok("GET", f"{SPS}?enabled=true")["service_providers"] == [changed["service_provider"]]
    for attributes in ({}, {**urls, "auth_url": "ftp://x"}, {**urls, "colour": "red"}):
        answer = cloud.call("PUT", f"{SPS}/gamma", {"service_provider": attributes}, token=cloud.admin)
        assert answer.status_code == 400, attributes
    cloud.ok("DELETE", f"{SPS}/beta")
    assert cloud.call("GET", f"{SPS}/beta", token=cloud.admin).status_code == 404


def test_no_assertions_for_other_clouds(cloud: Cloud) -> None:
    assert cloud.call("GET", "/OS-FEDERATION/saml2/metadata").status_code == 501
    for path in ("/auth/OS-FEDERATION/saml2", "/auth/OS-FEDERATION/saml2/ecp"):
        assert cloud.call("POST", path, {}).status_code == 501


# --- logins -------------------------------------------------------------------------------------------------


def test_a_login_by_groups(any_cloud: Cloud) -> None:
    cloud = any_cloud
    domain_id = federate(cloud)
    project, group = cloud.make("project", name="one"), cloud.make("group", name="crew")
    cloud.ok("PUT", f"/projects/{project['id']}/groups/{group['id']}/roles/{cloud.role('member')}")
    scope = {"project": {"id": project["id"]}}

    token, shown = enter(cloud, name="ann", groups=("crew", "unknown to this cloud"))
    assert shown["methods"] == ["mapped"]
    assert "project" not in shown
    assert shown["user"] == {
        "id": shown["user"]["id"],
        "name": "ann",
        "domain": {"id": domain_id, "name": domain_id},
        "password_expires_at": None,
        "OS-FEDERATION": {
            "groups": [{"id": group["id"]}],
            "identity_provider": {"id": "house"},
            "protocol": {"id": "openid"},
        },
    }
    for path in ("/auth/projects", "/OS-FEDERATION/projects"):
        listed = cloud.call("GET", path, token=token).json["projects"]
        assert [one["id"] for one in listed] == [project["id"]]
    assert cloud.call("GET", "/OS-FEDERATION/domains", token=token).json["domains"] == []
    scoped = rescoped(cloud, token, scope).json["token"]
    assert sorted(role["name"] for role in scoped["roles"]) == ["member", "reader"]
    assert scoped["methods"] == ["mapped", "token"]
    assert scoped["user"] == shown["user"]
    assert scoped["expires_at"] == shown["expires_at"]
    effective = f"/role_assignments?effective&user.id={shown['user']['id']}"
    assert len(cloud.ok("GET", effective)["role_assignments"]) == 2

    again, same = enter(cloud, name="ann", groups="unknown to this cloud")
    assert same["user"]["id"] == shown["user"]["id"]
    assert same["user"]["OS-FEDERATION"]["groups"] == []
    for held in (token, again):
        rescoped(cloud, held, scope, 401)
    assert cloud.ok("GET", effective)["role_assignments"] == []


@pytest.mark.parametrize(("ttl", "lasts"), [(None, 1.0), (0, 1.0), (30, 1.0), (180, 3.0)])
def test_memberships_end(cloud: Cloud, ttl: int | None, lasts: float) -> None:
    """With the token, or with the provider's authorization_ttl if that is longer; remembered tokens know."""
    federate(cloud, authorization_ttl=ttl)
    project, group = cloud.make("project", name="one"), cloud.make("group", name="crew")
    cloud.ok("PUT", f"/projects/{project['id']}/groups/{group['id']}/roles/{cloud.role('member')}")
    _, shown = enter(cloud, name="ann", groups="crew")
    user_id = shown["user"]["id"]
    cloud.ok("PATCH", f"/users/{user_id}", {"user": {"password": "secret"}})
    cloud.clock.advance(lasts * HOUR - 10)
    scope = {"project": {"id": project["id"]}}
    token = cloud.token(scope, id=user_id, password="secret")
    assert cloud.call("GET", "/auth/catalog", token=token).status_code == 200
    cloud.clock.advance(20)
    assert cloud.call("GET", "/auth/catalog", token=token).status_code == 401
    cloud.login(scope, status=401, id=user_id, password="secret")


def test_users_groups_show_when_they_end(cloud: Cloud) -> None:
    federate(cloud)
    group = cloud.make("group", name="crew")
    _, shown = enter(cloud, name="ann", groups="crew")
    [listed] = cloud.ok("GET", f"/users/{shown['user']['id']}/groups")["groups"]
    assert (listed["id"], listed["membership_expires_at"]) == (group["id"], shown["expires_at"])
    cloud.clock.advance(HOUR + 1)
    cloud.admin = cloud.token()
    assert cloud.ok("GET", f"/users/{shown['user']['id']}/groups")["groups"] == []


def test_names_are_not_identities(cloud: Cloud) -> None:
    """Two users of a provider with one name are two users, and neither is the cloud's own user of that name."""
    rules = [{"local": [{"user": {"id": "{0}", "name": "{1}"}}], "remote": [{"type": "sub"}, {"type": "name"}]}]
    domain_id = federate(cloud, rules)
    own = cloud.make("user", name="ann", domain_id=domain_id)
    seen = [enter(cloud, sub=sub, name="ann")[1]["user"] for sub in ("1", "2", "1")]
    assert seen[0]["id"] == seen[2]["id"]
    assert len({own["id"], seen[0]["id"], seen[1]["id"]}) == 3
    assert [user["name"] for user in seen] == ["ann (1)", "ann (2)", "ann (1)"]
    renamed = enter(cloud, sub="1", name="anna")[1]["user"]
    assert (renamed["id"], renamed["name"]) == (seen[0]["id"], "anna")


def test_tokens_end_with_their_provider(cloud: Cloud) -> None:
    federate(cloud)
    token, shown = enter(cloud, name="ann")
    assert cloud.call("GET", "/auth/projects", token=token).status_code == 200
    cloud.ok("PATCH", f"{IDPS}/house", {"identity_provider": {"enabled": False}})
    assert cloud.call("GET", "/auth/projects", token=token).status_code == 401
    with pytest.raises(Forbidden, match="disabled"):
        enter(cloud, name="ann")
    cloud.ok("PATCH", f"{IDPS}/house", {"identity_provider": {"enabled": True}})
    assert cloud.call("GET", "/auth/projects", token=token).status_code == 200
    cloud.ok("DELETE", f"{IDPS}/house/protocols/openid")
    assert cloud.call("GET", "/auth/projects", token=token).status_code == 401
    assert cloud.call("GET", f"/users/{shown['user']['id']}", token=cloud.admin).status_code == 404


def test_a_provider_of_an_old_name_inherits_nothing(any_cloud: Cloud) -> None:
    cloud = any_cloud
    federate(cloud, domain_id="default")
    project = cloud.make("project", name="one")["id"]
    _, shown = enter(cloud, name="ann")
    cloud.ok("PUT", f"/projects/{project}/users/{shown['user']['id']}/roles/{cloud.role('admin')}")
    cloud.ok("DELETE", f"{IDPS}/house")
    cloud.ok("PUT", f"{IDPS}/house", {"identity_provider": {"enabled": True, "domain_id": "default"}}, status=201)
    cloud.ok("PUT", f"{IDPS}/house/protocols/openid", {"protocol": {"mapping_id": "people"}}, status=201)
    token, other = enter(cloud, name="ann")
    assert other["user"]["id"] != shown["user"]["id"]
    rescoped(cloud, token, {"project": {"id": project}}, 401)


def test_a_first_login_twice_at_one_moment(any_cloud: Cloud) -> None:
    """One user comes of it, whoever was first."""
    cloud = any_cloud
    federate(cloud)
    logins = cloud.identity.federated_logins
    start = threading.Barrier(4)

    def log_in(groups: list[str]) -> str:
        start.wait()
        claims = {"iss": "https://idp.example", "sub": "ann", "groups": groups}
        return logins._admit("house", "openid", claims)[1].user.id

    rules = [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "HTTP_OIDC_SUB"}]}, RULES[1]]
    rules[1] = {**rules[1], "remote": [{"type": "OIDC-groups"}]}
    cloud.ok("PATCH", f"{MAPPINGS}/people", {"mapping": {"rules": rules}})
    cloud.make("group", name="crew")
    for groups in ([], ["crew"]):
        with ThreadPoolExecutor(4) as pool:
            [user_id] = set(pool.map(log_in, [groups] * 4))
        listed = cloud.ok("GET", f"/users/{user_id}/groups")["groups"]
        assert [group["name"] for group in listed] == groups


def test_local_users(cloud: Cloud) -> None:
    """The mapping may say that somebody is one of the cloud's own; then groups of the provider do not count."""
    local = {"user": {"name": "{0}", "type": "local", "domain": {"id": "default"}}, "group": {"id": "nothing"}}
    federate(cloud, [{"local": [local], "remote": [{"type": "name"}]}])
    ann = cloud.make("user", name="ann")
    _, shown = enter(cloud, name="ann")
    assert shown["user"]["id"] == ann["id"]
    assert "OS-FEDERATION" not in shown["user"]
    cloud.ok("PATCH", f"/users/{ann['id']}", {"user": {"enabled": False}})
    for name in ("ann", "nobody"):
        with pytest.raises(Unauthorized):
            enter(cloud, name=name)


def test_projects_are_made_for_users(any_cloud: Cloud) -> None:
    cloud = any_cloud
    project = {"name": "of {0}", "roles": [{"name": "member"}, {"name": "{1}"}]}
    rules = [
        {"local": [{"user": {"name": "{0}"}, "projects": [project]}], "remote": [{"type": "name"}, {"type": "role"}]}
    ]
    domain_id = federate(cloud, rules)
    token, shown = enter(cloud, name="ann", role="manager")
    [made] = cloud.ok("GET", f"/projects?domain_id={domain_id}")["projects"]
    assert made["name"] == "of ann"
    scoped = rescoped(cloud, token, {"project": {"id": made["id"]}}).json["token"]
    assert sorted(role["name"] for role in scoped["roles"]) == ["manager", "member", "reader"]
    enter(cloud, name="ann", role="reader")
    held = cloud.ok("GET", f"/role_assignments?user.id={shown['user']['id']}&include_names")["role_assignments"]
    assert sorted(one["role"]["name"] for one in held) == ["manager", "member", "reader"], "before 3.0 nothing is taken"
    with pytest.raises(BadRequest, match="role nothing"):
        enter(cloud, name="ann", role="nothing")


def test_projects_follow_the_provider(cloud: Cloud) -> None:
    """Schema 3.0: what the provider no longer says is taken away."""
    local = {"user": {"name": "{0}"}, "projects": "{1}"}
    federate(cloud, [{"local": [local], "remote": [{"type": "name"}, {"type": "projects"}]}], "3.0")
    both = '[{"name": "a", "roles": [{"name": "member"}]}, {"name": "b", "roles": [{"name": "reader"}]}]'
    _, shown = enter(cloud, name="ann", projects=both)

    def held() -> list[tuple[str, str]]:
        query = f"/role_assignments?user.id={shown['user']['id']}&include_names"
        found = cloud.ok("GET", query)["role_assignments"]
        return sorted((one["scope"]["project"]["name"], one["role"]["name"]) for one in found)

    assert held() == [("a", "member"), ("b", "reader")]
    enter(cloud, name="ann", projects='[{"name": "a", "roles": [{"name": "reader"}]}]')
    assert held() == [("a", "reader")]


def test_remote_ids(cloud: Cloud) -> None:
    federate(cloud, remote_ids=["https://idp.example"])
    assert enter(cloud, name="ann", HTTP_OIDC_ISS="https://idp.example")[1]["user"]["name"] == "ann"
    with pytest.raises(Forbidden, match="not included"):
        enter(cloud, name="ann", HTTP_OIDC_ISS="https://idp.example.evil")
    with pytest.raises(BadRequest, match="identifier"):
        enter(cloud, name="ann")
    path = f"{IDPS}/house/protocols/openid"
    cloud.ok("PATCH", path, {"protocol": {"remote_id_attribute": "entity"}})
    assert enter(cloud, name="ann", entity="https://idp.example")[1]["user"]["name"] == "ann"


def test_what_the_mapping_cannot_use(cloud: Cloud) -> None:
    rules = [
        {"local": [{"group": {"id": "{0}"}}], "remote": [{"type": "group"}]},
        {"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "name"}]},
    ]
    federate(cloud, rules)
    with pytest.raises(Unauthorized, match="Group nothing"):
        enter(cloud, name="ann", group="nothing")
    with pytest.raises(BadRequest, match="Could not map"):
        enter(cloud, other="x")
    crew = cloud.make("group", name="crew")["id"]
    with pytest.raises(Unauthorized, match="Could not map user"):
        enter(cloud, group=crew)
    assert enter(cloud, group=crew, REMOTE_USER="ann@idp")[1]["user"]["name"] == "ann@idp"
    _, shown = enter(cloud, name="ann")
    cloud.ok("PATCH", f"/users/{shown['user']['id']}", {"user": {"enabled": False}})
    with pytest.raises(Unauthorized):
        enter(cloud, name="ann")


def test_a_domain_goes_with_its_provider_and_users(any_cloud: Cloud) -> None:
    cloud = any_cloud
    domain_id = federate(cloud)
    cloud.make("group", name="crew")
    token, _ = enter(cloud, name="ann", groups="crew")
    cloud.ok("PATCH", f"/domains/{domain_id}", {"domain": {"enabled": False}})
    cloud.ok("DELETE", f"/domains/{domain_id}")
    assert cloud.call("GET", f"{IDPS}/house", token=cloud.admin).status_code == 404
    assert cloud.call("GET", "/auth/projects", token=token).status_code == 401


def test_users_are_linked_with_providers(any_cloud: Cloud) -> None:
    """An administrator says in advance who somebody is; whoever came is found by it."""
    cloud = any_cloud
    domain_id = federate(cloud)
    linked = [{"idp_id": "house", "protocols": [{"protocol_id": "openid", "unique_id": "ann%40x"}]}]
    ann = cloud.make("user", name="Ann", domain_id=domain_id, federated=linked)
    assert ann["federated"] == linked
    assert cloud.ok("GET", f"/users/{ann['id']}")["user"] == ann
    _, shown = enter(cloud, name="ann@x")
    assert (shown["user"]["id"], shown["user"]["name"]) == (ann["id"], "ann@x")
    _, bob = enter(cloud, name="bob")
    for query, found in (
        ("idp_id=house", {ann["id"], bob["user"]["id"]}),
        ("protocol_id=openid&unique_id=bob", {bob["user"]["id"]}),
        ("idp_id=other", set()),
    ):
        assert {user["id"] for user in cloud.ok("GET", f"/users?{query}")["users"]} == found, query
    path = f"/users/{ann['id']}"
    taken = [{"idp_id": "house", "protocols": [{"protocol_id": "openid", "unique_id": "bob"}]}]
    unknown = [{"idp_id": "other", "protocols": [{"protocol_id": "openid", "unique_id": "x"}]}]
    for wrong, status in ((taken, 409), (unknown, 400), ([{"idp_id": "house"}], 400)):
        answer = cloud.call("PATCH", path, {"user": {"federated": wrong}}, token=cloud.admin)
        assert answer.status_code == status, answer.text
    elsewhere = {"user": {"name": "x", "domain_id": "default", "federated": linked}}
    assert cloud.call("POST", "/users", elsewhere, token=cloud.admin).status_code == 400
    assert cloud.ok("GET", path)["user"]["federated"] == linked
    assert "federated" not in cloud.ok("PATCH", path, {"user": {"federated": []}})["user"]
    assert enter(cloud, name="ann@x")[1]["user"]["id"] != ann["id"]
    cloud.ok("PATCH", f"/users/{bob['user']['id']}", {"user": {"password": "secret"}})
    cloud.ok("DELETE", f"{IDPS}/house")
    left = {user["name"] for user in cloud.ok("GET", f"/users?domain_id={domain_id}")["users"]}
    assert left == {"ann@x", "bob"}, "who has a password of this cloud, or came through nobody, stays"
