"""What unified limits are about: limits, the model that relates them, and what they mean for one project."""

from collections.abc import Mapping

import msgspec

from pileus.identity.domain import Thing

UNLIMITED = -1
MAX_LIMIT = 0x7FFFFFFF


class Model(msgspec.Struct, frozen=True):
    """How limits of a domain and of its projects relate. `max_depth`: levels of the tree, the domain included."""

    name: str
    description: str
    max_depth: int | None = None


FLAT = Model("flat", "Limits of projects and domains have nothing to do with each other.")
STRICT_TWO_LEVEL = Model(
    "strict_two_level",
    "A domain and the projects directly below it: no project's limit is above its domain's, and neither is the usage"
    " of all of them together.",
    2,
)
MODELS: Mapping[str, Model] = {model.name: model for model in (FLAT, STRICT_TWO_LEVEL)}


class RegisteredLimit(Thing, frozen=True, kw_only=True):
    """A resource of a service that can be limited, and the limit of every project that has none of its own."""

    service_id: str
    region_id: str | None
    resource_name: str
    default_limit: int
    description: str | None


class Limit(Thing, frozen=True, kw_only=True):
    """A project's or a domain's own limit; the one of `project_id` and `domain_id` that it is not for is None.

    What the limit is for is told by the registered limit that it belongs to.
    """

    registered_limit_id: str
    project_id: str | None
    domain_id: str | None
    service_id: str
    region_id: str | None
    resource_name: str
    resource_limit: int
    description: str | None


class Bound(msgspec.Struct, frozen=True):
    """What the projects `project_ids` may have together, by resource name (-1: as much as they like).

    `holder_id` is the project or the domain whose limits these are.
    """

    holder_id: str
    project_ids: tuple[str, ...]
    limits: Mapping[str, int]


def lower(one: int, other: int) -> int:
    """The limit that leaves less."""
    if UNLIMITED in (one, other):
        return max(one, other)
    return min(one, other)
