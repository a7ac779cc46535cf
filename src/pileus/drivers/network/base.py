"""What the agent asks of a network technology.

Every verb is idempotent: `ensure_*` makes the host be as described whatever was there before (nothing, an older
description, the half-made work of a process that was killed), and `ensure_no_*` accepts what never was. Verbs
may be called from several threads at once.

Order matters in one place only: a network is ensured before the ports and routers on it. Address sets may come
before or after the rules that name them; a set not yet described has no members.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pileus.agent.api import AddressSetSpec, NetworkSpec, PortSpec, RefusalKind, RouterSpec


class NetworkDriverError(Exception):
    """A verb was not done. `kind` tells the control plane whether to try again."""

    kind = RefusalKind.FAILED


class InvalidDescription(NetworkDriverError):
    """A value in a description is malformed (an address, a range, a name): never retried."""

    kind = RefusalKind.INVALID


class NetworkNotFound(NetworkDriverError):
    """A port or router refers to a network that was not ensured on this host."""

    kind = RefusalKind.NOT_FOUND

    def __init__(self, network_id: str) -> None:
        super().__init__(f"network {network_id} is not on this host")
        self.network_id = network_id


class PhysicalNetworkUnusable(NetworkDriverError):
    """The settings do not map the physical network, or what they map it to cannot be used."""

    kind = RefusalKind.CONFLICT


class HostCommandFailed(NetworkDriverError):
    """The kernel or a host program refused. The text is its own."""


@dataclass(frozen=True)
class MetadataEndpoint:
    """A namespace in which guests reach 169.254.169.254.

    `namespace` is the path of the network namespace (empty with the fake driver); `networks` are the networks
    whose guests are heard there, by which a source address is told apart.
    """

    kind: Literal["network", "router"]
    id: str
    namespace: str
    networks: tuple[str, ...]


@dataclass(frozen=True)
class NetworkState:
    """What exists, found by looking at the host and not at what was asked for.

    A resource is listed if any part of it exists. `dhcp_hosts` maps a network to the ports that have a
    reservation with its DHCP server. `strays` are "kind name" of things under our prefix whose owner cannot be told.
    """

    networks: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    address_sets: tuple[str, ...] = ()
    dhcp_hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    strays: tuple[str, ...] = ()


class NetworkDriver(Protocol):
    """The verbs. Each may raise NetworkDriverError."""

    def ensure_network(self, spec: NetworkSpec) -> None:
        """Make the network's bridge and, with `dhcp_mac`, its DHCP and DNS server as described."""
        ...

    def ensure_no_network(self, network_id: str) -> None:
        """Remove the network's bridge and DHCP server. Its ports stay, cut off."""
        ...

    def ensure_port(self, spec: PortSpec) -> str:
        """Make the port's tap and filters as described; answer the tap's name, fixed for the port's life.

        A change of filters is atomic for traffic, and connections that no rule admits any more are cut.
        Raises NetworkNotFound.
        """
        ...

    def ensure_no_port(self, port_id: str) -> None:
        """Remove the port's tap and filters."""
        ...

    def ensure_address_set(self, spec: AddressSetSpec) -> None:
        """Make the set's members as described, in every rule that names it."""
        ...

    def ensure_no_address_set(self, set_id: str) -> None:
        """Empty the set, and remove it once no rule names it."""
        ...

    def ensure_router(self, spec: RouterSpec) -> None:
        """Make the router as described. A floating address that is gone stops at once. Raises NetworkNotFound."""
        ...

    def ensure_no_router(self, router_id: str) -> None:
        """Remove the router with its interfaces."""
        ...

    def metadata_endpoints(self) -> tuple[MetadataEndpoint, ...]:
        """Where the metadata service must listen now."""
        ...

    def observe(self) -> NetworkState:
        """What exists on this host."""
        ...

    def restore(self) -> None:
        """Make all that was last asked for true again, after the host or the agent started anew.

        What cannot be restored is logged and left to the control plane, which sends it again.
        """
        ...

    def remove_everything(self) -> None:
        """Remove all that carries this site's prefix, known or not."""
        ...
