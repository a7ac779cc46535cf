"""Loops: what must be true all the time is looked at again and again, and put right.

A loop takes no input: each run reads what is wanted and what is there, plans (a pure function), and acts. So
it does not matter which event made it run, or whether one was missed; a nudge only makes the next run come sooner.

Of each `singleton` loop only one process of the cloud runs a given round: it holds a lease in the database while it
runs, and the others see there when the round was.
"""

import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import structlog

from pileus.kernel import nudge
from pileus.kernel.clock import MICROSECONDS, Clock
from pileus.kernel.db import Database, Name, Timestamp, Tx, is_duplicate, metadata
from pileus.kernel.log import bound
from pileus.kernel.nudge import Nudges
from pileus.kernel.owner import dead_here, new_owner

log = structlog.get_logger("pileus.loops")

LEASE_SECONDS = 15.0
NUDGED_PAUSE = 0.2  # seconds until a nudged loop asks again while another process is running it
LONGEST_BACKOFF = 300.0  # seconds between the runs of a loop that keeps failing (or its own period, if longer)
JITTER = 0.1  # of the pause between two runs, left to chance
_LEASE = int(LEASE_SECONDS * MICROSECONDS)

loop_state = sa.Table(
    "loop_state",
    metadata,
    sa.Column("name", Name(64), primary_key=True),
    sa.Column("owner", Name(128)),
    sa.Column("lease_until", Timestamp, nullable=False),
    sa.Column("started_at", Timestamp),
    sa.Column("finished_at", Timestamp),
    sa.Column("succeeded_at", Timestamp),
    sa.Column("failures", sa.Integer, nullable=False),  # in a row
    sa.Column("error", sa.Text),  # of the last run, if that failed
)


@dataclass(frozen=True)
class LoopCtx:
    """What a run is given. A long one asks `stopping()` now and then and returns early."""

    db: Database
    services: Any
    clock: Clock
    stopping: Callable[[], bool]


@dataclass(frozen=True)
class Loop:
    """One reconciler: `run` is called every `every` seconds (of pause between runs), sooner when nudged.

    Its runs never overlap. What it raises is logged and shown by `pileus doctor`; runs then come at growing pauses. A
    loop that is not a `singleton` runs in every process that has a `LoopRunner` (a cache's cleaning). Nudges make its
    runs come no closer than `apart` seconds after one another.
    """

    name: str
    every: float
    run: Callable[[LoopCtx], None]
    singleton: bool = True
    apart: float = 0.0


@dataclass(frozen=True)
class LoopState:
    """The last run of a loop, for `pileus doctor`. Instants in microseconds."""

    name: str
    owner: str | None
    started_at: int | None
    finished_at: int | None
    succeeded_at: int | None
    failures: int
    error: str | None


def states(tx: Tx) -> list[LoopState]:
    """The last runs of the singleton loops that ever ran."""
    rows = tx.all(sa.select(loop_state).order_by(loop_state.c.name))
    return [
        LoopState(
            name=row.name,
            owner=row.owner,
            started_at=row.started_at,
            finished_at=row.finished_at,
            succeeded_at=row.succeeded_at,
            failures=row.failures,
            error=row.error,
        )
        for row in rows
    ]


def nudge_loop(tx: Tx, nudges: Nudges, name: str) -> None:
    """Have the loop `name` run once this transaction is durable."""
    tx.after_commit(lambda: nudges.send(nudge.LOOP + name))


class _Turn:
    """When a loop runs next, in this process."""

    def __init__(self, loop: Loop, due: float) -> None:
        self.loop = loop
        self.due = due  # on the monotonic clock
        self.not_before = due  # the same, for nudges
        self.failures = 0  # in a row
        self.nudged_at: int | None = None  # on the wall clock; cleared by the run that heeds it
        self.running = False
        self.known = False  # its row exists

    def take_nudge(self) -> int | None:
        """When it was nudged, if the nudge is not heeded yet; the caller heeds it."""
        nudged_at, self.nudged_at = self.nudged_at, None
        return nudged_at


