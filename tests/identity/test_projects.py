"""Domains and projects, as Tempest and the official client use them."""

from typing import Any

import pytest

from tests.identity.conftest import Cloud


def test_domain_life(any_cloud: Cloud) -> None:
    cloud = any_cloud
    domain = cloud.make("domain", name="far", colour="green")
    assert domain == {
        "id": domain["id"],
        "name": "far",
        "description": "",
        "enabled": True,
        "tags": [],
        "options": {},
        "colour": "green",
        "links": {"self": f"http://cloud.example/identity/v3/domains/{domain['id']}"},
    }
    path = f"/domains/{domain['id']}"
    assert domain in cloud.ok("GET", "/domains?enabled=True")["domains"]
    assert cloud.ok("GET", "/domains?name=far")["domains"] == [domain]
    assert cloud.call("POST", "/domains", {"domain": {"name": "far"}}, token=cloud.admin).status_code == 409
    changed = cloud.ok("PATCH", path, {"domain": {"name": "near", "enabled": False, "description": "d", "size": 3}})
    assert changed["domain"] | {"colour": "green", "size": 3, "name": "near", "enabled": False} == changed["domain"]
    assert cloud.ok("GET", path) == changed
    cloud.ok("DELETE", path)
    assert cloud.call("GET", path, token=cloud.admin).status_code == 404


def test_domain_deletion_takes_everything_with_it(any_cloud: Cloud) -> None:
    cloud = any_cloud
    domain = cloud.make("domain", name="far")
    inside = {"domain_id": domain["id"]}
    top = cloud.make("project", name="top", tags=["x"], **inside)
    leaf = cloud.make("project", name="leaf", parent_id=top["id"], **inside)
    user = cloud.user_with("member", f"projects/{leaf['id']}", name="ann", default_project_id=leaf["id"], **inside)
    group, role = cloud.make("group", name="crew", **inside), cloud.make("role", name="own", **inside)
    cloud.ok("PUT", f"/groups/{group['id']}/users/{user['id']}")
    cloud.ok("PUT", f"/domains/{domain['id']}/groups/{group['id']}/roles/{role['id']}")
    stranger = cloud.user_with("reader", f"projects/{leaf['id']}", name="stranger")
    path = f"/domains/{domain['id']}"
    assert cloud.call("DELETE", path, token=cloud.admin).status_code == 403
    cloud.ok("PATCH", path, {"domain": {"enabled": False}})
    cloud.ok("DELETE", path)
    for gone in (f"users/{user['id']}", f"groups/{group['id']}", f"projects/{leaf['id']}", f"roles/{role['id']}"):
        assert cloud.call("GET", f"/{gone}", token=cloud.admin).status_code == 404, gone
    listed = cloud.ok("GET", f"/role_assignments?user.id={stranger['id']}")
    assert listed["role_assignments"] == []
    assert cloud.call("DELETE", "/domains/default", token=cloud.admin).status_code == 403


MALFORMED: tuple[dict[str, Any], ...] = (
    {},
    {"name": ""},
    {"name": " "},
    {"name": "a" * 65},
    {"name": None},
    {"name": "a\0b"},
    {"name": "x", "enabled": "True"},
    {"name": "x", "tags": ["a/b"]},
    {"name": "x", "tags": ["a", "a"]},
    {"name": "x", "options": {"nonsense": True}},
    {"name": "x", "options": {"immutable": "yes"}},
    {"name": "x", "id": 5},
)


@pytest.mark.parametrize("noun", ["domain", "project"])
def test_malformed(cloud: Cloud, noun: str) -> None:
    for attributes in MALFORMED:
        result = cloud.call("POST", f"/{noun}s", {noun: attributes}, token=cloud.admin)
        assert result.status_code == 400, f"{attributes}: {result.text}"
        assert result.json["error"]["title"] == "Bad Request"


def test_project_tree(any_cloud: Cloud) -> None:
    cloud = any_cloud
    domain = cloud.make("domain", name="far")
    top = cloud.make("project", name="top", domain_id=domain["id"], tags=["b", "a"], description="d")
    assert top == {
        "id": top["id"],
        "name": "top",
        "domain_id": domain["id"],
        "parent_id": domain["id"],
        "is_domain": False,
        "enabled": True,
        "description": "d",
        "tags": ["a", "b"],
        "options": {},
        "links": {"self": f"http://cloud.example/identity/v3/projects/{top['id']}"},
    }
    child = cloud.make("project", name="child", parent_id=top["id"])
    assert (child["parent_id"], child["domain_id"]) == (top["id"], domain["id"])
    assert cloud.ok("GET", f"/projects?parent_id={top['id']}")["projects"] == [child]
    listed = cloud.ok("GET", f"/projects?domain_id={domain['id']}")["projects"]
    assert sorted(one["name"] for one in listed) == ["child", "top"]
    assert cloud.ok("GET", f"/projects/{top['id']}")["project"] == top

    path = f"/projects/{top['id']}"
    assert cloud.call("DELETE", path, token=cloud.admin).status_code == 403
    for refused, status in (
        ({"enabled": False}, 403),
        ({"parent_id": domain["id"] + "x"}, 403),
        ({"domain_id": "default"}, 400),
        ({"is_domain": True}, 400),
    ):
        assert cloud.call("PATCH", path, {"project": refused}, token=cloud.admin).status_code == status, refused
    cloud.ok("PATCH", f"/projects/{child['id']}", {"project": {"enabled": False}})
    cloud.ok("PATCH", path, {"project": {"enabled": False}})
    below = {"project": {"name": "x", "parent_id": top["id"]}}
    assert cloud.call("POST", "/projects", below, token=cloud.admin).status_code == 403
    enable = cloud.call("PATCH", f"/projects/{child['id']}", {"project": {"enabled": True}}, token=cloud.admin)
    assert enable.status_code == 403
    cloud.ok("DELETE", f"/projects/{child['id']}")
    cloud.ok("DELETE", path)


