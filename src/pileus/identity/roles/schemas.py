"""Request and response fields of roles."""

from typing import Any

from pileus.identity.domain import Role
from pileus.identity.rest import Attributes, LongText, NameText
from pileus.kernel.fields import Field, Param, View

ROLE_CREATE = Attributes(
    "role",
    Param("name", NameText(255), required=True),
    Param("domain_id", str, nullable=True),
    Param("description", LongText, nullable=True),
    Param("options", dict[str, Any]),
)
ROLE_UPDATE = Attributes(
    "role",
    Param("name", NameText(255)),
    Param("domain_id", str, nullable=True),
    Param("description", LongText, nullable=True),
    Param("options", dict[str, Any]),
)


def _field(name: str) -> Field:
    def read(role: Role) -> Any:
        return getattr(role, name)

    return Field(name, read)


ROLE = View(*map(_field, ("id", "name", "domain_id", "description", "options")))
ROLE_NAME = View(*map(_field, ("id", "name")))