class LoopRunner:
    """Runs loops, each on a thread of its own while it runs. Construct and start it after forking.

    `run_due` does one round in the calling thread, for tests.
    """

    def __init__(
        self,
        db: Database,
        loops: Iterable[Loop],
        services: Any,
        clock: Clock,
        nudges: Nudges,
        owner: str | None = None,
    ) -> None:
        self.owner = owner or new_owner()
        self._db = db
        self._clock = clock
        self._nudges = nudges
        now = clock.monotonic()
        self._turns = {loop.name: _Turn(loop, now) for loop in loops}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._context = LoopCtx(db, services, clock, self._stopping.is_set)
        self._threads: list[threading.Thread] = []

    # --- threads --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run in threads of its own."""
        self._nudges.listen(self._nudged)
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in (("loops", self._schedule), ("loop-leases", self._keep_leases))
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, patience: float = 10.0) -> None:
        """Begin no more runs, wait up to `patience` seconds for those that run, and give the leases back."""
        self._nudges.forget(self._nudged)
        self._stopping.set()
        self._wake.set()
        deadline = self._clock.monotonic() + patience
        for thread in [*self._threads, *(t for t in threading.enumerate() if t.name.startswith(self._thread_name("")))]:
            thread.join(max(0.0, deadline - self._clock.monotonic()))
        try:
            self._db.transact(self._give_back)
        except Exception:  # the leases end by themselves
            log.exception("could not give leases back")

    def _thread_name(self, loop: str) -> str:
        return f"loop {self.owner} {loop}"

    def _schedule(self) -> None:
        while not self._stopping.is_set():
            for turn in self._claim_due():
                threading.Thread(
                    target=self._run, args=(turn,), name=self._thread_name(turn.loop.name), daemon=True
                ).start()
            self._wake.wait(self._pause())
            self._wake.clear()

    def _pause(self) -> float | None:
        with self._lock:
            idle = [turn.due for turn in self._turns.values() if not turn.running]
        return max(0.0, min(idle) - self._clock.monotonic()) if idle else None

    def _keep_leases(self) -> None:
        while not self._stopping.wait(LEASE_SECONDS / 3):
            if any(turn.running for turn in self._turns.values()):
                try:
                    self._db.transact(self._extend)
                except Exception:  # tried again in a third of the lease
                    log.exception("could not prolong leases")

    def _nudged(self, topic: str) -> None:
        if topic.startswith(nudge.LOOP):
            self.nudge(topic.removeprefix(nudge.LOOP))

    def nudge(self, name: str) -> None:
        """Have the loop `name` run now; if it is running, once more after that."""
        turn = self._turns.get(name)
        if turn is None:
            return
        with self._lock:
            turn.nudged_at = self._clock.now()
            turn.due = min(turn.due, max(self._clock.monotonic(), turn.not_before))
        self._wake.set()

    # --- one run --------------------------------------------------------------------------------------------

    def run_due(self) -> list[str]:
        """Run all loops that are due, in this thread; the names of those that ran."""
        return [turn.loop.name for turn in self._claim_due() if self._run(turn)]

    def _claim_due(self) -> list[_Turn]:
        with self._lock:
            now = self._clock.monotonic()
            due = [turn for turn in self._turns.values() if not turn.running and turn.due <= now]
            for turn in due:
                turn.running = True
        return due

    def _run(self, turn: _Turn) -> bool:
        """Run once, unless another process has run this round or is running it; whether it ran."""
        with self._lock:
            nudged_at = turn.take_nudge()
        with bound(loop=turn.loop.name):
            wait = self._lead(turn, nudged_at)
            ran = wait is None
            if wait is None:
                self._act(turn)
                wait = _rest(turn.loop, turn.failures) * (1 + JITTER * random.uniform(-1, 1))  # noqa: S311 - no secret
        with self._lock:
            turn.running = False
            if turn.nudged_at is not None:
                wait = turn.loop.apart if ran else min(wait, NUDGED_PAUSE)
            now = self._clock.monotonic()
            turn.due = now + wait
            turn.not_before = now + turn.loop.apart
        self._wake.set()
        return ran

    def _act(self, turn: _Turn) -> None:
        error = None
        try:
            turn.loop.run(self._context)
        except Exception as err:  # a loop that fails is run again
            error = f"{type(err).__name__}: {err}"
            log.exception("loop failed")
        turn.failures = turn.failures + 1 if error else 0
        if turn.loop.singleton:
            try:
                self._db.transact(lambda tx: self._record(tx, turn, error))
            except Exception:  # only the record is missing, and the lease ends by itself
                log.exception("could not record the run")

    # --- leases ---------------------------------------------------------------------------------------------

    def _lead(self, turn: _Turn, nudged_at: int | None) -> float | None:
        """None if this process is to run the loop now, else the seconds after which to ask again."""
        if not turn.loop.singleton:
            return None
        try:
            if not turn.known:
                self._ensure_row(turn.loop.name)
                turn.known = True
            return self._db.transact(lambda tx: self._claim(tx, turn, nudged_at))
        except Exception:  # the database is out of reach
            log.exception("could not take the lease")
            return turn.loop.every

    def _ensure_row(self, name: str) -> None:
        try:
            with self._db.write() as tx:
                if tx.one(sa.select(loop_state.c.name).where(loop_state.c.name == name)) is None:
                    tx.execute(sa.insert(loop_state).values(name=name, lease_until=0, failures=0))
        except sa.exc.IntegrityError as err:
            if not is_duplicate(err):
                raise

    def _claim(self, tx: Tx, turn: _Turn, nudged_at: int | None) -> float | None:
        now = self._clock.now()
        row = tx.one(sa.select(loop_state).where(loop_state.c.name == turn.loop.name).with_for_update())
        if row is None:
            return turn.loop.every
        if row.owner not in (None, self.owner) and row.lease_until > now and not dead_here([row.owner]):
            turn.nudged_at = turn.nudged_at or nudged_at  # that run may have begun too early to see what changed
            return turn.loop.every
        heeded = nudged_at is None or (row.started_at is not None and row.started_at > nudged_at)
        if heeded and row.finished_at is not None:
            ago: float = (now - row.finished_at) / MICROSECONDS
            early = _rest(turn.loop, row.failures) * (1 - JITTER) - ago
            if early > 0:
                return early
        turn.failures = row.failures
        tx.execute(
            sa.update(loop_state)
            .where(loop_state.c.name == turn.loop.name)
            .values(owner=self.owner, lease_until=now + _LEASE, started_at=now)
        )
        return None

    def _extend(self, tx: Tx) -> None:
        running = [name for name, turn in self._turns.items() if turn.running]
        held = (loop_state.c.name.in_(running), loop_state.c.owner == self.owner, loop_state.c.lease_until > 0)
        tx.execute(sa.update(loop_state).where(*held).values(lease_until=self._clock.now() + _LEASE))

    def _record(self, tx: Tx, turn: _Turn, error: str | None) -> None:
        now = self._clock.now()
        values: dict[str, Any] = {"finished_at": now, "failures": turn.failures, "error": error, "lease_until": 0}
        if error is None:
            values["succeeded_at"] = now
        mine = (loop_state.c.name == turn.loop.name, loop_state.c.owner == self.owner)
        tx.execute(sa.update(loop_state).where(*mine).values(values))

    def _give_back(self, tx: Tx) -> None:
        tx.execute(sa.update(loop_state).where(loop_state.c.owner == self.owner).values(owner=None, lease_until=0))


def _rest(loop: Loop, failures: int) -> float:
    """Seconds between two runs."""
    longest = max(loop.every, LONGEST_BACKOFF)
    return min(longest, loop.every * 2.0 ** min(failures, 30))
