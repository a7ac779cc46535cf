"""What was asked for, one JSON file per resource, so that a restarted agent knows it.

A description is written before the host is changed and removed after the host was cleaned: whatever is on the
host without a description is half-made or half-removed.
"""

import contextlib
import os
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace `path` so that a reader, or a crash at any instant, sees the old or the new content, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    draft.replace(path)


class Journal(Generic[S]):
    """The descriptions of one kind. Reads come from memory; the files serve the next process."""

    def __init__(self, directory: Path, kind: type[S]) -> None:
        self._directory = directory
        self._kind = kind
        directory.mkdir(parents=True, exist_ok=True)
        self._entries: dict[str, S] = {}
        for draft in directory.glob(".*.new"):
            draft.unlink()
        for path in directory.glob("*.json"):
            with contextlib.suppress(msgspec.DecodeError):  # of another release: the control plane sends it again
                self._entries[path.stem] = msgspec.json.decode(path.read_bytes(), type=kind)

    def get(self, identifier: str) -> S | None:
        return self._entries.get(identifier)

    def all(self) -> dict[str, S]:
        return dict(self._entries)

    def put(self, identifier: str, entry: S) -> None:
        if self._entries.get(identifier) != entry:
            write_atomically(self._directory / f"{identifier}.json", msgspec.json.encode(entry))
            self._entries[identifier] = entry

    def drop(self, identifier: str) -> None:
        (self._directory / f"{identifier}.json").unlink(missing_ok=True)
        self._entries.pop(identifier, None)
