"""Servers' lives across all services: request at one end, host at the other, and what is left afterwards."""

import math
import time
from collections.abc import Callable

import pytest

from pileus.agent.api import PowerState
from pileus.agent.errors import AgentError, ImageUnusable, NoSpace
from pileus.kernel.clock import SystemClock
from tests.whole.conftest import Scene, scene
from tests.world import World, wait_until


def test_a_server_gets_everything_and_leaves_nothing(anywhere: Scene) -> None:
    alice, host = anywhere.alice, anywhere.world.machine
    server_id = anywhere.create(metadata={"role": "web"}, config_drive=True, user_data="aGVsbG8=")
    assert alice.server(server_id)["status"] == "BUILD"
    anywhere.world.run()
    shown = alice.server(server_id)
    (port,) = alice.ports(server_id)
    (address,) = shown["addresses"]["net"]
    assert shown["status"] == "ACTIVE"
    assert address["addr"] == port["fixed_ips"][0]["ip_address"]
    assert address["OS-EXT-IPS-MAC:mac_addr"] == port["mac_address"]
    assert port["status"] == "ACTIVE"
    state = host.host.state()
    assert state.guests == {server_id: PowerState.RUNNING}
    assert state.dhcp_hosts == {anywhere.network["id"]: (port["id"],)}
    assert host.hypervisor.plan_of(server_id).taps.keys() == {port["id"]}
    metadata = host.host.metadata.of(server_id)
    assert metadata is not None
    assert (metadata.user_data, metadata.metadata) == ("aGVsbG8=", {"role": "web"})
    assert anywhere.world.audit() == []
    alice.delete(server_id)
    anywhere.world.run()
    assert alice.gone(server_id)
    assert anywhere.nothing_left()
    assert host.host.state().networks == ()


def test_power(here: Scene) -> None:
    server_id = here.active()
    guests = here.world.machine.hypervisor
    for action, arguments, status, power in (
        ("os-stop", None, "SHUTOFF", PowerState.SHUTDOWN),
        ("os-start", None, "ACTIVE", PowerState.RUNNING),
        ("reboot", {"type": "SOFT"}, "ACTIVE", PowerState.RUNNING),
        ("reboot", {"type": "HARD"}, "ACTIVE", PowerState.RUNNING),
    ):
        here.alice.act(server_id, action, arguments)
        here.world.run()
        assert (here.alice.server(server_id)["status"], guests.power_state(server_id)) == (status, power)
        assert here.world.audit() == []
    assert guests.boots_of(server_id) == 4
    console = here.alice.ok("POST", f"/compute/v2.1/servers/{server_id}/action", {"os-getConsoleOutput": {"length": 1}})
    assert console == {"output": "vm login: \n"}
    listed = here.alice.ok("GET", f"/compute/v2.1/servers/{server_id}/os-instance-actions")["instanceActions"]
    assert [action["action"] for action in listed] == ["reboot", "reboot", "start", "stop", "create"]


def test_floating_ip(here: Scene) -> None:
    alice = here.alice
    server_id = here.active()
    (port,) = alice.ports(server_id)
    router = alice.router(here.network["subnet"]["id"])
    floating = alice.make("floatingip", floating_network_id=router["public"], port_id=port["id"])
    here.world.run()
    kinds = {one["OS-EXT-IPS:type"]: one["addr"] for one in alice.server(server_id)["addresses"]["net"]}
    assert kinds == {"fixed": port["fixed_ips"][0]["ip_address"], "floating": floating["floating_ip_address"]}
    (spec,) = here.world.machine.network.routers.held.values()
    assert [one.floating_ip for one in spec.floating] == [floating["floating_ip_address"]]
    assert alice.ok("GET", f"/network/v2.0/floatingips/{floating['id']}")["floatingip"]["status"] == "ACTIVE"
    assert here.world.audit() == []
    alice.delete(server_id)
    here.world.run()
    left = alice.ok("GET", f"/network/v2.0/floatingips/{floating['id']}")["floatingip"]
    assert (left["port_id"], left["status"]) == (None, "DOWN")
    assert here.nothing_left()


