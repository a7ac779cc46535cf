"""URLs of networks, up to version 2.35. What was Nova's own networking is shown as null."""

from typing import Any

from pileus.compute.tenant_networks.policy import NETWORKS, TENANT_NETWORKS
from pileus.kernel.http import Call, Query, Route
from pileus.network.domain import Network
from pileus.network.service import Networks

_LAST = "2.35"
_NO_MORE = (
    "cidr", "netmask", "gateway", "broadcast", "dns1", "dns2", "cidr_v6", "gateway_v6", "netmask_v6",
)  # fmt: skip


def _full(network: Network) -> dict[str, Any]:
    return {"id": network.id, "label": network.name, **dict.fromkeys(_NO_MORE)}


def _brief(network: Network) -> dict[str, Any]:
    return {"id": network.id, "label": network.name, "cidr": None}


def _all(call: Call, svc: Networks) -> list[Network]:
    with call.read() as tx:
        return svc.networks.page(tx, call.actor, svc.networks.listing.parse(Query("")))[0]


def _one(call: Call, svc: Networks) -> Network:
    with call.read() as tx:
        return svc.networks.get(tx, call.actor, call.params["network_id"])


def list_networks(call: Call, svc: Networks) -> dict[str, Any]:
    return {"networks": [_full(network) for network in _all(call, svc)]}


def show_network(call: Call, svc: Networks) -> dict[str, Any]:
    return {"network": _full(_one(call, svc))}


def list_tenant_networks(call: Call, svc: Networks) -> dict[str, Any]:
    return {"networks": [_brief(network) for network in _all(call, svc)]}


def show_tenant_network(call: Call, svc: Networks) -> dict[str, Any]:
    return {"network": _brief(_one(call, svc))}


ROUTES: tuple[Route[Networks], ...] = (
    Route("GET", "/os-networks", list_networks, f"{NETWORKS}list", until=_LAST),
    Route("GET", "/os-networks/{network_id}", show_network, f"{NETWORKS}show", until=_LAST),
    Route("GET", "/os-tenant-networks", list_tenant_networks, f"{TENANT_NETWORKS}list", until=_LAST),
    Route("GET", "/os-tenant-networks/{network_id}", show_tenant_network, f"{TENANT_NETWORKS}show", until=_LAST),
)
