"""Names of everything that the driver makes on the host.

All begin with the site's prefix, so that several clouds live on one machine. Interface names hold at most 15
characters: prefix, a letter for the kind, and the first 11 hexadecimal digits of the owner's id. The prefix has
two or three characters, so the name's length tells which of two prefixes it belongs to even if one begins the other.
The whole id stands in the interface's alias, by which the host tells its own story to an agent without memory.
"""

import re
from dataclasses import dataclass

from pileus.drivers.network.base import InvalidDescription
from pileus.drivers.network.checks import checked_id

BRIDGE, TAP, DHCP, ROUTER, UPLINK = "b", "t", "d", "r", "u"
_ALIAS = re.compile(r"pileus (network|port|router) ([0-9a-f-]{36})(?: ([0-9a-f-]{36}))?")
PREFIX = re.compile(r"[a-z][a-z0-9]{1,2}")


@dataclass(frozen=True)
class Owner:
    """To what an interface belongs: `kind` is network, port or router."""

    kind: str
    id: str
    part: str | None = None  # for a router: the port

    def alias(self) -> str:
        return " ".join(filter(None, ("pileus", self.kind, self.id, self.part)))


def owner_of(alias: str | None) -> Owner | None:
    """The owner that an interface's alias states, or None."""
    match = _ALIAS.fullmatch(alias or "")
    return Owner(match[1], match[2], match[3]) if match else None


class Names:
    """The names under one prefix."""

    def __init__(self, prefix: str) -> None:
        if not PREFIX.fullmatch(prefix):
            raise InvalidDescription(f"the prefix {prefix!r} must be a letter and one or two letters or digits")
        self.prefix = prefix
        self._interface = re.compile(rf"{prefix}[{BRIDGE}{TAP}{DHCP}{ROUTER}{UPLINK}][0-9a-f]{{11}}")
        self._namespace = re.compile(rf"{prefix}-(dhcp|router)-([0-9a-f-]{{36}})")
        self.filter_table = f"{prefix}-filters"
        self.state_table = f"{prefix}-state"
        self.nat_table = f"{prefix}-nat"
        self.router_table = f"{prefix}-router"

    def interface(self, kind: str, identifier: str) -> str:
        return f"{self.prefix}{kind}{short(identifier)}"

    def bridge(self, network_id: str) -> str:
        return self.interface(BRIDGE, network_id)

    def tap(self, port_id: str) -> str:
        return self.interface(TAP, port_id)

    def dhcp_namespace(self, network_id: str) -> str:
        return f"{self.prefix}-dhcp-{network_id}"

    def router_namespace(self, router_id: str) -> str:
        return f"{self.prefix}-router-{router_id}"

    def is_interface(self, name: str) -> bool:
        return self._interface.fullmatch(name) is not None

    def namespace_owner(self, name: str) -> Owner | None:
        """The network or router that a namespace of ours belongs to."""
        match = self._namespace.fullmatch(name)
        if not match:
            return None
        return Owner("network" if match[1] == "dhcp" else "router", match[2])


def short(identifier: str) -> str:
    return checked_id(identifier).replace("-", "")[:11]


def inner_name(port_id: str) -> str:
    """A router's interface to a tenant's network, inside its namespace."""
    return f"qr-{short(port_id)}"


def outer_name(port_id: str) -> str:
    """A router's interface to its external network, inside its namespace."""
    return f"qg-{short(port_id)}"
