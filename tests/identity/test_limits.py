"""Unified limits: what is registered, what projects and domains have instead, and what services read of it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pileus.identity import models
from pileus.identity.limits.domain import Bound
from pileus.identity.settings import IdentitySettings
from pileus.kernel.clock import FakeClock
from pileus.kernel.db import Database
from tests.identity.conftest import REGION, Cloud, cloud_on

NOBODY = "0" * 32


def service_of(cloud: Cloud, kind: str = "image") -> str:
    """The id of the catalog's service of a type."""
    found: str = cloud.ok("GET", f"/services?type={kind}")["services"][0]["id"]
    return found


def register(cloud: Cloud, name: str, limit: int, *, status: int = 201, **more: Any) -> dict[str, Any]:
    """Register one limit of the image service; the error where another status is expected."""
    item = {"service_id": service_of(cloud), "resource_name": name, "default_limit": limit, **more}
    answer = cloud.ok("POST", "/registered_limits", {"registered_limits": [item]}, status=status)
    made: dict[str, Any] = answer["registered_limits"][0] if status == 201 else answer["error"]
    return made


def limit(cloud: Cloud, name: str, value: int, *, status: int = 201, **more: Any) -> dict[str, Any]:
    """Create one limit of the image service; the error where another status is expected."""
    item = {"service_id": service_of(cloud), "resource_name": name, "resource_limit": value, **more}
    answer = cloud.ok("POST", "/limits", {"limits": [item]}, status=status)
    made: dict[str, Any] = answer["limits"][0] if status == 201 else answer["error"]
    return made


def effective(cloud: Cloud, project_id: str, *names: str) -> dict[str, int]:
    with cloud.db.read() as tx:
        return cloud.identity.limits.effective(tx, project_id, "image", names)


def bounds(cloud: Cloud, project_id: str, *names: str) -> list[Bound]:
    with cloud.db.read() as tx:
        return cloud.identity.limits.bounds(tx, project_id, "image", names)


# --- registered limits ----------------------------------------------------------------------------------------


def test_registered_limits(any_cloud: Cloud) -> None:
    cloud = any_cloud
    made = register(cloud, "snaps", 10, region_id=REGION, description="d")
    assert made == {
        "id": made["id"],
        "service_id": service_of(cloud),
        "region_id": REGION,
        "resource_name": "snaps",
        "default_limit": 10,
        "description": "d",
        "links": {"self": f"http://cloud.example/identity/v3/registered_limits/{made['id']}"},
    }
    anywhere = register(cloud, "snaps", 5)
    assert (anywhere["region_id"], anywhere["description"]) == (None, None)
    other = register(cloud, "Snaps", -1)
    register(cloud, "snaps", 7, status=409)
    register(cloud, "snaps", 7, region_id=REGION, status=409)

    path = f"/registered_limits/{made['id']}"
    assert cloud.ok("GET", path)["registered_limit"] == made
    listed = cloud.ok("GET", "/registered_limits")
    assert sorted(one["id"] for one in listed["registered_limits"]) == sorted((made["id"], anywhere["id"], other["id"]))
    assert cloud.ok("GET", f"/registered_limits?region_id={REGION}")["registered_limits"] == [made]
    assert cloud.ok("GET", "/registered_limits?resource_name=Snaps")["registered_limits"] == [other]
    assert cloud.ok("GET", f"/registered_limits?service_id={NOBODY}")["registered_limits"] == []
    first = cloud.ok("GET", "/registered_limits?limit=2")
    marker = first["registered_limits"][-1]["id"]
    assert f"marker={marker}" in first["links"]["next"]
    assert len(cloud.ok("GET", f"/registered_limits?limit=2&marker={marker}")["registered_limits"]) == 1

    changed = cloud.ok("PATCH", path, {"registered_limit": {"default_limit": 0, "description": None}})
    assert changed["registered_limit"] == {**made, "default_limit": 0, "description": None}
    cloud.ok("PATCH", path, {"registered_limit": {"region_id": None}}, status=409)
    moved = cloud.ok("PATCH", path, {"registered_limit": {"region_id": None, "resource_name": "other"}})
    assert (moved["registered_limit"]["region_id"], moved["registered_limit"]["resource_name"]) == (None, "other")
    register(cloud, "snaps", 7, region_id=REGION)
    cloud.ok("DELETE", path)
    for method in ("GET", "PATCH", "DELETE"):
        body = {"registered_limit": {"default_limit": 1}} if method == "PATCH" else None
        assert cloud.call(method, path, body, token=cloud.admin).status_code == 404


