"""The threads around an engine: one finds work, one keeps leases, a bounded pool advances sagas."""

import heapq
import itertools
import queue
import threading
from typing import Any

import structlog

from pileus.kernel import nudge
from pileus.kernel.clock import Clock
from pileus.kernel.db import Database
from pileus.kernel.nudge import Nudges
from pileus.kernel.saga.engine import Engine, Run
from pileus.kernel.saga.registry import Sagas
from pileus.kernel.saga.settings import ConductorSettings

log = structlog.get_logger("pileus.conductor")


class Conductor:
    """Runs sagas until it is stopped. Any number may run, in one process or many.

    A saga that waits (for its next try, or behind another saga of its resource) holds no thread. Construct and start
    it after forking.
    """

    def __init__(
        self,
        db: Database,
        sagas: Sagas,
        services: Any,
        clock: Clock,
        nudges: Nudges,
        settings: ConductorSettings | None = None,
        owner: str | None = None,
    ) -> None:
        self._settings = settings or ConductorSettings()
        self.engine = Engine(db, sagas, services, clock, owner, self._settings.lease_seconds)
        self._clock = clock
        self._nudges = nudges
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._cancels = False  # a cancel was asked for since the last look
        self._started = False  # a saga was started since the last look
        self._pool = _Pool(self._settings.threads, self._advance)
        self._waiting: list[tuple[float, int, Run]] = []  # a heap by due time on the monotonic clock
        self._waiting_lock = threading.Lock()
        self._order = itertools.count()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Run in threads of its own."""
        self._threads = [threading.Thread(target=self.run_forever, name="conductor", daemon=True)]
        self._threads[0].start()

    def run_forever(self) -> None:
        """Run in this thread until `stop` is called, then give all leases back."""
        self._nudges.listen(self._nudged)
        keeper = threading.Thread(target=self._keep_leases, name="leases", daemon=True)
        keeper.start()
        try:
            while not self._stopping.is_set():
                pause = self._look()
                self._wake.wait(pause)
                self._wake.clear()
        finally:
            self._nudges.forget(self._nudged)
            self.engine.stopping = True
            self._pool.stop(self._settings.stop_seconds)
            self._try("could not give leases back", self.engine.release)
            keeper.join()

    def stop(self) -> None:
        """End `run_forever`: steps that run get `stop_seconds` to finish. Waits for a conductor begun with `start`.

        Not for a signal handler, which may interrupt the holder of a lock: a process calls `start`, waits in
        `signal.sigwait`, and then calls this.
        """
        self._stopping.set()
        self._wake.set()
        for thread in self._threads:
            thread.join()

    def _nudged(self, topic: str) -> None:
        if topic == nudge.SAGA:
            self._started = True
        elif topic == nudge.CANCEL:
            self._cancels = True
        else:
            return
        self._wake.set()

    def _look(self) -> float:
        """Hand work to the pool, and answer for how many seconds there will be none."""
        nudged, self._started = self._started, False
        if self._cancels:
            self._cancels = False
            self._try("could not look for cancelled sagas", self._notice_cancels)
        self._resume_waiting()
        self._try("could not look for sagas", lambda: self._take(nudged))
        with self._waiting_lock:
            soonest = self._waiting[0][0] - self._clock.monotonic() if self._waiting else self._settings.poll_seconds
        return max(0.0, min(self._settings.poll_seconds, soonest))

    def _take(self, nudged: bool) -> None:
        capacity = self._pool.size - self._pool.busy
        if capacity <= 0 or not (nudged or self.engine.has_due()):
            return
        for run in self.engine.take(capacity):
            self._pool.put(run)

    def _resume_waiting(self) -> None:
        now = self._clock.monotonic()
        with self._waiting_lock:
            while self._waiting and self._waiting[0][0] <= now:
                self._pool.put(heapq.heappop(self._waiting)[2])

    def _notice_cancels(self) -> None:
        told = {run.row.id for run in self.engine.notice_cancels()}
        if not told:
            return
        with self._waiting_lock:
            self._waiting = [(0.0 if run.row.id in told else due, order, run) for due, order, run in self._waiting]
            heapq.heapify(self._waiting)

    def _advance(self, run: Run) -> None:
        pause = self.engine.advance(run)
        if pause is not None:
            with self._waiting_lock:
                heapq.heappush(self._waiting, (self._clock.monotonic() + pause, next(self._order), run))
        self._wake.set()  # a thread is free, and perhaps the next saga of the resource

    def _keep_leases(self) -> None:
        while True:
            self._try("could not look for dead processes", self._adopt)
            if self._stopping.wait(self._settings.lease_seconds / 3):
                return
            self._try("could not prolong leases", self.engine.extend_leases)
            self._cancels = True  # those asked for on other machines

    def _adopt(self) -> None:
        if self.engine.adopt_local():
            self._wake.set()

    def _try(self, trouble: str, work: Any) -> None:
        try:
            work()
        except Exception:  # the database is out of reach: everything is looked at again
            log.exception(trouble)


class _Pool:
    """At most `size` daemon threads, made when needed.

    Unlike those of an executor, they let a process end in which a step hangs.
    """

    def __init__(self, size: int, work: Any) -> None:
        self.size = size
        self.busy = 0  # runs queued or advancing
        self._work = work
        self._threads = 0
        self._queue: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._changed = threading.Condition()

    def put(self, run: Run) -> None:
        """Advance `run` on a thread of the pool; it waits if all are busy."""
        with self._changed:
            self.busy += 1
            if self.busy > self._threads < self.size:
                self._threads += 1
                threading.Thread(target=self._loop, name=f"saga-{self._threads}", daemon=True).start()
        self._queue.put(run)

    def _loop(self) -> None:
        while (run := self._queue.get()) is not None:
            try:
                self._work(run)
            finally:
                with self._changed:
                    self.busy -= 1
                    self._changed.notify_all()

    def stop(self, patience: float) -> None:
        """Wait until all are idle, for at most `patience` seconds, and end the threads."""
        with self._changed:
            self._changed.wait_for(lambda: self.busy == 0, patience)
            for _ in range(self._threads):
                self._queue.put(None)
