"""Hypervisors, services and availability zones through the API."""

from typing import Any

import pytest

from pileus.kernel.db import Tx
from pileus.kernel.ids import new_uuid
from pileus.kernel.loops import loop_state
from tests.compute_admin.world import World

TIME = "2023-11-14T22:13:20.000000"


def conductor(world: World, host: str, loop: str, ago: int = 0) -> None:
    """A loop's last run by the conductor of a host, so many seconds ago."""
    at = world.clock.now() - ago * 1_000_000
    row = {
        "name": loop, "owner": f"{host}:1:2.3:1", "lease_until": 0, "started_at": at, "finished_at": at, "failures": 0
    }  # fmt: skip

    def work(tx: Tx) -> None:
        tx.execute(loop_state.insert().values(**row))

    world.db.transact(work)


def host_number(world: World, name: str) -> int:
    """The id of a host in versions before 2.53."""
    with world.db.read() as tx:
        return world.hosts.get(tx, name).number


def host_id(world: World, name: str) -> str:
    """The id of a host in versions from 2.53."""
    with world.db.read() as tx:
        return world.hosts.get(tx, name).id


# --- hypervisors --------------------------------------------------------------------------------------------


def test_a_hypervisor_in_each_version(worlds: World) -> None:
    worlds.add_host("h1")
    first = worlds.add_server("h1", name="one")
    second = worlds.add_server("h1", name="two", busy=True)
    worlds.add_server(None)
    used = {
        "vcpus": 8, "vcpus_used": 4, "memory_mb": 16384, "memory_mb_used": 1536, "free_ram_mb": 14848,
        "local_gb": 100, "local_gb_used": 2, "free_disk_gb": 98, "disk_available_least": 90, "running_vms": 2,
        "current_workload": 1,
    }  # fmt: skip
    brief = {"hypervisor_hostname": "h1", "state": "up", "status": "enabled"}
    always = brief | {"hypervisor_type": "QEMU", "hypervisor_version": 7002000, "host_ip": "127.0.0.1"}
    number = host_number(worlds, "h1")
    numbered = {"id": number, "service": {"host": "h1", "id": number, "disabled_reason": None}}
    uuid = host_id(worlds, "h1")
    named = {"id": uuid, "service": {"host": "h1", "id": uuid, "disabled_reason": None}}
    cpu = {"arch": "x86_64", "model": "max"}
    expected = {
        "2.1": always | used | numbered | {"cpu_info": '{"arch":"x86_64","model":"max"}'},
        "2.28": always | used | numbered | {"cpu_info": cpu},
        "2.53": always | used | named | {"cpu_info": cpu},
        "2.88": always | named | {"uptime": " 22:13:20 up 1 day,  2:03"},
    }
    for version, shown in expected.items():
        one = shown["id"]
        assert worlds.call("GET", f"/os-hypervisors/{one}", version=version)["hypervisor"] == shown, version
        assert worlds.call("GET", "/os-hypervisors/detail", version=version)["hypervisors"] == [shown], version
        listed = worlds.call("GET", "/os-hypervisors", version=version)["hypervisors"]
        assert listed == [brief | {"id": one}], version
    hosted = [{"uuid": first, "name": "one"}, {"uuid": second, "name": "two"}]
    for path in (f"/os-hypervisors/{uuid}?with_servers=true", f"/os-hypervisors/{uuid}?with_servers=1"):
        assert worlds.call("GET", path, version="2.53")["hypervisor"]["servers"] == hosted
    assert worlds.call("GET", "/os-hypervisors?with_servers=true")["hypervisors"][0]["servers"] == hosted


def test_an_empty_host_has_no_servers_key_before_2_75(world: World) -> None:
    world.add_host("h1")
    for path in ("/os-hypervisors", "/os-hypervisors/detail"):
        assert "servers" not in world.call("GET", f"{path}?with_servers=true", version="2.74")["hypervisors"][0]
        assert world.call("GET", f"{path}?with_servers=true", version="2.75")["hypervisors"][0]["servers"] == []
        assert "servers" not in world.call("GET", path)["hypervisors"][0]


