"""Images as files. A file appears under its image's id only when all of it is on the disk."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from pileus.kernel.errors import NotFound

CHUNK = 1 << 20
_PARTIAL = ".part"


class FileStore:
    """A directory with one file for each image."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, image_id: str, chunks: Iterator[bytes]) -> None:
        """Keep the bytes as the image's data so far; `commit` makes them its data. OSError if the disk is full."""
        partial = self._partial(image_id)
        with contextlib.ExitStack() as undo:
            undo.callback(partial.unlink, missing_ok=True)
            with partial.open("wb") as out:
                for chunk in chunks:
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            undo.pop_all()

    def commit(self, image_id: str) -> None:
        """Give the data its final name, durably."""
        self._partial(image_id).rename(self._path(image_id))
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, image_id: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` on, `length` of them. NotFound at once if there is no data."""
        try:
            source = self._path(image_id).open("rb")
        except FileNotFoundError as err:
            raise NotFound(f"The data of image {image_id} is gone.") from err

        def chunks() -> Iterator[bytes]:
            left = length
            with source:
                source.seek(start)
                while left is None or left > 0:
                    chunk = source.read(CHUNK if left is None else min(CHUNK, left))
                    if not chunk:
                        return
                    if left is not None:
                        left -= len(chunk)
                    yield chunk

        return chunks()

    def remove(self, image_id: str) -> None:
        """Remove the data, whole or partial; there need not be any."""
        self._path(image_id).unlink(missing_ok=True)
        self._partial(image_id).unlink(missing_ok=True)

    def images(self) -> tuple[str, ...]:
        """The ids of all images that have data here, whole or partial."""
        return tuple(sorted({path.name.removesuffix(_PARTIAL) for path in self._directory.iterdir()}))

    def _path(self, image_id: str) -> Path:
        return self._directory / image_id

    def _partial(self, image_id: str) -> Path:
        return self._directory / f"{image_id}{_PARTIAL}"
