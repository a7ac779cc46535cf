"""Flavors through the API."""

import uuid
from typing import Any

import pytest

from tests.compute_admin.world import LATEST, OTHER_PROJECT, PROJECT, World

LINKS = [
    {"rel": "self", "href": "http://cloud/compute/v2.1/flavors/f1"},
    {"rel": "bookmark", "href": "http://cloud/compute/flavors/f1"},
]


def make(world: World, flavor_id: Any = "f1", **fields: Any) -> dict[str, Any]:
    """A flavor, as the answer to its making shows it."""
    version = fields.pop("version", LATEST)
    body = {"flavor": {"name": f"name-{flavor_id}", "id": flavor_id, "ram": 512, "vcpus": 1, "disk": 10, **fields}}
    made: dict[str, Any] = world.call("POST", "/flavors", body, version=version)["flavor"]
    return made


def ids(world: World, query: str = "", **how: Any) -> list[str]:
    """The ids of a list."""
    return [flavor["id"] for flavor in world.call("GET", f"/flavors{query}", **how)["flavors"]]


def private(world: World, *projects: str) -> None:
    """A private flavor "p" that projects have access to."""
    make(world, "p", **{"os-flavor-access:is_public": False})
    for project in projects:
        world.call("POST", "/flavors/p/action", {"addTenantAccess": {"tenant": project}})


def test_a_flavor_in_each_version(worlds: World) -> None:
    make(worlds, "f1", description="small", swap=0)
    worlds.call("POST", "/flavors/f1/os-extra_specs", {"extra_specs": {"hw:cpu_policy": "shared"}})
    oldest = {
        "id": "f1",
        "name": "name-f1",
        "links": LINKS,
        "ram": 512,
        "vcpus": 1,
        "disk": 10,
        "OS-FLV-EXT-DATA:ephemeral": 0,
        "swap": "",
        "rxtx_factor": 1.0,
        "OS-FLV-DISABLED:disabled": False,
        "os-flavor-access:is_public": True,
    }
    specs = {"extra_specs": {"hw:cpu_policy": "shared"}}
    expected = {
        "2.1": oldest,
        "2.54": oldest,
        "2.55": oldest | {"description": "small"},
        "2.61": oldest | {"description": "small"} | specs,
        "2.75": oldest | {"description": "small", "swap": 0} | specs,
    }
    for version, flavor in expected.items():
        assert worlds.call("GET", "/flavors/f1", as_="reader", version=version)["flavor"] == flavor, version
        assert worlds.call("GET", "/flavors/detail", as_="reader", version=version)["flavors"] == [flavor], version
    assert worlds.call("GET", "/flavors", version="2.1")["flavors"] == [{"id": "f1", "name": "name-f1", "links": LINKS}]
    assert worlds.call("GET", "/flavors", version="2.55")["flavors"][0]["description"] == "small"


@pytest.mark.parametrize(("asked", "shown"), [(7, "7"), ("a b.c-d_e", "a b.c-d_e"), (str(uuid.UUID(int=5)), None)])
def test_an_id_may_be_given(world: World, asked: Any, shown: str | None) -> None:
    assert make(world, asked)["id"] == (shown or asked)


@pytest.mark.parametrize("asked", [None, "auto"])
def test_an_id_may_be_minted(world: World, asked: str | None) -> None:
    flavor_id = make(world, asked)["id"]
    assert str(uuid.UUID(flavor_id)) == flavor_id


def test_numbers_and_flags_may_be_texts(world: World) -> None:
    made = make(world, ram="1024", **{"os-flavor-access:is_public": "False", "rxtx_factor": "2.5"})
    assert (made["ram"], made["os-flavor-access:is_public"], made["rxtx_factor"]) == (1024, False, 2.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""}, {"name": " x"}, {"name": "x\n"}, {"name": "a\x00b"}, {"name": "n" * 256}, {"name": None},
        {"id": ""}, {"id": " a"}, {"id": "a/b"}, {"id": "i" * 256}, {"id": "a\n"}, {"id": []},
        {"ram": 0}, {"ram": -1}, {"ram": 1 << 31}, {"ram": "much"}, {"ram": 1.5}, {"ram": None},
        {"vcpus": 0}, {"vcpus": 1 << 31}, {"disk": -1}, {"disk": 1 << 31}, {"swap": -1}, {"swap": "x"},
        {"OS-FLV-EXT-DATA:ephemeral": -1}, {"rxtx_factor": 0}, {"rxtx_factor": -1}, {"rxtx_factor": 4e38},
        {"os-flavor-access:is_public": "perhaps"}, {"description": "d" * 65536}, {"description": 5}, {"colour": "red"},
    ],
)  # fmt: skip
def test_bad_flavors(world: World, wrong: dict[str, Any]) -> None:
    body = {"flavor": {"name": "x", "ram": 1, "vcpus": 1, "disk": 0} | wrong}
    assert world.call("POST", "/flavors", body, code=400)["badRequest"]["code"] == 400
    assert ids(world, "?is_public=None") == []


