"""Images as files. A file appears under its image's id only when all of it is on the disk."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from pileus.image.stores.base import CHUNK
from pileus.kernel.errors import NotFound
from pileus.kernel.ids import is_uuid

_PARTIAL = ".part"


class FileStore:
    """A directory with one file for each image; the locator is the image's id."""

    kind = "file"
    read_only = False

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, image_id: str, chunks: Iterator[bytes]) -> str:
        partial = self._directory / f"{image_id}{_PARTIAL}"
        with contextlib.ExitStack() as undo:
            undo.callback(partial.unlink, missing_ok=True)
            with partial.open("wb", buffering=0) as out:
                for chunk in chunks:
                    _write_all(out.fileno(), chunk)
                os.fsync(out.fileno())
            partial.rename(self._path(image_id))
            undo.pop_all()
        self._sync()
        return image_id

    def read(self, locator: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        try:
            source = self._path(locator).open("rb", buffering=0)
        except FileNotFoundError as err:
            raise NotFound(f"The data of image {locator} is gone.") from err

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

    def size(self, locator: str) -> int:
        try:
            return self._path(locator).stat().st_size
        except FileNotFoundError as err:
            raise NotFound(f"The data of image {locator} is gone.") from err

    def remove(self, locator: str) -> None:
        self._path(locator).unlink(missing_ok=True)

    def discard(self, image_id: str) -> None:
        self._path(image_id).unlink(missing_ok=True)
        (self._directory / f"{image_id}{_PARTIAL}").unlink(missing_ok=True)

    def images(self) -> tuple[str, ...]:
        names = {path.name.removesuffix(_PARTIAL) for path in self._directory.iterdir()}
        return tuple(sorted(name for name in names if is_uuid(name)))

    def url(self, locator: str) -> str:
        return f"file://{self._path(locator)}"

    def locator_of(self, url: str) -> str | None:
        return None

    def _path(self, locator: str) -> Path:
        if not is_uuid(locator):
            raise NotFound(f"There is no image data {locator!r}.")
        return self._directory / locator

    def _sync(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