def test_statistics_are_sums_over_enabled_hosts(worlds: World) -> None:
    for name in ("h1", "h2", "h3"):
        worlds.add_host(name)
        worlds.add_server(name)
    worlds.call("PUT", f"/os-services/{host_id(worlds, 'h3')}", {"status": "disabled"})
    assert worlds.call("GET", "/os-hypervisors/statistics", version="2.1")["hypervisor_statistics"] == {
        "count": 2, "vcpus": 16, "vcpus_used": 4, "memory_mb": 32768, "memory_mb_used": 2048, "free_ram_mb": 30720,
        "local_gb": 200, "local_gb_used": 2, "free_disk_gb": 198, "disk_available_least": 180, "running_vms": 2,
        "current_workload": 0,
    }  # fmt: skip
    worlds.call("GET", "/os-hypervisors/statistics", version="2.88", code=404)


def test_search_and_servers_by_name(world: World) -> None:
    for name in ("alpha-1", "alpha-2", "beta"):
        world.add_host(name)
    server = world.add_server("alpha-2")
    found = world.call("GET", "/os-hypervisors/alpha/search", version="2.1")["hypervisors"]
    assert [one["hypervisor_hostname"] for one in found] == ["alpha-1", "alpha-2"]
    found = world.call("GET", "/os-hypervisors/alpha/servers", version="2.1")["hypervisors"]
    assert "servers" not in found[0]
    assert found[1]["servers"] == [{"uuid": server, "name": "vm"}]
    found = world.call("GET", "/os-hypervisors?hypervisor_hostname_pattern=alpha")["hypervisors"]
    assert [one["hypervisor_hostname"] for one in found] == ["alpha-1", "alpha-2"]
    for path, version in (("gamma/search", "2.1"), ("gamma/servers", "2.1"), ("alpha/search", "2.53")):
        world.call("GET", f"/os-hypervisors/{path}", version=version, code=404)
    world.call("GET", "/os-hypervisors?hypervisor_hostname_pattern=gamma", code=404)
    world.call("GET", "/os-hypervisors?hypervisor_hostname_pattern=alpha&limit=1", code=400)


def test_pages_of_hypervisors(world: World) -> None:
    for number in range(1, 6):
        world.add_host(f"h{number}")
    first = world.call("GET", "/os-hypervisors?limit=2", version="2.33")
    assert [one["id"] for one in first["hypervisors"]] == [1, 2]
    assert first["hypervisors_links"][0]["href"].endswith("/os-hypervisors?limit=2&marker=2")
    marker = host_id(world, "h4")
    last = world.call("GET", f"/os-hypervisors/detail?limit=2&marker={marker}")
    assert [one["hypervisor_hostname"] for one in last["hypervisors"]] == ["h5"]
    assert "hypervisors_links" not in last
    assert len(world.call("GET", "/os-hypervisors?limit=2", version="2.32")["hypervisors"]) == 5
    for query in ("limit=x", "limit=-1", "marker=4", "colour=red", "with_servers=perhaps"):
        world.call("GET", f"/os-hypervisors?{query}", code=400)


@pytest.mark.parametrize(
    ("hypervisor_id", "version", "code"),
    [("9", "2.1", 404), ("x", "2.1", 404), ("x", "2.53", 400), ("1", "2.53", 400), (new_uuid(), "2.53", 404)],
)
def test_hypervisors_that_are_not_there(world: World, hypervisor_id: str, version: str, code: int) -> None:
    world.add_host("h1")
    world.call("GET", f"/os-hypervisors/{hypervisor_id}", version=version, code=code)
    world.call("GET", f"/os-hypervisors/{hypervisor_id}/uptime", version=version, code=code)


def test_uptime(world: World) -> None:
    world.add_host("h1")
    shown = world.call("GET", "/os-hypervisors/1/uptime", version="2.1")["hypervisor"]
    assert shown == {
        "id": 1,
        "hypervisor_hostname": "h1",
        "state": "up",
        "status": "enabled",
        "uptime": " 22:13:20 up 1 day,  2:03",
    }
    uuid = host_id(world, "h1")
    world.call("GET", f"/os-hypervisors/{uuid}/uptime", version="2.88", code=404)
    world.clock.advance(61)
    world.call("GET", f"/os-hypervisors/{uuid}/uptime", version="2.87", code=400)
    down = world.call("GET", f"/os-hypervisors/{uuid}")["hypervisor"]
    assert (down["state"], down["uptime"]) == ("down", None)


# --- services -----------------------------------------------------------------------------------------------


