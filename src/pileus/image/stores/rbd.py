"""Images as RADOS block devices in a Ceph pool, laid out as OpenStack's services expect them there.

Each image has the protected snapshot `snap`, from which Nova and Cinder clone disks without copying. Needs Ceph's own
Python bindings, `rados` and `rbd`, which come with Ceph's packages and not from PyPI.
"""

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pileus.image.stores.base import CHUNK
from pileus.image.stores.settings import StoreSettings
from pileus.kernel.errors import Conflict, NotFound, Unavailable
from pileus.kernel.ids import is_uuid

SNAPSHOT = "snap"
_PARTIAL = ".part"
_GROWTH = 1 << 30  # bytes by which a device grows while data of unknown size arrives


@dataclass(frozen=True)
class Bindings:
    """Ceph's modules."""

    rados: Any
    rbd: Any


def load_bindings(store: str) -> Bindings:
    """The bindings of this machine. ValueError if there are none."""
    try:
        return Bindings(importlib.import_module("rados"), importlib.import_module("rbd"))
    except ImportError as err:
        raise ValueError(
            f"store '{store}' is of the kind rbd, which needs Ceph's Python bindings (python3-rados and python3-rbd)"
        ) from err


class RbdStore:
    """The locator is the image's id, which is the device's name too. Data arrives in `ID.part`, which is renamed."""

    kind = "rbd"
    read_only = False

    def __init__(self, name: str, settings: StoreSettings, bindings: Bindings | None = None) -> None:
        """ValueError if the machine lacks the bindings."""
        self.name = name
        self._settings = settings
        self._bindings = bindings or load_bindings(name)

    def write(self, image_id: str, chunks: Iterator[bytes]) -> str:
        _check(image_id)
        rbd = self._bindings.rbd
        partial = f"{image_id}{_PARTIAL}"
        with self._pool() as pool, contextlib.ExitStack() as undo:
            self._delete(pool, partial)
            order = (self._settings.rbd_object_size << 20).bit_length() - 1
            with self._reaching():
                rbd.RBD().create(pool, partial, 0, order, old_format=False, features=rbd.RBD_FEATURE_LAYERING)
            undo.callback(self._delete_quietly, partial)
            self._fill(pool, partial, chunks)
            self._delete(pool, image_id)
            with self._reaching():
                rbd.RBD().rename(pool, partial, image_id)
            undo.pop_all()
        return image_id

    def _fill(self, pool: Any, name: str, chunks: Iterator[bytes]) -> None:
        with self._open(pool, name) as device:
            end = room = 0
            for chunk in chunks:
                with self._reaching():
                    if end + len(chunk) > room:
                        room = end + max(len(chunk), _GROWTH)
                        device.resize(room)
                    device.write(chunk, end)
                end += len(chunk)
            with self._reaching():
                device.resize(end)
                device.flush()
                device.create_snap(SNAPSHOT)
                device.protect_snap(SNAPSHOT)

    def read(self, locator: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        chunks = self._read(locator, start, length)
        next(chunks)  # opens the device: NotFound is raised here, and not when the caller begins to read
        return chunks

    def _read(self, locator: str, start: int, length: int | None) -> Iterator[bytes]:
        _check(locator)
        with self._pool() as pool, self._open(pool, locator, read_only=True) as device:
            end = device.size() if length is None else min(device.size(), start + length)
            yield b""
            while start < end:
                with self._reaching():
                    chunk = device.read(start, min(CHUNK, end - start))
                start += len(chunk)
                yield chunk

    def size(self, locator: str) -> int:
        _check(locator)
        with self._pool() as pool, self._open(pool, locator, read_only=True) as device:
            return int(device.size())

    def in_use(self, locator: str) -> bool:
        """Whether disks are clones of the image."""
        _check(locator)
        try:
            with self._pool() as pool, self._open(pool, locator, read_only=True) as device, self._reaching():
                if all(snapshot["name"] != SNAPSHOT for snapshot in device.list_snaps()):
                    return False
                device.set_snap(SNAPSHOT)
                return any(True for _ in device.list_children())
        except NotFound:
            return False

    def remove(self, locator: str) -> None:
        _check(locator)
        with self._pool() as pool:
            self._delete(pool, locator)

    def discard(self, image_id: str) -> None:
        _check(image_id)
        with self._pool() as pool:
            self._delete(pool, f"{image_id}{_PARTIAL}")
            self._delete(pool, image_id)

    def images(self) -> tuple[str, ...]:
        with self._pool() as pool, self._reaching():
            names = {str(name).removesuffix(_PARTIAL) for name in self._bindings.rbd.RBD().list(pool)}
        return tuple(sorted(name for name in names if is_uuid(name)))

    def url(self, locator: str) -> str:
        return f"{self._address}/{locator}/{SNAPSHOT}"

    def locator_of(self, url: str) -> str | None:
        if not url.startswith("rbd://"):
            return None
        locator = url.removeprefix(f"{self._address}/").removesuffix(f"/{SNAPSHOT}")
        return locator if is_uuid(locator) else None

    @cached_property
    def _address(self) -> str:
        with self._cluster() as cluster:
            return f"rbd://{cluster.get_fsid()}/{self._settings.rbd_pool}"

    # --- Ceph ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _cluster(self) -> Iterator[Any]:
        settings = self._settings
        with self._reaching():
            cluster = self._bindings.rados.Rados(conffile=str(settings.rbd_conf), rados_id=settings.rbd_user)
            cluster.connect(timeout=settings.rbd_timeout)
        try:
            yield cluster
        finally:
            cluster.shutdown()

    @contextlib.contextmanager
    def _pool(self) -> Iterator[Any]:
        with self._cluster() as cluster:
            with self._reaching():
                pool = cluster.open_ioctx(self._settings.rbd_pool)
            try:
                yield pool
            finally:
                pool.close()

    @contextlib.contextmanager
    def _open(self, pool: Any, name: str, *, read_only: bool = False) -> Iterator[Any]:
        with self._reaching():
            device = self._bindings.rbd.Image(pool, name, read_only=read_only)
        try:
            yield device
        finally:
            device.close()

    def _delete(self, pool: Any, name: str) -> None:
        """Remove a device with its snapshot; it need not be there."""
        rbd = self._bindings.rbd
        try:
            with self._open(pool, name) as device, self._reaching():
                if any(snapshot["name"] == SNAPSHOT for snapshot in device.list_snaps()):
                    if device.is_protected_snap(SNAPSHOT):
                        device.unprotect_snap(SNAPSHOT)
                    device.remove_snap(SNAPSHOT)
            with self._reaching():
                rbd.RBD().remove(pool, name)
        except NotFound:
            return

    def _delete_quietly(self, name: str) -> None:
        """After a failure, whose error is the one to tell. What remains is found by `images`."""
        with contextlib.suppress(Unavailable, Conflict), self._pool() as pool:
            self._delete(pool, name)

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Ceph's errors as the store's own."""
        rados, rbd = self._bindings.rados, self._bindings.rbd
        try:
            yield
        except rbd.ImageNotFound as err:
            raise NotFound("The image's data is gone.") from err
        except (rbd.ImageBusy, rbd.ImageHasSnapshots) as err:
            raise Conflict(f"Disks in pool {self._settings.rbd_pool} still depend on the image's data.") from err
        except (rbd.Error, rados.Error) as err:
            raise Unavailable(f"Store '{self.name}' cannot be reached.") from err


def _check(locator: str) -> None:
    if not is_uuid(locator):
        raise NotFound(f"There is no image data {locator!r}.")
