"""What is said of locations before they are an image's."""

from typing import Any

import msgspec

from pileus.image.domain import Location


class Validation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the data is, as the caller says it."""

    os_hash_algo: str
    os_hash_value: str
    checksum: str | None = None


class Given(msgspec.Struct, frozen=True):
    """A location as a caller gives it."""

    url: str
    metadata: dict[str, Any]
    validation: Validation | None = None


class Found(msgspec.Struct, frozen=True):
    """What was found at a URL: the place, without metadata, and how many bytes are there."""

    location: Location
    size: int


class Addition(msgspec.Struct, frozen=True):
    """Parameters of the saga that gives an image its first location. `secure`: the data is hashed.

    `value`: the hash that the data must have, None if the caller does not say.
    """

    task: str
    store: str
    locator: str
    secure: bool
    algorithm: str
    value: str | None


class Move(msgspec.Struct, frozen=True):
    """Parameters of the saga that moves an image's data. `copies`: the target does not hold it yet."""

    slot: str
    source: str
    target: str
    copies: bool
