"""The generation of what tokens depend on: users, projects, roles, assignments, revocations, catalog.

What a process remembers about a token is valid only in the generation in which it was read. Whoever changes something
that a token's meaning depends on counts the generation up, twice:

* in the database, within the transaction of the change. Each process looks there once a second, which reaches other
  machines, and also repairs the case of a process that died between its commit and the second step;
* in a file that all processes of the machine have mapped into their memory, after the commit and before the change is
  answered. So a revocation is in force in every worker before its caller hears of it, and checking for it costs
  reading eight bytes of memory.
"""

import fcntl
import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from pileus.identity.models import generation as table
from pileus.kernel.clock import Clock
from pileus.kernel.db import Database, Tx

_SIZE = 16
_GENERATION, _FOLLOWED = 0, 1  # the file's cells: the machine's counter, and the database's that it has caught up with
_ROW = 1
FILE = "identity.generation"
POLL_SECONDS = 1.0
_VALUE = sa.select(table.c.value).where(table.c.id == _ROW)


class Generation:
    """The machine's counter in `run_dir`, followed by every process that has the same directory.

    Thread-safe. Make it after forking: forked copies would not exclude each other.
    """

    def __init__(self, run_dir: Path) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(run_dir / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._fd).st_size < _SIZE:
            os.ftruncate(self._fd, _SIZE)
        self._map = mmap.mmap(self._fd, _SIZE)
        self._cells = memoryview(self._map).cast("Q")
        self._lock = threading.Lock()

    @property
    def value(self) -> int:
        """The present generation."""
        return self._cells[_GENERATION]

    def bump(self, reached: int = 0) -> None:
        """Begin a new generation on this machine. `reached`: the database's generation that this accounts for.

        Commits that advance the database's generation follow one another in its order, so whoever has seen the
        outcome of one has seen those before it.
        """
        with self._exclusive():
            self._begin(max(self._cells[_FOLLOWED], reached))

    def follow(self, value: int) -> None:
        """Begin a new generation unless this machine has caught up with the database's `value` already.

        A smaller value means another database, and counts as new too.
        """
        if self._cells[_FOLLOWED] == value:
            return
        with self._exclusive():
            if self._cells[_FOLLOWED] != value:
                self._begin(value)

    def _begin(self, followed: int) -> None:
        """In this order: who sees the new generation also sees what of the database it accounts for (see `seen_by`)."""
        self._cells[_FOLLOWED] = followed
        self._cells[_GENERATION] += 1

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with self._lock:  # flock() does not keep the threads of one process apart
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def seen_by(self, tx: Tx) -> int | None:
        """The generation under which may be remembered what `tx` reads from now on; None if under no generation.

        The present one is not always right: on SQLite a transaction sees what was there when it began to read, also
        after a change to that was committed and has begun a new generation; and a transaction that changes something
        itself sees that, although it may yet be rolled back.
        """
        generation = self.value
        reached: int = tx.scalar(_VALUE) or 0
        return generation if reached == self._cells[_FOLLOWED] else None

    def advance(self, tx: Tx) -> None:
        """Begin a new generation everywhere once `tx` is committed. To be called within every change that matters."""
        if not tx.changed(sa.update(table).where(table.c.id == _ROW).values(value=table.c.value + 1)):
            tx.execute(sa.insert(table).values(id=_ROW, value=1))
        value: int = tx.scalar(_VALUE)
        tx.after_commit(lambda: self.bump(value))

    def close(self) -> None:
        """Unmap the file."""
        self._cells.release()
        self._map.close()
        os.close(self._fd)


class Watch:
    """Lets the machine's generation follow the database's: `look` reads it once a second, on the thread that asks.

    Needs no thread of its own, so a process that serves nobody also asks nothing.
    """

    def __init__(self, db: Database, clock: Clock, generation: Generation) -> None:
        self._db = db
        self._clock = clock
        self._generation = generation
        self._lock = threading.Lock()
        self._next = float("-inf")

    def look(self) -> None:
        """Read the database's generation if the last look was a second ago."""
        if self._clock.monotonic() < self._next or not self._lock.acquire(blocking=False):
            return
        try:
            with self._db.read() as tx:
                self._generation.follow(tx.scalar(_VALUE) or 0)
            self._next = self._clock.monotonic() + POLL_SECONDS
        finally:
            self._lock.release()
