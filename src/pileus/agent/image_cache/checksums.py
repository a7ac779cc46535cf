"""Checksums of our own: an image's recorded checksum does not survive conversion, and a file may rot on its disk.

A checksum is the SHA-256 of the blocks that are not all zero, each behind its number, and of the length. So a hole and
zeros that were written are the same, and a terabyte of nothing takes no time. It is read past the page cache: it tells
what is on the disk, and takes no memory from guests that read the same file.
"""

import errno
import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path

BLOCK = 1 << 20

Pace = Callable[[int], None]


def at_full_speed(_count: int) -> None:
    """Read on at once."""


def checksum_of(path: Path, pace: Pace = at_full_speed) -> str:
    """The checksum of a file. `pace(bytes)` is called after each piece that was read; it may wait, or raise."""
    digest = hashlib.sha256()
    descriptor = _open(path)
    try:
        length = os.fstat(descriptor).st_size
        with mmap.mmap(-1, BLOCK) as buffer:  # aligned, as O_DIRECT needs it
            for number in _blocks_with_data(descriptor, length):
                count = os.preadv(descriptor, [buffer], number * BLOCK)
                block = buffer[:count]
                if block != bytes(count):
                    digest.update(number.to_bytes(8, "big"))
                    digest.update(block)
                pace(count)
        digest.update(length.to_bytes(8, "big"))
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError as err:
        if err.errno != errno.EINVAL:
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # the file system knows only the page cache (tmpfs)


def _blocks_with_data(descriptor: int, length: int) -> Iterator[int]:
    position = 0
    while position < length:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as err:
            if err.errno == errno.ENXIO:  # only a hole follows
                return
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        first, past = max(start // BLOCK, position // BLOCK), -(-end // BLOCK)
        yield from range(first, past)
        position = past * BLOCK
