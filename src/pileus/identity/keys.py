"""Key repositories: Fernet keys in a directory that all API processes of a cloud share, in Keystone's layout.

Files are named by number. The highest is the primary key, which encrypts; the others still decrypt, until they are
rotated out; 0 is staged: it becomes the next primary key and decrypts already, so that a process which hears late of a
rotation understands tokens that are made with a key it has not seen as primary.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from pileus.identity.followed import Followed

STAGED = 0
_FIRST = 1


class NoKeysError(Exception):
    """The repository has no key that encrypts."""


class Rotation(msgspec.Struct, frozen=True):
    """What a rotation did: the number of the key that is primary now, and of those that are gone.

    `kept`: old keys beyond the wanted number that stay because of what was made with them.
    """

    primary: int
    removed: tuple[int, ...]
    kept: tuple[int, ...]


def create_keys(directory: Path) -> None:
    """Make a repository with a primary and a staged key, readable by its owner alone. One that exists is left alone."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(directory):
        if not _numbers(directory):
            write_key(directory / str(_FIRST), Fernet.generate_key())  # first: without a primary key nothing works
            write_key(directory / str(STAGED), Fernet.generate_key())


def rotate(directory: Path, max_active: int, lifetime: float) -> Rotation:
    """Make the staged key primary, stage a new one, and remove the oldest ones, so that at most `max_active` are left.

    What was made with a key in the last `lifetime` seconds can still be decrypted: a key that was primary since then
    stays for now. May be killed at any instruction: what needs a key finds it, and the next rotation carries on.
    NoKeysError if there are no keys.
    """
    if not directory.is_dir():
        raise NoKeysError(f"the key repository {directory} does not exist")
    with _alone(directory):
        numbers = _numbers(directory)
        if not numbers:
            raise NoKeysError(f"the key repository {directory} has no keys")
        primary, staged = numbers[-1], directory / str(STAGED)
        interrupted = primary != STAGED and (
            not staged.exists() or staged.read_bytes() == (directory / str(primary)).read_bytes()
        )
        if not interrupted:
            primary += 1
            write_key(directory / str(primary), staged.read_bytes())  # a copy, so that it is never missing
        write_key(staged, Fernet.generate_key())
        removed, kept = _prune(directory, max_active, lifetime)
    return Rotation(primary, removed, kept)


def _prune(directory: Path, max_active: int, lifetime: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
    numbers = _numbers(directory)
    secondary = [number for number in numbers if number != STAGED][:-1]
    excess = secondary[: max(0, len(numbers) - max_active)]
    removed = []
    for number, successor in zip(secondary, [*secondary, numbers[-1]][1:], strict=True):
        if number not in excess:
            break
        superseded_at = (directory / str(successor)).stat().st_mtime
        if superseded_at + lifetime > time.time():
            break
        (directory / str(number)).unlink()
        removed.append(number)
    return tuple(removed), tuple(number for number in excess if number not in removed)


def _numbers(directory: Path) -> list[int]:
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdecimal())


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One rotation at a time; the lock goes with its process."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def write_key(path: Path, key: bytes, mode: int = 0o600) -> None:
    """Write a file so that it is there as a whole or not at all, and belongs to whoever its directory belongs to."""
    part = path.with_name(f".{path.name}.new")
    owner = path.parent.stat()
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        if os.geteuid() == 0:
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class _Ring(msgspec.Struct, frozen=True):
    primary: Fernet
    every: MultiFernet


class KeyRepository:
    """The keys of one directory; read again whenever a key has been added or removed. Thread-safe."""

    def __init__(self, directory: Path) -> None:
        self._keys = Followed((directory,), lambda: _load(directory))

    def encrypt(self, data: bytes, at: int) -> bytes:
        """Encrypt with the primary key. `at`: seconds since the epoch, visible in the result."""
        return self._keys.get().primary.encrypt_at_time(data, at)

    def decrypt(self, text: bytes) -> bytes | None:
        """What was encrypted with any of the keys; None if `text` was made with no key of ours, or altered."""
        try:
            return self._keys.get().every.decrypt(text)
        except InvalidToken:
            return None

    def is_of_primary(self, text: bytes) -> bool:
        """Whether `text` was encrypted with the key that encrypts now."""
        try:
            self._keys.get().primary.decrypt(text)
        except InvalidToken:
            return False
        return True


def _load(directory: Path) -> _Ring:
    numbers = _numbers(directory) if directory.is_dir() else None
    if numbers is None:
        raise NoKeysError(f"the key repository {directory} does not exist")
    if not numbers or numbers[-1] == STAGED:
        raise NoKeysError(f"the key repository {directory} has no primary key")
    keys = [Fernet((directory / str(number)).read_bytes().strip()) for number in reversed(numbers)]
    return _Ring(keys[0], MultiFernet(keys))
