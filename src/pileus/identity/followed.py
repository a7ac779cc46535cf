"""What was read from directories, read again when their files have changed."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

_SETTLED = 2_000_000_000  # nanoseconds; coarser than the clock of any file system
_ATTEMPTS = 100


class Followed(Generic[T]):
    """A value that is read from some directories. Thread-safe.

    A directory's time of change tells of files that were added, replaced by renaming, or removed. It has the grain of
    the file system's clock: a second change within the same grain does not show, so a value that was read so shortly
    after a change is read again until the time has settled.
    """

    def __init__(self, directories: tuple[Path, ...], read: Callable[[], T]) -> None:
        self._directories = directories
        self._read = read
        self._lock = threading.Lock()
        self._held: tuple[tuple[int, ...], T] | None = None

    def get(self) -> T:
        """The value as the files are now. Raises what `read` raises."""
        changed_at = self._changed_at()
        held = self._held
        if held is not None and held[0] == changed_at:
            return held[1]
        with self._lock:
            value = self._value()
            settled = all(moment + _SETTLED < time.time_ns() for moment in changed_at)
            self._held = (changed_at, value) if settled else None
            return value

    def _value(self) -> T:
        for _ in range(_ATTEMPTS):
            try:
                return self._read()
            except FileNotFoundError:  # a file went between listing and reading
                continue
        return self._read()

    def _changed_at(self) -> tuple[int, ...]:
        moments = []
        for directory in self._directories:
            try:
                moments.append(directory.stat().st_mtime_ns)
            except FileNotFoundError:
                moments.append(0)
        return tuple(moments)
