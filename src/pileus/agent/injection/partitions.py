"""The file systems of a raw disk: where they begin and what they are."""

import os
from dataclasses import dataclass
from pathlib import Path

from pileus.agent.injection.programs import CannotOpenError, confined

INSPECT = "inspect"
SECTOR = 512


@dataclass(frozen=True)
class Partition:
    """A partition with a file system: `number` 0 is a disk without partitions. `offset` and `size` in bytes."""

    number: int
    offset: int
    size: int
    filesystem: str  # as blkid names it: ext4, xfs


def partitions(raw: Path, wanted: str, memory: int) -> list[Partition]:
    """The file systems that may be the root: the one that is `wanted`, or for "inspect" all of the disk.

    CannotOpenError if there is none. No program here is the kernel's: they only read.
    """
    size = _size(raw)
    whole = _probe(raw, 0, size, memory)
    if wanted == "0" or (wanted == INSPECT and whole is not None):
        found = [] if whole is None else [Partition(0, 0, size, whole)]
    else:
        found = _in_table(raw, wanted, memory)
    if not found:
        raise CannotOpenError(f"no file system in partition {wanted!r}", of_image=True)
    return found


def _size(raw: Path) -> int:
    """The bytes of a file or block device."""
    with raw.open("rb") as file:
        return file.seek(0, os.SEEK_END)


def _in_table(raw: Path, wanted: str, memory: int) -> list[Partition]:
    done = confined(["partx", "-g", "-r", "-o", "NR,START,SECTORS", str(raw)], memory)
    found = []
    for line in done.stdout.decode(errors="replace").splitlines():
        number, start, sectors = (int(word) for word in line.split())
        if wanted not in (INSPECT, str(number)):
            continue
        kind = _probe(raw, start * SECTOR, sectors * SECTOR, memory)
        if kind is not None:
            found.append(Partition(number, start * SECTOR, sectors * SECTOR, kind))
    return found


def _probe(raw: Path, offset: int, size: int, memory: int) -> str | None:
    done = confined(["blkid", "-p", "-o", "export", "-O", str(offset), "-S", str(size), str(raw)], memory)
    facts = dict(line.partition("=")[::2] for line in done.stdout.decode(errors="replace").splitlines())
    return facts.get("TYPE") if facts.get("USAGE") == "filesystem" else None
