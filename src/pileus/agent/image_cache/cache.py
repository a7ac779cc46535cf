"""The host's image cache: images fetched once, converted once, and kept as the bases of guests' disks.

An image is known by the checksum of its content as it is stored in the cloud, so that the same content is cached once
however many image ids name it. What form the bytes have, they say themselves (`kernel.image_format`): no image can make
another's content be taken for something else.

What is in the cache may be used by every server that the control plane sends here: it is the control plane that lets
nobody boot from an image which he may not see, whether it is cached somewhere or not.
The cache knows no hypervisor.
"""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from pileus.agent.api import ImageRef
from pileus.agent.errors import AgentError, ControlPlaneSilent, ImageUnusable, NoSpace
from pileus.agent.image_cache.convert import convert, virtual_size_of
from pileus.agent.image_cache.directory import FORMATS, Directory, Format, base_name, copy_name, format_of
from pileus.agent.image_cache.fetch import Fetch, download, is_full
from pileus.agent.image_cache.records import Records
from pileus.agent.image_cache.signatures import verify
from pileus.agent.image_cache.upkeep import Upkeep
from pileus.agent.image_cache.usage import Usage
from pileus.kernel.clock import Clock, SystemClock
from pileus.kernel.image_format import PLAIN, ImageNotAsDeclaredError, inspect_file

log = structlog.get_logger("pileus.agent.image_cache")

MAX_VIRTUAL_SIZE = 1 << 44  # 16 TiB, ext4's largest file
USED_AS_IT_IS = PLAIN
ALWAYS_RAW = frozenset({"aki", "ari", "iso"})  # read by the machine itself, not as a disk
FAILURE_SECONDS = 600.0  # how long after a fetch failed there may still be some who had waited for it


@dataclass(frozen=True)
class Base:
    """A file that disks may be based on, or copied from. `virtual_size`: bytes of the disk in it."""

    path: Path
    format: Format
    virtual_size: int


