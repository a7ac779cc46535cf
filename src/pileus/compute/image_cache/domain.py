"""What is to be fetched where."""

from collections.abc import Collection, Sequence
from enum import StrEnum

import msgspec

GIB = 1 << 30


class Wisher(StrEnum):
    """Why a host is to have an image."""

    REQUEST = "request"  # an administrator named it
    POLICY = "policy"


class Wish(msgspec.Struct, frozen=True):
    """A host is to have an image and has not said yet that it has. Times are microseconds since the epoch."""

    host: str
    image_id: str
    wisher: str
    requested_at: int
    retry_at: int
    failures: int
    error: str | None


class Wanted(msgspec.Struct, frozen=True):
    """An image that every host is to have. `checksum`: its key in caches. `needs`: disk to fetch and keep it, bytes."""

    image_id: str
    checksum: str
    needs: int


class Room(msgspec.Struct, frozen=True):
    """A host's cache. `free`: bytes of its disk that pre-caching may still take."""

    host: str
    cached: Collection[str]
    free: int


def needs(disk_format: str | None, size: int, virtual_size: int | None) -> int:
    """Bytes of disk that fetching and keeping an image takes at most: all of it, and what it is converted into."""
    return size if disk_format == "raw" else size + max(size, virtual_size or 0)


def room(disk_gb: int, disk_gb_free: int, spare_percent: int) -> int:
    """Bytes that pre-caching may take of a host's disk (sizes in GiB)."""
    return max(0, disk_gb_free * GIB - disk_gb * GIB * spare_percent // 100)


def plan(
    wanted: Sequence[Wanted], rooms: Sequence[Room], waiting: Collection[tuple[str, str]]
) -> list[tuple[str, str]]:
    """The (host, image) to wish for, of those that are neither there nor `waiting`: in the order of `wanted`, as far as
    each host has room. What waits counts as taken."""
    found = []
    for one in rooms:
        free = one.free - sum(image.needs for image in wanted if (one.host, image.image_id) in waiting)
        for image in wanted:
            if image.checksum in one.cached or (one.host, image.image_id) in waiting or image.needs > free:
                continue
            free -= image.needs
            found.append((one.host, image.image_id))
    return found