def test_kin(any_cloud: Cloud) -> None:
    cloud = any_cloud
    domain = cloud.make("domain", name="far")["id"]
    top = cloud.make("project", name="top", domain_id=domain, tags=["x"])
    child = cloud.make("project", name="child", parent_id=top["id"])
    other = cloud.make("project", name="other", parent_id=top["id"])
    leaf = cloud.make("project", name="leaf", parent_id=child["id"], tags=["y"])

    def kin(project: dict[str, Any], query: str) -> Any:
        found = cloud.ok("GET", f"/projects/{project['id']}?{query}")["project"]
        assert found | project == found
        return {key: value for key, value in found.items() if key not in project}

    assert kin(leaf, "") == {}
    above = {child["id"]: {top["id"]: {domain: None}}}
    assert kin(leaf, "parents_as_ids") == {"parents": above}
    assert kin(leaf, "parents_as_ids&subtree_as_ids=1") == {"parents": above, "subtree": None}
    below = {child["id"]: {leaf["id"]: None}, other["id"]: None}
    assert kin(top, "subtree_as_ids=true&parents_as_ids") == {"parents": {domain: None}, "subtree": below}
    assert kin(top, "subtree_as_ids=0") == {}

    assert kin(leaf, "parents_as_list") == {"parents": []}, "the caller has no role on any of them"
    admin = cloud.login().json["token"]["user"]["id"]
    cloud.ok("PUT", f"/OS-INHERIT/domains/{domain}/users/{admin}/roles/{cloud.role('reader')}/inherited_to_projects")
    assert kin(leaf, "parents_as_list") == {"parents": [{"project": child}, {"project": top}]}
    listed = kin(top, "subtree_as_list&parents_as_list")
    assert listed["parents"] == []
    assert sorted(one["project"]["name"] for one in listed["subtree"]) == ["child", "leaf", "other"]
    assert {"project": leaf} in listed["subtree"]
    for both in ("parents", "subtree"):
        refused = f"/projects/{leaf['id']}?{both}_as_list&{both}_as_ids"
        assert cloud.call("GET", refused, token=cloud.admin).status_code == 400


def test_kin_with_limits(any_cloud: Cloud) -> None:
    cloud = any_cloud
    top = cloud.make("project", name="top")
    child = cloud.make("project", name="child", parent_id=top["id"])
    service = cloud.ok("GET", "/services?type=compute")["services"][0]["id"]
    registered = {"service_id": service, "resource_name": "cores", "default_limit": 5}
    cloud.ok("POST", "/registered_limits", {"registered_limits": [registered]})
    limit = {"service_id": service, "project_id": child["id"], "resource_name": "cores", "resource_limit": 3}
    [made] = cloud.ok("POST", "/limits", {"limits": [limit]})["limits"]
    admin = cloud.login().json["token"]["user"]["id"]
    for project in (top, child):
        cloud.ok("PUT", f"/projects/{project['id']}/users/{admin}/roles/{cloud.role('reader')}")
    del made["links"]
    [found] = cloud.ok("GET", f"/projects/{top['id']}?subtree_as_list&include_limits")["project"]["subtree"]
    assert found == {"project": {**child, "limits": [made]}}
    [found] = cloud.ok("GET", f"/projects/{child['id']}?parents_as_list&include_limits")["project"]["parents"]
    assert found == {"project": {**top, "limits": []}}


def test_a_domain_with_a_chosen_id(any_cloud: Cloud) -> None:
    cloud, chosen = any_cloud, "c0ffee" + "0" * 26
    made = cloud.make("domain", name="a", explicit_domain_id=chosen)
    assert made["id"] == chosen
    assert "explicit_domain_id" not in made
    for refused, status in ((chosen, 409), ("C0FFEE" + "0" * 26, 400), ("short", 400)):
        body = {"domain": {"name": f"b {status}", "explicit_domain_id": refused}}
        assert cloud.call("POST", "/domains", body, token=cloud.admin).status_code == status


