"""The cache's directory: what its names mean, and locks that hold between threads, processes and hosts.

======================== ==========================================================================================
base/CHECKSUM            a base in raw form; CHECKSUM is that of the image as the cloud stores it
base/CHECKSUM.qcow2      a base in qcow2 form
base/CHECKSUM_BYTES      a raw copy of a qcow2 base, grown to BYTES
base/NAME.json           the record of one of these (see `records`)
base/NAME.damaged        one of these that did not agree with its record
base/.CHECKSUM.part      an image on its way; where it breaks off, it is resumed
base/.CHECKSUM.new       a file that is being made
base/.CHECKSUM.lock      the lock of everything of an image; there while it is held, and as long as the image is
users/CHECKSUM/H__S      server S of host H needs the base (see `usage`)
======================== ==========================================================================================

Names tell formats, so that no content, which may be a guest's, is ever asked what it is.
A file gets its name only when it is complete and on the disk, and its record is there before it: a record without its
file is what a kill left.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

Format = Literal["raw", "qcow2"]
FORMATS: tuple[Format, ...] = ("raw", "qcow2")

RECORD = ".json"
DAMAGED = ".damaged"
PART = ".part"
NEW = ".new"
LOCK = ".lock"


class Busy(Exception):
    """Somebody else holds the lock."""


def image_of(name: str) -> str:
    """The checksum of the image that a file in `base` belongs to."""
    return re.split(r"[._]", name.removeprefix("."), maxsplit=1)[0]


def base_name(checksum: str, disk_format: Format) -> str:
    """The name of an image's base in one form."""
    return checksum if disk_format == "raw" else f"{checksum}.{disk_format}"


def copy_name(checksum: str, size: int) -> str:
    """The name of an image's copy that was grown to `size` bytes."""
    return f"{checksum}_{size}"


def copied_size(name: str) -> int | None:
    """The size that a copy was grown to; None if the file is no copy."""
    size = name.partition("_")[2]
    return int(size) if size.isdecimal() else None


def is_ready(name: str) -> bool:
    """Whether a file may be used: it is complete, and was not found damaged."""
    return not name.startswith(".") and not name.endswith((RECORD, DAMAGED))


def format_of(name: str) -> Format:
    """The form of a file, by its name."""
    return "qcow2" if name.endswith(".qcow2") else "raw"


class Directory:
    """Names and locks. Files of an image are changed only by who holds its lock."""

    def __init__(self, directory: Path) -> None:
        self.base = directory / "base"
        self.base.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Where a file is, if it is here."""
        return self.base / name

    def part(self, checksum: str) -> Path:
        """Where an image is downloaded to."""
        return self.base / f".{checksum}{PART}"

    def new(self, checksum: str) -> Path:
        """Where a file is made before it gets its name."""
        return self.base / f".{checksum}{NEW}"

    def ready(self) -> dict[str, list[str]]:
        """All complete files by the checksum of their image, bases first; damaged ones are not among them."""
        return self._by_image(is_ready)

    def damaged(self) -> dict[str, list[str]]:
        """All files that were set aside, by the checksum of their image."""
        return self._by_image(lambda name: name.endswith(DAMAGED))

    def files_of(self, checksum: str) -> list[str]:
        """The names of everything of an image but its lock."""
        return [name for name in self._names() if image_of(name) == checksum and not name.endswith(LOCK)]

    def unfinished(self) -> set[str]:
        """The checksums of images of which there is anything that an agent at work, or a killed one, has left."""
        names = set(self._names())
        locks = {name for name in names if name.endswith(LOCK)}
        hidden = {name for name in names - locks if name.startswith(".")}
        alone = {name for name in names if name.endswith(RECORD) and name.removesuffix(RECORD) not in names}
        lone_locks = set(map(image_of, locks)) - set(map(image_of, names - locks))
        return {image_of(name) for name in hidden | alone} | lone_locks

    @contextmanager
    def alone(self, checksum: str, *, wait: bool = True, shared: bool = False) -> Iterator[int]:
        """Hold the lock of an image; answers its descriptor. Busy if `wait` is False and it is held by others.

        `flock` conflicts between threads, processes and, on NFS, hosts, and ends with its holder. A process that
        inherits the descriptor holds the lock with us, for as long as it lives. `shared` holders keep out only others.
        """
        how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        descriptor = self._lock(checksum, how)
        try:
            yield descriptor
        finally:
            if not shared and not self.files_of(checksum):
                # While it is held: who waits for it finds that it has another name now, or none, and asks anew.
                self._lock_path(checksum).unlink(missing_ok=True)
            os.close(descriptor)

    def _lock(self, checksum: str, how: int) -> int:
        path = self._lock_path(checksum)
        while True:
            with contextlib.ExitStack() as cleanup:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                cleanup.callback(os.close, descriptor)
                try:
                    fcntl.flock(descriptor, how)
                except BlockingIOError as err:
                    raise Busy(checksum) from err
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(path.stat(), os.fstat(descriptor)):
                        cleanup.pop_all()
                        return descriptor

    def _lock_path(self, checksum: str) -> Path:
        return self.base / f".{checksum}{LOCK}"

    def _names(self) -> list[str]:
        with os.scandir(self.base) as entries:
            return [entry.name for entry in entries]

    def _by_image(self, wanted: Callable[[str], bool]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in sorted(self._names()):
            if wanted(name):
                found.setdefault(image_of(name), []).append(name)
        return found
