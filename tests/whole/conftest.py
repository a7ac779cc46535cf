"""Whole clouds in one process: see `tests.world`."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pileus.kernel.db import Database
from tests.world import Api, World, copy_of


@dataclass
class Scene:
    """A world with a project, alice's, that has what a server needs."""

    world: World
    alice: Api
    flavor: str
    image: str
    network: dict[str, Any]

    def create(self, **fields: Any) -> str:
        """Ask for a server on alice's network: its id."""
        return self.alice.create(**self.wanted(**fields))

    def wanted(self, **fields: Any) -> dict[str, Any]:
        """The attributes of such a server."""
        nics = [{"uuid": self.network["id"]}]
        return {"imageRef": self.image, "flavorRef": self.flavor, "networks": nics, **fields}

    def active(self, **fields: Any) -> str:
        """A server that runs."""
        server_id = self.create(**fields)
        self.world.run()
        assert self.alice.server(server_id)["status"] == "ACTIVE"
        return server_id

    def nothing_left(self) -> bool:
        """Whether no host, ledger or port has anything of servers."""
        states = [machine.host.state() for machine in self.world.machines.values()]
        assert [(state.guests, state.disks, state.metadata, state.taps) for state in states] == [
            ({}, (), (), ())
        ] * len(states)
        with self.world.db.read() as tx:
            assert self.world.cloud.placement.allocations(tx) == []
        assert self.alice.ports() == []
        return self.world.audit() == []


def scene(world: World) -> Scene:
    """A project with an image and a network, and a flavor for all."""
    alice = world.member("alice")
    return Scene(world, alice, world.admin.flavor(), alice.image(), alice.network())


@pytest.fixture(scope="session")
def _new_cloud(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A cloud that was bootstrapped, to be copied: several times as fast as making one."""
    with World(tmp_path_factory.mktemp("cloud") / "new") as world:
        return world


@pytest.fixture
def make_world(_new_cloud: World, tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes worlds on SQLite."""
    made: list[World] = []
    numbers = itertools.count()

    def make(**changes: Any) -> World:
        made.append(copy_of(_new_cloud, tmp_path / f"world-{next(numbers)}", **changes))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def here(make_world: Callable[..., World]) -> Scene:
    """A scene on SQLite, with one host."""
    return scene(make_world())


@pytest.fixture
def anywhere(database: Database, tmp_path: Path) -> Iterator[Scene]:
    """A scene on each kind of database."""
    url = database.engine.url.render_as_string(hide_password=False)
    with World(tmp_path / "world", url=url) as world:
        yield scene(world)
