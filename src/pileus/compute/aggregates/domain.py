"""What a host aggregate is."""

from collections.abc import Iterable, Mapping

import msgspec

ZONE = "availability_zone"
"""The metadata key that makes the hosts of an aggregate an availability zone."""


class Aggregate(msgspec.Struct, frozen=True):
    """An aggregate with the names of its hosts. `number` is the id that the API uses, `id` its UUID."""

    number: int
    id: str
    name: str
    metadata: dict[str, str]
    created_at: int
    updated_at: int | None
    hosts: tuple[str, ...] = ()

    @property
    def availability_zone(self) -> str | None:
        """The zone that its hosts are in because of it."""
        return self.metadata.get(ZONE)


def values_of(many: Iterable[Mapping[str, str]]) -> dict[str, frozenset[str]]:
    """What the metadata of several aggregates says together: key -> all values. A value may be a list with commas."""
    found: dict[str, set[str]] = {}
    for metadata in many:
        for key, value in metadata.items():
            found.setdefault(key, set()).update(part.strip() for part in value.split(","))
    return {key: frozenset(values) for key, values in found.items()}
