"""Trying again: how often, how long between, and when to stop at once."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pileus.kernel.clock import Clock, SystemClock
from pileus.replicator.errors import Cancelled, Unreachable

T = TypeVar("T")

LONGEST_PAUSE = 30.0
_LONGEST_POLL = 1.0
_SETTLING_WHEN_STOPPED = 5.0


@dataclass(frozen=True)
class Patience:
    """Shared by everything of one run. Whoever sets `stop` ends all waiting, and all transfers at their next chunk.

    `first_pause` (seconds) doubles with each failure in a row. `settling`: how long (seconds) a service may take to
    notice that an upload has ended.
    """

    retries: int = 5
    first_pause: float = 0.5
    settling: float = 30.0
    stop: threading.Event = field(default_factory=threading.Event)
    clock: Clock = field(default_factory=SystemClock)

    def check(self) -> None:
        """Cancelled if the user wants no more."""
        if self.stop.is_set():
            raise Cancelled

    def pause(self, failures: int, retry_after: float | None = None) -> None:
        """Wait before the next attempt after so many failures in a row (the first is 0). Cancelled."""
        seconds = min(self.first_pause * 2**failures, LONGEST_PAUSE) * random.uniform(0.75, 1.25)  # noqa: S311
        if retry_after is not None:
            seconds = min(max(seconds, retry_after), LONGEST_PAUSE)
        self.stop.wait(seconds)
        self.check()

    def persist(self, work: Callable[[], T]) -> T:
        """The result of `work`, which is tried again while it is Unreachable.

        The first attempt is made even if the user wants no more: clearing up has to go on.
        """
        failures = 0
        while True:
            try:
                return work()
            except Unreachable as err:
                if failures >= self.retries:
                    raise
                self.pause(failures, err.retry_after)
                failures += 1

    def settle(self, look: Callable[[], T], settled: Callable[[T], bool]) -> T:
        """What `look` sees when it has settled, or at last when there was time enough for that.

        It goes on, though not for long, if the user wants no more: this too is clearing up.
        """
        began = self.clock.monotonic()
        while True:
            seen = look()
            limit = min(self.settling, _SETTLING_WHEN_STOPPED) if self.stop.is_set() else self.settling
            if settled(seen) or self.clock.monotonic() - began >= limit:
                return seen
            self.clock.sleep(min(self.first_pause, _LONGEST_POLL))
