"""Lists of servers: filters, pages and orders."""

import pytest

from pileus.kernel.db import Database
from tests.compute.world import World


@pytest.fixture
def world(database: Database) -> World:
    found = World(database)
    for name in ("alpha-1", "alpha-2", "beta-1"):
        found.create(name=name, metadata={"name": name})
        found.clock.sleep(1)
    found.run()
    return found


def names(world: World, query: str, *, as_: str = "member", version: str = "2.1") -> list[str]:
    answer = world.request("GET", f"/servers?{query}", as_=as_, version=version)
    assert answer.status_code == 200, answer.text
    return [server["name"] for server in answer.json["servers"]]


def status(world: World, query: str, *, version: str = "2.1", as_: str = "member") -> int:
    return world.request("GET", f"/servers?{query}", version=version, as_=as_).status_code


def test_filters(world: World) -> None:
    everything = ["beta-1", "alpha-2", "alpha-1"]
    assert names(world, "") == everything
    assert names(world, "name=alpha") == ["alpha-2", "alpha-1"]
    assert names(world, "name=%5E.*-1%24") == ["beta-1", "alpha-1"]
    assert names(world, "status=active") == everything
    assert names(world, "status=shutoff") == []
    assert names(world, "status=active&status=error") == everything
    assert names(world, "image=nothing") == []
    assert names(world, "flavor=1") == everything
    assert names(world, "flavor=2") == []
    first = world.request("GET", "/servers/detail?name=alpha-1").json["servers"][0]
    assert names(world, f"ip={first['addresses']['private'][0]['addr']}%24") == ["alpha-1"]
    assert names(world, "ip=10.0") == everything
    assert names(world, "changes-since=2051-01-01T12:34:00Z") == []
    assert names(world, "status=nothing", version="2.37") == []
    assert status(world, "status=nothing", version="2.38") == 400
    assert names(world, "vm_state=stopped") == everything  # not for everybody before 2.83: ignored
    assert names(world, "vm_state=stopped", version="2.83") == []
    assert names(world, "host=h1&all_tenants=1", as_="admin") == everything
    assert names(world, "host=h2&all_tenants=1", as_="admin") == []
    assert names(world, "host=h2") == everything
    assert names(world, "power_state=1&all_tenants=", as_="admin") == everything
    assert names(world, "tenant_id=" + "a" * 32, as_="admin") == []
    assert names(world, "all_tenants=1&tenant_id=" + "a" * 32, as_="admin") == everything
    assert names(world, "anything=goes") == everything


@pytest.mark.parametrize(
    ("query", "version"),
    [
        ("limit=testing", "2.1"),
        ("limit=-1", "2.1"),
        ("changes-since=2011/01/01", "2.1"),
        ("name=%5B", "2.1"),
        ("marker=nothing", "2.1"),
        ("sort_key=nothing", "2.1"),
        ("sort_key=name&sort_dir=sideways", "2.1"),
        ("anything=goes", "2.75"),
        ("locked=maybe", "2.73"),
        ("changes-since=2030-01-01T00:00:00Z&changes-before=2020-01-01T00:00:00Z", "2.66"),
    ],
)
def test_queries_that_are_refused(world: World, query: str, version: str) -> None:
    assert status(world, query, version=version) == 400


def test_pages(world: World) -> None:
    assert world.request("GET", "/servers?limit=0").json == {"servers": []}
    seen: list[str] = []
    path = "/servers/detail?limit=1&sort_key=display_name&sort_dir=asc"
    while path:
        page = world.request("GET", path).json
        seen += [server["name"] for server in page["servers"]]
        following = page.get("servers_links")
        path = following[0]["href"].removeprefix("http://cloud/compute/v2.1") if following else ""
    assert seen == ["alpha-1", "alpha-2", "beta-1"]
    assert status(world, "sort_key=host", as_="member") == 403
    assert names(world, "sort_key=task_state&sort_dir=asc&sort_key=display_name&sort_dir=desc") == [
        "beta-1",
        "alpha-2",
        "alpha-1",
    ]
