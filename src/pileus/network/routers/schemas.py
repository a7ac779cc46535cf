"""What the API says of routers and takes for them."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from pileus.kernel.fields import Field, Param, Text, View
from pileus.network.domain import Router
from pileus.network.wire import STANDARD_PARAMS, STANDARD_VIEW, AttributesBody, CreateBody, routes_of


def _gateway(router: Router) -> dict[str, Any] | None:
    if router.gateway_network_id is None:
        return None
    fixed = [{"subnet_id": subnet_id, "ip_address": ip} for subnet_id, ip in router.external_fixed_ips]
    return {
        "network_id": router.gateway_network_id,
        "external_fixed_ips": fixed,
        "enable_snat": router.enable_snat,
    }


VIEW = STANDARD_VIEW + View(
    Field("name", attrgetter("name")),
    Field("status", lambda _router: "ACTIVE"),
    Field("admin_state_up", attrgetter("admin_state_up")),
    Field("external_gateway_info", _gateway),
    Field("routes", lambda router: routes_of(router.routes)),
)


_GATEWAY = (
    Param("network_id", Text(1, 36)),
    Param("enable_snat", bool),
    Param("external_fixed_ips", list[dict[str, str]]),
)

_CHANGEABLE = (
    *STANDARD_PARAMS,
    Param("admin_state_up", bool),
    Param("external_gateway_info", _GATEWAY, nullable=True),
)

CREATE = CreateBody("router", "routers", *_CHANGEABLE)
UPDATE = AttributesBody("router", *_CHANGEABLE, Param("routes", list[dict[str, str]], nullable=True))
INTERFACE = AttributesBody(None, Param("subnet_id", Text(1, 36)), Param("port_id", Text(1, 36)))
EXTRA_ROUTES = AttributesBody("router", Param("routes", list[dict[str, str]], required=True))


def rendered_interface(router: Router, network_id: str, port_id: str, subnet_ids: Sequence[str]) -> dict[str, Any]:
    """The answer to adding or removing an interface."""
    return {
        "id": router.id,
        "tenant_id": router.project_id,
        "project_id": router.project_id,
        "port_id": port_id,
        "network_id": network_id,
        "subnet_id": subnet_ids[0],
        "subnet_ids": list(subnet_ids),
    }