def test_what_must_be_there(world: World) -> None:
    for missing in ("name", "ram", "vcpus", "disk"):
        flavor = {"name": "x", "ram": 1, "vcpus": 1, "disk": 0}
        del flavor[missing]
        assert missing in world.call("POST", "/flavors", {"flavor": flavor}, code=400)["badRequest"]["message"]
    described = {"name": "x", "ram": 1, "vcpus": 1, "disk": 0, "description": "d"}
    world.call("POST", "/flavors", {"flavor": described}, version="2.54", code=400)


def test_names_and_ids_are_taken_once_and_free_after_deletion(worlds: World) -> None:
    make(worlds, "f1")
    for taken in ({"name": "name-f1", "id": "f2"}, {"name": "other", "id": "f1"}):
        body = {"flavor": {"ram": 1, "vcpus": 1, "disk": 0, **taken}}
        assert "already exists" in worlds.call("POST", "/flavors", body, code=409)["conflictingRequest"]["message"]
    make(worlds, "F1", name="NAME-f1")
    worlds.call("DELETE", "/flavors/f1", code=202)
    worlds.call("GET", "/flavors/f1", code=404)
    worlds.call("DELETE", "/flavors/f1", code=404)
    make(worlds, "f1")


def test_pages(worlds: World) -> None:
    for number in range(5):
        make(worlds, f"f{number}", ram=1000 - number, disk=number)
    first = worlds.call("GET", "/flavors?limit=2&minDisk=1")
    assert [one["id"] for one in first["flavors"]] == ["f1", "f2"]
    following = first["flavors_links"][0]["href"]
    assert following == "http://cloud/compute/v2.1/flavors?minDisk=1&limit=2&marker=f2"
    second = worlds.call("GET", following.removeprefix("http://cloud/compute/v2.1"))
    assert [one["id"] for one in second["flavors"]] == ["f3", "f4"]
    assert "flavors_links" not in second
    assert ids(worlds, "?sort_key=memory_mb&sort_dir=asc&limit=2") == ["f4", "f3"]
    assert ids(worlds, "?sort_key=root_gb&sort_dir=desc&marker=f2") == ["f1", "f0"]
    assert ids(worlds, "?sort_key=updated_at&marker=f3") == ["f4"]
    assert ids(worlds, "?minRam=999") == ["f0", "f1"]
    assert ids(worlds, "?limit=0") == []
    assert "/flavors/detail?" in worlds.call("GET", "/flavors/detail?limit=1")["flavors_links"][0]["href"]


@pytest.mark.parametrize(
    "query",
    ["limit=-1", "limit=x", "marker=none", "sort_key=colour", "sort_dir=up&sort_key=name", "minRam=x", "minDisk=1.5",
     "is_public=perhaps", "colour=red"],
)  # fmt: skip
def test_bad_lists(world: World, query: str) -> None:
    world.call("GET", f"/flavors?{query}", code=400)
    world.call("GET", f"/flavors/detail?{query}", code=400)


def test_old_versions_ignore_unknown_parameters(world: World) -> None:
    make(world)
    assert ids(world, "?colour=red", version="2.74") == ["f1"]


def test_private_flavors(worlds: World) -> None:
    make(worlds, "f1")
    private(worlds, PROJECT)
    assert ids(worlds, as_="member") == ["f1", "p"]
    assert ids(worlds, as_="stranger") == ["f1"]
    assert ids(worlds, "?is_public=None", as_="stranger") == ["f1"]
    worlds.call("GET", "/flavors/p", as_="member")
    worlds.call("GET", "/flavors/p", as_="stranger", code=404)
    worlds.call("GET", "/flavors/p/os-extra_specs", as_="stranger", code=404)
    assert ids(worlds) == ["f1"]
    assert ids(worlds, "?is_public=none") == ["f1", "p"]
    for text in ("f", "False", "no", "0"):
        assert ids(worlds, f"?is_public={text}") == ["p"]
    worlds.call("GET", "/flavors/p")


def test_access_lists(worlds: World) -> None:
    make(worlds, "f1")
    private(worlds)
    act = "/flavors/p/action"
    assert worlds.call("GET", "/flavors/p/os-flavor-access")["flavor_access"] == []
    granted = {"flavor_access": [{"flavor_id": "p", "tenant_id": PROJECT}]}
    assert worlds.call("POST", act, {"addTenantAccess": {"tenant": PROJECT}}) == granted
    assert worlds.call("GET", "/flavors/p/os-flavor-access") == granted
    worlds.call("POST", act, {"addTenantAccess": {"tenant": PROJECT}}, code=409)
    worlds.call("POST", act, {"addTenantAccess": {"tenant": "d" * 32}}, code=400)
    worlds.call("POST", act, {"removeTenantAccess": {"tenant": OTHER_PROJECT}}, code=404)
    assert worlds.call("POST", act, {"removeTenantAccess": {"tenant": PROJECT}}) == {"flavor_access": []}
    worlds.call("GET", "/flavors/f1/os-flavor-access", code=404)
    worlds.call("POST", "/flavors/f1/action", {"addTenantAccess": {"tenant": PROJECT}}, code=409)
    worlds.call("POST", act, {"addTenantAccess": {"tenant": PROJECT}})
    worlds.call("DELETE", "/flavors/p", code=202)
    private(worlds)
    assert worlds.call("GET", "/flavors/p/os-flavor-access")["flavor_access"] == []


