"""Several digests of the same bytes at once.

MD5 and SHA-512 take longer than all else that happens to an image on its way into a store; each is computed by a
thread of its own while the next bytes come in. They let go of the interpreter while they work.
"""

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

AHEAD = 2  # chunks that may come in before a digest has taken in the first of them: what bounds the memory


class Digests:
    """Takes bytes in and gives their digests. `close` ends its threads; afterwards the digests can still be had."""

    def __init__(self, *names: str) -> None:
        self._digests = {name: hashlib.new(name, usedforsecurity=False) for name in names}
        self._workers: list[ThreadPoolExecutor] = []
        self._waiting: deque[list[Future[None]]] = deque()
        self._first = True

    def update(self, data: bytes) -> None:
        """Take in the next bytes."""
        if self._first:  # most small images are no more than this
            self._first = False
            for digest in self._digests.values():
                digest.update(data)
            return
        if not self._workers:
            self._workers = [ThreadPoolExecutor(1, f"digest-{name}") for name in self._digests]
        while len(self._waiting) >= AHEAD:
            self._settle()
        pairs: Any = zip(self._workers, self._digests.values(), strict=True)
        self._waiting.append([worker.submit(digest.update, data) for worker, digest in pairs])

    def hexdigest(self, name: str) -> str:
        """The digest of all bytes so far."""
        while self._waiting:
            self._settle()
        return self._digests[name].hexdigest()

    def close(self) -> None:
        """End the threads."""
        for worker in self._workers:
            worker.shutdown()
        self._workers = []

    def _settle(self) -> None:
        for future in self._waiting.popleft():
            future.result()