def test_registering_several_is_all_or_nothing(any_cloud: Cloud) -> None:
    cloud = any_cloud
    item = {"service_id": service_of(cloud), "resource_name": "a", "default_limit": 1}
    both = {"registered_limits": [item, {**item, "resource_name": "b"}]}
    twice = {"registered_limits": [item, item]}
    cloud.ok("POST", "/registered_limits", twice, status=409)
    assert cloud.ok("GET", "/registered_limits")["registered_limits"] == []
    made = cloud.ok("POST", "/registered_limits", both)
    assert [one["resource_name"] for one in made["registered_limits"]] == ["a", "b"]


MALFORMED: tuple[dict[str, Any], ...] = (
    {"default_limit": -2},
    {"default_limit": 1 << 31},
    {"default_limit": "5"},
    {"default_limit": None},
    {"default_limit": True},
    {"resource_name": ""},
    {"resource_name": " "},
    {"resource_name": "a" * 256},
    {"service_id": NOBODY},
    {"service_id": None},
    {"region_id": "nowhere"},
    {"description": 5},
    {"surprise": 1},
)


def test_malformed(cloud: Cloud) -> None:
    project = cloud.make("project", name="one")["id"]
    good = {"service_id": service_of(cloud), "resource_name": "a", "default_limit": (1 << 31) - 1}
    made = register(cloud, "a", 5)
    path = f"/registered_limits/{made['id']}"
    for wrong in MALFORMED:
        cloud.ok("POST", "/registered_limits", {"registered_limits": [{**good, **wrong}]}, status=400)
        cloud.ok("PATCH", path, {"registered_limit": wrong}, status=400)
        renamed = {{"default_limit": "resource_limit"}.get(name, name): value for name, value in wrong.items()}
        whose = {**good, "project_id": project, "resource_limit": 5} | renamed
        del whose["default_limit"]
        cloud.ok("POST", "/limits", {"limits": [whose]}, status=400)
    own = limit(cloud, "a", 5, project_id=project)
    for wrong in ({"resource_limit": -2}, {"resource_limit": 1 << 31}, {"project_id": project}, {"service_id": "x"}):
        cloud.ok("PATCH", f"/limits/{own['id']}", {"limit": wrong}, status=400)
    for plural in ("limits", "registered_limits"):
        for body in ({}, {plural: []}, {plural: {}}, {plural: [5]}, [], {plural: [good], "more": 1}):
            assert cloud.call("POST", f"/{plural}", body, token=cloud.admin).status_code == 400
    for whose in ({}, {"project_id": NOBODY}, {"domain_id": NOBODY}, {"domain_id": project},
                  {"project_id": project, "domain_id": "default"}):  # fmt: skip
        limit(cloud, "a", 5, status=400, **whose)


# --- limits ---------------------------------------------------------------------------------------------------


