"""Neutron's extensions: only those that are built are announced, because clients rely on what they find here."""

from dataclasses import dataclass
from typing import Any

from pileus.kernel.errors import NotFound
from pileus.kernel.http import Call, Route
from pileus.network.service import Networks

_UPDATED = "2026-11-01T00:00:00-00:00"


@dataclass(frozen=True)
class Extension:
    """One optional part of the API."""

    alias: str
    name: str
    description: str

    def document(self) -> dict[str, Any]:
        """It, as the API lists it."""
        return {
            "alias": self.alias,
            "name": self.name,
            "description": self.description,
            "updated": _UPDATED,
            "links": [],
        }


EXTENSIONS = tuple(
    Extension(*row)
    for row in (
        ("agent", "agent", "What serves the networks on each host"),
        ("allowed-address-pairs", "Allowed Address Pairs", "Further addresses that a port may send from"),
        ("availability_zone", "Availability Zone", "The zones that hosts are in"),
        ("binding", "Port Binding", "The host that a port is on, for administrators"),
        ("empty-string-filtering", "Empty String Filtering Extension", "Filters for attributes that are empty"),
        ("ext-gw-mode", "Neutron L3 Configurable external gateway mode", "Routers with and without SNAT"),
        ("external-net", "Neutron external network", "Networks that lead outside"),
        ("extraroute", "Neutron Extra Route", "Further routes of routers"),
        ("extraroute-atomic", "Atomically add/remove extra routes", "Adding and removing single routes"),
        ("filter-validation", "Filter parameters validation", "Unknown filters are refused"),
        ("ip-substring-filtering", "IP address substring filtering", "Ports by part of an address"),
        ("net-mtu", "Network MTU", "A network's largest packet size"),
        ("net-mtu-writable", "Network MTU (writable)", "Setting a network's largest packet size"),
        ("pagination", "Pagination support", "Lists in pages"),
        ("port-security", "Port Security", "Ports without filters"),
        ("project-id", "project_id field enabled", "project_id beside tenant_id"),
        ("provider", "Provider Network", "What a network is made of, for administrators"),
        ("quota_details", "Quota details management support", "Limits with what is used"),
        ("quotas", "Quota management support", "Limits per project"),
        ("router", "Neutron L3 Router", "Routers and floating IPs"),
        ("security-group", "security-group", "Security groups and rules"),
        ("security-groups-normalized-cidr", "Security group rule normalized CIDR", "Prefixes without host bits"),
        ("service-type", "Neutron Service Type Management", "The implementations of network services"),
        ("sorting", "Sorting support", "Lists in order"),
        ("standard-attr-description", "standard-attr-description", "Descriptions"),
        ("standard-attr-revisions", "Resource revision numbers", "Counted changes"),
        ("standard-attr-tag", "Tag support for resources with standard attribute", "Tags"),
        ("standard-attr-timestamp", "Resource timestamps", "When things were made and changed"),
        ("subnet-external-network", "Subnet belongs to an external network", "Subnets of external networks are seen"),
    )
)
_BY_ALIAS = {extension.alias: extension for extension in EXTENSIONS}


def list_extensions(_call: Call, _svc: Networks) -> dict[str, object]:
    """GET /extensions"""
    return {"extensions": [extension.document() for extension in EXTENSIONS]}


def show_extension(call: Call, _svc: Networks) -> dict[str, object]:
    """GET /extensions/{alias}"""
    extension = _BY_ALIAS.get(call.params["alias"])
    if extension is None:
        raise NotFound(f"Extension with alias {call.params['alias']} does not exist")
    return {"extension": extension.document()}


ROUTES: tuple[Route[Networks], ...] = (
    Route("GET", "/extensions", list_extensions, "get_extension"),
    Route("GET", "/extensions/{alias}", show_extension, "get_extension"),
)
