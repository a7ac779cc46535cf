"""A server's life: created, stopped, started, rebooted, deleted, and what stands on its host meanwhile."""

from pathlib import Path

import pytest

from pileus.agent.api import PowerState
from pileus.kernel.db import Database
from tests.compute.world import World


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


def test_create_makes_everything_and_delete_removes_it(world: World) -> None:
    server_id = world.create(key_name="mine", metadata={"role": "web"}, config_drive=True)
    shown = world.show(server_id)
    assert (shown["status"], shown["OS-EXT-STS:task_state"], shown["addresses"]) == ("BUILD", "scheduling", {})
    world.run()
    shown = world.show(server_id)
    assert shown["status"] == "ACTIVE"
    assert shown["OS-EXT-STS:power_state"] == 1
    assert shown["OS-EXT-SRV-ATTR:host"] == "h1"
    assert shown["addresses"]["private"][0]["OS-EXT-IPS:type"] == "fixed"
    host = world.hosts.by_name["h1"]
    assert host.guests == {server_id: PowerState.RUNNING}
    assert host.metadata[server_id].public_keys == {"mine": "ssh-ed25519 AAAA me"}
    assert host.metadata[server_id].admin_pass is not None
    assert host.specs[server_id].instance_name == shown["OS-EXT-SRV-ATTR:instance_name"]
    assert world.audit() == []
    assert world.request("DELETE", f"/servers/{server_id}").status_code == 204
    assert world.show(server_id)["OS-EXT-STS:task_state"] == "deleting"
    world.run()
    assert world.request("GET", f"/servers/{server_id}").status_code == 404
    assert (host.guests, host.disks, host.metadata, host.taps) == ({}, {}, {}, set())
    assert world.audit() == []


def test_power_actions(world: World) -> None:
    server_id = world.active()
    host = world.hosts.by_name["h1"]
    for action, arguments, passing, status, power in (
        ("os-stop", None, "ACTIVE", "SHUTOFF", PowerState.SHUTDOWN),
        ("os-start", None, "SHUTOFF", "ACTIVE", PowerState.RUNNING),
        ("reboot", {"type": "SOFT"}, "REBOOT", "ACTIVE", PowerState.RUNNING),
        ("reboot", {"type": "HARD"}, "HARD_REBOOT", "ACTIVE", PowerState.RUNNING),
    ):
        assert world.act(server_id, action, arguments).status_code == 202
        assert world.show(server_id)["status"] == passing
        world.run()
        assert (world.show(server_id)["status"], host.guests[server_id]) == (status, power)
    assert world.act(server_id, "os-start").status_code == 409
    assert world.audit() == []


def test_delete_during_the_build_cancels_it(world: World) -> None:
    server_id = world.create()
    assert world.request("DELETE", f"/servers/{server_id}").status_code == 204
    world.run()
    assert world.request("GET", f"/servers/{server_id}").status_code == 404
    assert world.hosts.by_name["h1"].calls == []
    assert world.audit() == []


def test_state_survives_on_disk_without_its_fakes(tmp_path: Path, sqlite: Database) -> None:
    world = World(sqlite)
    server_id = world.active()
    again = World(sqlite)
    assert again.show(server_id)["status"] == "ACTIVE"
