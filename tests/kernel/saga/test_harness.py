"""The harness on a saga of the usual kind, and on sagas with the mistakes that it is there to find."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.saga_harness import Hiccup, exercise

from pileus.kernel.clock import FakeClock
from pileus.kernel.db import Database, DatabaseSettings, Tx
from pileus.kernel.saga import Ctx, Failure, Saga, Sagas, State, Step, tables

metadata = sa.MetaData()
claim = sa.Table("claim", metadata, sa.Column("n", sa.Integer, nullable=False))
thing = sa.Table("thing", metadata, sa.Column("id", sa.String(36), primary_key=True), sa.Column("state", sa.String(9)))


class Host:
    """What is on the host, by kind and name."""

    def __init__(self) -> None:
        self.things: set[tuple[str, str]] = set()


class World:
    """One resource; a counter in the database, and things on a host."""

    def __init__(self, template: Path, path: Path, saga: Saga) -> None:
        shutil.copyfile(template, path)
        self.path = path
        self.db = Database(DatabaseSettings(url=f"sqlite:///{path}"))
        self.clock = FakeClock()
        self.services = Host()
        self._saga = saga

    def begin(self, tx: Tx, sagas: Sagas) -> str:
        tx.execute(sa.insert(thing).values(id="r", state="BUILD"))
        return sagas.start(tx, self._saga.name, resource="r", project="p", user="u", request_id="req", params={"n": 3})

    def audit(self, state: State) -> list[str]:
        done = state is State.DONE
        expected = {
            "things": {("disk", "r"), ("guest", "r")} if done else set(),
            "claimed": 3 if done else 0,
            "state": "ACTIVE" if done else "ERROR",
        }
        with self.db.read() as tx:
            found = {
                "things": self.services.things,
                "claimed": tx.scalar(sa.select(claim.c.n)),
                "state": tx.scalar(sa.select(thing.c.state)),
            }
        return [f"{key}: {found[key]} instead of {expected[key]}" for key in expected if found[key] != expected[key]]

    def close(self) -> None:
        self.db.close()
        self.path.unlink()


def add(amount: int) -> Callable[[Tx], int]:
    def work(tx: Tx) -> int:
        tx.execute(sa.update(claim).values(n=claim.c.n + amount))
        return amount

    return work


def claim_host(ctx: Ctx) -> None:
    ctx.write(add(ctx.params["n"]))


def release_claim(ctx: Ctx) -> None:
    if "claim" in ctx.results:
        ctx.write(add(-ctx.results["claim"]))


def make_disk(ctx: Ctx) -> dict[str, str]:
    assert ctx.results["claim"] == 3
    ctx.services.things.add(("disk", ctx.resource))
    return {"path": f"/disks/{ctx.resource}"}


def make_guest(ctx: Ctx) -> None:
    assert ctx.results["disk"]["path"] == "/disks/r"
    ctx.services.things.add(("guest", ctx.resource))


def remove(ctx: Ctx) -> None:
    ctx.services.things.discard((ctx.step, ctx.resource))


def look(_ctx: Ctx) -> int:
    return 1


def set_state(tx: Tx, state: str) -> None:
    assert tx.changed(sa.update(thing).where(thing.c.state == "BUILD").values(state=state)) == 1


def on_done(ctx: Ctx, tx: Tx) -> None:
    assert ctx.results["look"] == 1
    set_state(tx, "ACTIVE")


def on_failed(_ctx: Ctx, tx: Tx, failure: Failure) -> None:
    assert failure.error
    set_state(tx, "ERROR")


GOOD = Saga(
    "thing.create",
    (
        Step("claim", do=claim_host, undo=release_claim),
        Step("disk", do=make_disk, undo=remove),
        Step("guest", do=make_guest, undo=remove),
        Step("look", do=look),
    ),
    on_done=on_done,
    on_failed=on_failed,
)


@pytest.fixture
def template(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "template.db"
    db = Database(DatabaseSettings(url=f"sqlite:///{path}"))
    with db.write() as tx:
        metadata.create_all(tx.connection)
        tables.saga.metadata.create_all(tx.connection, tables=[tables.saga, tables.saga_event])
        tx.execute(sa.insert(claim).values(n=0))
    with db.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    yield path
    assert list(tmp_path.glob("world*.db")) == []


def replaced(step: str, **changes: object) -> Saga:
    return replace(GOOD, steps=tuple(replace(s, **changes) if s.name == step else s for s in GOOD.steps))  # type: ignore[arg-type]


def test_a_sound_saga_survives_everything(template: Path, tmp_path: Path) -> None:
    assert exercise(GOOD, lambda: World(template, tmp_path / "world.db", GOOD)) > 150


def forget(_ctx: Ctx) -> None:
    return None


def undo_needs_result(ctx: Ctx) -> None:
    ctx.services.things.discard(("disk", ctx.results["disk"]["path"].rpartition("/")[2]))


def claim_twice(ctx: Ctx) -> int:
    ctx.db.transact(add(3))  # not exactly once: a crash after it leaves the claim behind
    return 3


def not_idempotent(ctx: Ctx) -> None:
    if ("guest", ctx.resource) in ctx.services.things:
        raise RuntimeError("there is one already")
    make_guest(ctx)


def undo_once(ctx: Ctx) -> None:
    ctx.services.things.remove(("guest", ctx.resource))


@pytest.mark.parametrize(
    ("step", "changes", "words"),
    [
        ("disk", {"undo": None}, "things: {('disk', 'r')}"),
        ("guest", {"undo": forget}, "things: {('guest', 'r')}"),
        ("disk", {"undo": undo_needs_result}, "stuck"),
        ("claim", {"do": claim_twice}, "claimed:"),
        ("guest", {"do": not_idempotent}, "ended undone, not done"),
        ("guest", {"undo": undo_once}, "stuck"),
    ],
)
def test_it_finds(step: str, changes: dict[str, object], words: str, template: Path, tmp_path: Path) -> None:
    bad = replaced(step, **changes)
    with pytest.raises(AssertionError) as caught:
        exercise(bad, lambda: World(template, tmp_path / "world.db", bad), most_problems=1)
    assert words in str(caught.value)


def test_it_finds_an_ending_that_leaves_a_transitional_state(template: Path, tmp_path: Path) -> None:
    bad = replace(GOOD, on_failed=None)
    with pytest.raises(AssertionError, match="state: BUILD instead of ERROR"):
        exercise(bad, lambda: World(template, tmp_path / "world.db", bad), most_problems=1)


def test_it_finds_a_step_that_never_recovers(template: Path, tmp_path: Path) -> None:
    def always(_ctx: Ctx) -> None:
        raise Hiccup

    bad = replaced("look", do=always)
    with pytest.raises(AssertionError, match=r"nothing happens. ended undone, not done"):
        exercise(bad, lambda: World(template, tmp_path / "world.db", bad), most_problems=1)
