"""Raw disks, mounted through a loop device."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pileus.agent.injection.handlers.base import Disk, Means, root_among
from pileus.agent.injection.handlers.mounted import mounted
from pileus.agent.injection.partitions import partitions
from pileus.agent.injection.tree import FileSystem


class LoopHandler:
    """The fastest way, for disks that are no overlays."""

    name = "loop"

    def __init__(self, means: Means) -> None:
        self._means = means

    def unfit(self, disk: Disk) -> str | None:
        if disk.format != "raw":
            return f"a loop device shows a copy-on-write disk ({disk.format}) as it is stored, not as guests see it"
        if not Path("/dev/loop-control").exists():
            return "this host's kernel has no loop devices"
        return None

    @contextmanager
    def opened(self, disk: Disk) -> Iterator[FileSystem]:
        means = self._means
        found = partitions(disk.path, means.partition, means.memory)
        with root_among(found, lambda one: mounted(disk.path, one, means.scratch)) as files:
            yield files
