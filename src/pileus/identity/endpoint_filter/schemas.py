"""Request and response fields of endpoint groups."""

from typing import Any

from pileus.identity.endpoint_filter.domain import EndpointGroup
from pileus.identity.rest import Attributes, LongText
from pileus.kernel.fields import Field, Param, Text, View

_NAME = Text(maximum=255)
GROUP_CREATE = Attributes(
    "endpoint_group",
    Param("name", _NAME, required=True),
    Param("filters", dict[str, str], required=True),
    Param("description", LongText, nullable=True),
)
GROUP_UPDATE = Attributes(
    "endpoint_group",
    Param("name", _NAME, nullable=True),
    Param("filters", dict[str, str], nullable=True),
    Param("description", LongText, nullable=True),
)


def _field(name: str) -> Field:
    def read(group: EndpointGroup) -> Any:
        return getattr(group, name)

    return Field(name, read)


GROUP = View(*map(_field, ("id", "name", "description", "filters")))
