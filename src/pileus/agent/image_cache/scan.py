"""The slow scan in the background that finds cached images which have rotted, before a guest does."""

import contextlib
import fcntl
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from pileus.agent.image_cache.upkeep import Upkeep
from pileus.kernel.clock import MICROSECONDS, Clock

log = structlog.get_logger("pileus.agent.image_cache")

LOOK_SECONDS = 60.0  # how often it is looked whether an image is due
LOWEST = 19  # the niceness that gives way to everything


class Stopped(Exception):
    """The agent ends."""


class Scanner:
    """Verifies each image every `interval` seconds, reading at most `rate` bytes in a second.

    It reads past the page cache, with the lowest priority for processor and disk. Of hosts that share a cache only one
    scans at a time, and none what another has verified.
    """

    def __init__(self, upkeep: Upkeep, directory: Path, *, rate: int, interval: float, clock: Clock) -> None:
        """`directory`: of the cache, where the lock of who scans is."""
        self._upkeep = upkeep
        self._lock = directory / "scan.lock"
        self._rate = rate
        self._interval = interval
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="image-scan", daemon=True)

    def start(self) -> None:
        """Begin to scan."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, in the middle of an image if need be."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def scan(self) -> tuple[str, ...]:
        """Verify what is due; the names of files that were damaged. Nothing if somebody else scans."""
        sound: dict[str, bool | None] = {}
        with contextlib.suppress(BlockingIOError, Stopped), self._only_one():
            due = self._clock.now() - int(self._interval * MICROSECONDS)
            for name in self._upkeep.unverified_since(due):
                sound[name] = self._upkeep.verify_file(name, self._pace)
        return tuple(name for name in sound if sound[name] is False)

    def _run(self) -> None:
        _give_way()
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                self.scan()
            except Exception:
                log.exception("cached images could not be verified")  # the next look may go better

    def _pace(self, count: int) -> None:
        """Wait for as long as so many bytes may take at least."""
        if self._stopping.is_set():
            raise Stopped
        self._clock.sleep(count / self._rate)

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(descriptor)


def _give_way() -> None:
    """Let this thread run, and read, only when nobody else wants to."""
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, LOWEST)
    subprocess.run(["ionice", "-c", "3", "-p", str(thread)], check=False, capture_output=True)
