"""Servers heed the limits that administrators set: of a project, of the class of all projects, of one user."""

from collections.abc import Callable
from typing import Any

import pytest

from pileus.kernel.db import Database, Tx
from tests.compute.world import ACTORS, PROJECT, World

BODY: dict[str, Any] = {"server": {"name": "vm", "imageRef": "22222222-2222-4222-8222-222222222222", "flavorRef": "1"}}
MEMBER = ACTORS["member"].user_id


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


def ask(world: World, *, as_: str = "member", **fields: Any) -> int:
    """The answer's status to a request for a server."""
    return world.request("POST", "/servers", {"server": {**BODY["server"], **fields}}, as_=as_).status_code


@pytest.mark.parametrize(
    "limit",
    [
        lambda world, tx: world.quotas.update(tx, PROJECT, {"instances": 1}),
        lambda world, tx: world.quotas.update(tx, PROJECT, {"cores": 1}),
        lambda world, tx: world.quotas.update(tx, PROJECT, {"ram": 128}),
        lambda world, tx: world.quotas.set_defaults(tx, {"instances": 1}),
        lambda world, tx: world.quotas.update(tx, PROJECT, {"instances": 1}, user_id=MEMBER),
    ],
    ids=["instances", "cores", "ram", "class", "user"],
)
def test_a_limit_that_was_set_holds(world: World, limit: Callable[[World, Tx], object]) -> None:
    world.db.transact(lambda tx: limit(world, tx))
    assert ask(world) == 202
    answer = world.request("POST", "/servers", BODY)
    assert answer.status_code == 403
    assert "Quota exceeded for" in answer.json["forbidden"]["message"]
    world.run()
    (server,) = world.request("GET", "/servers").json["servers"]
    world.request("DELETE", f"/servers/{server['id']}")
    world.run()
    assert ask(world) == 202


def test_a_users_limit_leaves_the_others_theirs(world: World) -> None:
    world.db.transact(lambda tx: world.quotas.update(tx, PROJECT, {"instances": 0}, user_id=MEMBER))
    assert ask(world) == 403
    assert ask(world, as_="stranger") == 202


def test_a_raised_limit_holds(world: World) -> None:
    world.db.transact(lambda tx: world.quotas.update(tx, PROJECT, {"instances": 11}))
    assert ask(world, min_count=11) == 202
    assert ask(world) == 403


def test_metadata_items(world: World) -> None:
    world.db.transact(lambda tx: world.quotas.update(tx, PROJECT, {"metadata_items": 1}))
    assert ask(world, metadata={"a": "1", "b": "2"}) == 403
    server_id = world.active(metadata={"a": "1"})
    assert world.request("POST", f"/servers/{server_id}/metadata", {"metadata": {"b": "2"}}).status_code == 403
    assert world.request("POST", f"/servers/{server_id}/metadata", {"metadata": {"a": "2"}}).status_code == 200
