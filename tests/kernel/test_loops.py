import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pileus.kernel.clock import FakeClock, SystemClock
from pileus.kernel.db import Database
from pileus.kernel.loops import LEASE_SECONDS, LONGEST_BACKOFF, Loop, LoopCtx, LoopRunner, nudge_loop, states
from pileus.kernel.nudge import Nudges


class Work:
    """A loop's work that counts, and fails when told to."""

    def __init__(self) -> None:
        self.runs = 0
        self.error = ""

    def __call__(self, ctx: LoopCtx) -> None:
        self.runs += 1
        if self.error:
            raise RuntimeError(self.error)


def runner(db: Database, clock: FakeClock, *loops: Loop, owner: str | None = None) -> LoopRunner:
    return LoopRunner(db, loops, None, clock, Nudges(), owner)


def test_runs_when_due(sqlite: Database) -> None:
    clock, work = FakeClock(), Work()
    loops = runner(sqlite, clock, Loop("power", 60, work))
    assert loops.run_due() == ["power"]
    assert loops.run_due() == []
    clock.advance(67)
    assert loops.run_due() == ["power"]
    assert work.runs == 2


def test_a_nudge_makes_it_run_now(sqlite: Database) -> None:
    clock, work = FakeClock(), Work()
    loops = runner(sqlite, clock, Loop("power", 60, work))
    loops.run_due()
    clock.advance(1)
    loops.nudge("power")
    loops.nudge("unknown")
    assert loops.run_due() == ["power"]


def test_nudged_runs_keep_apart(sqlite: Database) -> None:
    clock, work = FakeClock(), Work()
    loops = runner(sqlite, clock, Loop("sync", 60, work, apart=0.1))
    assert loops.run_due() == ["sync"]
    loops.nudge("sync")
    assert loops.run_due() == []
    clock.advance(0.1)
    assert loops.run_due() == ["sync"]
    clock.advance(0.2)
    loops.nudge("sync")
    assert loops.run_due() == ["sync"] and work.runs == 3


def test_only_one_process_runs_a_round(database: Database) -> None:
    clock, work = FakeClock(), Work()
    loop = Loop("power", 60, work)
    first, second = runner(database, clock, loop, owner="one"), runner(database, clock, loop, owner="two")
    assert (first.run_due(), second.run_due()) == (["power"], [])
    for _ in range(20):
        clock.advance(10)
        first.run_due()
        second.run_due()
    assert 3 <= work.runs <= 5


def test_both_processes_run_what_is_not_a_singleton(sqlite: Database) -> None:
    clock, work = FakeClock(), Work()
    loop = Loop("cache", 60, work, singleton=False)
    for owner in ("one", "two"):
        assert runner(sqlite, clock, loop, owner=owner).run_due() == ["cache"]


def test_one_nudge_to_two_processes_is_one_run(sqlite: Database) -> None:
    clock, work = FakeClock(), Work()
    loop = Loop("power", 60, work)
    first, second = runner(sqlite, clock, loop, owner="one"), runner(sqlite, clock, loop, owner="two")
    first.run_due()
    second.run_due()
    clock.advance(1)
    first.nudge("power")
    second.nudge("power")
    clock.advance(0.001)
    assert (first.run_due(), second.run_due()) == (["power"], [])


def test_a_dead_process_loses_its_lease(sqlite: Database) -> None:
    clock, work = FakeClock(), Work()

    def die(_ctx: LoopCtx) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner(sqlite, clock, Loop("power", 5, die), owner="elsewhere:1:x:1").run_due()
    survivor = runner(sqlite, clock, Loop("power", 5, work))
    assert survivor.run_due() == []
    clock.advance(LEASE_SECONDS + 1)
    assert survivor.run_due() == ["power"]


def test_a_nudge_during_another_process_run_is_heeded_after_it(sqlite: Database) -> None:
    clock, work = FakeClock(), Work()
    other = runner(sqlite, clock, Loop("power", 60, work), owner="two")

    def meanwhile(_ctx: LoopCtx) -> None:
        clock.advance(1)
        other.nudge("power")
        assert other.run_due() == []

    runner(sqlite, clock, Loop("power", 60, meanwhile), owner="one").run_due()
    clock.advance(1)
    assert other.run_due() == ["power"]


