"""Request and response fields of registered limits and limits."""

from typing import Any

import msgspec

from pileus.identity.limits.domain import MAX_LIMIT, UNLIMITED, Limit, RegisteredLimit
from pileus.identity.rest import LongText, NameText
from pileus.kernel.errors import BadRequest
from pileus.kernel.fields import MALFORMED_JSON, Body, Field, Integer, Param, Text, View
from pileus.kernel.versions import Version

Amount = Integer(UNLIMITED, MAX_LIMIT)
_Id = Text(minimum=1, maximum=64)


class Several(Body):
    """A body that creates several things at once: a list of at least one under the plural name."""

    def __init__(self, plural: str, *params: Param) -> None:
        super().__init__("item", *params, strict=True)
        self._plural = plural

    def decode(self, data: bytes, version: Version | None = None) -> list[Any]:
        """The items. BadRequest as `Body`."""
        try:
            document = msgspec.json.decode(data)
        except MALFORMED_JSON as err:
            raise BadRequest("The request body is not valid JSON.") from err
        items = document.get(self._plural) if isinstance(document, dict) and len(document) == 1 else None
        if not isinstance(items, list) or not items:
            raise BadRequest(f"The body must be an object with a list '{self._plural}' that is not empty.")
        decode = super().decode
        return [decode(msgspec.json.encode({"item": item}), version) for item in items]


_REGION_AND_WORDS = (
    Param("region_id", Text(maximum=255), nullable=True),
    Param("description", LongText, nullable=True),
)
_WHAT = (
    Param("service_id", _Id, required=True),
    Param("resource_name", NameText(255), required=True),
    *_REGION_AND_WORDS,
)
REGISTERED_CREATE = Several("registered_limits", *_WHAT, Param("default_limit", Amount, required=True))
REGISTERED_UPDATE = Body(
    "registered_limit",
    Param("service_id", _Id),
    Param("resource_name", NameText(255)),
    Param("default_limit", Amount),
    *_REGION_AND_WORDS,
    strict=True,
)
LIMIT_CREATE = Several(
    "limits",
    *_WHAT,
    Param("project_id", _Id, nullable=True),
    Param("domain_id", _Id, nullable=True),
    Param("resource_limit", Amount, required=True),
)
LIMIT_UPDATE = Body(
    "limit", Param("resource_limit", Amount), Param("description", LongText, nullable=True), strict=True
)


def _field(name: str) -> Field:
    def read(thing: RegisteredLimit | Limit) -> Any:
        return getattr(thing, name)

    return Field(name, read)


_SHOWN = ("id", "service_id", "region_id", "resource_name", "description")
REGISTERED = View(*map(_field, (*_SHOWN, "default_limit")))
LIMIT = View(*map(_field, (*_SHOWN, "resource_limit", "project_id", "domain_id")))
