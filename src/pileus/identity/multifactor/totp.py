"""Time-based one-time passwords: RFC 6238 with its defaults, which all authenticator programs share."""

import base64
import binascii
import hashlib
import hmac
import struct

STEP_SECONDS = 30
DIGITS = 6


def secret_of(blob: str) -> bytes | None:
    """The secret in a credential of type totp: base32, with or without padding. None if it is no such text."""
    text = blob.strip().upper().rstrip("=")
    try:
        return base64.b32decode(text + "=" * (-len(text) % 8)) or None
    except (binascii.Error, ValueError):
        return None


def passcode(secret: bytes, step: int) -> str:
    """The passcode in force in a step: the number of periods of 30 seconds since the epoch."""
    digest = hmac.digest(secret, struct.pack(">Q", step), hashlib.sha1)
    start = digest[-1] & 0xF
    (number,) = struct.unpack(">I", digest[start : start + 4])
    return f"{(number & 0x7FFFFFFF) % 10**DIGITS:0{DIGITS}}"
