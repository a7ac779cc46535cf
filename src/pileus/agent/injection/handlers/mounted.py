"""A file system mounted by the host's kernel, where only this process and its namespace see it.

While it is open this process is confined to it by chroot, and the mount follows no symbolic links, has no devices and
runs no programs: no path, whatever the image holds, leads to a file of the host.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pileus.agent.injection.partitions import Partition
from pileus.agent.injection.programs import CannotOpenError, trusted
from pileus.agent.injection.tree import DIRECTORY_MODE, FILE_MODE, FileSystem, InjectionRefusedError, Kind, Node

OPTIONS = {
    "ext2": "errors=remount-ro",
    "ext3": "errors=remount-ro",
    "ext4": "errors=remount-ro",  # an image may say panic
    "xfs": "nouuid",  # guests of one image are made at the same time
}
"""What is mounted, and how. btrfs is not: the kernel would take another disk with the same id for this one."""
_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.LINK}


class MountedFiles:
    """The tree under this process's root directory."""

    def look(self, path: str) -> Node | None:
        with _refusing(path):
            try:
                found = os.lstat(path)
            except FileNotFoundError:
                return None
            kind = _KINDS.get(stat.S_IFMT(found.st_mode), Kind.OTHER)
            return Node(kind, stat.S_IMODE(found.st_mode), found.st_size)

    def link_target(self, path: str) -> str:
        with _refusing(path):
            return str(Path(path).readlink())

    def read(self, path: str) -> bytes:
        with _refusing(path), os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            return file.read()

    def write(self, path: str, content: bytes) -> None:
        with _refusing(path):
            new = not os.path.lexists(path)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(path, flags, FILE_MODE), "wb") as file:
                file.write(content)
                if new:
                    os.fchmod(file.fileno(), FILE_MODE)

    def make_directory(self, path: str) -> None:
        with _refusing(path):
            Path(path).mkdir()
            Path(path).chmod(DIRECTORY_MODE)

    def set_mode(self, path: str, mode: int) -> None:
        with _refusing(path):
            Path(path).chmod(mode)


@contextmanager
def mounted(device: Path, partition: Partition, scratch: Path) -> Iterator[FileSystem]:
    """A partition of a raw file or block device, mounted through a loop device that goes with the mount."""
    if partition.filesystem not in OPTIONS:
        raise CannotOpenError(f"{partition.filesystem} is not mounted by this host", of_image=True)
    place = scratch / "root"
    place.mkdir(exist_ok=True)
    window = f"loop,offset={partition.offset},sizelimit={partition.size}"
    options = f"{window},nosuid,nodev,noexec,nosymfollow,{OPTIONS[partition.filesystem]}"
    trusted(["mount", "-t", partition.filesystem, "-o", options, str(device), str(place)])
    try:
        with _within(place):
            yield MountedFiles()
    finally:
        trusted(["umount", str(place)])  # not lazily: the guest must find everything written


@contextmanager
def _within(place: Path) -> Iterator[None]:
    outside = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chroot(place)
        os.chdir("/")
        try:
            yield
        finally:
            os.fchdir(outside)
            os.chroot(".")
            os.fchdir(here)
    finally:
        os.close(outside)
        os.close(here)


@contextmanager
def _refusing(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as err:
        raise InjectionRefusedError(f"{path}: {err.strerror if isinstance(err, OSError) else err}") from err
