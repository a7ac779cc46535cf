"""Password hashes: argon2id; those of users imported from Keystone are verified too (see `hashes`).

Parameters are OWASP's minimum for argon2id (Password Storage Cheat Sheet: 19 MiB, two passes, one lane), about 20 ms on
one core; `[identity] argon2_*` sets others, and hashes made with old ones are renewed at the next login.
"""

import base64
import os

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from pileus.identity import hashes
from pileus.identity.settings import IdentitySettings
from pileus.kernel.errors import BadRequest


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

    def refuse_long(self, password: str) -> None:
        """BadRequest if the password is longer than a new one may be."""
        if len(password) > self.max_length:
            raise BadRequest(f"A password has at most {self.max_length} characters.")

    def hash(self, password: str) -> str:
        """The hash to store."""
        return self._hasher.hash(password)

    def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is the stored one.

        Without a stored hash (an unknown user, or one who has no password) it costs the same time and is False.
        """
        try:
            if stored is not None and hashes.is_foreign(stored):
                return hashes.verify(stored, password)
            return self._hasher.verify(stored or self._nobody, password) and stored is not None
        except (VerificationError, InvalidHashError, hashes.UnknownHashError):
            return False

    def is_outdated(self, stored: str) -> bool:
        """Whether the hash is of another kind or cost than new ones."""
        return hashes.is_foreign(stored) or self._hasher.check_needs_rehash(stored)


def _random_base64(size: int) -> str:
    return base64.b64encode(os.urandom(size)).decode().rstrip("=")
