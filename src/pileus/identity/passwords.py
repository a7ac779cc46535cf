"""Password hashes: argon2id, and bcrypt as it comes with users imported from Keystone.

Parameters are OWASP's minimum for argon2id (Password Storage Cheat Sheet: 19 MiB, two passes, one lane), about 20 ms on
one core; `[identity] argon2_*` sets others, and hashes made with old ones are renewed at the next login.
"""

import base64
import os

import argon2
import bcrypt
from argon2.exceptions import InvalidHashError, VerificationError

from pileus.identity.settings import IdentitySettings

_BCRYPT = ("$2a$", "$2b$", "$2y$")
_BCRYPT_BYTES = 72  # bcrypt looks at no more, and Keystone cut there


class Passwords:
    """Hashes and verifies. Thread-safe; verifying releases the interpreter's lock."""

    def __init__(self, settings: IdentitySettings) -> None:
        self.max_length = settings.max_password_length
        self._hasher = argon2.PasswordHasher(
            time_cost=settings.argon2_passes, memory_cost=settings.argon2_memory, parallelism=settings.argon2_lanes
        )
        # Well formed and of the same cost as a real one, and no password has it.
        self._nobody = (
            f"$argon2id$v=19$m={settings.argon2_memory},t={settings.argon2_passes},p={settings.argon2_lanes}"
            f"${_random_base64(16)}${_random_base64(32)}"
        )

    def hash(self, password: str) -> str:
        """The hash to store."""
        return self._hasher.hash(password)

    def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is the stored one.

        Without a stored hash (an unknown user, or one who has no password) it costs the same time and is False.
        """
        if stored is not None and stored.startswith(_BCRYPT):
            return bcrypt.checkpw(password.encode()[:_BCRYPT_BYTES], stored.encode())
        try:
            return self._hasher.verify(stored or self._nobody, password) and stored is not None
        except (VerificationError, InvalidHashError):
            return False

    def is_outdated(self, stored: str) -> bool:
        """Whether the hash is of another kind or cost than new ones."""
        return stored.startswith(_BCRYPT) or self._hasher.check_needs_rehash(stored)


def _random_base64(size: int) -> str:
    return base64.b64encode(os.urandom(size)).decode().rstrip("=")
