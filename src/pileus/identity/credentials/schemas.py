"""Request and response fields of credentials and policy documents."""

from typing import Any

from pileus.identity.domain import Credential, PolicyDocument
from pileus.identity.rest import Attributes, Id, NameText
from pileus.kernel.fields import Field, Param, View

CREDENTIAL_CREATE = Attributes(
    "credential",
    Param("blob", str, required=True),
    Param("type", NameText(255), required=True),
    Param("user_id", Id, required=True),
    Param("project_id", Id, nullable=True),
)
CREDENTIAL_UPDATE = Attributes(
    "credential",
    Param("blob", str),
    Param("type", NameText(255)),
    Param("user_id", Id),
    Param("project_id", Id, nullable=True),
)
_POLICY = (Param("blob", Any), Param("type", NameText(255)))
POLICY_CREATE = Attributes("policy", Param("blob", Any, required=True), Param("type", NameText(255), required=True))
POLICY_UPDATE = Attributes("policy", *_POLICY)


def _field(name: str) -> Field:
    def read(thing: Credential | PolicyDocument) -> Any:
        return getattr(thing, name)

    return Field(name, read)


CREDENTIAL = View(*map(_field, ("id", "user_id", "project_id", "type", "blob")))
POLICY = View(*map(_field, ("id", "type", "blob")))