def test_several_at_once(here: Scene) -> None:
    here.create(name="web", min_count=3)
    here.world.run()
    servers = here.alice.servers()
    assert sorted(server["name"] for server in servers) == ["web-1", "web-2", "web-3"]
    assert {server["status"] for server in servers} == {"ACTIVE"}
    assert len({server["addresses"]["net"][0]["addr"] for server in servers}) == 3
    assert here.world.audit() == []


def test_a_port_of_ones_own_outlives_its_server(here: Scene) -> None:
    alice = here.alice
    port = alice.make("port", network_id=here.network["id"], name="mine")
    server_id = here.active(networks=[{"port": port["id"]}])
    taken = alice.ports(server_id)
    assert [one["id"] for one in taken] == [port["id"]]
    assert here.world.audit() == []
    alice.delete(server_id)
    here.world.run()
    left = alice.ok("GET", f"/network/v2.0/ports/{port['id']}")["port"]
    assert (left["device_id"], left["device_owner"], left["status"]) == ("", "", "DOWN")
    assert left["fixed_ips"] == port["fixed_ips"]
    assert here.nothing_left()


def test_security_group_changes_reach_the_host(here: Scene) -> None:
    alice = here.alice
    server_id = here.active()
    (port,) = alice.ports(server_id)
    held = here.world.machine.network.ports.held
    before = held[port["id"]].rules
    group = port["security_groups"][0]
    alice.make("security_group_rule", security_group_id=group, direction="ingress", protocol="icmp")
    here.world.run()
    assert len(held[port["id"]].rules) == len(before) + 1
    assert here.world.audit() == []


# --- what goes wrong on hosts -------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [ImageUnusable("it is a picture of a cat"), NoSpace("the disk is full")])
def test_a_refusal_is_explained_and_leaves_the_row_only(here: Scene, trouble: AgentError) -> None:
    here.world.machine.disks.trouble = trouble
    server_id = here.create()
    here.world.run()
    shown = here.alice.server(server_id)
    assert shown["status"] == "ERROR"
    assert str(trouble) in shown["fault"]["message"]
    assert here.nothing_left()
    here.alice.delete(server_id)
    here.world.run()
    assert here.alice.gone(server_id)


def test_another_host_is_tried(make_world: Callable[..., World]) -> None:
    there = scene(make_world(hosts=("h1", "h2")))
    servers = []
    for machine in there.world.machines.values():
        machine.disks.trouble = NoSpace("full")
        servers.append(there.active())
        machine.disks.trouble = None
    placed = [there.world.admin.server(server_id)["OS-EXT-SRV-ATTR:host"] for server_id in servers]
    assert placed == ["h2", "h1"]
    listed = there.alice.ok("GET", f"/compute/v2.1/servers/{servers[0]}/os-instance-actions")["instanceActions"]
    assert [action["action"] for action in listed] == ["create"]
    assert there.world.audit() == []


def test_no_valid_host_says_why(make_world: Callable[..., World]) -> None:
    there = scene(make_world(hosts=("h1", "h2"), settings={"compute.quota_ram": -1, "compute.quota_cores": -1}))
    huge = there.world.admin.flavor("huge", ram=1 << 30)
    server_id = there.create(flavorRef=huge)
    there.world.run()
    shown = there.alice.server(server_id)
    assert shown["status"] == "ERROR"
    assert "No valid host was found" in shown["fault"]["message"]
    assert "2 without enough free MEMORY_MB" in shown["fault"]["message"]
    assert there.nothing_left()


