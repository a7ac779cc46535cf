"""The sagas of servers under every fault: they end complete or clean, whatever dies on the way."""

import itertools
import shutil
from pathlib import Path

import pytest

from pileus.compute.servers.creation import NewServers
from pileus.compute.servers.sagas import CREATE_AGAIN, SAGAS
from pileus.compute.servers.service import CREATE, DELETE, REBOOT, START, STOP
from pileus.kernel.clock import FakeClock
from pileus.kernel.db import Database, DatabaseSettings, Tx
from pileus.kernel.ids import new_request_id
from pileus.kernel.saga import Sagas, State, listing
from tests.compute.fakes import IMAGE
from tests.compute.world import ACTORS, World
from tests.saga_harness import exercise

ACTOR = ACTORS["member"]
BY_NAME = {saga.name: saga for saga in SAGAS}


class SagaWorld:
    """A world in which one saga of one server is exercised. It begins with the server in the state that the saga
    needs; for `server.create` there is none yet."""

    def __init__(self, template: Path, path: Path, name: str) -> None:
        shutil.copyfile(template, path)
        self.db = Database(DatabaseSettings(url=f"sqlite:///{path}"))
        self.clock = FakeClock()
        self.world = World(self.db, clock=self.clock)
        self.services = self.world.services
        self._name = name
        self._server_id = "" if name == CREATE else self.world.active()
        if name == START:
            self.world.act(self._server_id, "os-stop")
            self.world.run()

    def begin(self, tx: Tx, sagas: Sagas) -> str:
        servers = self.services.compute.servers
        servers.sagas = sagas
        request_id = new_request_id()
        if self._name == CREATE:
            new = NewServers(name="vm", flavor_ref="1", image_ref=IMAGE, config_drive=True)
            plan = servers.plan(tx, ACTOR, new, lambda _rule: False)
            self._server_id = servers.create(tx, ACTOR, plan, request_id)[0]
        else:
            server = servers.get(tx, ACTOR, self._server_id)
            if self._name == DELETE:
                servers.delete(tx, ACTOR, server, request_id)
            elif self._name == START:
                servers.start(tx, ACTOR, server, request_id)
            elif self._name == STOP:
                servers.stop(tx, ACTOR, server, request_id)
            else:
                servers.reboot(tx, ACTOR, server, request_id, hard=True)
        return listing(tx, resource=self._server_id)[0].id

    def audit(self, state: State) -> list[str]:
        with self.db.read() as tx:
            server = self.services.compute.servers.get_any(tx, ACTORS["admin"], self._server_id)
            problems = [f"{one.name} has not ended" for one in listing(tx)]
        if server.task_state is not None or server.vm_state == "building":
            problems.append(f"{server.vm_state} and {server.task_state} after {state}")
        if state == State.UNDONE and self._name != CREATE:
            self._delete_what_is_left()
        return problems + [str(one) for one in self.world.audit()]

    def _delete_what_is_left(self) -> None:
        """A deletion or a power action that failed leaves the guest as it happens to be: deleting it must work."""
        self.services.compute.servers.sagas = self.world.sagas
        assert self.world.request("DELETE", f"/servers/{self._server_id}").status_code == 204
        self.world.run()
        self.world.networks.settle(self.world.hosts)

    def close(self) -> None:
        self.db.close()


@pytest.fixture
def template(_sqlite_template: Path) -> Path:
    return _sqlite_template


@pytest.mark.parametrize("name", [CREATE, DELETE, START, STOP, REBOOT])
def test_a_saga_survives_everything(name: str, template: Path, tmp_path: Path) -> None:
    numbers = itertools.count()
    others = [saga for saga in SAGAS if saga.name != name]
    assert CREATE_AGAIN in {saga.name for saga in others}
    scenarios = exercise(
        BY_NAME[name], lambda: SagaWorld(template, tmp_path / f"{next(numbers)}.db", name), others=others, chaos=10
    )
    assert scenarios > 40
