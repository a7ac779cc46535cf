"""Images that are fetched before a server needs them: few at a time, so that boots are not kept waiting for them."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context

from pileus.agent.api import ImageRef, Prefetched


class Prefetcher:
    """Fetches images on threads of its own. A boot whose image waits here for its turn fetches it itself."""

    def __init__(self, ensure: Callable[[ImageRef], object], at_a_time: int) -> None:
        self._ensure = ensure
        self._threads = ThreadPoolExecutor(at_a_time, thread_name_prefix="prefetch")
        self._guard = threading.Lock()
        self._asked: dict[str, Future[object]] = {}

    def prefetch(self, image: ImageRef, seconds: float) -> Prefetched:
        """Have an image fetched, and wait for it for so long. If its fetch failed, raises why; once."""
        with self._guard:
            fetch = self._asked.get(image.checksum)
            if fetch is None:
                fetch = self._threads.submit(copy_context().run, self._ensure, image)
                self._asked[image.checksum] = fetch
        if fetch not in wait([fetch], seconds).done:
            return Prefetched(ready=False)
        with self._guard:
            if self._asked.get(image.checksum) is fetch:
                del self._asked[image.checksum]
        fetch.result()
        return Prefetched(ready=True)

    def close(self) -> None:
        """Begin no more fetches."""
        self._threads.shutdown(wait=False, cancel_futures=True)
