"""What the saga engine costs by itself: sagas of four steps that do nothing.

`python bench/saga.py [URL]`: latency from the commit of `start` in one process to the end of the saga in a conductor of
another, one at a time; then the throughput of a burst. Default: a new SQLite file.
"""

import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from pileus.kernel.clock import SystemClock
from pileus.kernel.db import Database, DatabaseSettings, metadata
from pileus.kernel.ids import new_request_id, new_uuid
from pileus.kernel.nudge import Nudges
from pileus.kernel.saga import Conductor, Ctx, Saga, Sagas, Step
from pileus.kernel.saga import tables as saga_tables

ONE_BY_ONE = 300
BURST = 3000
TABLES = [saga_tables.saga, saga_tables.saga_event]


def nothing(_ctx: Ctx) -> None:
    return None


SAGA = Saga(
    "bench.nothing", tuple(Step(name, do=nothing, undo=nothing) for name in ("claim", "ports", "disks", "guest"))
)


@contextmanager
def conductor(url: str, run_dir: Path) -> Iterator[None]:
    """A conductor in a process of its own."""
    pid = os.fork()
    if pid == 0:
        nudges = Nudges(run_dir)
        nudges.serve()
        clock = SystemClock()
        running = Conductor(Database(DatabaseSettings(url=url)), Sagas(clock, nudges, [SAGA]), None, clock, nudges)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        running.start()
        signal.sigwait({signal.SIGTERM})
        running.stop()
        nudges.close()
        os._exit(0)
    try:
        while not list(run_dir.glob("conductor-*.sock")):
            time.sleep(0.01)
        yield
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def start(db: Database, sagas: Sagas) -> str:
    """Start one saga."""
    with db.write() as tx:
        return sagas.start(
            tx, SAGA, resource=new_uuid(), project="bench", user="bench", request_id=new_request_id(), params={}
        )


def wait_until_ended(db: Database, saga_id: str) -> int:
    """When the saga ended, in microseconds."""
    query = saga_tables.saga.select().where(saga_tables.saga.c.id == saga_id)
    while True:
        with db.read() as tx:
            row = tx.one(query)
        if row is not None and row.finished_at is not None:
            return int(row.finished_at)
        time.sleep(0.002)


def main() -> None:
    """Measure and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory() as directory:
        run_dir = Path(directory)
        url = sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{run_dir}/bench.db"
        db = Database(DatabaseSettings(url=url))
        with db.write() as tx:
            metadata.create_all(tx.connection, tables=TABLES)
        db.close()
        with conductor(url, run_dir):
            measure(Database(DatabaseSettings(url=url)), Nudges(run_dir))


def measure(db: Database, nudges: Nudges) -> None:
    """Latency, then throughput."""
    clock = SystemClock()
    sagas = Sagas(clock, nudges, [SAGA])
    latencies = []
    for _ in range(ONE_BY_ONE):
        saga_id = start(db, sagas)
        begun = clock.now()
        latencies.append((wait_until_ended(db, saga_id) - begun) / 1000)
        time.sleep(0.005)
    cuts = statistics.quantiles(latencies, n=100)
    print(f"start to end, one at a time: p50 {cuts[49]:.2f} ms, p95 {cuts[94]:.2f} ms, p99 {cuts[98]:.2f} ms")
    quiet = Sagas(clock, Nudges(), [SAGA])
    begun = time.monotonic()
    with db.write() as tx:
        ids = [
            quiet.start(
                tx, SAGA, resource=new_uuid(), project=f"p{n % 7}", user="b", request_id=new_request_id(), params={}
            )
            for n in range(BURST)
        ]
    written = time.monotonic()
    nudges.send("saga")
    unfinished = saga_tables.saga.select().where(saga_tables.saga.c.lease_until.is_not(None)).limit(1)
    while True:
        with db.read() as tx:
            if tx.one(unfinished) is None:
                break
        time.sleep(0.02)
    ended = time.monotonic()
    print(f"burst of {len(ids)}: written in {written - begun:.2f} s, {BURST / (ended - written):.0f} sagas/s")


if __name__ == "__main__":
    main()
