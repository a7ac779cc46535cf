"""Host aggregates through the API, and the availability zones that they make."""

import threading
from typing import Any

import pytest

from pileus.compute.aggregates.domain import values_of
from pileus.compute.aggregates.service import metadata_by_host
from tests.compute_admin.world import World

TIME = "2023-11-14T22:13:20.000000"
IMAGE = "22222222-2222-4222-8222-222222222222"
OTHER_IMAGE = "33333333-3333-4333-8333-333333333333"


def create(world: World, name: str = "a", zone: str | None = None, hosts: tuple[str, ...] = ()) -> int:
    """Make an aggregate with hosts; its number."""
    body = {"name": name} | ({} if zone is None else {"availability_zone": zone})
    number: int = world.call("POST", "/os-aggregates", {"aggregate": body})["aggregate"]["id"]
    for host in hosts:
        act(world, number, "add_host", {"host": host})
    return number


def act(world: World, number: int, action: str, arguments: Any, code: int = 200) -> Any:
    """An action on an aggregate: it as it is now, or the refusal's message."""
    answer = world.call("POST", f"/os-aggregates/{number}/action", {action: arguments}, code=code)
    return answer["aggregate"] if code == 200 else next(iter(answer.values()))["message"]


def zones(world: World) -> dict[str, list[str]]:
    """The availability zones and the hosts in them."""
    listed = world.call("GET", "/os-availability-zone/detail")["availabilityZoneInfo"]
    return {one["zoneName"]: sorted(one["hosts"] or {}) for one in listed}


# --- the API ------------------------------------------------------------------------------------------------


def test_an_aggregates_life(worlds: World) -> None:
    worlds.add_host("h1")
    worlds.add_host("h2")
    created = worlds.call("POST", "/os-aggregates", {"aggregate": {"name": "a", "availability_zone": "z"}}, code=200)
    one = created["aggregate"]
    number, uuid = one["id"], one["uuid"]
    assert one == {
        "id": number, "uuid": uuid, "name": "a", "availability_zone": "z", "created_at": TIME, "updated_at": None,
        "deleted": False, "deleted_at": None,
    }  # fmt: skip
    worlds.clock.advance(1)
    act(worlds, number, "add_host", {"host": "h2"})
    shown = act(worlds, number, "add_host", {"host": "h1"})
    assert shown == one | {
        "hosts": ["h1", "h2"], "metadata": {"availability_zone": "z"}, "updated_at": "2023-11-14T22:13:21.000000"
    }  # fmt: skip
    assert worlds.call("GET", f"/os-aggregates/{number}")["aggregate"] == shown
    assert worlds.call("GET", "/os-aggregates")["aggregates"] == [shown]
    before = worlds.call("GET", f"/os-aggregates/{number}", version="2.40")["aggregate"]
    assert before == {key: value for key, value in shown.items() if key != "uuid"}
    update = {"aggregate": {"name": " b ", "availability_zone": "y"}}
    assert worlds.call("PUT", f"/os-aggregates/{number}", update)["aggregate"] == shown | {
        "name": "b", "availability_zone": "y", "metadata": {"availability_zone": "y"}
    }  # fmt: skip
    assert act(worlds, number, "remove_host", {"host": "h1"})["hosts"] == ["h2"]
    worlds.call("DELETE", f"/os-aggregates/{number}", code=400)
    act(worlds, number, "remove_host", {"host": "h2"})
    worlds.call("DELETE", f"/os-aggregates/{number}")
    worlds.call("GET", f"/os-aggregates/{number}", code=404)
    assert create(worlds) > number


