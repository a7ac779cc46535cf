"""Request and response fields of federation."""

from typing import Any

from pileus.identity.domain import Thing
from pileus.identity.federation.domain import AttributeMapping, IdentityProvider, Protocol, ServiceProvider
from pileus.identity.rest import Attributes, Id, LongText, NameText, Sent
from pileus.kernel.errors import BadRequest
from pileus.kernel.fields import Field, Integer, Param, Text, View
from pileus.kernel.versions import Version


class Exactly(Attributes):
    """A body that may hold nothing but the attributes of the API."""

    def decode(self, data: bytes, version: Version | None = None) -> Sent:
        """A `Sent` without extra attributes. BadRequest as `Attributes`, and for unknown ones."""
        sent = super().decode(data, version)
        if sent.extra:
            names = ", ".join(f"'{name}'" for name in sorted(sent.extra))
            raise BadRequest(f"Additional properties are not allowed ({names} was unexpected).")
        return sent


_Url = Text(minimum=1, maximum=225, pattern="^https?://[^/]")
_PROVIDER = (
    Param("enabled", bool),
    Param("description", LongText, nullable=True),
    Param("authorization_ttl", Integer(minimum=0, maximum=5_256_000), nullable=True),
    Param("remote_ids", list[Text(minimum=1, maximum=255)], nullable=True),  # type: ignore[misc]  # a type made by a call
)
PROVIDER_CREATE = Exactly("identity_provider", *_PROVIDER, Param("domain_id", Id, nullable=True))
PROVIDER_UPDATE = Exactly("identity_provider", *_PROVIDER)
MAPPING_CREATE = Exactly(
    "mapping", Param("rules", list[Any], required=True), Param("schema_version", str, nullable=True)
)
MAPPING_UPDATE = Exactly("mapping", Param("rules", list[Any]), Param("schema_version", str, nullable=True))
PROTOCOL_CREATE = Exactly(
    "protocol",
    Param("mapping_id", NameText(64), required=True),
    Param("remote_id_attribute", Text(maximum=64), nullable=True),
)
PROTOCOL_UPDATE = Exactly(
    "protocol", Param("mapping_id", NameText(64)), Param("remote_id_attribute", Text(maximum=64), nullable=True)
)
_SERVICE_PROVIDER = (
    Param("description", LongText, nullable=True),
    Param("enabled", bool),
    Param("relay_state_prefix", Text(maximum=255), nullable=True),
)
SERVICE_PROVIDER_CREATE = Exactly(
    "service_provider",
    Param("auth_url", _Url, required=True),
    Param("sp_url", _Url, required=True),
    *_SERVICE_PROVIDER,
)
SERVICE_PROVIDER_UPDATE = Exactly(
    "service_provider", Param("auth_url", _Url), Param("sp_url", _Url), *_SERVICE_PROVIDER
)


def _fields(shape: type[Thing], *names: str) -> View:
    assert set(names) <= set(shape.__struct_fields__), names  # noqa: S101 - a misspelt name is found at import
    return View(*(_field(name) for name in names))


def _field(name: str) -> Field:
    def read(thing: Thing) -> Any:
        return getattr(thing, name)

    return Field(name, read)


PROVIDER = _fields(IdentityProvider, "id", "domain_id", "enabled", "description", "authorization_ttl", "remote_ids")
MAPPING = _fields(AttributeMapping, "id", "rules", "schema_version")
PROTOCOL = _fields(Protocol, "id", "mapping_id", "remote_id_attribute")
SERVICE_PROVIDER = _fields(ServiceProvider, "id", "auth_url", "sp_url", "enabled", "description", "relay_state_prefix")
