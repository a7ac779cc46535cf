"""The cache: which images are wanted in it, their copies, and how it stays within its size.

Each node has a cache of its own. A row says what a node wants; its copy is a file that appears whole. A row without a
copy waits to be filled by the loop, and a copy without a row is removed by it, so whatever dies on the way is mended.
"""

import fcntl
import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from pileus.image.cache import store
from pileus.image.cache.settings import CacheSettings
from pileus.image.domain import Image, Status
from pileus.image.stores.files import FileStore
from pileus.kernel.clock import Clock
from pileus.kernel.db import Database, Row, Tx
from pileus.kernel.errors import BadRequest, NotFound, PileusError

log = structlog.get_logger("pileus.image.cache")

CACHE_LOOP = "image.cache"
_LOCK = ".lock"

Wake = Callable[[Tx], None]
Fetch = Callable[[Image], Iterator[bytes]]


class ImageCache:
    """The cache of this node."""

    def __init__(self, settings: CacheSettings, db: Database, clock: Clock, wake: Wake) -> None:
        """`wake` makes the loop that fills the cache run soon."""
        self.node = settings.node or socket.gethostname()
        self._settings = settings
        self._db = db
        self._clock = clock
        self._wake = wake
        self._files = FileStore("cache", settings.directory)

    def entries(self, tx: Tx) -> tuple[list[Row], list[str]]:
        """What is cached (rows of models.image_cache), and the ids of images that wait."""
        rows = store.entries(tx, self.node)
        return [row for row in rows if row.cached], [row.image_id for row in rows if not row.cached]

    def queue(self, tx: Tx, image: Image) -> None:
        """Have an image cached. BadRequest if it has no data to be read."""
        if image.status != Status.ACTIVE:
            raise BadRequest(f"Only active images can be cached; image {image.id} is {image.status}.")
        if store.find(tx, self.node, image.id) is None:
            now = self._clock.now()
            store.insert(
                tx,
                {
                    "node": self.node,
                    "image_id": image.id,
                    "cached": False,
                    "size": 0,
                    "hits": 0,
                    "last_accessed": None,
                    "last_modified": now,
                },
            )
            self._wake(tx)

    def delete(self, tx: Tx, image_id: str) -> None:
        """Take an image out of the cache, or out of the queue. NotFound."""
        if not store.delete(tx, self.node, image_id):
            raise NotFound(f"Image {image_id} is neither cached nor queued on {self.node}.")
        tx.after_commit(lambda: self._files.discard(image_id))

    def clear(self, tx: Tx, *, cache: bool, queue: bool) -> None:
        """Forget all copies, or all that wait, or both."""
        if queue:
            store.clear(tx, self.node, cached=False)
        if cache:
            store.clear(tx, self.node, cached=True)
            tx.after_commit(lambda: log.info("cleared the image cache", removed=self.clean()))

    def read(self, image: Image, start: int, length: int) -> Iterator[bytes] | None:
        """An image's bytes from its copy; None if there is none."""
        try:
            chunks = self._files.read(image.id, start, length)
        except NotFound:
            return None
        now = self._clock.now()
        # Without its row a copy may be of a deleted image, whose id somebody took for another one.
        return chunks if self._db.transact(lambda tx: store.hit(tx, self.node, image.id, now)) else None

    def want(self, image: Image) -> None:
        """An image was read from a store that is not on this machine: the next time it shall be."""
        if self._settings.remote:
            self._db.transact(lambda tx: self.queue(tx, image))

    # --- kept true ------------------------------------------------------------------------------------------

    def fill(self, find: Callable[[Tx, str], Image | None], fetch: Fetch, stopping: Callable[[], bool]) -> None:
        """Fetch what waits. One process of the node does it at a time; the others leave it to that one."""
        with self._alone() as alone:
            while alone and not stopping():
                with self._db.read() as tx:
                    _, waiting = self.entries(tx)
                    images = [find(tx, image_id) for image_id in waiting[:1]]
                if not waiting:
                    return
                self._fill(waiting[0], images[0], fetch)

    def clean(self) -> int:
        """Remove copies and parts of copies that no row asks for, and rows whose copy is gone; how many."""
        with self._alone() as alone:
            if not alone:
                return 0
            with self._db.read() as tx:
                cached, waiting = self.entries(tx)
            wanted = {row.image_id for row in cached} | set(waiting)
            present = set(self._files.images())
            for image_id in present - wanted:
                self._files.discard(image_id)
            lost = [row.image_id for row in cached if row.image_id not in present]
            for image_id in lost:
                self._db.transact(lambda tx, i=image_id: store.delete(tx, self.node, i))  # type: ignore[misc]
            return len(present - wanted) + len(lost)

    def prune(self) -> tuple[int, int]:
        """Remove the least recently used copies until the rest is within its size: how many bytes, how many files."""
        with self._db.read() as tx:
            cached, _ = self.entries(tx)
        excess = sum(row.size for row in cached) - self._settings.max_size
        freed = files = 0
        for row in sorted(cached, key=lambda row: row.last_accessed or row.last_modified):
            if freed >= excess:
                break
            self._db.transact(lambda tx, i=row.image_id: store.delete(tx, self.node, i))  # type: ignore[misc]
            self._files.discard(row.image_id)
            freed, files = freed + row.size, files + 1
            log.info("removed a cached image to make room", image=row.image_id, bytes=row.size)
        return freed, files

    def forget(self, tx: Tx, image_id: str) -> None:
        """An image was deleted: nobody shall find a copy. Other nodes remove theirs when they clean."""
        store.forget_image(tx, image_id)
        tx.after_commit(lambda: self._files.discard(image_id))

    def _fill(self, image_id: str, image: Image | None, fetch: Fetch) -> None:
        """Make one copy. What cannot be had leaves the queue: whoever wants it still asks again."""
        try:
            if image is None or image.status != Status.ACTIVE:
                raise NotFound(f"Image {image_id} has no data any more.")
            self._files.write(image_id, _verified(image, fetch(image)))
        except (PileusError, OSError) as err:
            log.warning("an image could not be cached", image=image_id, error=str(err))
            self._db.transact(lambda tx: store.delete(tx, self.node, image_id))
            return
        now, size = self._clock.now(), image.size or 0
        if not self._db.transact(lambda tx: store.filled(tx, self.node, image_id, size, now)):
            self._files.discard(image_id)
        self.prune()

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether this process is the one of the node that changes copies."""
        descriptor = os.open(self._settings.directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)


def _verified(image: Image, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The bytes; at their end an error if they are not those that the image's record promises."""
    digest = hashlib.new(image.os_hash_algo) if image.os_hash_algo and image.os_hash_value else None
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if digest is not None:
            digest.update(chunk)
        yield chunk
    if size != image.size or (digest is not None and digest.hexdigest() != image.os_hash_value):
        raise OSError(f"the data of image {image.id} is not what its record says")
