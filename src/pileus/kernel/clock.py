"""Time as a dependency, so that tests own it.

Instants are integers: microseconds since the epoch, UTC. They compare, store and page exactly on every database.
"""

import threading
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol

MICROSECONDS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What code may ask of time."""

    def now(self) -> int:
        """The present instant in microseconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back, for deadlines."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class FakeClock:
    """A clock that moves only when told to; sleeping moves it."""

    def __init__(self, start: int = 1_700_000_000 * MICROSECONDS) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> int:
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        return self.now() / MICROSECONDS

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move this clock forward."""
        with self._lock:
            self._now += int(seconds * MICROSECONDS)


@lru_cache(maxsize=64)
def _date(days: int) -> str:
    """The date so many days after the epoch. Lists of servers show thousands of instants on a few dates."""
    return (_EPOCH + timedelta(days=days)).strftime("%Y-%m-%d")


def iso(instant: int | None) -> str | None:
    """`2026-11-21T10:00:00Z`: the form of Nova, Glance and Neutron (whole seconds)."""
    if instant is None:
        return None
    days, second = divmod(instant // MICROSECONDS, 86400)
    minute, second = divmod(second, 60)
    hour, minute = divmod(minute, 60)
    return f"{_date(days)}T{hour:02d}:{minute:02d}:{second:02d}Z"


def iso_micro(instant: int | None) -> str | None:
    """`2026-11-21T10:00:00.000000`: the form of Nova's actions and services (no zone)."""
    text = iso(instant)
    if text is None or instant is None:
        return None
    return f"{text[:-1]}.{instant % MICROSECONDS:06d}"


def iso_micro_z(instant: int | None) -> str | None:
    """`2026-11-21T10:00:00.000000Z`: the form of Keystone."""
    text = iso_micro(instant)
    return None if text is None else f"{text}Z"


def parse_iso(text: str) -> int:
    """The instant that an ISO 8601 text names; without a zone it is UTC. ValueError if it is none."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)
