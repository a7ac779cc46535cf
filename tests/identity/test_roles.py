"""Roles, implications, assignments."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.identity.conftest import Cloud


def test_role_life(any_cloud: Cloud) -> None:
    cloud = any_cloud
    role = cloud.make("role", name="Operator")
    assert role == {
        "id": role["id"],
        "name": "Operator",
        "domain_id": None,
        "description": None,
        "options": {},
        "links": {"self": f"http://cloud.example/identity/v3/roles/{role['id']}"},
    }
    assert role in cloud.ok("GET", "/roles")["roles"]
    changed = cloud.ok("PATCH", f"/roles/{role['id']}", {"role": {"name": "Op", "description": "d"}})["role"]
    assert changed == {**role, "name": "Op", "description": "d"}
    assert cloud.call("POST", "/roles", {"role": {"name": "Op"}}, token=cloud.admin).status_code == 409
    own = cloud.make("role", name="Op", domain_id="default")
    assert cloud.ok("GET", "/roles?domain_id=default")["roles"] == [own]
    assert own not in cloud.ok("GET", "/roles")["roles"]
    for one in (role, own):
        cloud.ok("DELETE", f"/roles/{one['id']}")
        assert cloud.call("GET", f"/roles/{one['id']}", token=cloud.admin).status_code == 404


PLACES = ("projects/{project}", "domains/{domain}", "system")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("actor", ["users", "groups"])
def test_grants(cloud: Cloud, place: str, actor: str) -> None:
    noun = actor.removesuffix("s")
    ids = {"project": cloud.make("project", name="one")["id"], "domain": "default"}
    holder, role = cloud.make(noun, name="holder")["id"], cloud.make("role", name="operator")
    roles = f"/{place.format(**ids)}/{actor}/{holder}/roles"
    assert cloud.call("HEAD", f"{roles}/{role['id']}", token=cloud.admin).status_code == 404
    cloud.ok("PUT", f"{roles}/{role['id']}")
    cloud.ok("PUT", f"{roles}/{role['id']}")
    cloud.ok("HEAD", f"{roles}/{role['id']}", status=204)
    cloud.ok("GET", f"{roles}/{role['id']}", status=204)
    assert cloud.ok("GET", roles)["roles"] == [role]
    kind = place.split("/", maxsplit=1)[0].removesuffix("s")
    scope: Any = {"all": True} if kind == "system" else {"id": ids[kind]}
    [listed] = cloud.ok("GET", f"/role_assignments?role.id={role['id']}")["role_assignments"]
    assert listed == {
        "role": {"id": role["id"]},
        noun: {"id": holder},
        "scope": {kind: scope},
        "links": {"assignment": f"http://cloud.example/identity/v3{roles}/{role['id']}"},
    }
    cloud.ok("DELETE", f"{roles}/{role['id']}")
    assert cloud.call("DELETE", f"{roles}/{role['id']}", token=cloud.admin).status_code == 404
    assert cloud.call("PUT", f"{roles}/{'0' * 32}", token=cloud.admin).status_code == 404
    nobody = roles.replace(holder, "0" * 32)
    assert cloud.call("PUT", f"{nobody}/{role['id']}", token=cloud.admin).status_code == 404


def test_implied_roles(cloud: Cloud) -> None:
    prior, middle, last = (cloud.make("role", name=name) for name in ("prior", "middle", "last"))
    for one, other in ((prior, middle), (middle, last), (last, prior)):
        made = cloud.ok("PUT", f"/roles/{one['id']}/implies/{other['id']}", status=201)
        assert made["role_inference"]["prior_role"]["name"] == one["name"]
        assert made["role_inference"]["implies"]["id"] == other["id"]
    path = f"/roles/{prior['id']}/implies"
    assert [role["id"] for role in cloud.ok("GET", path)["role_inference"]["implies"]] == [middle["id"]]
    cloud.ok("HEAD", f"{path}/{middle['id']}", status=204)
    assert cloud.ok("GET", f"{path}/{middle['id']}")["role_inference"]["implies"]["name"] == "middle"
    pairs = {
        (rule["prior_role"]["name"], implied["name"])
        for rule in cloud.ok("GET", "/role_inferences")["role_inferences"]
        for implied in rule["implies"]
    }
    assert {("admin", "manager"), ("manager", "member"), ("member", "reader"), ("prior", "middle")} <= pairs

    project = cloud.make("project", name="one")["id"]
    user = cloud.user_with("prior", f"projects/{project}", name="ann")
    token = cloud.login({"project": {"id": project}}, id=user["id"], password="secret").json["token"]
    assert sorted(role["name"] for role in token["roles"]) == ["last", "middle", "prior"]

    cloud.ok("DELETE", f"{path}/{middle['id']}")
    assert cloud.call("GET", f"{path}/{middle['id']}", token=cloud.admin).status_code == 404
    own = cloud.make("role", name="own", domain_id="default")
    cloud.ok("PUT", f"/roles/{own['id']}/implies/{prior['id']}", status=201)
    refused = (f"/roles/{prior['id']}/implies/{own['id']}", f"/roles/{prior['id']}/implies/{cloud.role('admin')}")
    for forbidden in refused:
        assert cloud.call("PUT", forbidden, token=cloud.admin).status_code == 403


def test_effective_assignments(any_cloud: Cloud) -> None:
    cloud = any_cloud
    domain = cloud.make("domain", name="far")
    top = cloud.make("project", name="top", domain_id=domain["id"])
    leaf = cloud.make("project", name="leaf", parent_id=top["id"])
    group, user = cloud.make("group", name="crew"), cloud.make("user", name="ann")
    cloud.ok("PUT", f"/groups/{group['id']}/users/{user['id']}")
    member, reader = cloud.role("member"), cloud.role("reader")
    inherit = f"/OS-INHERIT/domains/{domain['id']}/groups/{group['id']}/roles/{member}/inherited_to_projects"
    cloud.ok("PUT", inherit)
    cloud.ok("HEAD", inherit, status=204)
    listed = cloud.ok("GET", inherit.replace(f"/{member}/", "/"))["roles"]
    assert [role["id"] for role in listed] == [member]

    def effective(query: str) -> set[tuple[str, str]]:
        found = cloud.ok("GET", f"/role_assignments?effective&{query}")["role_assignments"]
        return {(one["scope"]["project"]["id"], one["role"]["id"]) for one in found if "project" in one["scope"]}

    both = {(project["id"], role) for project in (top, leaf) for role in (member, reader)}
    assert effective(f"user.id={user['id']}") == both
    assert effective(f"user.id={user['id']}&role.id={reader}") == {(top["id"], reader), (leaf["id"], reader)}
    assert effective(f"scope.project.id={leaf['id']}") == {(leaf["id"], member), (leaf["id"], reader)}
    assert effective(f"scope.project.id={top['id']}&include_subtree=true") == both
    [plain] = cloud.ok("GET", f"/role_assignments?group.id={group['id']}&include_names")["role_assignments"]
    assert plain["scope"] == {"domain": {"id": domain["id"], "name": "far"}, "OS-INHERIT:inherited_to": "projects"}
    assert plain["group"]["domain"] == {"id": "default", "name": "Default"}
    assert plain["role"] == {"id": member, "name": "member"}
    named = cloud.ok("GET", f"/role_assignments?effective&include_names&user.id={user['id']}")["role_assignments"]
    assert {one["user"]["name"] for one in named} == {"ann"}
    assert {one["scope"]["project"]["domain"]["name"] for one in named} == {"far"}
    cloud.ok("DELETE", inherit)
    assert effective(f"user.id={user['id']}") == set()
    for wrong in (
        "effective&group.id=x",
        "user.id=a&group.id=b",
        "scope.domain.id=a&scope.system=all",
        "include_subtree",
    ):
        assert cloud.call("GET", f"/role_assignments?{wrong}", token=cloud.admin).status_code == 400, wrong


def test_the_same_grant_at_the_same_moment(any_cloud: Cloud) -> None:
    cloud = any_cloud
    project, user = cloud.make("project", name="one"), cloud.make("user", name="ann")
    path = f"/projects/{project['id']}/users/{user['id']}/roles/{cloud.role('member')}"
    start = threading.Barrier(6)

    def grant() -> int:
        start.wait()
        return cloud.call("PUT", path, token=cloud.admin).status_code

    with ThreadPoolExecutor(6) as pool:
        answers = [future.result() for future in [pool.submit(grant) for _ in range(6)]]
    assert answers == [204] * 6
    assert len(cloud.ok("GET", f"/role_assignments?user.id={user['id']}")["role_assignments"]) == 1


def test_domain_roles_do_not_count_themselves(cloud: Cloud) -> None:
    project, user = cloud.make("project", name="one"), cloud.make("user", name="ann", password="secret")
    own = cloud.make("role", name="own", domain_id="default")
    cloud.ok("PUT", f"/projects/{project['id']}/users/{user['id']}/roles/{own['id']}")
    query = f"/role_assignments?effective=true&user.id={user['id']}&scope.project.id={project['id']}"
    assert cloud.ok("GET", query)["role_assignments"] == []
    cloud.login({"project": {"id": project["id"]}}, status=401, id=user["id"], password="secret")
    cloud.ok("PUT", f"/roles/{own['id']}/implies/{cloud.role('reader')}", status=201)
    token = cloud.login({"project": {"id": project["id"]}}, id=user["id"], password="secret").json["token"]
    assert [role["name"] for role in token["roles"]] == ["reader"]
    far = cloud.make("domain", name="far")
    stranger = f"/domains/{far['id']}/users/{user['id']}/roles/{own['id']}"
    assert cloud.call("PUT", stranger, token=cloud.admin).status_code == 403
