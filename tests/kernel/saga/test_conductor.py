"""The conductor's threads, and real processes that die."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.kernel.saga.sagas import Cloud, wait_for

from pileus.kernel.clock import SystemClock
from pileus.kernel.db import Database, DatabaseSettings
from pileus.kernel.errors import Unavailable
from pileus.kernel.nudge import Nudges
from pileus.kernel.saga import Conductor, ConductorSettings, Ctx, Saga, Sagas, State, Step, listing, tables

SLOW_POLL = ConductorSettings(poll_seconds=30, lease_seconds=60, threads=4, stop_seconds=5)


@contextmanager
def running(cloud: Cloud, settings: ConductorSettings = SLOW_POLL) -> Iterator[Conductor]:
    conductor = Conductor(cloud.db, cloud.sagas, cloud.script, cloud.clock, cloud.nudges, settings)
    conductor.start()
    try:
        yield conductor
    finally:
        conductor.stop()


def unfinished(db: Database) -> int:
    with db.read() as tx:
        return len(listing(tx))


def test_a_nudge_starts_it_without_polling(database: Database) -> None:
    cloud = Cloud(database, clock=SystemClock())
    with running(cloud):
        for n in range(20):
            cloud.start(f"r{n}")
        wait_for(lambda: unfinished(database) == 0)
    with database.read() as tx:
        assert {one.state for one in listing(tx, states=list(State))} == {State.DONE}


def test_without_nudges_it_polls(sqlite: Database) -> None:
    cloud = Cloud(sqlite, clock=SystemClock())
    with running(cloud, ConductorSettings(poll_seconds=0.05)):
        cloud.nudges = Nudges()
        cloud.sagas = Sagas(cloud.clock, cloud.nudges, [cloud.sagas.find("server.create", 1)])  # type: ignore[list-item]
        cloud.start()
        wait_for(lambda: unfinished(sqlite) == 0)


def test_sagas_of_a_resource_follow_each_other_without_polling(sqlite: Database) -> None:
    cloud = Cloud(sqlite, clock=SystemClock())
    with running(cloud):
        for _ in range(10):
            cloud.start()
        wait_for(lambda: unfinished(sqlite) == 0)
    assert len(cloud.script.calls) == 30


def test_sagas_that_wait_hold_no_thread(sqlite: Database) -> None:
    cloud = Cloud(sqlite, clock=SystemClock())
    open_gate = threading.Event()

    def gate(ctx: Ctx) -> None:
        if ctx.resource.startswith("waits") and not open_gate.is_set():
            raise Unavailable("not yet")

    cloud.script.hooks["do claim"] = gate
    with running(cloud):
        waiting = [cloud.start(f"waits{n}") for n in range(8)]
        wait_for(lambda: cloud.script.calls.count("do claim") >= 8)
        quick = cloud.start("quick")
        wait_for(lambda: cloud.state(quick) is State.DONE)
        assert all(cloud.state(one) is State.RUNNING for one in waiting)
        open_gate.set()
        wait_for(lambda: unfinished(sqlite) == 0)


def test_a_cancel_cuts_a_pause_short(sqlite: Database) -> None:
    cloud = Cloud(sqlite, clock=SystemClock())

    def unavailable(_ctx: Ctx) -> None:
        raise Unavailable("never")

    cloud.script.hooks["do ports"] = unavailable
    with running(cloud):
        saga_id = cloud.start()
        wait_for(lambda: cloud.script.calls.count("do ports") >= 5)  # the pause is at least 0.8 s now
        begun = time.monotonic()
        cloud.cancel(saga_id)
        wait_for(lambda: cloud.state(saga_id) is State.UNDONE)
        assert cloud.script.calls.count("do ports") == 5
        assert time.monotonic() - begun < 5


def test_a_running_step_is_told_of_a_cancel(sqlite: Database) -> None:
    cloud = Cloud(sqlite, clock=SystemClock())
    inside = threading.Event()

    def long(ctx: Ctx) -> None:
        inside.set()
        wait_for(lambda: ctx.cancelled)
        ctx.check()

    cloud.script.hooks["do guest"] = long
    with running(cloud):
        saga_id = cloud.start()
        assert inside.wait(10)
        cloud.cancel(saga_id)
        wait_for(lambda: cloud.state(saga_id) is State.UNDONE)


def test_stop_lets_the_step_finish_and_gives_leases_back(sqlite: Database) -> None:
    cloud = Cloud(sqlite, clock=SystemClock())
    inside, leave = threading.Event(), threading.Event()

    def long(_ctx: Ctx) -> None:
        inside.set()
        assert leave.wait(10)

    cloud.script.hooks["do ports"] = long
    with running(cloud) as conductor:
        saga_id = cloud.start()
        assert inside.wait(10)
        stopper = threading.Thread(target=conductor.stop)
        stopper.start()
        wait_for(lambda: conductor.engine.stopping)
        leave.set()
        stopper.join()
    shown = cloud.shown(saga_id)
    assert (shown.owner, shown.state) == (None, State.RUNNING)
    cloud.script.hooks.clear()
    with running(cloud):
        wait_for(lambda: cloud.state(saga_id) is State.DONE)
    assert cloud.script.calls == ["do claim", "do ports", "do guest"]


def test_stop_does_not_wait_for_ever(sqlite: Database) -> None:
    cloud = Cloud(sqlite, clock=SystemClock())
    inside, leave = threading.Event(), threading.Event()

    def hangs(_ctx: Ctx) -> None:
        inside.set()
        leave.wait(30)

    cloud.script.hooks["do ports"] = hangs
    with running(cloud, ConductorSettings(stop_seconds=0.05)) as conductor:
        saga_id = cloud.start()
        assert inside.wait(10)
        conductor.stop()
        assert cloud.shown(saga_id).owner is None
        leave.set()


# --- processes ----------------------------------------------------------------------------------------------


def leave_a_mark(ctx: Ctx) -> None:
    (ctx.services / f"{ctx.resource}.{ctx.step}").touch()
    time.sleep(0.002)


def remove_the_mark(ctx: Ctx) -> None:
    (ctx.services / f"{ctx.resource}.{ctx.step}").unlink(missing_ok=True)


def refuse(ctx: Ctx) -> None:
    if ctx.params["fail"]:
        raise ValueError


MARKS = Saga(
    "mark.create",
    (
        Step("one", do=leave_a_mark, undo=remove_the_mark),
        Step("two", do=leave_a_mark, undo=remove_the_mark),
        Step("last", do=refuse),
    ),
)


def conductor_process(url: str, marks: Path) -> int:
    """Fork a process that runs a conductor until it is killed; its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            clock, nudges = SystemClock(), Nudges()
            db = Database(DatabaseSettings(url=url))
            settings = ConductorSettings(poll_seconds=0.05, threads=4)
            Conductor(db, Sagas(clock, nudges, [MARKS]), marks, clock, nudges, settings).run_forever()
        finally:
            os._exit(1)
    return pid


