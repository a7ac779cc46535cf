"""The real sagas of servers, with real networks, ledgers and agents, under every fault that the harness knows."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from pileus.compute.servers.creation import NewServers
from pileus.compute.servers.sagas import SAGAS
from pileus.compute.servers.service import CREATE, DELETE, REBOOT, START, STOP
from pileus.kernel.auth import Actor
from pileus.kernel.db import Tx
from pileus.kernel.ids import new_request_id
from pileus.kernel.saga import Sagas, State, listing
from pileus.network.domain import RequestedNic
from tests.saga_harness import exercise
from tests.whole.conftest import Scene, scene
from tests.world import World, copy_of

BY_NAME = {saga.name: saga for saga in SAGAS}

LEASE = 45.0
"""Seconds after which a description that a dead process was pushing to a host is pushed by another. (The harness's
processes do not really die, so that this is not seen sooner.)"""


class SagaWorld:
    """A copy of a scene in which one saga of one server is exercised. Only `server.create` begins without a server."""

    def __init__(self, before: Scene, directory: Path, name: str, server_id: str) -> None:
        self._world = copy_of(before.world, directory)
        self._before = before
        self._name = name
        self._server_id = server_id
        self._actor = Actor(
            user_id=before.alice.user_id,
            project_id=before.alice.project_id,
            roles=frozenset({"member", "reader"}),
        )
        self.db, self.clock, self.services = self._world.db, self._world.clock, self._world.cloud

    def begin(self, tx: Tx, sagas: Sagas) -> str:
        servers, actor, request_id = self.services.compute.servers, self._actor, new_request_id()
        servers.sagas = sagas
        if self._name == CREATE:
            new = NewServers(
                name="vm",
                flavor_ref=self._before.flavor,
                image_ref=self._before.image,
                nics=(RequestedNic(network_id=self._before.network["id"]),),
                config_drive=True,
            )
            self._server_id = servers.create(tx, actor, servers.plan(tx, actor, new, lambda _: False), request_id)[0]
        else:
            server = servers.get(tx, actor, self._server_id)
            if self._name == REBOOT:
                servers.reboot(tx, actor, server, request_id, hard=True)
            else:
                act = {DELETE: servers.delete, START: servers.start, STOP: servers.stop}[self._name]
                act(tx, actor, server, request_id)
        return listing(tx, resource=self._server_id)[0].id

    def audit(self, state: State) -> list[str]:
        """A create leaves all or nothing, a power action something that the host's next report puts right. What a
        deletion leaves when it fails, the next one must remove."""
        servers = self.services.compute.servers
        servers.sagas = self.services.sagas
        self._world.run()
        self.clock.sleep(LEASE)
        self._world.report()
        self._world.run()
        problems = self._world.audit() if state == State.DONE or self._name != DELETE else []
        with self.db.read() as tx:
            server = servers.get_any(tx, self._actor, self._server_id)
        if server.task_state is not None or server.vm_state == "building":
            problems.append(f"{server.vm_state} and {server.task_state} after {state}")
        if not server.deleted:
            with self.db.write() as tx:
                servers.delete(tx, self._actor, server, new_request_id())
            self._world.run()
        return problems + self._world.audit() + self._left()

    def _left(self) -> list[str]:
        state = self._world.machine.host.state()
        with self.db.read() as tx:
            allocations = self.services.placement.allocations(tx)
        things = (state.guests, state.disks, state.metadata, state.taps, state.networks, allocations)
        return [f"left after the deletion: {thing}" for thing in things if thing]

    def close(self) -> None:
        self._world.close()


@pytest.mark.parametrize("name", [CREATE, DELETE, START, STOP, REBOOT])
def test_a_saga_survives_everything(name: str, make_world: Callable[..., World], tmp_path: Path) -> None:
    before = scene(make_world())
    server_id = "" if name == CREATE else before.active()
    if name == START:
        before.alice.act(server_id, "os-stop")
        before.world.run()
    before.world.close()
    numbers = itertools.count()
    others = [saga for saga in SAGAS if saga.name != name]
    scenarios = exercise(
        BY_NAME[name],
        lambda: SagaWorld(before, tmp_path / str(next(numbers)), name, server_id),
        others=others,
        chaos=10,
    )
    assert scenarios > 40