def test_services_in_each_version(worlds: World) -> None:
    worlds.add_host("h1")
    conductor(worlds, "c1", "power", ago=200)
    conductor(worlds, "c1", "orphans", ago=60)
    conductor(worlds, "c2", "images", ago=130)
    listed = worlds.call("GET", "/os-services", version="2.1")["services"]
    assert [(one["binary"], one["host"], one["zone"], one["state"]) for one in listed] == [
        ("nova-conductor", "c1", "internal", "up"),
        ("nova-scheduler", "c1", "internal", "up"),
        ("nova-conductor", "c2", "internal", "down"),
        ("nova-scheduler", "c2", "internal", "down"),
        ("nova-compute", "h1", "nova", "up"),
    ]
    assert len({one["id"] for one in listed}) == 5
    compute = {
        "id": host_number(worlds, "h1"), "binary": "nova-compute", "host": "h1", "zone": "nova",
        "status": "enabled", "state": "up", "updated_at": TIME, "disabled_reason": None,
    }  # fmt: skip
    uuid = host_id(worlds, "h1")
    query = "/os-services?binary=nova-compute&host=h1"
    assert worlds.call("GET", query, version="2.10")["services"] == [compute]
    assert worlds.call("GET", query, version="2.11")["services"] == [compute | {"forced_down": False}]
    assert worlds.call("GET", query, version="2.53")["services"] == [compute | {"forced_down": False, "id": uuid}]
    assert worlds.call("GET", "/os-services?binary=xxx&host=h1")["services"] == []
    assert len(worlds.call("GET", "/os-services?xxx=1", version="2.74")["services"]) == 5
    worlds.call("GET", "/os-services?xxx=1", version="2.75", code=400)


def test_services_change_by_name_until_2_52(worlds: World) -> None:
    worlds.add_host("h1")
    named = {"host": "h1", "binary": "nova-compute"}

    def put(action: str, version: str = "2.52", code: int = 200, **fields: Any) -> Any:
        answer = worlds.call("PUT", f"/os-services/{action}", named | fields, version=version, code=code)
        return answer["service"] if code == 200 else answer

    def shown() -> dict[str, Any]:
        service: dict[str, Any] = worlds.call("GET", "/os-services", version="2.52")["services"][0]
        return service

    assert put("disable") == named | {"status": "disabled"}
    assert put("disable-log-reason", disabled_reason="disk") == named | {
        "status": "disabled",
        "disabled_reason": "disk",
    }
    assert (shown()["status"], shown()["disabled_reason"]) == ("disabled", "disk")
    assert put("enable") == named | {"status": "enabled"}
    assert (shown()["status"], shown()["disabled_reason"]) == ("enabled", None)
    assert put("force-down", forced_down=True) == named | {"forced_down": True}
    assert (shown()["state"], shown()["forced_down"]) == ("down", True)
    assert put("force-down", forced_down="false")["forced_down"] is False
    assert shown()["state"] == "up"
    put("force-down", version="2.10", code=404, forced_down=True)
    for action in ("enable", "disable", "something"):
        put(action, version="2.53" if action != "something" else "2.52", code=404)
    put("enable", code=404, host="h9")
    put("enable", code=404, binary="nova-xxx")
    put("enable", code=400, colour="red")
    put("disable-log-reason", code=400)
    put("disable-log-reason", code=400, disabled_reason="")
    put("disable-log-reason", code=400, disabled_reason="r" * 256)
    put("force-down", code=400, forced_down="perhaps")


def test_services_change_by_id_from_2_53(worlds: World) -> None:
    worlds.add_host("h1")
    path = f"/os-services/{host_id(worlds, 'h1')}"
    changed = worlds.call("PUT", path, {"status": "disabled", "disabled_reason": "disk"})["service"]
    assert (changed["status"], changed["disabled_reason"], changed["updated_at"]) == ("disabled", "disk", TIME)
    changed = worlds.call("PUT", path, {"forced_down": True})["service"]
    assert (changed["status"], changed["state"], changed["forced_down"]) == ("disabled", "down", True)
    changed = worlds.call("PUT", path, {"status": "enabled", "forced_down": False})["service"]
    assert (changed["status"], changed["disabled_reason"], changed["state"]) == ("enabled", None, "up")
    worlds.call("PUT", path, {"status": "enabled"}, version="2.52", code=404)


