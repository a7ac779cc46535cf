"""What the API says of subnets and takes for them."""

from operator import attrgetter
from typing import Any

from pileus.kernel.fields import Field, Param, Text, View
from pileus.network.domain import Subnet
from pileus.network.wire import STANDARD_PARAMS, STANDARD_VIEW, AttributesBody, CreateBody, routes_of


def _pools(subnet: Subnet) -> list[dict[str, str]]:
    return [{"start": start, "end": end} for start, end in subnet.allocation_pools]


VIEW = STANDARD_VIEW + View(
    Field("name", attrgetter("name")),
    Field("network_id", attrgetter("network_id")),
    Field("ip_version", attrgetter("ip_version")),
    Field("cidr", attrgetter("cidr")),
    Field("gateway_ip", attrgetter("gateway_ip")),
    Field("enable_dhcp", attrgetter("enable_dhcp")),
    Field("dns_nameservers", attrgetter("dns_nameservers")),
    Field("host_routes", lambda subnet: routes_of(subnet.host_routes)),
    Field("allocation_pools", _pools),
    Field("ipv6_ra_mode", attrgetter("ipv6_ra_mode")),
    Field("ipv6_address_mode", attrgetter("ipv6_address_mode")),
    Field("subnetpool_id", lambda _subnet: None),
)

_IP: Any = Text(1, 64)

POOLS = list[dict[str, str]]
ROUTES = list[dict[str, str]]

_CHANGEABLE = (
    *STANDARD_PARAMS,
    Param("gateway_ip", _IP, nullable=True),
    Param("enable_dhcp", bool),
    Param("dns_nameservers", list[str], nullable=True),
    Param("host_routes", ROUTES, nullable=True),
    Param("allocation_pools", POOLS, nullable=True),
)

CREATE = CreateBody(
    "subnet",
    "subnets",
    *_CHANGEABLE,
    Param("network_id", Text(1, 36), required=True),
    Param("ip_version", int, required=True),
    Param("cidr", Text(1, 64), nullable=True),
    Param("ipv6_ra_mode", str, nullable=True),
    Param("ipv6_address_mode", str, nullable=True),
    Param("subnetpool_id", str, nullable=True),
    Param("prefixlen", int, nullable=True),
)
UPDATE = AttributesBody("subnet", *_CHANGEABLE)
