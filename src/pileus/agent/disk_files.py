"""Makes the files that are disks. Each appears under its name complete and on the disk, or not at all."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from pileus.agent.errors import AgentError, NoSpace
from pileus.agent.image_cache import Base
from pileus.agent.image_cache.space import free_bytes, reserve, taken_by

TOOL_SECONDS = 300.0
COPY_SECONDS = 3600.0

Finish = Callable[[Path], None]


def make_overlay(path: Path, base: Base, size: int, *, preallocate: bool, finish: Finish) -> None:
    """A copy-on-write disk on a base. `finish(fresh)` may write to it before it counts as made."""

    def make(fresh: Path) -> None:
        # The base's format is told, never guessed: a raw one holds what an image's owner likes, a qcow2 header too.
        told = ["-f", "qcow2", "-F", base.format, "-b", str(base.path)]
        _run(["qemu-img", "create", "-q", *told, str(fresh), str(size)])
        if preallocate:
            _allocate(fresh, size)
        finish(fresh)

    _make(path, make)


def make_copy(path: Path, source: Path, size: int, *, preallocate: bool, finish: Finish) -> None:
    """A raw disk of its own with the content of a raw file, grown to `size` bytes. Where the file system can, the two
    share what neither has changed."""

    def make(fresh: Path) -> None:
        _run(["cp", "--reflink=auto", "--sparse=always", str(source), str(fresh)], COPY_SECONDS)
        os.truncate(fresh, size)
        if preallocate:
            _allocate(fresh, size)
        finish(fresh)

    _make(path, make)


def make_fresh(path: Path, size: int, make_content: list[str], *, preallocate: bool) -> None:
    """An empty raw disk, with what the program `make_content` writes to it."""

    def make(fresh: Path) -> None:
        with fresh.open("wb") as out:
            out.truncate(size)
        _run([*make_content, str(fresh)])
        if preallocate:  # afterwards: mke2fs gives back what it does not write
            _allocate(fresh, size)

    _make(path, make)


def base_of(overlay: Path) -> Path | None:
    """What an overlay is based on, by its own header: bytes 8 to 15 say where the path is, 16 to 19 how long it is."""
    try:
        with overlay.open("rb") as file:
            header = file.read(20)
            file.seek(int.from_bytes(header[8:16], "big"))
            return Path(os.fsdecode(file.read(int.from_bytes(header[16:20], "big"))))
    except FileNotFoundError:
        return None


def _make(path: Path, make: Finish) -> None:
    """Make a disk under another name, sync and rename it. A half-made one is never taken for a disk, and after a loss
    of power none is empty that a server was already told to have."""
    fresh = path.with_name(f".{path.name}")
    fresh.unlink(missing_ok=True)  # the one of an agent that was killed may still be written to
    try:
        make(fresh)
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.rename(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _allocate(path: Path, size: int) -> None:
    """Take all the space that a disk may need, so that its guest never finds the host's disk full."""
    free = free_bytes(path.parent) - reserve(path.parent)
    if size - taken_by(path) > free:  # it is not tried: until it failed, there would be none for other guests
        raise NoSpace(f"no space for a disk of {size} bytes: {path.parent} has {free}")
    _run(["fallocate", "--keep-size", "--length", str(size), str(path)])


def _run(command: list[str], timeout: float = TOOL_SECONDS) -> None:
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired as err:
        raise AgentError(f"{command[0]} took more than {timeout:.0f} s") from err
    if done.returncode:
        text = done.stderr.decode(errors="replace").strip()
        if "No space left" in text or "quota exceeded" in text:
            raise NoSpace(f"{command[0]}: {text}")
        raise AgentError(f"{command[0]} failed: {text}")