@pytest.mark.timeout(120)
def test_processes_killed_at_random_leave_nothing_half_done(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/pileus.db"
    db = Database(DatabaseSettings(url=url))
    with db.write() as tx:
        tables.saga.metadata.create_all(tx.connection, tables=[tables.saga, tables.saga_event])
    clock = SystemClock()
    sagas = Sagas(clock, Nudges(), [MARKS])
    marks = tmp_path / "marks"
    marks.mkdir()
    with db.write() as tx:
        for n in range(120):
            common = {"project": "p", "user": "u", "request_id": "req"}
            sagas.start(tx, MARKS, resource=f"r{n}", params={"fail": n % 3 == 0}, **common)
    kills = 0
    while unfinished(db):
        pid = conductor_process(url, marks)
        time.sleep(0.06 + 0.013 * (kills % 7))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        kills += 1
        assert kills < 100, "no progress"
    expected = {f"r{n}.{step}" for n in range(120) if n % 3 for step in ("one", "two")}
    assert {path.name for path in marks.iterdir()} == expected
    with db.read() as tx:
        ended = tx.all(sa.select(tables.saga.c.state, sa.func.count().label("n")).group_by(tables.saga.c.state))
    assert {row.state: row.n for row in ended} == {State.DONE: 80, State.UNDONE: 40}
    assert kills >= 2
    db.close()
