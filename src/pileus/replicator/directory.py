"""A directory as a place: for each image `<id>.json`, its description, and `<id>`, its data.

The description comes first; the data grows as `<id>.part` and is renamed when it is complete and verified, so that
an image has data here if, and only if, `<id>` has the size that the description gives.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pileus.replicator import records
from pileus.replicator.errors import Mismatch, ReplicationError, Unreachable, UsageError
from pileus.replicator.places import Data, Selection
from pileus.replicator.records import QUEUED, Record, Rules

CHUNK = 1 << 20


class Directory:
    """Images as files. Threads may use one at the same time, each for images of its own."""

    def __init__(self, path: Path) -> None:
        self.label = str(path)
        self._path = path

    def check(self) -> None:
        """UsageError if there is no such directory."""
        if not self._path.is_dir():
            raise UsageError(f"There is no directory {self._path}.")

    def make(self) -> None:
        """Make the directory if it is not there; it is for our eyes only then, as images may be private."""
        with self._explaining():
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)

    # --- reading --------------------------------------------------------------------------------------------

    def images(self, selection: Selection) -> Iterator[Record]:
        """The images that are meant. UsageError if one that is asked for by id is not there."""
        for image_id in selection.ids or sorted(path.stem for path in self._path.glob("*.json")):
            record = self.find(image_id)
            if record is None:
                raise UsageError(f"{self.label}: there is no image {image_id}.")
            if selection.takes(record):
                yield record

    def find(self, image_id: str) -> Record | None:
        """One image, or None. Without all of its data it is queued, whatever it was where it came from."""
        document = self._read_description(image_id)
        if document is None:
            return None
        record = records.parse(document.get("image"), self.label)
        if record.id != image_id:
            raise ReplicationError(f"{self.label}: {image_id}.json describes {record.id}.")
        data = self._path / image_id
        complete = data.is_file() and data.stat().st_size == record.size
        return record if complete else replace(record, status=QUEUED)

    def find_marked(self, _original_id: str) -> Record | None:
        """None: here every image has its own id."""
        return None

    def members(self, image_id: str) -> Mapping[str, str]:
        """The members that were stored with the image."""
        members: Mapping[str, str] = (self._read_description(image_id) or {}).get("members", {})
        return members

    def read(self, record: Record, start: int) -> Iterator[bytes]:
        """The data from a byte on."""
        with self._explaining(), (self._path / record.id).open("rb") as file:
            file.seek(start)
            while chunk := file.read(CHUNK):
                yield chunk

    # --- writing --------------------------------------------------------------------------------------------

    def create(self, want: Record, image_id: str, _rules: Rules) -> Record:
        """Store the image's description."""
        self._write_description(want, {})
        return replace(want, id=image_id, status=QUEUED)

    def write(self, record: Record, data: Data) -> None:
        """Store the image's data, continuing what an earlier run left."""
        part = self._path / f"{record.id}.part"
        with self._explaining():
            continued = part.is_file()
            try:
                if continued:
                    data.already(_chunks(part))
                with part.open("ab") as file:
                    for chunk in data:
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
            except Mismatch as err:
                part.unlink()
                if continued:  # the fault may lie with what was left, and not with the original
                    raise Unreachable(f"{self.label}: what an earlier run left of {record.id} is of no use.") from err
                raise
            part.rename(self._path / record.id)

    def update(self, want: Record, have: Record, _rules: Rules) -> Record:
        """Describe `have` like `want`."""
        self._write_description(want, self.members(have.id))
        return replace(want, status=have.status)

    def set_members(self, image_id: str, want: Mapping[str, str]) -> None:
        """Store the members with the image."""
        record = self.find(image_id)
        if record is not None:
            self._write_description(record, want)

    def delete(self, record: Record) -> None:
        """Remove the image's files."""
        with self._explaining():
            for name in (f"{record.id}.json", record.id, f"{record.id}.part"):
                (self._path / name).unlink(missing_ok=True)

    def _read_description(self, image_id: str) -> dict[str, Any] | None:
        path = self._path / f"{image_id}.json"
        if not path.is_file():
            return None
        with self._explaining():
            try:
                document = json.loads(path.read_bytes())
            except ValueError as err:
                raise ReplicationError(f"{path} is not JSON: {err}") from err
        if not isinstance(document, dict) or not isinstance(document.get("members", {}), dict):
            raise ReplicationError(f"{path} does not describe an image.")
        return document

    def _write_description(self, record: Record, members: Mapping[str, str]) -> None:
        document = {"image": records.description(record), "members": dict(members)}
        target = self._path / f"{record.id}.json"
        draft = target.with_suffix(".json.part")
        with self._explaining():
            draft.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
            draft.replace(target)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Errors of the file system as ours: to HTTP code that asks for data they would look like its own."""
        try:
            yield
        except OSError as err:
            raise ReplicationError(f"{self.label}: {err.strerror}: {err.filename or 'while writing'}") from err


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