def test_limits(any_cloud: Cloud) -> None:
    cloud = any_cloud
    project = cloud.make("project", name="one")["id"]
    register(cloud, "snaps", 10, region_id=REGION)
    register(cloud, "snaps", 20)
    assert "no corresponding registered limit" in limit(cloud, "other", 1, project_id=project, status=403)["message"]
    made = limit(cloud, "snaps", 3, project_id=project, domain_id=None, region_id=REGION, description="d")
    assert made == {
        "id": made["id"],
        "service_id": service_of(cloud),
        "region_id": REGION,
        "resource_name": "snaps",
        "resource_limit": 3,
        "description": "d",
        "project_id": project,
        "domain_id": None,
        "links": {"self": f"http://cloud.example/identity/v3/limits/{made['id']}"},
    }
    limit(cloud, "snaps", 4, project_id=project, region_id=REGION, status=409)
    anywhere = limit(cloud, "snaps", 4, project_id=project)
    domains = limit(cloud, "snaps", -1, domain_id="default", region_id=REGION)
    limit(cloud, "snaps", 4, domain_id="default", region_id=REGION, status=409)

    path = f"/limits/{made['id']}"
    assert cloud.ok("GET", path)["limit"] == made
    queries = {
        "": {made["id"], anywhere["id"], domains["id"]},
        f"?region_id={REGION}": {made["id"], domains["id"]},
        f"?project_id={project}": {made["id"], anywhere["id"]},
        "?domain_id=default": {domains["id"]},
        f"?service_id={service_of(cloud)}&resource_name=snaps&project_id={project}&region_id={REGION}": {made["id"]},
        "?resource_name=other": set(),
    }
    for query, expected in queries.items():
        assert {one["id"] for one in cloud.ok("GET", f"/limits{query}")["limits"]} == expected, query
    first = cloud.ok("GET", "/limits?limit=2")
    rest = cloud.ok("GET", f"/limits?limit=2&marker={first['limits'][-1]['id']}")
    assert {one["id"] for one in first["limits"] + rest["limits"]} == queries[""]
    assert (first["links"]["next"] is None, rest["links"]["next"]) == (False, None)

    changed = cloud.ok("PATCH", path, {"limit": {"resource_limit": 0, "description": None}})
    assert changed["limit"] == {**made, "resource_limit": 0, "description": None}
    assert cloud.ok("PATCH", path, {"limit": {}}) == changed
    registered = cloud.ok("GET", f"/registered_limits?region_id={REGION}")["registered_limits"][0]["id"]
    for method in ("PATCH", "DELETE"):
        body = {"registered_limit": {"description": "x"}} if method == "PATCH" else None
        assert cloud.call(method, f"/registered_limits/{registered}", body, token=cloud.admin).status_code == 403
    cloud.ok("DELETE", path)
    cloud.ok("DELETE", f"/limits/{domains['id']}")
    cloud.ok("DELETE", f"/registered_limits/{registered}")
    assert cloud.call("GET", path, token=cloud.admin).status_code == 404


def test_several_limits_are_all_or_nothing(any_cloud: Cloud) -> None:
    cloud = any_cloud
    projects = [cloud.make("project", name=name)["id"] for name in ("one", "two")]
    register(cloud, "snaps", 10)
    item = {"service_id": service_of(cloud), "resource_name": "snaps", "resource_limit": 1}
    good = [{**item, "project_id": project} for project in projects]
    for bad in ({**item, "project_id": projects[0]}, {**item, "project_id": NOBODY}, {**good[0], "resource_name": "x"}):
        status = cloud.call("POST", "/limits", {"limits": [*good, bad]}, token=cloud.admin).status_code
        assert status in (400, 403, 409)
        assert cloud.ok("GET", "/limits")["limits"] == []
    assert [one["project_id"] for one in cloud.ok("POST", "/limits", {"limits": good})["limits"]] == projects


