"""OS-EP-FILTER: endpoint groups, projects' endpoints, and what catalogs show then."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pileus.identity.settings import IdentitySettings
from pileus.kernel.clock import FakeClock
from pileus.kernel.db import Database
from tests.identity.conftest import ADMIN_PASSWORD, Cloud, cloud_on

ADMIN = {"name": "admin", "domain": {"id": "default"}, "password": ADMIN_PASSWORD}


@pytest.fixture
def strict_cloud(sqlite: Database, settings: IdentitySettings, tmp_path: Path, clock: FakeClock) -> Iterator[Cloud]:
    """A cloud where a project without associations sees nothing."""
    yield from cloud_on(sqlite, replace(settings, return_all_endpoints_if_no_filter=False), tmp_path, clock)


def weather(cloud: Cloud) -> tuple[str, dict[str, str]]:
    """A service, and the ids of its endpoints by interface."""
    service = cloud.make("service", type="weather", name="nimbus")["id"]
    ids = {
        interface: cloud.make("endpoint", service_id=service, interface=interface, url="http://w", region="west")["id"]
        for interface in ("public", "internal", "admin")
    }
    return service, ids


def make_group(cloud: Cloud, **attributes: Any) -> dict[str, Any]:
    made: dict[str, Any] = cloud.ok("POST", "/OS-EP-FILTER/endpoint_groups", {"endpoint_group": attributes})
    return made["endpoint_group"]  # type: ignore[no-any-return]


def catalog(cloud: Cloud, token: str) -> dict[str, set[str]]:
    """The ids of the endpoints that a token's catalog shows, by type of service."""
    answer = cloud.call("GET", "/auth/catalog", token=token)
    assert answer.status_code == 200
    return {one["type"]: {endpoint["id"] for endpoint in one["endpoints"]} for one in answer.json["catalog"]}


def test_endpoint_groups(any_cloud: Cloud) -> None:
    cloud = any_cloud
    service, ids = weather(cloud)
    group = make_group(cloud, name="w", description="d", filters={"service_id": service, "interface": "public"})
    path = f"/OS-EP-FILTER/endpoint_groups/{group['id']}"
    assert group == {
        "id": group["id"],
        "name": "w",
        "description": "d",
        "filters": {"service_id": service, "interface": "public"},
        "links": {"self": f"http://cloud.example/identity/v3{path}"},
    }
    other = make_group(cloud, name="x", filters={"region_id": "west"})
    assert other["description"] is None
    assert cloud.ok("GET", path)["endpoint_group"] == group
    assert cloud.call("HEAD", path, token=cloud.admin).status_code == 200
    assert cloud.ok("GET", "/OS-EP-FILTER/endpoint_groups?name=w")["endpoint_groups"] == [group]
    listed = cloud.ok("GET", "/OS-EP-FILTER/endpoint_groups")
    assert sorted(one["name"] for one in listed["endpoint_groups"]) == ["w", "x"]
    assert [one["id"] for one in cloud.ok("GET", f"{path}/endpoints")["endpoints"]] == [ids["public"]]
    changed = cloud.ok("PATCH", path, {"endpoint_group": {"name": "v", "filters": {"region_id": "west"}}})
    assert changed["endpoint_group"] == {**group, "name": "v", "filters": {"region_id": "west"}}
    nulls = {"name": None, "filters": None, "description": "as the official client sends it"}
    described = cloud.ok("PATCH", path, {"endpoint_group": nulls})["endpoint_group"]
    assert described == {**changed["endpoint_group"], "description": nulls["description"]}
    assert {one["id"] for one in cloud.ok("GET", f"{path}/endpoints")["endpoints"]} == set(ids.values())
    cloud.ok("DELETE", path)
    assert cloud.call("GET", path, token=cloud.admin).status_code == 404


