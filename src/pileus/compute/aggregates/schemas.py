"""Bodies and views of host aggregates."""

from operator import attrgetter
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pileus.kernel.clock import iso_micro
from pileus.kernel.errors import BadRequest
from pileus.kernel.fields import UNSET, Body, Field, Param, Text, View
from pileus.kernel.ids import is_uuid

_NAME = Text(1, 255, r"\A[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?\Z")
_SPACED_NAME = Text(1, 255, r"\A[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*\Z")
_ZONE = Text(1, 255, r"\A[^\s:\x00-\x1f\x7f](?:[^:\x00-\x1f\x7f]*[^\s:\x00-\x1f\x7f])?\Z")
_HOST = Text(1, 255, r"\A[a-zA-Z0-9\-._]+\Z")
_KEY = Text(1, 255, r"\A[a-zA-Z0-9\-_:. ]+\Z")
_VALUE = Text(0, 255)
_METADATA: Any = dict[_KEY, _VALUE | None]  # type: ignore[valid-type]


class ImageItem(msgspec.Struct, forbid_unknown_fields=True):
    """One entry of `cache`."""

    id: str


CREATE = Body(
    "aggregate",
    Param("name", _NAME, required=True),
    Param("availability_zone", _ZONE, nullable=True, default=None),
)
UPDATE = Body("aggregate", Param("name", _SPACED_NAME), Param("availability_zone", _ZONE, nullable=True))
ADD_HOST = Body("add_host", Param("host", _HOST, required=True))
REMOVE_HOST = Body("remove_host", Param("host", _HOST, required=True))
SET_METADATA = Body("set_metadata", Param("metadata", _METADATA, required=True))
IMAGES = Body(None, Param("cache", Annotated[list[ImageItem], Meta(min_length=1)], required=True))

CREATED = View(
    Field("id", attrgetter("number")),
    Field("uuid", attrgetter("id"), since="2.41"),
    Field("name", attrgetter("name")),
    Field("availability_zone", attrgetter("availability_zone")),
    Field("created_at", lambda one: iso_micro(one.created_at)),
    Field("updated_at", lambda one: iso_micro(one.updated_at)),
    Field("deleted", lambda _one: False),
    Field("deleted_at", lambda _one: None),
)
"""What the answer to POST /os-aggregates shows."""

AGGREGATE = CREATED + View(Field("hosts", attrgetter("hosts")), Field("metadata", attrgetter("metadata")))
"""An aggregate everywhere else."""


def changes(body: Any) -> dict[str, str | None]:
    """What a PUT /os-aggregates/{id} body changes. BadRequest if that is nothing."""
    found: dict[str, str | None] = {}
    if body.name is not UNSET:
        found["name"] = body.name.strip()
    if body.availability_zone is not UNSET:
        found["availability_zone"] = body.availability_zone
    if not found:
        raise BadRequest("At least one of 'name' and 'availability_zone' must be given.")
    return found


def image_ids(body: Any) -> list[str]:
    """The images that a body names. BadRequest if one is named twice, or what names it is no id."""
    ids = [item.id for item in body.cache]
    for one in ids:
        if not is_uuid(one):
            raise BadRequest(f"Invalid input for field/attribute id. Value: {one}. '{one}' is not a 'uuid'.")
    if len(set(ids)) < len(ids):
        raise BadRequest("Duplicate images in request")
    return ids
