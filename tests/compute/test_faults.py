"""What becomes of servers when hosts refuse, go silent, restart, or have guests that they should not have."""

from collections.abc import Mapping

import pytest

from pileus.agent.api import PowerState
from pileus.compute.servers.audit import Have, Want, compare, wanted_host
from pileus.compute.servers.store import Selection, matching
from pileus.compute.settings import ComputeSettings
from pileus.kernel.db import Database
from pileus.kernel.ids import new_uuid
from tests.compute.fakes import FakeHost
from tests.compute.world import World


@pytest.fixture
def world(sqlite: Database) -> World:
    return World(sqlite, hosts=(FakeHost("h1"), FakeHost("h2")))


def on(world: World, name: str) -> FakeHost:
    return world.hosts.by_name[name]


@pytest.mark.parametrize("call", ["PUT ports", "PUT metadata", "PUT disks", "PUT guests"])
@pytest.mark.parametrize("refusal", ["no-space", "failed", "conflict"])
def test_a_host_that_refuses_is_left_for_another(world: World, call: str, refusal: str) -> None:
    on(world, "h1").refusing[call] = refusal
    for _ in range(2):
        server_id = world.active()
        assert world.show(server_id)["OS-EXT-SRV-ATTR:host"] == "h2"
    assert on(world, "h1").state() == FakeHost("h1").state()
    assert world.audit() == []
    actions = world.request("GET", f"/servers/{server_id}/os-instance-actions").json["instanceActions"]
    assert [one["action"] for one in actions] == ["create"]


def test_a_server_that_no_host_takes_says_why(world: World) -> None:
    for host in ("h1", "h2"):
        on(world, host).refusing["PUT guests"] = "failed"
    server_id = world.create()
    world.run()
    shown = world.show(server_id)
    assert shown["status"] == "ERROR"
    assert shown["OS-EXT-SRV-ATTR:host"] is None
    assert shown["fault"]["message"].startswith("No valid host was found. Of 2 hosts: 2 refused it before")
    assert "h1: refused: failed" in shown["fault"]["message"]
    assert world.audit() == []
    assert world.request("DELETE", f"/servers/{server_id}").status_code == 204
    world.run()
    assert world.request("GET", f"/servers/{server_id}").status_code == 404


def test_an_image_that_is_not_what_it_says_is_tried_once(world: World) -> None:
    for host in ("h1", "h2"):
        on(world, host).refusing["PUT disks"] = "image-unusable"
    server_id = world.create()
    world.run()
    assert world.show(server_id)["fault"]["message"] == "refused: image-unusable"
    assert sum(len(on(world, host).calls) > 0 for host in ("h1", "h2")) == 1
    assert world.audit() == []


def test_a_server_without_room_is_refused_with_numbers(world: World) -> None:
    for host in ("h1", "h2"):
        on(world, host).enabled = False
    server_id = world.create()
    world.run()
    fault = world.show(server_id)["fault"]
    assert fault["message"] == "No valid host was found. Of 2 hosts: 2 down or disabled (ComputeFilter)."
    assert "details" in fault
    assert "details" not in world.show(server_id, as_="member")["fault"]


def test_a_server_on_a_dead_host_can_be_deleted(world: World) -> None:
    server_id = world.active()
    name = world.show(server_id)["OS-EXT-SRV-ATTR:host"]
    on(world, name).silent, on(world, name).up = True, False
    world.request("DELETE", f"/servers/{server_id}")
    world.run()
    assert world.request("GET", f"/servers/{server_id}").status_code == 404
    on(world, name).silent, on(world, name).up = False, True
    assert on(world, name).guests == {server_id: PowerState.RUNNING}
    report(world, name)
    assert on(world, name).guests == {}
    assert on(world, name).disks == {}


def test_a_host_that_is_silent_for_a_moment_is_asked_again(world: World) -> None:
    server_id = world.active()
    name = world.show(server_id)["OS-EXT-SRV-ATTR:host"]
    on(world, name).silent = True
    world.request("DELETE", f"/servers/{server_id}")
    world.run()
    shown = world.show(server_id)
    assert (shown["status"], shown["OS-EXT-STS:task_state"]) == ("ERROR", None)
    on(world, name).silent = False
    world.request("DELETE", f"/servers/{server_id}")
    world.run()
    assert world.audit() == []