def test_who_sees_which_limits(cloud: Cloud) -> None:
    far, near = (cloud.make("domain", name=name)["id"] for name in ("far", "near"))
    one, two = (cloud.make("project", name=name, domain_id=far)["id"] for name in ("one", "two"))
    register(cloud, "snaps", 10)
    holders = {"one": {"project_id": one}, "two": {"project_id": two}, "far": {"domain_id": far},
               "near": {"domain_id": near}}  # fmt: skip
    made = {name: limit(cloud, "snaps", 1, **holder)["id"] for name, holder in holders.items()}

    def persona(role: str, place: str, scope: dict[str, Any] | None, **attributes: Any) -> str:
        user = cloud.user_with(role, place, **attributes)
        return cloud.token(scope, id=user["id"], password="secret")

    sees = {
        persona("member", f"projects/{one}", {"project": {"id": one}}): {"one"},
        persona("reader", f"domains/{far}", {"domain": {"id": far}}): {"one", "two", "far"},
        persona("reader", f"domains/{near}", {"domain": {"id": near}}): {"near"},
        persona("member", f"projects/{two}", None): set(),
        persona("reader", "system", {"system": {"all": True}}): set(made),
        cloud.admin: set(made),
    }
    for token, names in sees.items():
        listed = {found["id"] for found in cloud.call("GET", "/limits", token=token).json["limits"]}
        assert listed == {made[name] for name in names}
        for name, limit_id in made.items():
            status = cloud.call("GET", f"/limits/{limit_id}", token=token).status_code
            assert status == (200 if name in names else 403), name
        if token != cloud.admin:
            change = {"limit": {"resource_limit": 5}}
            assert cloud.call("PATCH", f"/limits/{made['one']}", change, token=token).status_code == 403
            assert cloud.call("DELETE", f"/limits/{made['one']}", token=token).status_code == 403
            assert cloud.call("POST", "/limits", {"limits": []}, token=token).status_code in (400, 403)
    member = next(iter(sees))
    assert cloud.call("GET", f"/limits?project_id={two}", token=member).json["limits"] == []
    assert cloud.call("GET", f"/limits/{NOBODY}", token=member).status_code == 403
    assert cloud.call("GET", "/registered_limits", token=member).json["registered_limits"] != []
    assert cloud.call("GET", "/limits/model", token=member).status_code == 200


def test_what_limits_depend_on_is_deleted(any_cloud: Cloud) -> None:
    cloud = any_cloud
    domain = cloud.make("domain", name="far")["id"]
    project = cloud.make("project", name="one", domain_id=domain)["id"]
    leaf = cloud.make("project", name="leaf", domain_id=domain)["id"]
    cloud.make("region", id="west")
    service = cloud.make("service", type="weather")["id"]
    item = {"service_id": service, "resource_name": "rain", "region_id": "west"}
    cloud.ok("POST", "/registered_limits", {"registered_limits": [{**item, "default_limit": 5}]})
    for holder in ({"project_id": project}, {"project_id": leaf}, {"domain_id": domain}):
        cloud.ok("POST", "/limits", {"limits": [{**item, "resource_limit": 1, **holder}]})
    assert cloud.call("DELETE", f"/services/{service}", token=cloud.admin).status_code == 409
    assert cloud.call("DELETE", "/regions/west", token=cloud.admin).status_code == 409

    cloud.ok("DELETE", f"/projects/{leaf}")
    assert len(cloud.ok("GET", "/limits")["limits"]) == 2
    cloud.ok("PATCH", f"/domains/{domain}", {"domain": {"enabled": False}})
    cloud.ok("DELETE", f"/domains/{domain}")
    assert cloud.ok("GET", "/limits")["limits"] == []
    [registered] = cloud.ok("GET", "/registered_limits")["registered_limits"]
    cloud.ok("DELETE", f"/registered_limits/{registered['id']}")
    cloud.ok("DELETE", f"/services/{service}")
    cloud.ok("DELETE", "/regions/west")


# --- what services read ---------------------------------------------------------------------------------------


