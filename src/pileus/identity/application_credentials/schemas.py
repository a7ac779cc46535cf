"""Request and response fields of application credentials and access rules."""

from typing import Any

import msgspec

from pileus.identity.application_credentials.domain import ApplicationCredential, StoredRule
from pileus.identity.domain import Role
from pileus.identity.rest import Attributes, Id, LongText, NameText, RoleReference
from pileus.kernel.clock import iso_micro
from pileus.kernel.fields import Field, Param, Pattern, Text, View

_Path: Any = Text(minimum=1, maximum=225, pattern="^/")
_Method: Any = Pattern("^(POST|GET|HEAD|PATCH|PUT|DELETE)$")
_Service: Any = Text(minimum=1, maximum=255)


class AskedRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An access rule in a request: an existing one by its id, or what it says."""

    id: Id | None = None
    service: _Service | None = None
    method: _Method | None = None
    path: _Path | None = None


CREATE = Attributes(
    "application_credential",
    Param("name", NameText(255), required=True),
    Param("description", LongText, nullable=True),
    Param("secret", str, nullable=True),
    Param("expires_at", str, nullable=True),
    Param("roles", list[RoleReference]),
    Param("unrestricted", bool),
    Param("access_rules", list[AskedRule]),
)


def _field(name: str) -> Field:
    def read(thing: ApplicationCredential | StoredRule | Role) -> Any:
        return getattr(thing, name)

    return Field(name, read)


def _expires_at(credential: ApplicationCredential) -> str | None:
    return iso_micro(credential.expires_at)


CREDENTIAL = View(
    *map(_field, ("id", "name", "description", "project_id", "user_id", "unrestricted")),
    Field("expires_at", _expires_at),
)
RULE = View(*map(_field, ("id", "service", "method", "path")))
ROLE = View(*map(_field, ("id", "name", "domain_id")))
