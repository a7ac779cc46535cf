"""Images' bytes: received, checked and kept; read from where they are; removed."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import structlog

from pileus.image import store
from pileus.image.cache.service import ImageCache
from pileus.image.data.digests import Digests
from pileus.image.domain import Image, Location, Status
from pileus.image.quotas.service import ImageQuotas
from pileus.image.settings import ImageSettings
from pileus.image.signatures.service import Signatures
from pileus.image.stores.base import Store
from pileus.image.stores.registry import Stores
from pileus.kernel.clock import Clock
from pileus.kernel.db import Database, Row, Tx
from pileus.kernel.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    PileusError,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
)
from pileus.kernel.image_format import HEAD, ImageNotAsDeclaredError, Inspection, check_container, is_disk
from pileus.kernel.owner import dead_here, new_owner
from pileus.kernel.signature import SignatureInvalid, Verifier

log = structlog.get_logger("pileus.image.data")

HASH_ALGO = "sha512"


@dataclass(frozen=True)
class Received:
    """What became of received bytes: where they are, and what the image's record says of them."""

    location: Location
    facts: dict[str, Any]  # size, virtual_size, checksum, os_hash_algo, os_hash_value


class ImageData:
    """The stored bytes of one image, wherever they are."""

    def __init__(
        self, image: Image, stores: Stores, cache: ImageCache | None, again: Callable[[], Sequence[Location]]
    ) -> None:
        """`again`: where the data is by now."""
        self.size = image.size or 0
        self._again = again
        self._image = image
        self._stores = stores
        self._cache = cache

    def read(self, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """`length` bytes from `start` on; all that follow without a length. NotFound, at once, if there are none.

        Where a store fails half-way, the next one that holds the image goes on.
        """
        end = self.size if length is None else start + length
        waiting = self._sources()
        chunks = self._cached(waiting, start, end - start) or self._open(waiting, start, end - start)

        def going_on() -> Iterator[bytes]:
            nonlocal chunks
            position = start
            while True:
                try:
                    for chunk in chunks:
                        position += len(chunk)
                        yield chunk
                    if position >= end:
                        return
                    raise NotFound(f"The data of image {self._image.id} is shorter than it was.")
                except (PileusError, OSError) as err:
                    log.warning("a store failed while an image was read", image=self._image.id, error=str(err))
                    if not self._refill(waiting):
                        raise
                    chunks = self._open(waiting, position, end - position)

        return going_on()

    def _cached(self, sources: list[Location], start: int, length: int) -> Iterator[bytes] | None:
        if self._cache is None:
            return None
        chunks = self._cache.read(self._image, start, length)
        if chunks is None and sources and not self._stores.is_near(sources[0].store):
            self._cache.want(self._image)
        return chunks

    def _sources(self) -> list[Location]:
        return self._stores.by_weight(self._image.locations)

    def _refill(self, waiting: list[Location]) -> bool:
        """Whether there are sources to try, or new ones: the data may have been moved while it was read."""
        if not waiting:
            known = {(each.store, each.locator) for each in self._image.locations}
            locations = self._again()
            waiting += self._stores.by_weight(each for each in locations if (each.store, each.locator) not in known)
            self._image = self._image.replaced({"locations": [*self._image.locations, *waiting]})
        return bool(waiting)

    def _open(self, waiting: list[Location], start: int, length: int) -> Iterator[bytes]:
        """The first of the sources that can be opened; those tried are taken from the list."""
        cause: Exception | None = None
        while self._refill(waiting):
            location = waiting.pop(0)
            try:
                return self._stores.get(location.store).read(location.locator, start, length)
            except (PileusError, OSError) as err:
                log.warning("no image data", image=self._image.id, store=location.store, error=str(err))
                cause = err
        if isinstance(cause, Unavailable):
            raise cause
        raise NotFound(f"The data of image {self._image.id} is gone.") from cause


class Data:
    """Images' bytes. Methods that move bytes manage their own transactions."""

    def __init__(
        self,
        settings: ImageSettings,
        db: Database,
        stores: Stores,
        clock: Clock,
        cache: ImageCache,
        quotas: ImageQuotas,
        signatures: Signatures,
    ) -> None:
        self.stores = stores
        self.cache = cache
        self._settings = settings
        self._db = db
        self._clock = clock
        self._quotas = quotas
        self._signatures = signatures

    def of(self, image: Image, *, cached: bool = True) -> ImageData:
        """An image's stored bytes. Forbidden while it is deactivated, NotFound if there are none.

        Not `cached`: from the stores themselves.
        """
        if image.status == Status.DEACTIVATED:
            raise Forbidden(f"The requested image {image.id} has been deactivated. Image data download is forbidden.")
        if image.status != Status.ACTIVE or image.size is None:
            raise NotFound(f"Image {image.id} has no data.")
        return self._data(image, self.cache if cached else None)

    def wherever(self, image: Image) -> ImageData:
        """An image's bytes as they are in the stores, whatever its status."""
        return self._data(image, None)

    def _data(self, image: Image, cache: ImageCache | None) -> ImageData:
        def again() -> Sequence[Location]:
            with self._db.read() as tx:
                row = store.find(tx, image.id)
            return () if row is None else row.locations

        return ImageData(image, self.stores, cache, again)

    # --- receiving ------------------------------------------------------------------------------------------

    def upload(self, image: Image, chunks: Iterator[bytes], store_name: str = "", size: int | None = None) -> None:
        """Receive an image's data as it arrives, in constant memory; the image is active afterwards.

        `size`: how many bytes will come, if that is known. Conflict if the image has data, or is receiving some,
        already; TooLarge if its owner's quota is exhausted. Whatever goes wrong, the image is queued again and nothing
        of the data remains.
        """
        target = self.stores.writable(store_name) if store_name else self.stores.default
        uploader, image = self._begin(image.id, size)
        try:
            received = self.receive(image, target, chunks)
        except BaseException as err:
            if not self._db.transact(lambda tx: store.finish_upload(tx, image.id, uploader, Status.QUEUED)):
                self.let_go(image.id, uploader)
                raise _deleted_meanwhile(image) from err
            explain(image, err)
        now = self._clock.now()
        values = {"updated_at": now, "locations": [received.location], **received.facts}
        if not self._db.transact(lambda tx: store.finish_upload(tx, image.id, uploader, Status.ACTIVE, **values)):
            target.remove(received.location.locator)
            self.let_go(image.id, uploader)
            raise _deleted_meanwhile(image)

    def receive(self, image: Image, target: Store, chunks: Iterator[bytes]) -> Received:
        """Keep bytes in a store after they proved to be what the image says of itself; else nothing remains."""
        settings = self._settings
        verifier = self._signatures.verifier(image)
        checked = Checked(image, chunks, settings.size_limit, verifier, settings.require_image_format_match)
        locator = target.write(image.id, iter(checked))
        return Received(Location(target.name, locator, {}), checked.facts())

    def _begin(self, image_id: str, size: int | None) -> tuple[str, Image]:
        """The uploader, and the image as it is from now on: what it says of its data stays until the upload ends."""
        uploader = new_owner()

        def begin(tx: Tx) -> Image:
            row = store.lock(tx, image_id)
            if row is None:
                raise NotFound(f"No image found with ID {image_id}")
            image = store.image_of(row)
            if image.status == Status.QUEUED:
                check_formats(image)
            if not store.change_status(tx, image_id, (Status.QUEUED,), Status.SAVING, uploader=uploader):
                raise Conflict(f"Image status transition from {image.status} to {Status.SAVING} is not allowed.")
            self._quotas.check_upload(tx, image.owner, size)
            return image

        return uploader, self._db.transact(begin)

    # --- removing -------------------------------------------------------------------------------------------

    def remove(self, image_id: str, locations: Sequence[Location]) -> None:
        """Remove all data of a deleted image, and then its record. What a store cannot do now is done later."""
        try:
            for location in locations:
                if self.stores.has(location.store):  # else its data is found when the store is configured again
                    self.stores.get(location.store).remove(location.locator)
            for each in self.stores.all():
                if not each.read_only:
                    each.discard(image_id)
        except (PileusError, OSError) as err:
            log.warning("the data of a deleted image could not be removed yet", image=image_id, error=str(err))
            return
        self._db.transact(lambda tx: store.purge(tx, image_id))

    def let_go(self, image_id: str, uploader: str) -> None:
        """An uploader has ended, or died: if the image was deleted meanwhile, what is left of it goes now."""
        row = self._db.transact(lambda tx: store.let_go(tx, image_id, "uploader", uploader))
        if row is not None:
            self.remove(image_id, row.locations)

    def reconcile(self) -> None:
        """Take back uploads whose process died, and remove data that belongs to no image."""
        with self._db.read() as tx:
            uploads = {row.uploader: row for row in store.uploads(tx) if row.uploader is not None}
            doomed = [(row.id, row.locations) for row in store.deleted(tx)]
        for uploader in dead_here(uploads):
            self._take_back(uploader, uploads[uploader])
        for image_id, locations in doomed:
            self.remove(image_id, locations)
        for each in self.stores.all():
            if not each.read_only:
                with _later():
                    self._remove_strays(each)

    def _take_back(self, uploader: str, row: Row) -> None:
        """While a store that may hold a part of it is away, the upload is not over."""
        if row.status == Status.DELETED:
            self.let_go(row.id, uploader)
            return
        log.warning("an upload was cut off; the image is queued again", image=row.id)
        with _later():
            for each in self.stores.all():
                if not each.read_only:
                    each.discard(row.id)
            self._db.transact(lambda tx: store.finish_upload(tx, row.id, uploader, Status.QUEUED))

    def _remove_strays(self, each: Store) -> None:
        for image_id in each.images():
            with self._db.read() as tx:
                unknown = not store.known(tx, image_id)
            if unknown:
                log.warning("removing data that belongs to no image", image=image_id, store=each.name)
                each.discard(image_id)


class Checked:
    """Bytes on their way into a store: counted, hashed, kept below a limit, and at their end judged.

    Whoever iterates gets ImageNotAsDeclaredError or SignatureInvalid instead of the end if they are not what the image
    says it is.
    """

    def __init__(
        self, image: Image, chunks: Iterator[bytes], limit: int, verifier: Verifier | None = None, judge: bool = True
    ) -> None:
        """Without `judge`, whatever they are is taken."""
        self._image = image
        self._chunks = chunks
        self._limit = limit
        self._verifier = verifier
        self._judge = judge
        self._digests = Digests("md5", HASH_ALGO)
        self._size = 0
        self._head = b""
        self._virtual_size: int | None = None  # of an archive: what is in it is not looked at

    def __iter__(self) -> Iterator[bytes]:
        image = self._image
        if not self._judge:
            yield from self._counted()
        elif is_disk(image.disk_format, image.container_format):
            inspection = Inspection(self._counted())
            yield from inspection
            self._virtual_size = inspection.verdict(image.disk_format or "", self._size)
        else:
            yield from self._counted()
            check_container(image.container_format or "", self._head)
        if self._verifier is not None:
            self._verifier.verify()

    def facts(self) -> dict[str, Any]:
        """What the image's record says of the bytes, once all have passed."""
        return {
            "size": self._size,
            "virtual_size": self._virtual_size,
            "checksum": self._digests.hexdigest("md5"),
            "os_hash_algo": HASH_ALGO,
            "os_hash_value": self._digests.hexdigest(HASH_ALGO),
        }

    def _counted(self) -> Iterator[bytes]:
        with contextlib.closing(self._digests):
            for chunk in self._chunks:
                self._size += len(chunk)
                if len(self._head) < HEAD:
                    self._head += chunk[: HEAD - len(self._head)]
                if self._size > self._limit:
                    raise TooLarge(f"The image is larger than {self._limit} bytes.")
                self._digests.update(chunk)
                if self._verifier is not None:
                    self._verifier.update(chunk)
                yield chunk


@contextlib.contextmanager
def _later() -> Iterator[None]:
    """Leave what a store cannot do now to the next round."""
    try:
        yield
    except (Unavailable, Conflict) as err:
        log.warning("a store cannot be tidied yet", error=err.message)


def check_formats(image: Image) -> None:
    """BadRequest if the image does not say yet what its data is."""
    if image.disk_format is None or image.container_format is None:
        raise BadRequest("disk_format and container_format must be set before data is uploaded.")


def explain(image: Image, err: BaseException) -> NoReturn:
    """Raise what the caller should hear of a failed upload."""
    if isinstance(err, ImageNotAsDeclaredError):
        raise UnsupportedMediaType(f"Image {image.id} was not accepted. {err}") from err
    if isinstance(err, SignatureInvalid):
        raise BadRequest(f"The signature of image {image.id} was not verified: {err}.") from err
    if isinstance(err, OSError) and err.errno in (errno.ENOSPC, errno.EDQUOT):
        raise TooLarge(f"There is not enough disk space for image {image.id}.") from err
    if isinstance(err, OSError):
        raise Unavailable(f"The data of image {image.id} could not be stored: {os.strerror(err.errno or 0)}.") from err
    raise err


def _deleted_meanwhile(image: Image) -> Conflict:
    return Conflict(f"Image {image.id} was deleted while its data was uploaded.")