def test_what_is_in_force(any_cloud: Cloud) -> None:
    cloud = any_cloud
    project = cloud.make("project", name="one")["id"]
    cloud.make("region", id="west")
    names = ("snaps", "drops", "rain", "not registered")
    assert effective(cloud, project, *names) == {}
    register(cloud, "snaps", 10)
    register(cloud, "drops", 20)
    register(cloud, "drops", 30, region_id=REGION)
    register(cloud, "rain", 40, region_id="west")
    other = {"service_id": service_of(cloud, "compute"), "resource_name": "rain", "default_limit": 1}
    cloud.ok("POST", "/registered_limits", {"registered_limits": [other]})
    assert effective(cloud, project, *names) == {"snaps": 10, "drops": 30}
    assert effective(cloud, NOBODY, "snaps") == {"snaps": 10}
    assert effective(cloud, project) == {}
    limit(cloud, "snaps", -1, project_id=project)
    limit(cloud, "drops", 1, project_id=project)
    limit(cloud, "drops", 7, domain_id="default", region_id=REGION)
    assert effective(cloud, project, *names) == {"snaps": -1, "drops": 30}, "the region's before those of no region"
    limit(cloud, "drops", 2, project_id=project, region_id=REGION)
    assert effective(cloud, project, *names) == {"snaps": -1, "drops": 2}
    assert len(bounds(cloud, project, *names)) == 1


# --- the strict model -----------------------------------------------------------------------------------------


@pytest.fixture
def strict(database: Database, settings: IdentitySettings, tmp_path: Path, clock: FakeClock) -> Iterator[Cloud]:
    yield from cloud_on(database, replace(settings, enforcement_model="strict_two_level"), tmp_path, clock)


def test_the_model_is_flat_by_default(cloud: Cloud) -> None:
    assert cloud.ok("GET", "/limits/model")["model"].keys() == {"name", "description"}
    assert cloud.ok("GET", "/limits/model")["model"]["name"] == "flat"


def test_the_strict_model_has_two_levels(strict: Cloud) -> None:
    cloud = strict
    assert cloud.ok("GET", "/limits/model")["model"]["name"] == "strict_two_level"
    top = cloud.make("project", name="top")["id"]
    deeper = {"project": {"name": "deeper", "parent_id": top}}
    assert cloud.call("POST", "/projects", deeper, token=cloud.admin).status_code == 403
    register(cloud, "snaps", 10)
    with cloud.db.write() as tx:  # from the time before this model
        insert = {"id": NOBODY, "namespace": "default", "name": "deeper", "domain_id": "default", "parent_id": top,
                  "lineage": f"default/{top}/", "is_domain": False, "enabled": True, "description": "",
                  "options": {}, "extra": {}}  # fmt: skip
        tx.execute(sa.insert(models.project).values(**insert))
    assert "directly below" in limit(cloud, "snaps", 1, project_id=NOBODY, status=403)["message"]


def test_no_project_is_above_its_domain(strict: Cloud) -> None:
    cloud = strict
    domain = cloud.make("domain", name="alpha")["id"]
    beta, charlie = (cloud.make("project", name=name, domain_id=domain)["id"] for name in ("beta", "charlie"))
    register(cloud, "snaps", 10)
    assert effective(cloud, beta, "snaps") == {"snaps": 10}
    limit(cloud, "snaps", 11, project_id=beta, status=403)
    limit(cloud, "snaps", -1, project_id=beta, status=403)
    of_domain = limit(cloud, "snaps", 20, domain_id=domain)
    of_beta = limit(cloud, "snaps", 12, project_id=beta)
    assert (effective(cloud, beta, "snaps"), effective(cloud, charlie, "snaps")) == ({"snaps": 12}, {"snaps": 10})

    change = {"limit": {"resource_limit": 21}}
    refused = cloud.ok("PATCH", f"/limits/{of_beta['id']}", change, status=403)
    assert "limit of its domain" in refused["error"]["message"]
    cloud.ok("PATCH", f"/limits/{of_domain['id']}", {"limit": {"resource_limit": 11}}, status=403)
    assert cloud.call("DELETE", f"/limits/{of_domain['id']}", token=cloud.admin).status_code == 403
    cloud.ok("PATCH", f"/limits/{of_domain['id']}", {"limit": {"resource_limit": -1}})
    cloud.ok("PATCH", f"/limits/{of_beta['id']}", {"limit": {"resource_limit": -1}})
    cloud.ok("PATCH", f"/limits/{of_domain['id']}", {"limit": {"resource_limit": 1000}}, status=403)
    assert effective(cloud, beta, "snaps") == {"snaps": -1}
    assert len(bounds(cloud, beta, "snaps")) == 1, "an unlimited domain binds nobody"
    cloud.ok("DELETE", f"/limits/{of_beta['id']}")
    cloud.ok("PATCH", f"/limits/{of_domain['id']}", {"limit": {"resource_limit": 6}})
    assert effective(cloud, charlie, "snaps") == {"snaps": 6}, "the domain's limit is below the default"
    own, together = bounds(cloud, beta, "snaps", "not registered")
    assert own == Bound(beta, (beta,), {"snaps": 6})
    assert (together.holder_id, set(together.project_ids), together.limits) == (domain, {beta, charlie}, {"snaps": 6})
    other = cloud.make("project", name="elsewhere")["id"]
    assert effective(cloud, other, "snaps") == {"snaps": 10}


