"""Images: rules of their life, without HTTP and SQL."""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import structlog

from pileus.image import store
from pileus.image.domain import TRANSITIONS, Image, Status
from pileus.image.members import store as members_store
from pileus.image.members.service import Members
from pileus.image.settings import ImageSettings
from pileus.image.store import Filters
from pileus.image.stores.files import FileStore
from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Database, Row, Tx
from pileus.kernel.errors import BadRequest, Conflict, Forbidden, NotFound, TooLarge, Unavailable, UnsupportedMediaType
from pileus.kernel.ids import new_uuid
from pileus.kernel.image_format import ImageNotAsDeclaredError, Inspection
from pileus.kernel.owner import dead_here, new_owner
from pileus.kernel.paging import Page

log = structlog.get_logger("pileus.image")

HASH_ALGO = "sha512"
_FIELDS = Image.__struct_fields__


@dataclass(frozen=True)
class ImageData:
    """The stored bytes of one image."""

    size: int
    _read: Callable[[int, int | None], Iterator[bytes]]

    def read(self, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """`length` bytes from `start` on; all that follow without a length."""
        return self._read(start, length)


class Images:
    """The image service. Methods take the transaction first; uploads manage their own."""

    def __init__(self, settings: ImageSettings, db: Database, files: FileStore, clock: Clock) -> None:
        self.settings = settings
        self._db = db
        self._files = files
        self._clock = clock
        self.members = Members(settings, clock)

    # --- reading --------------------------------------------------------------------------------------------

    def get(self, tx: Tx, actor: Actor, image_id: str) -> Image:
        """An image that the caller may see. NotFound."""
        row = store.find(tx, image_id)
        if row is None or not _visible(tx, row, actor):
            raise NotFound(f"No image found with ID {image_id}")
        return _image(row)

    def page(self, tx: Tx, actor: Actor, filters: Filters, wanted: Page) -> tuple[list[Image], bool]:
        """A page of images, and whether there are more. BadRequest if the marker is not an image that is seen."""
        marker = None
        if wanted.marker is not None:
            marker = store.find(tx, wanted.marker)
            if marker is None or not _visible(tx, marker, actor):
                raise NotFound(f"No image found with ID {wanted.marker}")
        rows = store.page(tx, filters, wanted, marker)
        return [_image(row) for row in rows[: wanted.limit]], len(rows) > wanted.limit

    def data(self, image: Image) -> ImageData:
        """An image's stored bytes. Forbidden while it is deactivated, NotFound if there are none."""
        if image.status == Status.DEACTIVATED:
            raise Forbidden(f"The requested image {image.id} has been deactivated. Image data download is forbidden.")
        if image.status != Status.ACTIVE or image.size is None:
            raise NotFound(f"Image {image.id} has no data.")
        return ImageData(image.size, lambda start, length: self._files.read(image.id, start, length))

    def open(self, tx: Tx, image_id: str) -> ImageData:
        """The bytes of an active image for a host that boots a server from it, whoever owns the image."""
        row = store.find(tx, image_id)
        if row is None:
            raise NotFound(f"No image found with ID {image_id}")
        return self.data(_image(row))

    # --- changing -------------------------------------------------------------------------------------------

    def create(self, tx: Tx, actor: Actor, values: Mapping[str, Any]) -> Image:
        """Register an image without data. Conflict if the id is taken."""
        now = self._clock.now()
        image_id = values.get("id") or new_uuid()
        if store.known(tx, image_id):
            raise Conflict(f"Image ID {image_id} already exists!")
        row: dict[str, Any] = {
            "name": None,
            "visibility": "shared",
            "owner": actor.owner,
            "disk_format": None,
            "container_format": None,
            "size": None,
            "virtual_size": None,
            "min_disk": 0,
            "min_ram": 0,
            "checksum": None,
            "os_hash_algo": None,
            "os_hash_value": None,
            "protected": False,
            "os_hidden": False,
            "properties": {},
            "tags": [],
            **values,
            "id": image_id,
            "status": Status.QUEUED,
            "created_at": now,
            "updated_at": now,
        }
        self._check_limits(row["properties"], row["tags"])
        store.insert(tx, row)
        return Image(**row)

    def update(self, tx: Tx, image: Image, values: Mapping[str, Any]) -> Image:
        """Replace fields of an image."""
        formats = {"disk_format", "container_format"} & values.keys()
        if formats and image.status != Status.QUEUED:
            raise Forbidden(f"Attribute {min(formats)} can be only replaced for a queued image.")
        self._check_limits(values.get("properties", {}), values.get("tags", []))
        changed = {**values, "updated_at": self._clock.now()}
        store.update(tx, image.id, changed)
        return _replaced(image, changed)

    def set_tag(self, tx: Tx, image: Image, tag: str) -> None:
        """Give the image a tag; it may have it already."""
        if tag not in image.tags:
            self.update(tx, image, {"tags": [*image.tags, tag]})

    def remove_tag(self, tx: Tx, image: Image, tag: str) -> None:
        """Take a tag from the image. NotFound if it has none of that name."""
        if tag not in image.tags:
            raise NotFound(f"Image {image.id} has no tag '{tag}'.")
        self.update(tx, image, {"tags": [other for other in image.tags if other != tag]})

    def delete(self, tx: Tx, image: Image) -> None:
        """Delete an image; its data goes as soon as the transaction is durable."""
        if image.protected:
            raise Forbidden(f"Image {image.id} is protected and cannot be deleted.")
        if not store.change_status(tx, image.id, _before(Status.DELETED), Status.DELETED, uploader=None):
            raise NotFound(f"No image found with ID {image.id}")
        tx.after_commit(lambda: self._remove_data(image.id))

    def set_active(self, tx: Tx, image: Image, active: bool) -> None:
        """Make the data available, or not. Forbidden in other states than active and deactivated."""
        source, target = (Status.DEACTIVATED, Status.ACTIVE) if active else (Status.ACTIVE, Status.DEACTIVATED)
        if image.status == target:
            return
        if not store.change_status(tx, image.id, (source,), target, updated_at=self._clock.now()):
            raise Forbidden(f"Not allowed to change the status of an image from {image.status} to {target}.")

    # --- uploading ------------------------------------------------------------------------------------------

    def upload(self, image: Image, chunks: Iterator[bytes]) -> None:
        """Receive an image's data as it arrives, in constant memory; the image is active afterwards.

        Conflict if it has data, or is receiving some, already. Whatever goes wrong, the image is queued again and
        nothing of the data remains.
        """
        if image.disk_format is None or image.container_format is None:
            raise BadRequest("disk_format and container_format must be set before data is uploaded.")
        uploader = new_owner()
        begun = self._db.transact(
            lambda tx: store.change_status(tx, image.id, (Status.QUEUED,), Status.SAVING, uploader=uploader)
        )
        if not begun:
            raise Conflict(f"Image status transition from {image.status} to saving is not allowed.")
        try:
            facts = self._receive(image, chunks)
        except BaseException as err:
            self._files.remove(image.id)
            if not self._db.transact(lambda tx: store.finish_upload(tx, image.id, uploader, Status.QUEUED)):
                raise _deleted_meanwhile(image) from err
            _explain(image, err)
        now = self._clock.now()
        kept = self._db.transact(
            lambda tx: store.finish_upload(tx, image.id, uploader, Status.ACTIVE, updated_at=now, **facts)
        )
        if not kept:
            self._files.remove(image.id)
            raise _deleted_meanwhile(image)

    def _receive(self, image: Image, chunks: Iterator[bytes]) -> dict[str, Any]:
        counted = _Counted(chunks, self.settings.size_limit)
        if image.container_format == "bare" or image.disk_format in ("ami", "ari", "aki"):
            inspection = Inspection(iter(counted))
            self._files.write(image.id, iter(inspection))
            virtual_size = inspection.verdict(image.disk_format or "", counted.size)
        else:
            self._files.write(image.id, iter(counted))
            virtual_size = None  # an archive is not a disk; what is in it is not looked at
        self._files.commit(image.id)
        return {
            "size": counted.size,
            "virtual_size": virtual_size,
            "checksum": counted.md5.hexdigest(),
            "os_hash_algo": HASH_ALGO,
            "os_hash_value": counted.sha512.hexdigest(),
        }

    # --- standing truth -------------------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Take back uploads whose process died, and remove data that belongs to no image."""
        with self._db.read() as tx:
            uploads = {row.uploader: row.id for row in store.uploads(tx)}
            doomed = [row.id for row in store.deleted(tx)]
        for uploader in dead_here(uploads):
            image_id = uploads[uploader]
            log.warning("an upload was cut off; the image is queued again", image=image_id)
            self._files.remove(image_id)
            self._db.transact(
                lambda tx, i=image_id, u=uploader: store.finish_upload(tx, i, u, Status.QUEUED)  # type: ignore[misc]
            )
        for image_id in doomed:
            self._remove_data(image_id)
        for image_id in self._files.images():
            with self._db.read() as tx:
                unknown = not store.known(tx, image_id)
            if unknown:
                self._files.remove(image_id)

    def _remove_data(self, image_id: str) -> None:
        self._files.remove(image_id)
        self._db.transact(lambda tx: store.purge(tx, image_id))

    def _check_limits(self, properties: Mapping[str, str], tags: Sequence[str]) -> None:
        if len(properties) > self.settings.property_limit:
            raise TooLarge(f"The limit has been exceeded on the number of allowed image properties: {len(properties)}.")
        if len(tags) > self.settings.tag_limit:
            raise TooLarge(f"The limit has been exceeded on the number of allowed image tags: {len(tags)}.")


class _Counted:
    """Counts and hashes the bytes that pass, and stops them at a limit."""

    def __init__(self, chunks: Iterator[bytes], limit: int) -> None:
        self._chunks = chunks
        self._limit = limit
        self.size = 0
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.sha512 = hashlib.sha512()

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.size += len(chunk)
            if self.size > self._limit:
                raise TooLarge(f"The image is larger than {self._limit} bytes.")
            self.md5.update(chunk)
            self.sha512.update(chunk)
            yield chunk


def _deleted_meanwhile(image: Image) -> Conflict:
    return Conflict(f"Image {image.id} was deleted while its data was uploaded.")


def _explain(image: Image, err: BaseException) -> NoReturn:
    """Raise what the caller should hear of a failed upload."""
    if isinstance(err, ImageNotAsDeclaredError):
        raise UnsupportedMediaType(f"Image {image.id} was not accepted. {err}") from err
    if isinstance(err, OSError) and err.errno in (errno.ENOSPC, errno.EDQUOT):
        raise TooLarge(f"There is not enough disk space for image {image.id}.") from err
    if isinstance(err, OSError):
        raise Unavailable(f"The data of image {image.id} could not be stored: {os.strerror(err.errno or 0)}.") from err
    raise err


def _visible(tx: Tx, row: Row, actor: Actor) -> bool:
    if actor.is_admin or row.visibility in ("public", "community") or row.owner == actor.owner:
        return True
    return row.visibility == "shared" and members_store.find(tx, row.id, actor.owner) is not None


def _before(target: Status) -> list[Status]:
    return [source for source, targets in TRANSITIONS.items() if target in targets]


def _image(row: Row) -> Image:
    values = row._mapping
    return Image(**{name: values[name] for name in _FIELDS})


def _replaced(image: Image, values: Mapping[str, Any]) -> Image:
    return Image(**{name: values.get(name, getattr(image, name)) for name in _FIELDS})