def test_delete_while_building(here: Scene) -> None:
    never_begun = here.create()
    here.alice.delete(never_begun)
    midway = here.create()
    doomed = [midway]

    def at_the_disks(call: str) -> None:
        if call == "PUT /disks" and doomed:
            here.alice.delete(doomed.pop())

    here.world.machine.before = at_the_disks
    here.world.run()
    assert doomed == []
    assert here.alice.gone(never_begun)
    assert here.alice.gone(midway)
    assert here.nothing_left()


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_an_agent_that_is_away_for_a_moment(here: Scene, calls: int) -> None:
    here.world.machine.silent = calls
    server_id = here.active()
    assert here.world.audit() == []
    here.world.machine.silent = calls
    here.alice.delete(server_id)
    here.world.run()
    assert here.alice.gone(server_id)
    assert here.nothing_left()


def test_a_host_that_is_down_gets_no_servers_and_is_cleared_when_it_returns(make_world: Callable[..., World]) -> None:
    there = scene(make_world(hosts=("h1", "h2")))
    world = there.world
    server_id = there.active()
    name = world.admin.server(server_id)["OS-EXT-SRV-ATTR:host"]
    other = "h2" if name == "h1" else "h1"
    lost = world.machines[name]
    lost.silent = math.inf
    world.clock.sleep(world.cloud_settings.hosts.down_after + 1)
    world.report(other)
    second = there.active()
    assert world.admin.server(second)["OS-EXT-SRV-ATTR:host"] == other
    there.alice.delete(server_id)
    there.alice.delete(second)
    world.run()
    assert there.alice.gone(server_id)
    assert lost.host.state().guests == {server_id: PowerState.RUNNING}
    assert any("does not answer" in line for line in world.audit())
    lost.silent = 0
    world.report()
    world.clock.sleep(100)
    world.report()
    world.run()
    assert there.nothing_left()


def test_what_a_guest_does_by_itself_is_seen(here: Scene) -> None:
    server_id = here.active()
    here.world.clock.sleep(60)
    here.world.machine.hypervisor.end(server_id)
    here.world.report()
    assert here.alice.server(server_id)["status"] == "SHUTOFF"
    assert here.world.audit() == []
    here.alice.act(server_id, "os-start")
    here.world.run()
    assert here.alice.server(server_id)["status"] == "ACTIVE"
    assert here.world.audit() == []


def test_an_agent_that_died_finds_everything_again(here: Scene) -> None:
    server_id = here.active()
    before = here.world.machine.host.state()
    here.world.machine.boot()
    assert here.world.machine.host.state() == before
    here.alice.act(server_id, "reboot", {"type": "HARD"})
    here.world.run()
    assert here.alice.server(server_id)["status"] == "ACTIVE"
    assert here.world.audit() == []
    here.alice.delete(server_id)
    here.world.run()
    assert here.nothing_left()


@pytest.mark.parametrize("action", [("os-stop", None), ("reboot", {"type": "SOFT"})])
def test_a_deletion_does_not_wait_for_a_guest_that_takes_its_time(
    make_world: Callable[..., World], action: tuple[str, object]
) -> None:
    there = scene(make_world(clock=SystemClock()))
    there.world.report()
    server_id = there.active()
    there.world.machine.hypervisor.deafen(server_id)
    there.world.start_conductor()
    began = time.monotonic()
    there.alice.act(server_id, *action)
    wait_until(lambda: _acts_on(there, server_id))
    there.alice.delete(server_id)
    wait_until(lambda: there.alice.gone(server_id))
    assert time.monotonic() - began < 30  # of the 60 s that the guest may take
    there.world.stop_conductor()
    there.world.run()
    assert there.nothing_left()


def _acts_on(there: Scene, server_id: str) -> bool:
    """Whether something is being done with the server on its host."""
    path = f"/compute/v2.1/servers/{server_id}/os-instance-actions"
    request_id = there.alice.ok("GET", path)["instanceActions"][0]["request_id"]
    events = there.world.admin.ok("GET", f"{path}/{request_id}")["instanceAction"]["events"]
    return bool(events)