def test_failures_are_recorded_and_slow_it_down(sqlite: Database) -> None:
    clock, work = FakeClock(), Work()
    loops = runner(sqlite, clock, Loop("power", 10, work))
    work.error = "libvirt is gone"
    pauses = []
    for _ in range(9):
        begun = clock.now()
        while not loops.run_due():
            clock.advance(1)
        pauses.append((clock.now() - begun) / 1e6)
    assert 17 <= pauses[1] <= 23
    assert LONGEST_BACKOFF * 0.9 <= pauses[-1] <= LONGEST_BACKOFF * 1.1 + 1
    with sqlite.read() as tx:
        (state,) = states(tx)
    assert (state.failures, state.error, state.succeeded_at) == (9, "RuntimeError: libvirt is gone", None)
    work.error = ""
    loops.nudge("power")
    clock.advance(1)
    assert loops.run_due() == ["power"]
    with sqlite.read() as tx:
        (state,) = states(tx)
    assert (state.failures, state.error, state.succeeded_at) == (0, None, clock.now())


@contextmanager
def started(loops: LoopRunner) -> Iterator[None]:
    loops.start()
    try:
        yield
    finally:
        loops.stop()


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.002)


def test_threads_run_loops_and_never_overlap(sqlite: Database) -> None:
    inside, overlaps, runs = threading.Lock(), [], []

    def work(_ctx: LoopCtx) -> None:
        if not inside.acquire(blocking=False):
            overlaps.append(1)
            return
        runs.append(1)
        inside.release()

    nudges = Nudges()
    other = Work()
    loops = [Loop("often", 0.001, work), Loop("seldom", 3600, other)]
    with started(LoopRunner(sqlite, loops, None, SystemClock(), nudges)):
        wait_for(lambda: len(runs) > 5 and other.runs == 1)
        with sqlite.write() as tx:
            nudge_loop(tx, nudges, "seldom")
        wait_for(lambda: other.runs == 2)
    assert not overlaps
    ended = len(runs)
    with sqlite.read() as tx:
        assert all(state.owner is None for state in states(tx))
    assert len(runs) == ended


def test_stop_tells_a_long_run(sqlite: Database) -> None:
    begun = threading.Event()

    def work(ctx: LoopCtx) -> None:
        begun.set()
        wait_for(ctx.stopping)

    with started(LoopRunner(sqlite, [Loop("long", 60, work)], None, SystemClock(), Nudges())):
        assert begun.wait(10)
    with sqlite.read() as tx:
        assert states(tx)[0].error is None


def test_nudges_reach_other_processes(tmp_path: Path) -> None:
    heard: list[str] = []
    receiver, sender = Nudges(tmp_path), Nudges(tmp_path)
    receiver.listen(heard.append)
    receiver.serve()
    (tmp_path / "conductor-1.sock").touch()
    sender.send("saga")
    wait_for(lambda: heard == ["saga"])
    receiver.send("own")
    wait_for(lambda: heard == ["saga", "own"])
    receiver.forget(heard.append)
    receiver.close()
    sender.send("nobody")
    sender.close()
    assert not list(tmp_path.glob("conductor-[2-9]*.sock"))


def test_a_dead_process_socket_is_removed(tmp_path: Path) -> None:
    dead = tmp_path / "conductor-999.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        own.bind(str(dead))
    sender = Nudges(tmp_path)
    sender.send("saga")
    sender.close()
    assert not dead.exists()


def test_a_run_directory_that_cannot_be_used_does_no_harm(tmp_path: Path) -> None:
    heard: list[str] = []
    nudges = Nudges(tmp_path / ("x" * 200))
    nudges.listen(heard.append)
    nudges.serve()
    nudges.send("saga")
    nudges.close()
    assert heard == ["saga"]
