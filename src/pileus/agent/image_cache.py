"""The host's image cache: images fetched once, converted once, and kept as the bases of guests' disks.

`base/<checksum>` holds an image in raw form, named by the checksum of the image as it was stored in the cloud, so that
the same content is cached once however many image ids name it. A file appears under its name only when it is complete,
verified and converted. Guests' disks are copy-on-write overlays on it. The cache knows no hypervisor.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from pileus.agent.api import ImageRef
from pileus.agent.errors import AgentError, ImageUnusable, NoSpace
from pileus.agent.locks import KeyedLocks
from pileus.kernel import qemu_img
from pileus.kernel.image_format import ImageNotAsDeclaredError, inspect_file

log = structlog.get_logger("pileus.agent.image_cache")

Fetch = Callable[[str], Iterator[bytes]]

CONVERT_LIMITS = qemu_img.Limits()
MAX_VIRTUAL_SIZE = 1 << 44  # 16 TiB, ext4's largest file
SUFFIX_PARTIAL = ".part"


class ImageCache:
    """Base images on this host. Thread-safe; several processes may share the directory."""

    def __init__(self, directory: Path, fetch: Fetch) -> None:
        """`fetch(image_id)` yields the image's bytes from the control plane."""
        self._base = directory / "base"
        self._fetch = fetch
        self._locks = KeyedLocks()
        self._base.mkdir(parents=True, exist_ok=True)

    def ensure(self, image: ImageRef, largest: int | None = None) -> Path:
        """The raw base of an image, fetched if it is not there. One fetch serves all who wait for it.

        ImageUnusable if its disk is of more than `largest` bytes; it is not converted then, as a few kilobytes may
        hold terabytes.
        """
        if not image.checksum.isalnum() or image.hash_algo not in hashlib.algorithms_available:
            raise ImageUnusable(f"image {image.id} has no checksum to know it by")
        path = self._base / image.checksum
        with self._alone(image.checksum):
            if path.exists():
                _check_size(image, path.stat().st_size, largest)
                os.utime(path)
            else:
                try:
                    self._bring(image, path, largest)
                except OSError as err:
                    if err.errno in (errno.ENOSPC, errno.EDQUOT):
                        raise NoSpace(f"no space for image {image.id} in {self._base}") from err
                    raise
        return path

    def path_of(self, image: ImageRef) -> Path:
        """Where the base of an image is, if it is here."""
        return self._base / image.checksum

    def cached(self) -> tuple[str, ...]:
        """The checksums of all images that are here."""
        return tuple(sorted(path.name for path in self._base.iterdir() if path.name.isalnum() and path.is_file()))

    def prune(self, in_use: Callable[[], Collection[Path]], unused_for: float) -> tuple[str, ...]:
        """Remove bases that no disk is based on and none was made from for `unused_for` seconds.

        `in_use` is asked while the image is locked: who records its wish before it calls `ensure` never loses a base.
        """
        removed = []
        for checksum in self.cached():
            path = self._base / checksum
            with self._alone(checksum):
                if not path.exists() or time.time() - path.stat().st_mtime < unused_for or path in in_use():
                    continue
                path.unlink()
            removed.append(checksum)
            log.info("removed an unused image", checksum=checksum)
        return tuple(removed)

    def remove_partial(self) -> None:
        """Remove what fetches left that were killed. Fetches under way keep theirs, and are not waited for."""
        for path in self._base.glob(f".*{SUFFIX_PARTIAL}"):
            checksum = path.name[1:].split(".", 1)[0]
            with contextlib.suppress(BlockingIOError), self._locked(checksum, fcntl.LOCK_EX | fcntl.LOCK_NB):
                path.unlink(missing_ok=True)

    @contextmanager
    def _alone(self, checksum: str) -> Iterator[None]:
        with self._locks.held(checksum), self._locked(checksum, fcntl.LOCK_EX):
            yield

    @contextmanager
    def _locked(self, checksum: str, how: int) -> Iterator[None]:
        descriptor = os.open(self._base / f".{checksum}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)

    def _bring(self, image: ImageRef, path: Path, largest: int | None) -> None:
        started = time.monotonic()
        fetched = self._base / f".{image.checksum}{SUFFIX_PARTIAL}"
        converted = self._base / f".{image.checksum}.raw{SUFFIX_PARTIAL}"
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(fetched.unlink, missing_ok=True)
            cleanup.callback(converted.unlink, missing_ok=True)
            self._download(image, fetched)
            _check_size(image, self._inspect(image, fetched), largest)
            if image.disk_format in ("raw", "ami", "aki", "ari", "iso"):
                complete = fetched
            else:
                convert(fetched, image.disk_format, converted)
                complete = converted
            complete.chmod(0o644)
            _sync(complete)  # or a loss of power leaves an empty file under the name of a complete one
            complete.rename(path)
        log.info(
            "image cached", image=image.id, checksum=image.checksum, bytes=image.size,
            seconds=round(time.monotonic() - started, 3),
        )  # fmt: skip

    def _download(self, image: ImageRef, target: Path) -> None:
        digest = hashlib.new(image.hash_algo)
        size = 0
        with target.open("wb") as out:
            for chunk in self._fetch(image.id):
                size += len(chunk)
                if size > image.size:
                    raise ImageUnusable(f"image {image.id} has more data than the {image.size} bytes it should have")
                digest.update(chunk)
                out.write(chunk)
        if size != image.size:
            raise AgentError(f"the transfer of image {image.id} broke off after {size} of {image.size} bytes")
        if digest.hexdigest() != image.checksum:
            raise AgentError(f"image {image.id} arrived damaged: its {image.hash_algo} is not as recorded")

    @staticmethod
    def _inspect(image: ImageRef, path: Path) -> int:
        try:
            virtual_size = inspect_file(path, image.disk_format)
        except ImageNotAsDeclaredError as err:
            raise ImageUnusable(f"image {image.id}: {err}") from err
        if virtual_size > MAX_VIRTUAL_SIZE:
            raise ImageUnusable(f"image {image.id}: its disk of {virtual_size} bytes is larger than any host can hold")
        return virtual_size


def _check_size(image: ImageRef, size: int, largest: int | None) -> None:
    if largest is not None and size > largest:
        raise ImageUnusable(f"image {image.id} holds a disk of {size} bytes, the flavor's root disk has only {largest}")


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def convert(source: Path, disk_format: str, target: Path) -> None:
    """Convert an inspected image to raw, within limits of time, processor and memory.

    ImageUnusable if qemu-img refuses it or takes too much; NoSpace if the disk is full.
    """
    try:
        qemu_img.convert(source, disk_format, target, limits=CONVERT_LIMITS)
    except qemu_img.ConversionFailed as err:
        raise ImageUnusable(str(err)) from err
    except OSError as err:
        raise NoSpace(f"no space to convert an image: {err.strerror}") from err
