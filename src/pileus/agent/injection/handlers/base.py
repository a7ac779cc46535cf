"""What a handler is: one way of opening the root file system of a disk."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pileus.agent.injection.partitions import Partition
from pileus.agent.injection.programs import CannotOpenError
from pileus.agent.injection.tree import FileSystem, Tree


@dataclass(frozen=True)
class Disk:
    """The file of a disk that no guest uses. `format` is raw or qcow2: known, never probed."""

    path: Path
    format: str


@dataclass(frozen=True)
class Means:
    """What handlers work with: which partition is wanted, MiB of memory for each program, and an empty directory that
    goes with this process."""

    partition: str
    memory: int
    scratch: Path


class Handler(Protocol):
    """A way into disks. Whatever it sets up is undone when it is left, and by the kernel if this process dies."""

    name: str

    def unfit(self, disk: Disk) -> str | None:
        """Why this host or this disk rules the handler out; None if nothing does."""
        ...

    def opened(self, disk: Disk) -> AbstractContextManager[FileSystem]:
        """The disk's root file system, to be read and written. CannotOpenError if it turns out not to work.

        When the context is left, all that was written is in the disk's file.
        """
        ...


@contextmanager
def root_among(
    candidates: Sequence[Partition], opened: Callable[[Partition], AbstractContextManager[FileSystem]]
) -> Iterator[FileSystem]:
    """The only candidate, or the first of several that has the directory /etc."""
    for candidate in candidates:
        with ExitStack() as stack:
            files = stack.enter_context(opened(candidate))
            if len(candidates) == 1 or Tree(files).is_directory("/etc"):
                yield files
                return
    raise CannotOpenError("no partition has a directory /etc: which is the root is not known", of_image=True)
