"""Namespaces of metadata definitions and what they hold. Times: microseconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

VISIBILITIES = ("public", "private")
RESOURCE_TYPES = (
    "OS::Cinder::Volume", "OS::Glance::Image", "OS::Nova::Aggregate", "OS::Nova::Flavor", "OS::Nova::Server",
)  # fmt: skip
"""The resource types that a new cloud knows, by the names that Heat gives them. Associations add others."""


class Namespace(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace of definitions. `protected`: neither it nor what it holds can be deleted."""

    id: str
    namespace: str
    display_name: str | None
    description: str | None
    visibility: str
    protected: bool
    owner: str
    created_at: int
    updated_at: int

    def target(self) -> dict[str, Any]:
        """What policy checks may look at."""
        return {"project_id": self.owner, "owner": self.owner, "visibility": self.visibility}


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What all things in a namespace have. The name is unique among those of one kind."""

    name: str
    created_at: int
    updated_at: int


class Association(Content, frozen=True, kw_only=True):
    """A resource type, named `name`, that a namespace's definitions are for.

    `prefix` stands before a property's name where it is set on such a resource; `properties_target` says which of the
    resource's sets of properties is meant, where it has several (a volume has its own and its image's).
    """

    prefix: str | None
    properties_target: str | None


class MetadefObject(Content, frozen=True, kw_only=True):
    """Properties that belong together. `required`: the names of those that must be set."""

    description: str | None
    required: list[str]
    properties: dict[str, dict[str, Any]]


class Property(Content, frozen=True, kw_only=True):
    """One property: `definition` is a JSON schema with the keys of Glance (`title`, `type`, `enum`, ...)."""

    definition: dict[str, Any]


class Tag(Content, frozen=True, kw_only=True):
    """A tag that may be put on resources."""


class ResourceType(Content, frozen=True, kw_only=True):
    """A type that some namespace is, or was, associated with."""


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace with all that it holds."""

    namespace: Namespace
    associations: Sequence[Association] = ()
    objects: Sequence[MetadefObject] = ()
    properties: Sequence[Property] = ()
    tags: Sequence[Tag] = ()


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace as somebody wants it: columns of its own row, and of the rows of what it shall hold."""

    values: dict[str, Any]
    associations: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    properties: list[dict[str, Any]] = []
    tags: list[dict[str, Any]] = []


class Loading(StrEnum):
    """What to do with a namespace that is there already, when a file defines it."""

    KEEP = "keep"  # leave it alone
    MERGE = "merge"  # add what it lacks
    PREFER_NEW = "prefer-new"  # add what it lacks, and change what differs to what the file says
    OVERWRITE = "overwrite"  # delete it and all it holds, and make it anew


def prefixed(details: Details, resource_type: str) -> Details:
    """The properties under the names that they have on resources of one type: with the association's prefix."""
    prefix = next((one.prefix for one in details.associations if one.name == resource_type), None)
    if not prefix:
        return details
    replace = msgspec.structs.replace
    objects = [
        replace(
            one,
            properties={prefix + name: value for name, value in one.properties.items()},
            required=[prefix + name for name in one.required],
        )
        for one in details.objects
    ]
    return replace(
        details, objects=objects, properties=[replace(one, name=prefix + one.name) for one in details.properties]
    )


@dataclass(frozen=True)
class Filters:
    """What a list of namespaces is narrowed by. `visible_to`: an owner's view, or None for everything there is."""

    visible_to: str | None = None
    visibility: str | None = None
    owner: str | None = None
    resource_types: tuple[str, ...] = ()  # associated with any of them