def test_metadata_is_merged_and_removed_by_null(worlds: World) -> None:
    number = create(worlds)
    act(worlds, number, "set_metadata", {"metadata": {"ssd": "true", "rack": "1"}})
    changed = act(worlds, number, "set_metadata", {"metadata": {"rack": None, "row": "", "none": None}})
    assert changed["metadata"] == {"ssd": "true", "row": ""}
    zoned = act(worlds, number, "set_metadata", {"metadata": {"availability_zone": "z"}})
    assert zoned["availability_zone"] == "z"
    assert act(worlds, number, "set_metadata", {"metadata": {"ssd": "no"}})["availability_zone"] == "z"


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "", {"aggregate": {}}, 400),
        ("POST", "", {"aggregate": {"name": ""}}, 400),
        ("POST", "", {"aggregate": {"name": "x" * 256}}, 400),
        ("POST", "", {"aggregate": {"name": " x"}}, 400),
        ("POST", "", {"aggregate": {"name": "x", "more": 1}}, 400),
        ("POST", "", {"aggregate": {"name": "x", "availability_zone": ""}}, 400),
        ("POST", "", {"aggregate": {"name": "x", "availability_zone": "z:h"}}, 400),
        ("POST", "", {"aggregate": {"name": "taken"}}, 409),
        ("POST", "", {"aggregate": {"name": "x", "availability_zone": None}}, 200),
        ("GET", "/-1", None, 404),
        ("GET", "/999", None, 404),
        ("GET", "/99999999999999999999", None, 404),
        ("GET", "/x", None, 404),
        ("DELETE", "/-1", None, 404),
        ("PUT", "/{id}", {"aggregate": {}}, 400),
        ("PUT", "/{id}", {"aggregate": {"name": "taken"}}, 409),
        ("PUT", "/{id}", {"aggregate": {"name": "a"}}, 200),
        ("PUT", "/{id}", {"aggregate": {"name": "  "}}, 400),
        ("PUT", "/{id}", {"aggregate": {"availability_zone": None}}, 400),
        ("PUT", "/999", {"aggregate": {"name": "x"}}, 404),
        ("POST", "/{id}/action", {"add_host": {"host": "none"}}, 404),
        ("POST", "/{id}/action", {"add_host": {"host": "h1"}}, 200),
        ("POST", "/{id}/action", {"add_host": {"host": "a/b"}}, 400),
        ("POST", "/{id}/action", {"add_host": {}}, 400),
        ("POST", "/{id}/action", {"add_host": {"host": "h2"}}, 409),
        ("POST", "/{id}/action", {"remove_host": {"host": "h1"}}, 404),
        ("POST", "/{id}/action", {"remove_host": {"host": "none"}}, 404),
        ("POST", "/{id}/action", {"set_metadata": {"metadata": {"x" * 256: "1"}}}, 400),
        ("POST", "/{id}/action", {"set_metadata": {"metadata": {"x": "1" * 256}}}, 400),
        ("POST", "/{id}/action", {"set_metadata": {"metadata": {"x": 1}}}, 400),
        ("POST", "/{id}/action", {"set_metadata": {"metadata": {"availability_zone": ""}}}, 400),
        ("POST", "/{id}/action", {"set_metadata": {"metadata": {"availability_zone": None}}}, 400),
        ("POST", "/{id}/action", {"set_metadata": {}}, 400),
        ("POST", "/{id}/action", {"frobnicate": {}}, 400),
        ("POST", "/{id}/images", {"cache": []}, 400),
        ("POST", "/{id}/images", {"cache": [{"id": "x"}]}, 400),
        ("POST", "/{id}/images", {"cache": [{"id": IMAGE}, {"id": IMAGE}]}, 400),
        ("POST", "/{id}/images", {"cache": [{"id": IMAGE, "x": 1}]}, 400),
        ("POST", "/999/images", {"cache": [{"id": IMAGE}]}, 404),
    ],
)
def test_status_codes(world: World, method: str, path: str, body: Any, code: int) -> None:
    world.add_host("h1")
    world.add_host("h2")
    number = create(world, hosts=("h2",))
    create(world, "taken")
    world.call(method, f"/os-aggregates{path.replace('{id}', str(number))}", body, code=code)


def test_only_administrators_know_of_aggregates(world: World) -> None:
    number = create(world)
    one = f"/os-aggregates/{number}"
    for as_ in ("member", "reader", "stranger"):
        for method, path, body in (
            ("GET", "/os-aggregates", None),
            ("POST", "/os-aggregates", {"aggregate": {"name": "x"}}),
            ("GET", one, None),
            ("PUT", one, {"aggregate": {"name": "x"}}),
            ("DELETE", one, None),
            ("POST", f"{one}/action", {"add_host": {"host": "h"}}),
            ("POST", f"{one}/action", {"remove_host": {"host": "h"}}),
            ("POST", f"{one}/action", {"set_metadata": {"metadata": {}}}),
            ("POST", f"{one}/images", {"cache": [{"id": IMAGE}]}),
        ):
            world.call(method, path, body, as_=as_, code=403)


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_images_are_wished_for_on_all_hosts(world: World, method: str) -> None:
    for host in ("h1", "h2", "h3"):
        world.add_host(host)
    number = create(world, hosts=("h3", "h1"))
    body = {"cache": [{"id": IMAGE}, {"id": OTHER_IMAGE}]}
    world.call(method, f"/os-aggregates/{number}/images", body, version="2.80", code=404)
    world.call(method, f"/os-aggregates/{number}/images", body, version="2.81", code=202)
    assert world.wishes.made == [(("h1", "h3"), (IMAGE, OTHER_IMAGE))]


# --- zones --------------------------------------------------------------------------------------------------