@pytest.mark.parametrize(
    "body",
    [{}, {"addTenantAccess": None}, {"addTenantAccess": {}}, {"addTenantAccess": {"tenant": ""}},
     {"addTenantAccess": {"tenant": PROJECT, "more": 1}}, {"somethingElse": {}}, []],
)  # fmt: skip
def test_bad_access_actions(world: World, body: Any) -> None:
    private(world)
    world.call("POST", "/flavors/p/action", body, code=400)


def test_extra_specs(worlds: World) -> None:
    make(worlds)
    path = "/flavors/f1/os-extra_specs"
    specs = {"hw:numa_nodes": "1", "hw:cpu_policy": "shared"}
    assert worlds.call("POST", path, {"extra_specs": specs}) == {"extra_specs": specs}
    assert worlds.call("PUT", f"{path}/hw:numa_nodes", {"hw:numa_nodes": "2"}) == {"hw:numa_nodes": "2"}
    assert worlds.call("GET", f"{path}/hw%3Anuma_nodes", as_="reader") == {"hw:numa_nodes": "2"}
    worlds.call("DELETE", f"{path}/hw:numa_nodes")
    worlds.call("DELETE", f"{path}/hw:numa_nodes", code=404)
    worlds.call("GET", f"{path}/hw:numa_nodes", as_="reader", code=404)
    assert worlds.call("GET", path, as_="reader") == {"extra_specs": {"hw:cpu_policy": "shared"}}
    worlds.call("POST", "/flavors/none/os-extra_specs", {"extra_specs": {}}, code=404)


@pytest.mark.parametrize(
    "body",
    [{"b": "1"}, {"a": "1", "b": "2"}, {}, [], {"a": 1}, {"a": None}, {"a": {"b": "c"}}, {"a": "v" * 256}, {"": ""}],
)
def test_bad_extra_spec(world: World, body: Any) -> None:
    make(world)
    world.call("PUT", "/flavors/f1/os-extra_specs/a", body, code=400)
    assert world.call("GET", "/flavors/f1/os-extra_specs") == {"extra_specs": {}}


@pytest.mark.parametrize("specs", [None, [], {"a/b": "1"}, {"a\n": "1"}, {"k" * 256: "1"}, {"a": "\x00"}])
def test_bad_extra_specs(world: World, specs: Any) -> None:
    make(world)
    world.call("POST", "/flavors/f1/os-extra_specs", {"extra_specs": specs}, code=400)


def test_descriptions_change_from_2_55(world: World) -> None:
    make(world)
    body = {"flavor": {"description": "new"}}
    assert world.call("PUT", "/flavors/f1", body, version="2.55")["flavor"]["description"] == "new"
    assert world.call("PUT", "/flavors/f1", {"flavor": {"description": None}})["flavor"]["description"] is None
    world.call("PUT", "/flavors/f1", body, version="2.54", code=404)
    world.call("PUT", "/flavors/none", body, code=404)
    world.call("PUT", "/flavors/f1", {"flavor": {}}, code=400)
    world.call("PUT", "/flavors/f1", {"flavor": {"description": "d", "ram": 4}}, code=400)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/flavors", {"flavor": {"name": "x", "ram": 1, "vcpus": 1, "disk": 0}}),
        ("PUT", "/flavors/f1", {"flavor": {"description": "x"}}),
        ("DELETE", "/flavors/f1", None),
        ("POST", "/flavors/f1/os-extra_specs", {"extra_specs": {}}),
        ("PUT", "/flavors/f1/os-extra_specs/a", {"a": "b"}),
        ("DELETE", "/flavors/f1/os-extra_specs/a", None),
        ("GET", "/flavors/f1/os-flavor-access", None),
        ("POST", "/flavors/f1/action", {"addTenantAccess": {"tenant": PROJECT}}),
        ("POST", "/flavors/f1/action", {"removeTenantAccess": {"tenant": PROJECT}}),
    ],
)
def test_only_administrators_change_flavors(world: World, method: str, path: str, body: Any) -> None:
    make(world)
    world.call(method, path, body, as_="member", code=403)
    assert world.raw(method, path, body, as_="nobody").status_code == 401
