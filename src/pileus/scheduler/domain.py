"""What is asked of the scheduler, and what it knows of a host."""

from collections.abc import Collection, Mapping

import msgspec

AggregateMetadata = Mapping[str, Collection[str]]
"""What the aggregates of a host say together: key -> all values."""


class HostRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a server needs of its host."""

    resources: dict[str, int]
    image_checksum: str | None = None  # key of the image in the hosts' caches
    availability_zone: str | None = None
    host: str | None = None  # the only one to consider
    same_hosts: frozenset[str] | None = None  # one of these
    different_hosts: frozenset[str] = frozenset()  # none of these
    tried: frozenset[str] = frozenset()  # they refused this server already
    project_id: str | None = None
    extra_specs: Mapping[str, str] = {}  # the flavor's
    image_properties: Mapping[str, str] = {}


class HostView(msgspec.Struct):
    """A host as the scheduler sees it. `free` is lowered by our own choices until the next snapshot.

    `score` is what the weighers make of it, without the image's share.
    """

    name: str
    available: bool  # up and enabled
    availability_zone: str
    cached_images: frozenset[str]
    capacity: Mapping[str, int]
    free: dict[str, int]
    metadata: AggregateMetadata = {}
    projects: frozenset[str] | None = None  # the only ones whose servers it takes
    score: float = 0.0
