"""Images as files. A file appears under its image's id only when all of it is on the disk."""

import contextlib
import errno
import fcntl
import filecmp
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import structlog

from pileus.image.stores.base import CHUNK
from pileus.image.stores.settings import StoreSettings
from pileus.kernel.errors import NotFound, Unavailable
from pileus.kernel.ids import is_uuid

log = structlog.get_logger("pileus.image.stores")

_PARTIAL = ".part"
_MOST_LINKS = 60_000  # that one content has; ext4 allows 65,000


class FileStore:
    """A directory with one file for each image; the locator is the image's id.

    In the layout by content, equal data is on the disk once: every file is a hard link to `by-content/HASH`. That link
    goes together with the last image that has the content. A file is never written to after it has its name, and a
    name is only ever replaced by another whole file, so readers need no lock; those who link and unlink take turns.
    """

    kind = "file"
    read_only = False

    def __init__(self, name: str, directory: Path, settings: StoreSettings | None = None) -> None:
        settings = settings or StoreSettings()
        self.name = name
        self._directory = directory
        self._mounted = settings.mounted
        self._reserve = settings.reserve
        self._shares = settings.layout == "content"
        self._contents = directory / "by-content"
        self._prepare()

    def _prepare(self) -> None:
        """Make the directory, unless it is to come with its mount. A store that is not there now may be later."""
        if self._mounted and not self._directory.is_mount():
            log.warning("nothing is mounted where a store should be", store=self.name, directory=str(self._directory))
            return
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._shares:
                self._contents.mkdir(mode=0o700, exist_ok=True)
        except OSError as err:
            log.warning("a store's directory cannot be made", store=self.name, error=str(err))

    def write(self, image_id: str, chunks: Iterator[bytes]) -> str:
        self._check_there()
        path = self._path(image_id)
        partial = path.with_name(f"{image_id}{_PARTIAL}")
        with contextlib.ExitStack() as undo:
            undo.callback(partial.unlink, missing_ok=True)
            with partial.open("wb", buffering=0) as out:
                content = self._fill(out.fileno(), chunks)
                os.fsync(out.fileno())
            with self._lock():
                self._forget_content(path)
                if content is not None:
                    self._share(partial, content)
                partial.replace(path)
            undo.pop_all()
        self._sync(self._directory)
        return image_id

    def _fill(self, out: int, chunks: Iterator[bytes]) -> str | None:
        """Write the bytes; their hash, where files are found by it."""
        sha256 = hashlib.sha256() if self._shares else None
        for chunk in chunks:
            if self._reserve and self._free(out) < self._reserve + len(chunk):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._directory))
            if sha256 is not None:
                sha256.update(chunk)
            _write_all(out, chunk)
        return None if sha256 is None else sha256.hexdigest()

    def read(self, locator: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        try:
            source = self._path(locator).open("rb", buffering=0)
        except FileNotFoundError as err:
            self._check_there()
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
            self._check_there()
            raise NotFound(f"The data of image {locator} is gone.") from err

    def remove(self, locator: str) -> None:
        path = self._path(locator)
        self._check_there()
        self._unlink(path)

    def in_use(self, locator: str) -> bool:
        return False

    def discard(self, image_id: str) -> None:
        path = self._path(image_id)
        self._check_there()
        self._unlink(path)
        self._unlink(path.with_name(f"{image_id}{_PARTIAL}"))

    def images(self) -> tuple[str, ...]:
        self._check_there()
        names = {path.name.removesuffix(_PARTIAL) for path in self._directory.iterdir()}
        return tuple(sorted(name for name in names if is_uuid(name)))

    def url(self, locator: str) -> str:
        return f"file://{self._path(locator)}"

    def locator_of(self, url: str) -> str | None:
        """None, whatever the address: what is on the machine's disks is nobody's to name."""
        return None

    def _path(self, locator: str) -> Path:
        if not is_uuid(locator):
            raise NotFound(f"There is no image data {locator!r}.")
        return self._directory / locator

    def _check_there(self) -> None:
        """Unavailable if the directory is gone: without this, a store that is not mounted would look like an empty
        one, and what is written to it would go to the disk below."""
        there = self._directory.is_mount() if self._mounted else self._directory.is_dir()
        if not there:
            raise Unavailable(f"Store '{self.name}' is not there now.")
        if self._shares:
            self._contents.mkdir(mode=0o700, exist_ok=True)

    def _free(self, descriptor: int) -> int:
        stat = os.fstatvfs(descriptor)
        return stat.f_bavail * stat.f_frsize

    # --- content that images share ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Be the only one who links and unlinks, among all processes. Nobody shares where nothing ever was shared."""
        if not self._contents.is_dir():
            yield
            return
        descriptor = os.open(self._contents / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _share(self, partial: Path, content: str) -> None:
        """Make `partial` one more link to the content if that is there, else make it the content."""
        known = self._contents / content
        if known.exists():
            if filecmp.cmp(known, partial, shallow=False):
                if known.stat().st_nlink < _MOST_LINKS:
                    partial.unlink()
                    partial.hardlink_to(known)
                return
            log.error("stored content is damaged on the disk", store=self.name, content=content)
            known.unlink()
        known.hardlink_to(partial)
        self._sync(self._contents)

    def _unlink(self, path: Path) -> None:
        with self._lock():
            self._forget_content(path)
            path.unlink(missing_ok=True)

    def _forget_content(self, path: Path) -> None:
        """Take the content's own name away if `path` is the last image that has it.

        The image's name goes after it: whatever crashes in between leaves nothing that no image knows of.
        """
        try:
            stat = path.stat()
        except FileNotFoundError:
            return
        if stat.st_nlink != 2 or not self._contents.is_dir():
            return
        with os.scandir(self._contents) as entries:
            for entry in entries:
                if entry.inode() == stat.st_ino:
                    Path(entry.path).unlink()

    def _sync(self, directory: Path) -> None:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
