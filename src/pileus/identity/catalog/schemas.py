"""Request and response fields of the catalog's resources."""

from typing import Any, Literal

from pileus.identity.domain import CatalogService, Endpoint, Region
from pileus.identity.rest import Attributes, LongText, NameText
from pileus.kernel.fields import Field, Param, Text, View

Interface = Literal["public", "internal", "admin"]

_REGION = (
    Param("description", LongText, nullable=True),
    Param("parent_region_id", Text(maximum=255), nullable=True),
)
REGION_CREATE = Attributes("region", *_REGION)
REGION_UPDATE = Attributes("region", *_REGION)
_SERVICE = (
    Param("name", Text(maximum=255), nullable=True),
    Param("description", LongText, nullable=True),
    Param("enabled", bool),
)
SERVICE_CREATE = Attributes("service", Param("type", NameText(255), required=True), *_SERVICE)
SERVICE_UPDATE = Attributes("service", Param("type", NameText(255)), *_SERVICE)
_ENDPOINT = (
    Param("region_id", Text(maximum=255), nullable=True),
    Param("region", Text(maximum=255), nullable=True),
    Param("enabled", bool),
)
Url = Text(minimum=1, maximum=2048, pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:")
ENDPOINT_CREATE = Attributes(
    "endpoint",
    Param("service_id", str, required=True),
    Param("interface", Interface, required=True),
    Param("url", Url, required=True),
    *_ENDPOINT,
)
ENDPOINT_UPDATE = Attributes(
    "endpoint", Param("service_id", str), Param("interface", Interface), Param("url", Url), *_ENDPOINT
)


def _field(name: str, attribute: str = "") -> Field:
    def read(thing: Region | CatalogService | Endpoint) -> Any:
        return getattr(thing, attribute or name)

    return Field(name, read)


REGION = View(*map(_field, ("id", "description", "parent_region_id")))
SERVICE = View(*map(_field, ("id", "type", "name", "description", "enabled")))
ENDPOINT = View(
    *map(_field, ("id", "service_id", "interface", "url", "region_id", "enabled")), _field("region", "region_id")
)