@pytest.mark.parametrize(
    "refused",
    [{"name": "n"}, {"name": "n", "filters": {}}, {"filters": {"interface": "public"}},
     {"name": "n", "filters": {"colour": "red"}}, {"name": "n", "filters": {"interface": 1}}],
)  # fmt: skip
def test_endpoint_groups_that_cannot_be(cloud: Cloud, refused: dict[str, Any]) -> None:
    answer = cloud.call("POST", "/OS-EP-FILTER/endpoint_groups", {"endpoint_group": refused}, token=cloud.admin)
    assert answer.status_code == 400


def test_endpoints_of_a_project(any_cloud: Cloud) -> None:
    cloud = any_cloud
    _, ids = weather(cloud)
    project = cloud.make("project", name="p")["id"]
    path = f"/OS-EP-FILTER/projects/{project}/endpoints/{ids['public']}"
    assert cloud.call("HEAD", path, token=cloud.admin).status_code == 404
    cloud.ok("PUT", path)
    assert cloud.call("PUT", path, token=cloud.admin).status_code == 409
    assert cloud.call("HEAD", path, token=cloud.admin).status_code == 204
    [endpoint] = cloud.ok("GET", f"/OS-EP-FILTER/projects/{project}/endpoints")["endpoints"]
    assert endpoint == cloud.ok("GET", f"/endpoints/{ids['public']}")["endpoint"]
    [found] = cloud.ok("GET", f"/OS-EP-FILTER/endpoints/{ids['public']}/projects")["projects"]
    assert (found["id"], found["domain_id"]) == (project, "default")
    cloud.ok("DELETE", path)
    assert cloud.call("DELETE", path, token=cloud.admin).status_code == 404
    for unknown in (f"/OS-EP-FILTER/projects/{project}/endpoints/none",
                    f"/OS-EP-FILTER/projects/none/endpoints/{ids['public']}"):  # fmt: skip
        assert cloud.call("PUT", unknown, token=cloud.admin).status_code == 404


def test_groups_of_a_project(any_cloud: Cloud) -> None:
    cloud = any_cloud
    service, ids = weather(cloud)
    project = cloud.make("project", name="p")["id"]
    group = make_group(cloud, name="g", filters={"service_id": service})
    path = f"/OS-EP-FILTER/endpoint_groups/{group['id']}/projects/{project}"
    assert cloud.call("GET", path, token=cloud.admin).status_code == 404
    cloud.ok("PUT", path)
    assert cloud.call("PUT", path, token=cloud.admin).status_code == 409
    assert cloud.ok("GET", path)["project_endpoint_group"] == {
        "endpoint_group_id": group["id"],
        "project_id": project,
        "links": {"self": f"http://cloud.example/identity/v3{path}"},
    }
    assert cloud.call("HEAD", path, token=cloud.admin).status_code == 200
    assert cloud.ok("GET", f"/OS-EP-FILTER/projects/{project}/endpoint_groups")["endpoint_groups"] == [group]
    projects = cloud.ok("GET", f"/OS-EP-FILTER/endpoint_groups/{group['id']}/projects")["projects"]
    assert [one["id"] for one in projects] == [project]
    endpoints = cloud.ok("GET", f"/OS-EP-FILTER/projects/{project}/endpoints")["endpoints"]
    assert {one["id"] for one in endpoints} == set(ids.values())
    page = cloud.ok("GET", f"/OS-EP-FILTER/projects/{project}/endpoints?limit=2")
    assert page["endpoints"] == endpoints[:2]
    assert "marker=" in page["links"]["next"]
    cloud.ok("DELETE", path)
    assert cloud.call("DELETE", path, token=cloud.admin).status_code == 404


