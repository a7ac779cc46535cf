"""What the API says of networks and takes for them."""

from operator import attrgetter
from typing import Any

from pileus.kernel.fields import Field, Integer, Param, Text, View
from pileus.network.domain import EXTERNAL_TYPE, PROJECT_TYPE, Network
from pileus.network.wire import STANDARD_PARAMS, STANDARD_VIEW, AttributesBody, CreateBody


def _network_type(network: Network) -> str:
    return EXTERNAL_TYPE if network.external else PROJECT_TYPE


def _segment(network: Network) -> Any:
    return None if network.external else network.segment


VIEW = STANDARD_VIEW + View(
    Field("name", attrgetter("name")),
    Field("status", lambda _network: "ACTIVE"),
    Field("admin_state_up", attrgetter("admin_state_up")),
    Field("shared", attrgetter("shared")),
    Field("router:external", attrgetter("external")),
    Field("mtu", attrgetter("mtu")),
    Field("port_security_enabled", attrgetter("port_security_enabled")),
    Field("subnets", attrgetter("subnets")),
    Field("provider:network_type", _network_type, rule="get_network:provider:network_type"),
    Field("provider:physical_network", attrgetter("physical_network"), rule="get_network:provider:physical_network"),
    Field("provider:segmentation_id", _segment, rule="get_network:provider:segmentation_id"),
)

_CHANGEABLE = (
    *STANDARD_PARAMS,
    Param("admin_state_up", bool),
    Param("shared", bool),
    Param("router:external", bool),
    Param("mtu", Integer(68, 65535)),
    Param("port_security_enabled", bool),
)

CREATE = CreateBody(
    "network",
    "networks",
    *_CHANGEABLE,
    Param("provider:network_type", Text(1, 32)),
    Param("provider:physical_network", Text(1, 64), nullable=True),
    Param("provider:segmentation_id", Integer(1, (1 << 24) - 1), nullable=True),
)
UPDATE = AttributesBody("network", *_CHANGEABLE)

DEFAULTS = {"shared": False, "router:external": False, "port_security_enabled": True}
"""Values that anybody may write out on create."""
