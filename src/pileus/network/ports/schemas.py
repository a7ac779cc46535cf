"""What the API says of ports and takes for them."""

from operator import attrgetter
from typing import Any

from pileus.kernel.fields import Field, Param, Text, View
from pileus.network.domain import Port
from pileus.network.wire import STANDARD_PARAMS, STANDARD_VIEW, AttributesBody, CreateBody


def _fixed_ips(port: Port) -> list[dict[str, str]]:
    return [{"subnet_id": subnet_id, "ip_address": ip} for subnet_id, ip in port.fixed_ips]


def _pairs(port: Port) -> list[dict[str, str]]:
    return [{"ip_address": ip, "mac_address": mac} for ip, mac in port.allowed_address_pairs]


def _vif_details(port: Port) -> dict[str, Any]:
    return {"port_filter": True, "connectivity": "l2"} if port.host else {}


VIEW = STANDARD_VIEW + View(
    Field("name", attrgetter("name")),
    Field("network_id", attrgetter("network_id")),
    Field("mac_address", attrgetter("mac")),
    Field("admin_state_up", attrgetter("admin_state_up")),
    Field("status", attrgetter("status")),
    Field("device_id", attrgetter("device_id")),
    Field("device_owner", attrgetter("device_owner")),
    Field("fixed_ips", _fixed_ips),
    Field("security_groups", attrgetter("security_groups")),
    Field("allowed_address_pairs", _pairs),
    Field("port_security_enabled", attrgetter("port_security_enabled")),
    Field("binding:vnic_type", attrgetter("vnic_type")),
    Field("binding:host_id", attrgetter("host"), rule="get_port:binding:host_id"),
    Field("binding:profile", attrgetter("profile"), rule="get_port:binding:profile"),
    Field("binding:vif_type", lambda port: "bridge" if port.host else "unbound", rule="get_port:binding:vif_type"),
    Field("binding:vif_details", _vif_details, rule="get_port:binding:vif_details"),
)

_ITEMS = list[dict[str, str]]

_CHANGEABLE = (
    *STANDARD_PARAMS,
    Param("admin_state_up", bool),
    Param("mac_address", Text(1, 32)),
    Param("fixed_ips", _ITEMS),
    Param("device_id", Text()),
    Param("device_owner", Text()),
    Param("security_groups", list[str], nullable=True),
    Param("allowed_address_pairs", _ITEMS, nullable=True),
    Param("port_security_enabled", bool),
    Param("binding:host_id", Text(), nullable=True),
    Param("binding:profile", dict[str, Any], nullable=True),
    Param("binding:vnic_type", Text()),
)

CREATE = CreateBody("port", "ports", *_CHANGEABLE, Param("network_id", Text(1, 36), required=True))
UPDATE = AttributesBody("port", *_CHANGEABLE)

DEFAULTS = {"device_owner": "", "binding:host_id": "", "binding:vnic_type": "normal"}
"""Values that anybody may write out on create."""