def test_the_catalog_of_a_project_with_endpoints_of_its_own(any_cloud: Cloud) -> None:
    cloud = any_cloud
    service, ids = weather(cloud)
    project = cloud.make("project", name="p")["id"]
    user = cloud.user_with("member", f"projects/{project}")
    token = cloud.token({"project": {"id": project}}, id=user["id"], password="secret")
    everything = catalog(cloud, token)
    assert everything["weather"] == set(ids.values())
    cloud.ok("PUT", f"/OS-EP-FILTER/projects/{project}/endpoints/{ids['admin']}")
    assert catalog(cloud, token) == {"weather": {ids["admin"]}}, "at once, also for a token that was there before"
    login = cloud.login({"project": {"id": project}}, id=user["id"], password="secret")
    assert [one["type"] for one in login.json["token"]["catalog"]] == ["weather"]

    group = make_group(cloud, name="g", filters={"service_id": service, "interface": "public"})
    cloud.ok("PUT", f"/OS-EP-FILTER/endpoint_groups/{group['id']}/projects/{project}")
    assert catalog(cloud, token) == {"weather": {ids["admin"], ids["public"]}}
    wider = {"endpoint_group": {"filters": {"service_id": service}}}
    cloud.ok("PATCH", f"/OS-EP-FILTER/endpoint_groups/{group['id']}", wider)
    assert catalog(cloud, token) == {"weather": set(ids.values())}
    cloud.ok("PATCH", f"/endpoints/{ids['internal']}", {"endpoint": {"enabled": False}})
    assert catalog(cloud, token) == {"weather": {ids["admin"], ids["public"]}}
    assert catalog(cloud, cloud.admin).keys() == everything.keys(), "other projects see what they saw"
    assert catalog(cloud, cloud.token({"system": {"all": True}}, **ADMIN)).keys() == everything.keys()

    cloud.ok("DELETE", f"/OS-EP-FILTER/endpoint_groups/{group['id']}")
    assert catalog(cloud, token) == {"weather": {ids["admin"]}}
    cloud.ok("DELETE", f"/endpoints/{ids['admin']}")
    assert catalog(cloud, token).keys() == everything.keys(), "its last association went with the endpoint"


def test_a_project_that_is_deleted_takes_its_associations_along(any_cloud: Cloud) -> None:
    cloud = any_cloud
    _, ids = weather(cloud)
    project = cloud.make("project", name="p")["id"]
    group = make_group(cloud, name="g", filters={"region_id": "west"})
    cloud.ok("PUT", f"/OS-EP-FILTER/projects/{project}/endpoints/{ids['admin']}")
    cloud.ok("PUT", f"/OS-EP-FILTER/endpoint_groups/{group['id']}/projects/{project}")
    cloud.ok("DELETE", f"/projects/{project}")
    assert cloud.ok("GET", f"/OS-EP-FILTER/endpoints/{ids['admin']}/projects")["projects"] == []
    assert cloud.ok("GET", f"/OS-EP-FILTER/endpoint_groups/{group['id']}/projects")["projects"] == []


def test_without_associations_a_project_may_see_nothing(strict_cloud: Cloud) -> None:
    cloud = strict_cloud
    _, ids = weather(cloud)
    assert catalog(cloud, cloud.admin) == {}
    project = cloud.login().json["token"]["project"]["id"]
    cloud.ok("PUT", f"/OS-EP-FILTER/projects/{project}/endpoints/{ids['admin']}")
    assert catalog(cloud, cloud.admin) == {"weather": {ids["admin"]}}
    assert catalog(cloud, cloud.token({"system": {"all": True}}, **ADMIN)) == {}


def test_who_may(cloud: Cloud) -> None:
    _, ids = weather(cloud)
    project = cloud.make("project", name="p")["id"]
    member = cloud.user_with("member", f"projects/{project}")
    reader = cloud.user_with("reader", "system", name="watcher")
    tokens = [
        cloud.token({"project": {"id": project}}, id=member["id"], password="secret"),
        cloud.token({"system": {"all": True}}, id=reader["id"], password="secret"),
    ]
    path = f"/OS-EP-FILTER/projects/{project}/endpoints/{ids['public']}"
    assert [cloud.call("PUT", path, token=token).status_code for token in tokens] == [403, 403]
    cloud.ok("PUT", path)
    assert [cloud.call("HEAD", path, token=token).status_code for token in tokens] == [403, 204]
    assert [cloud.call("GET", "/OS-EP-FILTER/endpoint_groups", token=token).status_code for token in tokens] == [
        403,
        200,
    ]
