"""Identifiers: minted here, before any durable operation starts."""

import os
import uuid


def new_uuid() -> str:
    """A random UUID with dashes: servers, images, networks, ports."""
    return str(uuid.UUID(bytes=os.urandom(16), version=4))


def new_hex() -> str:
    """A random UUID without dashes: users, projects, roles, domains."""
    return uuid.UUID(bytes=os.urandom(16), version=4).hex


def new_request_id() -> str:
    """`req-<uuid>`, as OpenStack names requests."""
    return f"req-{new_uuid()}"


def is_uuid(text: str) -> bool:
    """Whether the text is a UUID, with or without dashes."""
    try:
        return uuid.UUID(text).hex == text.replace("-", "").lower()
    except ValueError:
        return False


def is_request_id(text: str) -> bool:
    """Whether the text has the form that `X-OpenStack-Request-ID` must have to be taken over from a caller."""
    return text.startswith("req-") and len(text) == len("req-") + 36 and is_uuid(text[4:])