def test_a_domain_and_its_projects_in_one_request(strict: Cloud) -> None:
    cloud = strict
    project = cloud.make("project", name="one")["id"]
    register(cloud, "snaps", 10)
    item = {"service_id": service_of(cloud), "resource_name": "snaps"}
    of_project = {**item, "project_id": project, "resource_limit": 15}
    too_low = {**item, "domain_id": "default", "resource_limit": 14}
    cloud.ok("POST", "/limits", {"limits": [of_project, too_low]}, status=403)
    assert cloud.ok("GET", "/limits")["limits"] == []
    made = cloud.ok("POST", "/limits", {"limits": [of_project, {**too_low, "resource_limit": 15}]})
    assert [one["resource_limit"] for one in made["limits"]] == [15, 15]


def test_lowering_and_raising_at_once(strict: Cloud) -> None:
    """One request lowers the domain's limit while another raises its project's: not both succeed."""
    cloud = strict
    project = cloud.make("project", name="one")["id"]
    register(cloud, "snaps", 1)
    of_domain = limit(cloud, "snaps", 20, domain_id="default")["id"]
    of_project = limit(cloud, "snaps", 10, project_id=project)["id"]

    def change(limit_id: str, value: int) -> int:
        body = {"limit": {"resource_limit": value}}
        return cloud.call("PATCH", f"/limits/{limit_id}", body, token=cloud.admin).status_code

    with ThreadPoolExecutor(2) as pool:
        for _ in range(8):
            results = pool.map(change, (of_domain, of_project), (10, 20))
            assert sorted(results) == [200, 403]
            assert (change(of_project, 10), change(of_domain, 20)) == (200, 200)


def test_deleting_what_is_registered_while_limits_are_made(any_cloud: Cloud) -> None:
    cloud = any_cloud
    projects = [cloud.make("project", name=f"p{number}")["id"] for number in range(6)]
    item = {"service_id": service_of(cloud), "resource_name": "snaps", "resource_limit": 1}
    with ThreadPoolExecutor(2) as pool:
        for project in projects:
            registered = register(cloud, "snaps", 10)["id"]
            body = {"limits": [{**item, "project_id": project}]}
            made = pool.submit(cloud.call, "POST", "/limits", body, token=cloud.admin)
            gone = pool.submit(cloud.call, "DELETE", f"/registered_limits/{registered}", token=cloud.admin)
            statuses = made.result().status_code, gone.result().status_code
            assert statuses in ((201, 403), (403, 204))
            if statuses[0] == 201:
                cloud.ok("DELETE", f"/limits/{made.result().json['limits'][0]['id']}")
                cloud.ok("DELETE", f"/registered_limits/{registered}")
