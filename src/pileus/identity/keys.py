"""Key repositories: Fernet keys in a directory that all API processes of a cloud share, in Keystone's layout.

Files are named by number. The highest is the primary key, which encrypts; the others still decrypt, until they are
rotated out; 0 is staged: it becomes the next primary key and decrypts already, so that a process which hears late of a
rotation understands tokens that are made with a key it has not seen as primary.
"""

import os
import threading
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

STAGED = 0
_FIRST = 1


class NoKeysError(Exception):
    """The repository has no key that encrypts."""


def create_keys(directory: Path) -> None:
    """Make a repository with a primary and a staged key, readable by its owner alone. One that exists is left alone."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(path.name.isdecimal() for path in directory.iterdir()):
        return
    for number in (STAGED, _FIRST):
        part = directory / f".{number}.new"
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(Fernet.generate_key())
            file.flush()
            os.fsync(file.fileno())
        part.rename(directory / str(number))


class KeyRepository:
    """The keys of one directory; read again whenever a key has been added or removed. Thread-safe."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._read_at: int | None = None
        self._ring: MultiFernet | None = None

    def encrypt(self, data: bytes, at: int) -> bytes:
        """Encrypt with the primary key. `at`: seconds since the epoch, visible in the result."""
        return self._keys().encrypt_at_time(data, at)

    def decrypt(self, text: bytes) -> bytes | None:
        """What was encrypted with any of the keys; None if `text` was made with no key of ours, or altered."""
        try:
            return self._keys().decrypt(text)
        except InvalidToken:
            return None

    def _keys(self) -> MultiFernet:
        try:
            changed_at = self._directory.stat().st_mtime_ns
        except FileNotFoundError as err:
            raise NoKeysError(f"the key repository {self._directory} does not exist") from err
        with self._lock:
            if self._ring is None or changed_at != self._read_at:
                self._ring = self._load()
                self._read_at = changed_at
            return self._ring

    def _load(self) -> MultiFernet:
        numbers = sorted((int(path.name) for path in self._directory.iterdir() if path.name.isdecimal()), reverse=True)
        if not numbers or numbers[0] == STAGED:
            raise NoKeysError(f"the key repository {self._directory} has no primary key")
        return MultiFernet([Fernet((self._directory / str(number)).read_bytes().strip()) for number in numbers])