def test_zones_follow_aggregates(worlds: World) -> None:
    for host in ("h1", "h2"):
        worlds.add_host(host)
    number = create(worlds, "a", "z", ("h1",))
    assert zones(worlds) == {"nova": ["h2"], "z": ["h1"]}
    listed = worlds.call("GET", "/os-services?binary=nova-compute")["services"]
    assert {one["host"]: one["zone"] for one in listed} == {"h1": "z", "h2": "nova"}
    assert worlds.rescheduled > 0
    plain = create(worlds, "plain", None, ("h1", "h2"))
    assert zones(worlds) == {"nova": ["h2"], "z": ["h1"]}
    act(worlds, number, "set_metadata", {"metadata": {"availability_zone": "y"}})
    assert zones(worlds) == {"nova": ["h2"], "y": ["h1"]}
    same = create(worlds, "same", "y", ("h1",))
    act(worlds, number, "remove_host", {"host": "h1"})
    assert zones(worlds) == {"nova": ["h2"], "y": ["h1"]}, "the other aggregate still says so"
    act(worlds, same, "remove_host", {"host": "h1"})
    assert zones(worlds) == {"nova": ["h1", "h2"]}
    act(worlds, plain, "set_metadata", {"metadata": {"availability_zone": "x"}})
    assert zones(worlds) == {"nova": [], "x": ["h1", "h2"]}
    worlds.add_host("h1")
    assert zones(worlds)["x"] == ["h1", "h2"], "a report changes no zone"


def test_a_host_is_in_one_zone_only(worlds: World) -> None:
    worlds.add_host("h1")
    first = create(worlds, "first", "z", ("h1",))
    other = create(worlds, "other", "y")
    assert "already in availability zone(s) ['z']" in act(worlds, other, "add_host", {"host": "h1"}, code=409)
    plain = create(worlds, "plain", None, ("h1",))
    refused = act(worlds, plain, "set_metadata", {"metadata": {"availability_zone": "y"}}, code=400)
    assert "already in availability zone(s) ['z']" in refused
    worlds.call("PUT", f"/os-aggregates/{plain}", {"aggregate": {"availability_zone": "y"}}, code=400)
    act(worlds, plain, "set_metadata", {"metadata": {"availability_zone": "z"}})
    worlds.call("PUT", f"/os-aggregates/{first}", {"aggregate": {"availability_zone": "y"}}, code=400)
    assert zones(worlds) == {"nova": [], "z": ["h1"]}


def test_servers_do_not_change_their_zone(worlds: World) -> None:
    worlds.add_host("h1")
    zoned = create(worlds, "zoned", "z")
    default = create(worlds, "default", "nova")
    worlds.add_server("h1")
    reason = "One or more hosts contain instances in this zone"
    assert reason in act(worlds, zoned, "add_host", {"host": "h1"}, code=409)
    act(worlds, default, "add_host", {"host": "h1"})  # the zone that it is in
    update = {"aggregate": {"availability_zone": "y"}}
    assert reason in worlds.call("PUT", f"/os-aggregates/{default}", update, code=400)["badRequest"]["message"]
    metadata = {"metadata": {"availability_zone": "y"}}
    assert reason in act(worlds, default, "set_metadata", metadata, code=400)
    worlds.call("PUT", f"/os-aggregates/{default}", {"aggregate": {"availability_zone": "nova"}})
    act(worlds, default, "remove_host", {"host": "h1"})
    worlds.add_host("h2")
    act(worlds, zoned, "add_host", {"host": "h2"})
    worlds.add_server("h2")
    assert reason in act(worlds, zoned, "remove_host", {"host": "h2"}, code=409)
    assert zones(worlds) == {"nova": ["h1"], "z": ["h2"]}


def test_a_host_that_is_removed_from_the_cloud_leaves_its_aggregates(worlds: World) -> None:
    worlds.add_host("h1")
    number = create(worlds, "a", "z", ("h1",))
    service = worlds.call("GET", "/os-services?binary=nova-compute")["services"][0]["id"]
    worlds.call("DELETE", f"/os-services/{service}", code=204)
    assert worlds.call("GET", f"/os-aggregates/{number}")["aggregate"]["hosts"] == []
    worlds.add_host("h1")
    assert zones(worlds) == {"nova": ["h1"]}
    worlds.call("DELETE", f"/os-aggregates/{number}")


def test_two_at_once_put_a_host_into_one_zone(worlds: World) -> None:
    worlds.add_host("h1")
    numbers = [create(worlds, f"a{number}", f"z{number}") for number in range(4)]
    codes: list[int] = []

    def add(number: int) -> None:
        body = {"add_host": {"host": "h1"}}
        codes.append(worlds.raw("POST", f"/os-aggregates/{number}/action", body).status_code)

    threads = [threading.Thread(target=add, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200, 409, 409, 409]
    holding = [one for one in worlds.call("GET", "/os-aggregates")["aggregates"] if one["hosts"]]
    assert zones(worlds) == {"nova": [], holding[0]["availability_zone"]: ["h1"]}
    assert len(holding) == 1


def test_what_aggregates_say_of_a_host(worlds: World) -> None:
    worlds.add_host("h1")
    worlds.add_host("h2")
    first, second = create(worlds, "a", "z", ("h1",)), create(worlds, "b", None, ("h1",))
    act(worlds, first, "set_metadata", {"metadata": {"rack": "1"}})
    act(worlds, second, "set_metadata", {"metadata": {"rack": "2, 3"}})
    with worlds.db.read() as tx:
        assert metadata_by_host(tx) == {
            "h1": {"availability_zone": frozenset({"z"}), "rack": frozenset({"1", "2", "3"})}
        }
    assert values_of([]) == {}