def report(world: World, host: str, states: Mapping[str, PowerState] | None = None, *, complete: bool = True) -> None:
    """The host reports its guests, long after anything happened, and what follows comes to its end."""
    world.clock.sleep(10)
    seen = on(world, host).guests if states is None else states
    world.db.transact(lambda tx: world.compute.observe_power(tx, host, seen, complete))
    world.run()


def test_guests_that_go_off_by_themselves_are_noticed(world: World) -> None:
    server_id = world.active()
    name = world.show(server_id)["OS-EXT-SRV-ATTR:host"]
    report(world, name)
    assert world.show(server_id)["status"] == "ACTIVE"
    on(world, name).guests[server_id] = PowerState.SHUTDOWN
    report(world, name)
    shown = world.show(server_id)
    assert (shown["status"], shown["OS-EXT-STS:power_state"]) == ("SHUTOFF", 4)
    assert world.audit() == []
    world.act(server_id, "os-start")
    world.run()
    assert on(world, name).guests[server_id] == PowerState.RUNNING


def test_a_report_older_than_the_last_change_is_not_believed(world: World) -> None:
    server_id = world.active()
    name = world.show(server_id)["OS-EXT-SRV-ATTR:host"]
    world.db.transact(lambda tx: world.compute.observe_power(tx, name, {}, True))
    assert world.show(server_id)["status"] == "ACTIVE"
    report(world, name, {}, complete=False)
    assert world.show(server_id)["status"] == "ACTIVE"
    report(world, name, {})
    assert world.show(server_id)["status"] == "SHUTOFF"


def test_a_guest_that_should_be_off_is_stopped(world: World) -> None:
    server_id = world.active()
    name = world.show(server_id)["OS-EXT-SRV-ATTR:host"]
    world.act(server_id, "os-stop")
    world.run()
    on(world, name).guests[server_id] = PowerState.RUNNING
    report(world, name)
    assert on(world, name).guests[server_id] == PowerState.SHUTDOWN
    assert world.show(server_id)["status"] == "SHUTOFF"


@pytest.mark.parametrize("resume", [True, False])
def test_a_restarted_host(sqlite: Database, resume: bool) -> None:
    world = World(sqlite, settings=ComputeSettings(resume_guests_state_on_host_boot=resume))
    server_id = world.active()
    host = on(world, "h1")
    world.clock.sleep(60)
    host.booted_at = world.clock.now()
    host.guests[server_id] = PowerState.SHUTDOWN
    host.taps.clear()
    report(world, "h1")
    assert world.show(server_id)["status"] == ("ACTIVE" if resume else "SHUTOFF")
    if resume:
        assert host.taps
        assert host.guests[server_id] == PowerState.RUNNING


def test_unknown_guests_are_left_alone(world: World) -> None:
    stranger = new_uuid()
    on(world, "h1").guests[stranger] = PowerState.RUNNING
    report(world, "h1")
    assert on(world, "h1").guests == {stranger: PowerState.RUNNING}
    assert [str(one) for one in world.audit()] == [f"guest {stranger} on h1: should not be there"]


def test_the_audit_finds_every_kind_of_difference(world: World) -> None:
    server_id = world.active()
    name = world.show(server_id)["OS-EXT-SRV-ATTR:host"]
    with world.db.read() as tx:
        servers = matching(tx, Selection())
        allocations = world.placement.allocations(tx)
    state = on(world, name).state()
    want = Want(
        servers=servers,
        live=frozenset(),
        hosts={name: wanted_host(servers, {server_id: state.taps})},
        addresses=frozenset(),
    )
    assert compare(want, Have(hosts={name: state}, allocations=allocations)) == []
    kinds = [one.kind for one in compare(want, Have(hosts={name: FakeHost("x").state()}))]
    assert kinds == ["allocation"] * 3 + ["guest", "disks", "metadata", "tap"]
    assert [one.kind for one in compare(want, Have(hosts={}, allocations=allocations))] == ["host"]
    leaked = frozenset({("port", "10.0.0.9")})
    found = compare(want, Have(hosts={name: state}, allocations=allocations, addresses=leaked, miscounted=("h1 lies",)))
    assert [one.kind for one in found] == ["inventory", "address"]
    building = world.create()
    with world.db.read() as tx:
        servers = matching(tx, Selection())
    (stuck,) = compare(
        Want(servers=servers, live=frozenset(), hosts=want.hosts), Have(hosts={name: state}, allocations=allocations)
    )
    assert (stuck.kind, stuck.what) == ("server", building)