@pytest.mark.parametrize(
    "body",
    [{}, {"status": "off"}, {"disabled_reason": "x"}, {"status": "enabled", "disabled_reason": "x"},
     {"status": "disabled", "disabled_reason": " "}, {"forced_down": "perhaps"}, {"colour": "red"}, []],
)  # fmt: skip
def test_bad_changes_of_services(world: World, body: Any) -> None:
    world.add_host("h1")
    world.call("PUT", f"/os-services/{host_id(world, 'h1')}", body, code=400)


def test_conductors_are_not_changed(world: World) -> None:
    conductor(world, "c1", "power")
    service_id = world.call("GET", "/os-services")["services"][0]["id"]
    world.call("PUT", f"/os-services/{service_id}", {"status": "disabled"}, code=400)
    world.call("DELETE", f"/os-services/{service_id}", code=400)


def test_a_host_is_deleted_once_it_is_empty(worlds: World) -> None:
    worlds.add_host("h1")
    worlds.add_host("h2")
    worlds.add_server("h1")
    worlds.call("DELETE", f"/os-services/{host_id(worlds, 'h1')}", code=409)
    worlds.call("DELETE", f"/os-services/{host_id(worlds, 'h2')}", code=204)
    assert [one["host"] for one in worlds.call("GET", "/os-services")["services"]] == ["h1"]
    with worlds.db.read() as tx:
        assert list(worlds.placement.usages(tx)) == ["h1"]
    worlds.add_host("h2")
    worlds.call("DELETE", f"/os-services/{host_id(worlds, 'h2')}", code=204)


@pytest.mark.parametrize(
    ("service_id", "version", "code"),
    [("x", "2.1", 400), ("9", "2.1", 404), ("1", "2.53", 400), (new_uuid(), "2.53", 404)],
)
def test_services_that_are_not_there(world: World, service_id: str, version: str, code: int) -> None:
    world.add_host("h1")
    world.call("DELETE", f"/os-services/{service_id}", version=version, code=code)
    if version != "2.1":
        world.call("PUT", f"/os-services/{service_id}", {"status": "enabled"}, version=version, code=code)


# --- availability zones -------------------------------------------------------------------------------------


def test_zones(worlds: World) -> None:
    empty = {"zoneName": "nova", "zoneState": {"available": False}, "hosts": None}
    assert worlds.call("GET", "/os-availability-zone", as_="reader") == {"availabilityZoneInfo": [empty]}
    worlds.add_host("h1")
    worlds.add_host("h2")
    conductor(worlds, "c1", "power")
    worlds.call("PUT", f"/os-services/{host_id(worlds, 'h2')}", {"status": "disabled", "forced_down": True})
    nova = empty | {"zoneState": {"available": True}}
    assert worlds.call("GET", "/os-availability-zone", as_="reader") == {"availabilityZoneInfo": [nova]}
    alive = {"active": True, "available": True, "updated_at": TIME}
    assert worlds.call("GET", "/os-availability-zone/detail")["availabilityZoneInfo"] == [
        nova
        | {
            "hosts": {
                "h1": {"nova-compute": alive},
                "h2": {"nova-compute": {"active": False, "available": False, "updated_at": TIME}},
            }
        },
        {
            "zoneName": "internal",
            "zoneState": {"available": True},
            "hosts": {"c1": {"nova-conductor": alive, "nova-scheduler": alive}},
        },
    ]


@pytest.mark.parametrize(
    ("method", "path", "version", "body"),
    [
        ("GET", "/os-hypervisors", "2.1", None),
        ("GET", "/os-hypervisors/detail", "2.1", None),
        ("GET", "/os-hypervisors/statistics", "2.1", None),
        ("GET", "/os-hypervisors/1", "2.1", None),
        ("GET", "/os-hypervisors/1/uptime", "2.1", None),
        ("GET", "/os-hypervisors/h/search", "2.1", None),
        ("GET", "/os-hypervisors/h/servers", "2.1", None),
        ("GET", "/os-services", "2.1", None),
        ("PUT", "/os-services/enable", "2.1", {"host": "h1", "binary": "nova-compute"}),
        ("PUT", f"/os-services/{new_uuid()}", "2.53", {"status": "enabled"}),
        ("DELETE", "/os-services/1", "2.1", None),
        ("GET", "/os-availability-zone/detail", "2.1", None),
    ],
)
def test_for_administrators_only(world: World, method: str, path: str, version: str, body: Any) -> None:
    world.add_host("h1")
    world.call(method, path, body, version=version, as_="member", code=403)
    assert world.raw(method, path, body, version=version, as_="nobody").status_code == 401
