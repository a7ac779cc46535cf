"""What a guest may learn of itself reaches its host, whatever dies or happens on the way."""

import pytest

from pileus.compute.metadata_sync.loops import metadata_loop
from pileus.kernel.db import Database
from pileus.kernel.loops import LoopCtx
from tests.compute.fakes import FakeHost
from tests.compute.world import World


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


def host_of(world: World) -> FakeHost:
    return world.hosts.by_name["h1"]


def change(world: World, server_id: str, **items: str) -> None:
    answer = world.request("PUT", f"/servers/{server_id}/metadata", {"metadata": items})
    assert answer.status_code == 200, answer.text


def run_loop(world: World) -> None:
    metadata_loop(world.compute.servers).run(LoopCtx(world.db, world.services, world.clock, lambda: False))


def behind(world: World) -> list[str]:
    with world.db.read() as tx:
        return world.compute.servers.metadata_sync.behind(tx)


def later(world: World, seconds: float = 120.0) -> None:
    world.clock.advance(seconds)


def die() -> None:
    raise Killed


@pytest.mark.parametrize(
    ("body", "learned"),
    [
        ({"name": "new"}, {"name": "new", "hostname": "vm"}),
        ({"hostname": "other"}, {"name": "vm", "hostname": "other"}),
    ],
)
def test_changes_of_the_server_itself(world: World, body: dict[str, str], learned: dict[str, str]) -> None:
    server_id = world.active()
    assert world.request("PUT", f"/servers/{server_id}", {"server": body}, version="2.90").status_code == 200
    world.run()
    spec = host_of(world).metadata[server_id]
    assert {name: getattr(spec, name) for name in learned} == learned


def test_a_mark_outlives_the_process_that_made_it(database: Database, world: World) -> None:
    server_id = world.active()
    change(world, server_id, role="web")
    assert len(behind(world)) == 1
    successor = World(database)
    successor.hosts.by_name = world.hosts.by_name
    run_loop(successor)
    assert host_of(world).metadata[server_id].metadata == {"role": "web"}
    assert behind(successor) == []


def test_killed_while_telling(world: World) -> None:
    server_id = world.active()
    change(world, server_id, role="web")
    host_of(world).meanwhile["PUT metadata"] = die
    with pytest.raises(Killed):
        run_loop(world)
    run_loop(world)
    assert host_of(world).metadata[server_id].metadata == {"role": "web"}
    assert behind(world) == []


def test_a_host_that_does_not_answer_hears_it_later(world: World) -> None:
    server_id = world.active()
    host = host_of(world)
    host.silent = True
    change(world, server_id, role="web")
    run_loop(world)
    host.silent = False
    run_loop(world)
    assert host.metadata[server_id].metadata == {}
    later(world)
    run_loop(world)
    assert host.metadata[server_id].metadata == {"role": "web"}


def test_a_refusal_holds_nobody_else_up(world: World) -> None:
    servers = sorted(world.active() for _ in range(2))
    host = host_of(world)
    host.refusing["PUT metadata"] = "no-space"
    for server_id in servers:
        change(world, server_id, role="web")
    asked = len(host.calls)
    run_loop(world)
    assert host.calls[asked:] == ["PUT metadata"] * 2
    host.refusing.clear()
    later(world)
    run_loop(world)
    assert [host.metadata[server_id].metadata for server_id in servers] == [{"role": "web"}] * 2


def test_a_change_while_another_is_told(world: World) -> None:
    server_id = world.active()
    change(world, server_id, role="web")
    host_of(world).meanwhile["PUT metadata"] = lambda: change(world, server_id, role="db")
    run_loop(world)
    assert host_of(world).metadata[server_id].metadata == {"role": "db"}


def test_a_deletion_while_it_is_told_leaves_nothing(world: World) -> None:
    server_id = world.active()
    change(world, server_id, role="web")

    def delete() -> None:
        assert world.request("DELETE", f"/servers/{server_id}").status_code == 204
        world.run()

    host_of(world).meanwhile["PUT metadata"] = delete
    run_loop(world)
    assert host_of(world).metadata == {}
    assert behind(world) == []
    assert world.audit() == []


def test_an_older_description_of_an_operation_does_not_stay(world: World) -> None:
    server_id = world.active()

    def overtake() -> None:
        body = {"server": {"name": "new"}}
        assert world.request("PUT", f"/servers/{server_id}", body).status_code == 200
        run_loop(world)

    assert world.act(server_id, "reboot", {"type": "HARD"}).status_code == 202
    host_of(world).meanwhile["PUT metadata"] = overtake
    world.run()
    assert host_of(world).metadata[server_id].name == "new"
    assert world.show(server_id)["status"] == "ACTIVE"


def test_a_server_that_is_being_built_keeps_its_password(world: World) -> None:
    server_id = world.create(config_drive=True)

    def rename() -> None:
        assert world.request("PUT", f"/servers/{server_id}", {"server": {"name": "new"}}).status_code == 200
        run_loop(world)

    host_of(world).meanwhile["PUT metadata"] = rename
    host_of(world).meanwhile["PUT disks"] = lambda: passwords.append(host_of(world).metadata[server_id].admin_pass)
    passwords: list[str | None] = []
    world.run()
    assert passwords[0] is not None
    later(world)
    run_loop(world)
    assert host_of(world).metadata[server_id].name == "new"
    assert behind(world) == []


def test_a_failed_build_leaves_nothing_to_be_told(world: World) -> None:
    host_of(world).refusing["PUT guests"] = "failed"
    server_id = world.create()

    def rename() -> None:
        assert world.request("PUT", f"/servers/{server_id}", {"server": {"name": "new"}}).status_code == 200

    host_of(world).meanwhile["PUT disks"] = rename
    world.run()
    later(world)
    run_loop(world)
    assert world.show(server_id)["status"] == "ERROR"
    assert host_of(world).metadata == {}
    assert behind(world) == []


def test_a_host_that_was_removed_is_forgotten(world: World) -> None:
    server_id = world.active()
    change(world, server_id, role="web")
    gone = world.hosts.by_name.pop("h1")
    run_loop(world)
    assert behind(world) == []
    assert gone.metadata[server_id].metadata == {}


def test_many_hosts_are_told_at_once(database: Database) -> None:
    world = World(database, hosts=[FakeHost(f"h{number}") for number in range(1, 4)])
    servers = [world.active() for _ in range(6)]
    for host in world.hosts.by_name.values():
        host.silent = host.name == "h1"
    for server_id in servers:
        change(world, server_id, role="web")
    run_loop(world)
    for host in world.hosts.by_name.values():
        heard = {spec.metadata.get("role") for spec in host.metadata.values()}
        assert heard <= ({None} if host.silent else {"web"})
    assert all(sentence.startswith("host h1 ") for sentence in behind(world))
