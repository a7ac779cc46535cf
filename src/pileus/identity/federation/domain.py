"""What federation is about, as frozen structs."""

from collections.abc import Mapping
from typing import Any

import msgspec

from pileus.identity.domain import Thing

Attributes = Mapping[str, tuple[str, ...]]
"""What a provider says of a user, by name; each has one or several values."""


class IdentityProvider(Thing, frozen=True, kw_only=True):
    """Who may vouch for users. `domain_id`: where these belong. `authorization_ttl`: minutes, None as configured."""

    domain_id: str
    enabled: bool = True
    description: str | None = None
    authorization_ttl: int | None = None
    remote_ids: tuple[str, ...] = ()


class AttributeMapping(Thing, frozen=True, kw_only=True):
    """Rules by which attributes become a user, groups and projects."""

    rules: list[dict[str, Any]]
    schema_version: str = "1.0"


class Protocol(Thing, frozen=True, kw_only=True):
    """A way in which a provider vouches, and the mapping for it. Its id is unique within the provider.

    `remote_id_attribute`: the attribute that must be among the provider's remote ids.
    """

    idp_id: str
    mapping_id: str
    remote_id_attribute: str | None = None


class ServiceProvider(Thing, frozen=True, kw_only=True):
    """Another cloud that would trust this one. Pileus keeps the record and issues no assertions."""

    auth_url: str
    sp_url: str
    enabled: bool = True
    description: str | None = None
    relay_state_prefix: str = "ss:mem:"


class FederatedObject(msgspec.Struct, frozen=True, kw_only=True):
    """Through which provider and protocol a user came, and what that calls the user."""

    idp_id: str
    protocol_id: str
    unique_id: str
