"""Images that are fetched before a server needs them: few at a time, so that boots are not kept waiting for them."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import Context, copy_context

from pileus.agent.api import ImageRef, Prefetched

Asked = tuple[ImageRef, Context, "Future[None]"]


class Prefetcher:
    """Fetches images on threads of its own. A boot whose image waits here for its turn fetches it itself.

    The threads end with the process, whatever they do: a fetch that is cut off is resumed.
    """

    def __init__(self, ensure: Callable[[ImageRef], object], at_a_time: int) -> None:
        self._ensure = ensure
        self._idle = at_a_time  # threads that were not needed so far
        self._guard = threading.Lock()
        self._queue: queue.SimpleQueue[Asked] = queue.SimpleQueue()
        self._fetches: dict[str, Future[None]] = {}

    def prefetch(self, image: ImageRef, seconds: float) -> Prefetched:
        """Have an image fetched, and wait for it for so long. If its fetch failed, raises why; once."""
        with self._guard:
            fetch = self._fetches.get(image.checksum)
            if fetch is None:
                fetch = self._fetches[image.checksum] = Future()
                self._queue.put((image, copy_context(), fetch))
                if self._idle:
                    self._idle -= 1
                    threading.Thread(target=self._work, name="prefetch", daemon=True).start()
        if fetch not in wait([fetch], seconds).done:
            return Prefetched(ready=False)
        with self._guard:
            if self._fetches.get(image.checksum) is fetch:
                del self._fetches[image.checksum]
        fetch.result()
        return Prefetched(ready=True)

    def _work(self) -> None:
        while True:
            image, context, fetch = self._queue.get()
            try:
                context.run(self._ensure, image)
            except Exception as err:  # noqa: BLE001 - whoever asks for the image is told
                fetch.set_exception(err)
            else:
                fetch.set_result(None)
