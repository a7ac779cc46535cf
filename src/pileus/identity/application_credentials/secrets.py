"""Secrets of application credentials: 64 random bytes that we make, or a text of the user's choice.

What we make cannot be guessed, so one fast hash keeps it, and programs that log in all the time cost little. What a
user chose is hashed like a password. Which of the two it is, is seen from the secret that is presented, and not from
what is stored: so an unknown credential costs the same time as a wrong secret.
"""

import base64
import hashlib
import hmac
import os
import re

from pileus.identity.passwords import Passwords
from pileus.kernel.errors import BadRequest

_RANDOM_BYTES = 64
_RANDOM = re.compile(r"[A-Za-z0-9_-]{86}")
_FAST = "$sha512$"
_NOTHING = _FAST + "0" * 128


def new_secret() -> str:
    """A secret for a user who gave none."""
    return base64.urlsafe_b64encode(os.urandom(_RANDOM_BYTES)).rstrip(b"=").decode()


def hashed(passwords: Passwords, secret: str) -> str:
    """What is stored. BadRequest if the secret is empty or too long."""
    if _RANDOM.fullmatch(secret):
        return _fast(secret)
    if not 0 < len(secret) <= passwords.max_length:
        raise BadRequest(f"A secret has 1 to {passwords.max_length} characters.")
    return passwords.hash(secret)


def verify(passwords: Passwords, stored: str | None, secret: str) -> bool:
    """Whether the secret is the stored one. Without a stored one it costs the same time and is False."""
    fast = stored is not None and stored.startswith(_FAST)
    if _RANDOM.fullmatch(secret):
        return hmac.compare_digest(_fast(secret), stored if fast and stored else _NOTHING) and fast
    return passwords.verify(None if fast else stored, secret)


def _fast(secret: str) -> str:
    return _FAST + hashlib.sha512(secret.encode()).hexdigest()
