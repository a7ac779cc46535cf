"""The staging area: a directory for each image whose data has come and is not in a store yet.

All machines that serve images or conduct imports share it.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from pileus.image.stores.base import CHUNK
from pileus.kernel.errors import NotFound
from pileus.kernel.ids import is_uuid

STAGED = "staged"
_PARTIAL = ".part"


class Staging:
    """Files of images by name. A file appears under its name only when all of it is on the disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, image_id: str, name: str) -> Path:
        """Where a file is. NotFound."""
        path = self._of(image_id) / name
        if not path.exists():
            raise NotFound(f"The staged data of image {image_id} is gone.")
        return path

    def write(self, image_id: str, name: str, chunks: Iterable[bytes]) -> int:
        """Keep bytes; how many. If anything fails, nothing of them remains."""
        with self.making(image_id, name) as partial, partial.open("wb") as out:
            size = 0
            for chunk in chunks:
                out.write(chunk)
                size += len(chunk)
        return size

    @contextlib.contextmanager
    def making(self, image_id: str, name: str) -> Iterator[Path]:
        """A path for a new file; what is there at the end of the block gets the name, unless the block fails."""
        directory = self._of(image_id)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = directory / f"{name}.{os.urandom(4).hex()}{_PARTIAL}"  # nobody else's, also of a lease that was lost
        with contextlib.ExitStack() as undo:
            undo.callback(partial.unlink, missing_ok=True)
            yield partial
            _sync(partial)
            partial.rename(directory / name)
            undo.pop_all()

    def read(self, image_id: str, name: str) -> Iterator[bytes]:
        """All bytes of a file. NotFound, at once."""
        source = self.path(image_id, name).open("rb", buffering=0)

        def chunks() -> Iterator[bytes]:
            with source:
                while chunk := source.read(CHUNK):
                    yield chunk

        return chunks()

    def keep_only(self, image_id: str, name: str) -> None:
        """Remove an image's other files."""
        for path in self._of(image_id).iterdir() if self._of(image_id).exists() else ():
            if path.name != name:
                path.unlink(missing_ok=True)

    def discard(self, image_id: str) -> None:
        """Remove all there is of an image; there need not be anything."""
        while self._of(image_id).exists():
            with contextlib.suppress(FileNotFoundError):  # one that somebody else removed: the others are still there
                shutil.rmtree(self._of(image_id))

    def images(self) -> tuple[str, ...]:
        """The ids of all images of which something is here."""
        if not self._directory.exists():
            return ()
        return tuple(sorted(path.name for path in self._directory.iterdir() if is_uuid(path.name)))

    def _of(self, image_id: str) -> Path:
        if not is_uuid(image_id):
            raise NotFound(f"There is no image {image_id!r}.")
        return self._directory / image_id


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
