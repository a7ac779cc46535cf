"""Users, passwords, groups."""

from sqlalchemy import select

from pileus.kernel.db import metadata
from tests.identity.conftest import Cloud


def test_user_life(any_cloud: Cloud) -> None:
    cloud = any_cloud
    user = cloud.make("user", name="ann", password="secret", email="ann@example.org", description="d")
    assert user == {
        "id": user["id"],
        "name": "ann",
        "domain_id": "default",
        "enabled": True,
        "options": {},
        "password_expires_at": None,
        "email": "ann@example.org",
        "description": "d",
        "links": {"self": f"http://cloud.example/identity/v3/users/{user['id']}"},
    }
    path = f"/users/{user['id']}"
    assert cloud.ok("GET", path)["user"] == user
    changes = {"name": "anna", "email": "a@example.org", "project_id": "p", "enabled": False}
    changed = cloud.ok("PATCH", path, {"user": changes})["user"]
    assert changed == {**user, **changes}
    assert cloud.ok("GET", "/users?enabled=False")["users"] == [changed]
    assert cloud.ok("GET", "/users?name=ann")["users"] == []
    assert cloud.call("POST", "/users", {"user": {"name": "anna"}}, token=cloud.admin).status_code == 409
    elsewhere = {"user": {"name": "x", "domain_id": "0" * 32}}
    assert cloud.call("POST", "/users", elsewhere, token=cloud.admin).status_code == 404
    for refused in (
        {"domain_id": "x"},
        {"id": "x"},
        {"enabled": None},
        {"options": {"multi_factor_auth_enabled": "yes"}},
        {"options": {"no_such_option": True}},
    ):
        assert cloud.call("PATCH", path, {"user": refused}, token=cloud.admin).status_code == 400, refused
    cloud.ok("DELETE", path)
    assert cloud.call("GET", path, token=cloud.admin).status_code == 404
    assert cloud.call("DELETE", path, token=cloud.admin).status_code == 404


def test_passwords_are_never_shown_or_stored_in_the_clear(cloud: Cloud) -> None:
    user = cloud.make("user", name="ann", password="plain-secret")
    cloud.ok("PATCH", f"/users/{user['id']}", {"user": {"password": "plain-secret-2"}})
    shown = cloud.call("GET", f"/users/{user['id']}", token=cloud.admin).text
    assert "password_expires_at" in shown
    assert "secret" not in shown
    with cloud.db.read() as tx:
        dump = [str(tuple(row)) for table in metadata.sorted_tables for row in tx.all(select(table))]
    assert not [row for row in dump if "plain-secret" in row]


def test_own_password_change(cloud: Cloud) -> None:
    user = cloud.make("user", name="ann", password="old")
    path = f"/users/{user['id']}/password"
    wrong = {"user": {"password": "new", "original_password": "older"}}
    assert cloud.call("POST", path, wrong).status_code == 401
    assert cloud.call("POST", "/users/nobody/password", wrong).status_code == 401
    assert cloud.call("POST", path, {"user": {"password": "new"}}).status_code == 400
    right = {"user": {"password": "new", "original_password": "old"}}
    assert cloud.call("POST", path, right).status_code == 204, "whoever knows the password needs no token"
    cloud.login(id=user["id"], password="new")
    cloud.login(status=401, id=user["id"], password="old")
    cloud.ok("PATCH", f"/users/{user['id']}", {"user": {"options": {"lock_password": True}}})
    locked = {"user": {"password": "newer", "original_password": "new"}}
    assert cloud.call("POST", path, locked).status_code == 400


def test_groups_and_members(any_cloud: Cloud) -> None:
    cloud = any_cloud
    group = cloud.make("group", name="crew", description="d", project_id="p")
    users = sorted((cloud.make("user", name=f"user {n}", email="e") for n in range(3)), key=lambda user: user["id"])
    path = f"/groups/{group['id']}"
    for user in users:
        cloud.ok("PUT", f"{path}/users/{user['id']}")
        cloud.ok("PUT", f"{path}/users/{user['id']}")
        cloud.ok("HEAD", f"{path}/users/{user['id']}", status=204)
    assert cloud.ok("GET", f"{path}/users")["users"] == users
    assert cloud.ok("GET", f"/users/{users[0]['id']}/groups")["groups"] == [{**group, "membership_expires_at": None}]
    for user in users[:2]:
        cloud.ok("DELETE", f"{path}/users/{user['id']}")
        assert cloud.call("HEAD", f"{path}/users/{user['id']}", token=cloud.admin).status_code == 404
        assert cloud.call("DELETE", f"{path}/users/{user['id']}", token=cloud.admin).status_code == 404
    changed = cloud.ok("PATCH", path, {"group": {"name": "team"}})["group"]
    assert changed == {**group, "name": "team"}
    assert cloud.ok("GET", "/groups?name=team")["groups"] == [changed]
    cloud.ok("DELETE", path)
    assert cloud.ok("GET", f"/users/{users[2]['id']}/groups")["groups"] == []


