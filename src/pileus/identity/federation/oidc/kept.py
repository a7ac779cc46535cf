"""What was fetched from a provider, kept for a while."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from pileus.kernel.clock import Clock
from pileus.kernel.errors import Unavailable

T = TypeVar("T")

FRESH_SECONDS = 3600.0
PATIENCE_SECONDS = 60.0
RETRY_SECONDS = 5.0


class Kept(Generic[T]):
    """A fetched value. Thread-safe: of those who need it at one moment, one fetches and the others wait for that.

    A fetch that failed is not tried again for a few seconds: a provider that is down costs each caller nothing then,
    instead of one time-out after the other.
    """

    def __init__(self, clock: Clock, fetch: Callable[[], T]) -> None:
        self._clock = clock
        self._fetch = fetch
        self._lock = threading.Lock()
        self._found: tuple[float, T] | None = None
        self._failed: tuple[float, Unavailable] | None = None

    def get(self, is_enough: Callable[[T], bool] = lambda _value: True) -> T:
        """The value, fetched anew once an hour; at most once a minute also if what is kept is not enough."""
        with self._lock:
            now = self._clock.monotonic()
            if self._found is not None:
                age = now - self._found[0]
                if age < FRESH_SECONDS and (age < PATIENCE_SECONDS or is_enough(self._found[1])):
                    return self._found[1]
            if self._failed is not None and now - self._failed[0] < RETRY_SECONDS:
                raise Unavailable(self._failed[1].message)
            try:
                value = self._fetch()
            except Unavailable as err:
                self._failed = self._clock.monotonic(), err
                raise
            self._found, self._failed = (now, value), None
            return value