class TooLargeForDisk(ImageUnusable):
    """The image would do for a larger disk. `size`: of the disk in it, in bytes."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


class ImageCache:
    """Base images on this host. Thread-safe; several agents, also of several hosts, may share the directory.

    `usage` must say who needs an image before it is asked for; `upkeep` removes what nobody needs and what rots.
    """

    def __init__(
        self, directory: Path, fetch: Fetch, *, host: str = "", base_format: Format = "raw", clock: Clock | None = None
    ) -> None:
        """`host`: in whose name usage is recorded. `base_format`: what images are converted to from now on."""
        self._clock = clock or SystemClock()
        self._fetch = fetch
        self._base_format: Format = base_format
        self._files = Directory(directory)
        self._records = Records(self._clock)
        self._guard = threading.Lock()
        self._failures: dict[ImageRef, tuple[float, AgentError]] = {}  # another's image with the same bytes may do
        self._conversions = threading.BoundedSemaphore(os.cpu_count() or 1)  # more of them would only take longer
        self.usage = Usage(directory, host)
        self.upkeep = Upkeep(self._files, self._records, self.usage, self._clock)

    def ensure(self, image: ImageRef, largest: int | None = None, disk_format: Format | None = None) -> Base:
        """The base of an image, fetched and converted if it is not there. One fetch serves all who wait for it: if it
        fails, it fails for all of them.

        `disk_format`: the base must have this form; otherwise any that is there serves.
        TooLargeForDisk if its disk is of more than `largest` bytes; it is not converted then, as a few kilobytes may
        hold terabytes. Else ImageUnusable, NoSpace, ControlPlaneSilent or AgentError.
        """
        if not image.checksum.isalnum() or image.hash_algo not in hashlib.algorithms_available:
            raise ImageUnusable(f"image {image.id} has no checksum to know it by")
        if image.disk_format in ALWAYS_RAW:
            disk_format = "raw"
        asked = time.monotonic()
        with self._files.alone(image.checksum) as lock:
            for form in FORMATS if disk_format is None else (disk_format,):
                base = self._usable(base_name(image.checksum, form), image.id)
                if base is not None:
                    _check_size(image, base.virtual_size, largest)
                    self._prove(image, base)
                    return base
            self._fail_if_it_failed_since(asked, image, largest)
            return self._bring(image, disk_format or self._base_format, largest, lock)

    def resized(self, image: ImageRef, size: int) -> Base:
        """A raw file that a full disk of `size` bytes can be copied from; it may be smaller, to be grown by truncation.

        A raw base is such a file itself, as growing it costs nothing. Of a qcow2 base a copy is kept for each size, so
        that it is decoded once and not for every disk. Errors as for `ensure`.
        """
        base = self.ensure(image, size)
        if base.format == "raw":
            return base
        name = copy_name(image.checksum, size)
        with self._files.alone(image.checksum) as lock:
            return self._usable(name, image.id) or self._with_space(
                image, lambda: self._make_copy(base, name, image.id, size, lock)
            )

    def holds(self, checksum: str) -> bool:
        """Whether an image is here."""
        return any(self._files.path(base_name(checksum, form)).exists() for form in FORMATS)

    def cached(self) -> tuple[str, ...]:
        """The checksums of all images that are here."""
        return tuple(self._files.ready())

    def _usable(self, name: str, image_id: str) -> Base | None:
        """A file that is here and looks as it was made. One that does not is read, and set aside if it is damaged."""
        path = self._files.path(name)
        if not path.exists():
            return None
        record = self._records.of(path) or self._records.adopt(path, virtual_size_of(path, format_of(name)))
        if not self._records.plausible(path, record):
            log.warning("a cached image was touched since it was made: all of it is read", path=str(path))
            judged = self.upkeep.judge(name, record, sound=self._records.sound(path, record))
            if judged is None:
                return None
            record = judged
        self._records.used(path, record, image_id)
        return Base(path, format_of(name), record.virtual_size)

    def _prove(self, image: ImageRef, base: Base) -> None:
        """If the image is signed and nobody has looked yet whether its bytes bear that out, fetch them to see."""
        record = self._records.of(base.path)
        if image.signature is None or (record is not None and image.signature.identity() in record.signatures):
            return
        part = self._files.part(image.checksum)
        download(self._fetch, self._clock, image, part)
        try:
            self._records.signed(base.path, verify(image, part, self._clock.now()))
        finally:
            part.unlink(missing_ok=True)

    def _bring(self, image: ImageRef, disk_format: Format, largest: int | None, lock: int) -> Base:
        started = time.monotonic()
        try:
            base = self._with_space(image, lambda: self._make_base(image, disk_format, largest, lock))
        except AgentError as err:
            with self._guard:
                self._failures[image] = (time.monotonic(), err)
            raise
        log.info(
            "image cached", image=image.id, checksum=image.checksum, bytes=image.size, format=base.format,
            seconds=round(time.monotonic() - started, 3),
        )  # fmt: skip
        return base

    def _fail_if_it_failed_since(self, asked: float, image: ImageRef, largest: int | None) -> None:
        """Fail as the fetch did that this thread has waited for, so that twenty do not make twenty vain attempts."""
        with self._guard:
            for failed in [key for key, (when, _) in self._failures.items() if when < asked - FAILURE_SECONDS]:
                del self._failures[failed]
            when, err = self._failures.get(image, (0.0, None))
        if err is None or when <= asked:
            return
        if isinstance(err, TooLargeForDisk):
            _check_size(image, err.size, largest)
        else:
            raise type(err)(str(err)) from err

    def _with_space(self, image: ImageRef, make: Callable[[], Base]) -> Base:
        """Make a file; if the disk is full, once more without what nobody uses."""
        for last in (False, True):
            try:
                return make()
            except (NoSpace, OSError) as err:
                if isinstance(err, OSError) and not is_full(err):
                    raise
                if last or not self.upkeep.prune(unused_for=0).removed:
                    raise NoSpace(f"no space for image {image.id}: {err}") from err
        raise AssertionError

    def _make_base(self, image: ImageRef, disk_format: Format, largest: int | None, lock: int) -> Base:
        part, new = self._files.part(image.checksum), self._files.new(image.checksum)
        try:
            download(self._fetch, self._clock, image, part)
            _check_size(image, self._admitted(image, part), largest)
            signatures = verify(image, part, self._clock.now())
            complete = part
            if image.disk_format not in USED_AS_IT_IS or disk_format != "raw":
                with self._conversions:
                    convert(part, image.disk_format, new, disk_format, lock=lock)
                complete = new
            base = self._publish(complete, base_name(image.checksum, disk_format), image.id, signatures)
        except ControlPlaneSilent:
            raise  # what has arrived is kept: who asks again, has the rest fetched
        except BaseException:
            part.unlink(missing_ok=True)
            new.unlink(missing_ok=True)
            raise
        part.unlink(missing_ok=True)
        return base

    def _make_copy(self, base: Base, name: str, image_id: str, size: int, lock: int) -> Base:
        new = self._files.new(name.partition("_")[0])
        try:
            with self._conversions:
                convert(base.path, base.format, new, "raw", lock=lock)
            with new.open("r+b") as out:
                out.truncate(size)
            return self._publish(new, name, image_id)
        except BaseException:
            new.unlink(missing_ok=True)
            raise

    def _publish(self, complete: Path, name: str, image_id: str, signatures: tuple[str, ...] = ()) -> Base:
        virtual_size = virtual_size_of(complete, format_of(name))
        path = self._files.path(name)
        self._records.publish(complete, path, virtual_size, (image_id,), signatures)
        return Base(path, format_of(name), virtual_size)

    @staticmethod
    def _admitted(image: ImageRef, part: Path) -> int:
        """The size of the disk in a downloaded image, once all is true that must be before it is used.

        Its digest is as recorded already: these are the bytes that were uploaded. Here they are judged.
        """
        try:
            virtual_size = inspect_file(part, image.disk_format)
        except ImageNotAsDeclaredError as err:
            raise ImageUnusable(f"image {image.id}: {err}") from err
        if virtual_size > MAX_VIRTUAL_SIZE:
            raise ImageUnusable(f"image {image.id}: its disk of {virtual_size} bytes is larger than any host can hold")
        return virtual_size


def _check_size(image: ImageRef, size: int, largest: int | None) -> None:
    if largest is not None and size > largest:
        raise TooLargeForDisk(
            f"image {image.id} holds a disk of {size} bytes, the flavor's root disk has only {largest}", size
        )