def test_projects_of_a_user(any_cloud: Cloud) -> None:
    cloud = any_cloud
    domain = cloud.make("domain", name="far")
    direct, top = cloud.make("project", name="direct"), cloud.make("project", name="top")
    leaf = cloud.make("project", name="leaf", parent_id=top["id"])
    inside = cloud.make("project", name="inside", domain_id=domain["id"])
    cloud.make("project", name="other")
    user = cloud.user_with("member", f"projects/{direct['id']}", name="ann", enabled=False)
    member = cloud.role("member")
    for place in (f"projects/{top['id']}", f"domains/{domain['id']}"):
        cloud.ok("PUT", f"/OS-INHERIT/{place}/users/{user['id']}/roles/{member}/inherited_to_projects")
    found = cloud.ok("GET", f"/users/{user['id']}/projects")["projects"]
    assert {project["name"] for project in found} == {"direct", "leaf", "inside"}
    assert leaf in found
    assert inside in found


def test_users_and_groups_in_other_orders(any_cloud: Cloud) -> None:
    cloud = any_cloud
    domain = cloud.make("domain", name="far")["id"]
    for noun in ("user", "group"):
        for name in ("cy", "al", "bo", "di"):
            cloud.make(noun, name=name, domain_id=domain)

        def names(query: str, noun: str = noun) -> list[str]:
            return [one["name"] for one in cloud.ok("GET", f"/{noun}s?domain_id={domain}{query}")[f"{noun}s"]]

        assert names("&sort_key=name") == ["al", "bo", "cy", "di"]
        seen, path = [], f"/{noun}s?domain_id={domain}&sort_key=name&sort_dir=desc&limit=3"
        while path:
            page = cloud.ok("GET", path)
            seen += [one["name"] for one in page[f"{noun}s"]]
            following = page["links"]["next"]
            path = following and following.removeprefix("http://cloud.example/identity/v3")
        assert seen == ["di", "cy", "bo", "al"]
        for refused in ("sort_key=colour", "sort_key=name&sort_dir=up", "sort_key=name&marker=none"):
            assert cloud.call("GET", f"/{noun}s?{refused}", token=cloud.admin).status_code == 400, refused


def test_a_token_for_a_domain_sees_the_groups_of_the_domain(cloud: Cloud) -> None:
    domain = cloud.make("domain", name="far")["id"]
    user = cloud.user_with("reader", f"domains/{domain}", domain_id=domain)
    groups = [cloud.make("group", name=home, domain_id=home)["id"] for home in (domain, "default")]
    for group in groups:
        cloud.ok("PUT", f"/groups/{group}/users/{user['id']}")
    path = f"/users/{user['id']}/groups"
    assert {one["id"] for one in cloud.ok("GET", path)["groups"]} == set(groups)
    token = cloud.token({"domain": {"id": domain}}, id=user["id"], password="secret")
    assert [one["id"] for one in cloud.call("GET", path, token=token).json["groups"]] == groups[:1]


def test_users_revoke_their_own_tokens(cloud: Cloud) -> None:
    ann, bob = (cloud.make("user", name=name, password="secret") for name in ("ann", "bob"))
    tokens = [cloud.token(id=ann["id"], password="secret") for _ in range(2)]
    other = cloud.token(id=bob["id"], password="secret")
    assert cloud.call("DELETE", f"/users/{ann['id']}/tokens", token=other).status_code == 403
    assert cloud.call("DELETE", f"/users/{ann['id']}/tokens", token=tokens[0]).status_code == 204
    assert [cloud.call("GET", "/auth/projects", token=token).status_code for token in tokens] == [401, 401]
    assert cloud.call("GET", "/auth/projects", token=other).status_code == 200
