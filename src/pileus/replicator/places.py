"""The two ends: what anything must be able to do that images are read from or written to."""

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from pileus.replicator.records import ACTIVE, Record, Rules


@dataclass(frozen=True)
class Selection:
    """Which images are meant: those that pass every test that is not empty. Names may hold `*`, `?` and `[...]`."""

    owner: str | None = None
    visibility: str | None = None
    names: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    hidden: bool = False

    def takes(self, record: Record) -> bool:
        """Whether an image is meant. One that is not active never is."""
        fields = record.fields
        return (
            record.status == ACTIVE
            and (self.owner is None or fields["owner"] == self.owner)
            and (self.visibility is None or fields["visibility"] == self.visibility)
            and (not self.names or any(fnmatch.fnmatchcase(record.name, name) for name in self.names))
            and (not self.ids or record.id in self.ids)
            and record.tags.issuperset(self.tags)
            and (self.hidden or record.id in self.ids or not fields["os_hidden"])
        )


class Data(Protocol):
    """An image's data on its way to a target: iterate over it once, completely."""

    def __iter__(self) -> Iterator[bytes]:
        """The bytes that are still missing. Mismatch, before the last of them, if they are not the original's."""
        ...

    def __len__(self) -> int:
        """How many bytes are still missing."""
        ...

    def already(self, chunks: Iterator[bytes]) -> None:
        """Say that the target has these first bytes from an earlier run. Mismatch if that is more than all."""
        ...


class Source(Protocol):
    """Where images are read."""

    label: str

    def images(self, selection: Selection) -> Iterator[Record]:
        """The images that are meant, each once."""
        ...

    def find(self, image_id: str) -> Record | None:
        """One image, or None if there is none that we may see."""
        ...

    def members(self, image_id: str) -> Mapping[str, str]:
        """With which projects an image is shared: their ids, and what each says of that (its status)."""
        ...

    def read(self, record: Record, start: int) -> Iterator[bytes]:
        """An image's data from a byte on: one attempt.

        Unreachable if it breaks off, CannotResume if `start` is not 0 and only the whole can be had, Vanished.
        """
        ...


class Target(Source, Protocol):
    """Where images are written."""

    def find_marked(self, original_id: str) -> Record | None:
        """The copy of an image that had to be made under another id."""
        ...

    def create(self, want: Record, image_id: str, rules: Rules) -> Record:
        """Register an image without data. Refused with code 409 if the id is taken."""
        ...

    def write(self, record: Record, data: Data) -> None:
        """Give a registered image its data: one attempt."""
        ...

    def update(self, want: Record, have: Record, rules: Rules) -> Record:
        """Describe `have` like `want`: the result."""
        ...

    def set_members(self, image_id: str, want: Mapping[str, str]) -> None:
        """Share an image with exactly these projects."""
        ...

    def delete(self, record: Record) -> None:
        """Delete an image, though it be protected; it may be gone already."""
        ...
