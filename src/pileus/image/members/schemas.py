"""What the API says of members and takes for them, and the JSON schemas that clients may ask for."""

from typing import Any, Literal

from pileus.image.domain import MEMBER_STATUSES, Member
from pileus.kernel.clock import iso
from pileus.kernel.fields import Body, Field, Param, Pattern, View

MEMBER = View(
    Field("member_id", lambda m: m.member_id),
    Field("image_id", lambda m: m.image_id),
    Field("status", lambda m: m.status),
    Field("created_at", lambda m: iso(m.created_at)),
    Field("updated_at", lambda m: iso(m.updated_at)),
    Field("schema", lambda _: "/v2/schemas/member"),
)

CREATE = Body(None, Param("member", Pattern(r"\A[!-~]{1,36}\Z"), required=True), extra=True, strict=True)
"""`member`: a project's id."""

UPDATE = Body(None, Param("status", Literal[MEMBER_STATUSES], required=True), extra=True, strict=True)

MEMBER_SCHEMA: dict[str, Any] = {
    "name": "member",
    "properties": {
        "member_id": {"type": "string", "description": "The project that the image is shared with"},
        "image_id": {"type": "string", "description": "The image"},
        "status": {"type": "string", "enum": list(MEMBER_STATUSES)},
        "created_at": {"type": "string"},
        "updated_at": {"type": "string"},
        "schema": {"type": "string"},
    },
}

MEMBERS_SCHEMA: dict[str, Any] = {
    "name": "members",
    "properties": {
        "members": {"type": "array", "items": MEMBER_SCHEMA},
        "schema": {"type": "string"},
    },
    "links": [{"rel": "describedby", "href": "{schema}"}],
}


def render(member: Member) -> dict[str, Any]:
    """A member as the API shows it."""
    return MEMBER.render(member)
