"""Endpoint groups, as frozen structs."""

from collections.abc import Mapping

from pileus.identity.domain import Thing

FILTERS = frozenset({"service_id", "region_id", "interface"})
"""What a group may ask of an endpoint."""


class EndpointGroup(Thing, frozen=True, kw_only=True):
    """The endpoints that have all the values in `filters`, now and later."""

    name: str
    description: str | None = None
    filters: Mapping[str, str]