def test_depth_and_parents(cloud: Cloud) -> None:
    parent = "default"
    for level in range(cloud.settings.max_project_depth - 1):
        parent = cloud.make("project", name=f"level {level}", parent_id=parent)["id"]
    for attributes, status in (
        ({"parent_id": parent}, 403),
        ({"parent_id": "0" * 32}, 404),
        ({"domain_id": "0" * 32}, 404),
        ({"domain_id": cloud.make("domain", name="far")["id"], "parent_id": parent}, 400),
    ):
        body = {"project": {"name": "x", **attributes}}
        assert cloud.call("POST", "/projects", body, token=cloud.admin).status_code == status, attributes


def test_project_that_acts_as_a_domain(cloud: Cloud) -> None:
    project = cloud.make("project", name="acting", domain_id=None, is_domain=True)
    assert (project["domain_id"], project["parent_id"], project["is_domain"]) == (None, None, True)
    assert project["id"] in [one["id"] for one in cloud.ok("GET", "/projects?is_domain=True")["projects"]]
    assert project["id"] in [one["id"] for one in cloud.ok("GET", "/domains")["domains"]]
    assert project["id"] not in [one["id"] for one in cloud.ok("GET", "/projects")["projects"]]
    assert cloud.call("DELETE", f"/projects/{project['id']}", token=cloud.admin).status_code == 400
    cloud.ok("PATCH", f"/projects/{project['id']}", {"project": {"enabled": False}})
    cloud.ok("DELETE", f"/projects/{project['id']}")


def test_tags(any_cloud: Cloud) -> None:
    cloud = any_cloud
    one, two = cloud.make("project", name="one", tags=["red", "blue"]), cloud.make("project", name="two", tags=["red"])
    tags = f"/projects/{one['id']}/tags"

    def found(query: str) -> set[str]:
        return {project["name"] for project in cloud.ok("GET", f"/projects?{query}&name__in=x")["projects"]}

    assert found("tags=red,blue") == {"one"}
    assert found("tags-any=red,blue") == {"one", "two"}
    assert {"two", "admin", "service"} == found("not-tags=red,blue")
    assert {"admin", "service"} == found("not-tags-any=red,blue")
    cloud.ok("PUT", f"{tags}/green", status=201)
    cloud.ok("PUT", f"{tags}/green", status=201)
    cloud.ok("HEAD", f"{tags}/green", status=204)
    assert cloud.ok("GET", tags)["tags"] == ["blue", "green", "red"]
    assert cloud.ok("PUT", tags, {"tags": ["z", "y"]}, status=200)["tags"] == ["y", "z"]
    cloud.ok("DELETE", f"{tags}/z")
    assert cloud.call("GET", f"{tags}/z", token=cloud.admin).status_code == 404
    assert cloud.call("DELETE", f"{tags}/z", token=cloud.admin).status_code == 404
    cloud.ok("DELETE", tags)
    assert cloud.ok("GET", tags)["tags"] == []
    assert cloud.ok("GET", f"/projects/{two['id']}")["project"]["tags"] == ["red"]


def test_immutable(cloud: Cloud) -> None:
    project = cloud.make("project", name="one", options={"immutable": True})
    path = f"/projects/{project['id']}"
    assert cloud.call("PATCH", path, {"project": {"name": "two"}}, token=cloud.admin).status_code == 403
    assert cloud.call("DELETE", path, token=cloud.admin).status_code == 403
    assert cloud.call("DELETE", f"/roles/{cloud.role('member')}", token=cloud.admin).status_code == 403
    cloud.ok("PATCH", path, {"project": {"options": {"immutable": False}}})
    cloud.ok("DELETE", path)


def test_pages_and_inexact_names(any_cloud: Cloud) -> None:
    cloud = any_cloud
    for number in range(7):
        cloud.make("project", name=f"Web_{number}%")
    seen, path = [], "/projects?limit=2&name__startswith=Web_"
    while path:
        page = cloud.ok("GET", path)
        seen += [project["name"] for project in page["projects"]]
        assert len(page["projects"]) <= 2
        following = page["links"]["next"]
        path = following and following.removeprefix("http://cloud.example/identity/v3")
    assert sorted(seen) == [f"Web_{number}%" for number in range(7)]

    def named(query: str) -> list[str]:
        return sorted(project["name"] for project in cloud.ok("GET", f"/projects?{query}")["projects"])

    assert named("name__contains=eb_3") == ["Web_3%"]
    assert named("name__contains=EB_3") == []
    assert named("name__icontains=EB_3") == ["Web_3%"]
    assert named("name__endswith=4%25") == ["Web_4%"]
    assert named("name__endswith=4") == []
    assert named("name__iendswith=RVICE") == ["service"]
    assert named("name__startswith=web") == []
    assert len(named("name__istartswith=web")) == 7
    assert cloud.call("GET", "/projects?limit=x", token=cloud.admin).status_code == 400


def test_names_compare_exactly(any_cloud: Cloud) -> None:
    cloud = any_cloud
    for name in ("web", "Web", "web ", "w\u00e9b", "we\u0301b"):
        cloud.make("project", name=name)
    assert [one["name"] for one in cloud.ok("GET", "/projects?name=Web")["projects"]] == ["Web"]
