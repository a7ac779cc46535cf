"""What the network service speaks of. Structs are made from rows: their fields stand in the tables' order."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec


class PortStatus(StrEnum):
    """ACTIVE: the host has applied it. BUILD: bound and not yet applied. DOWN: neither bound nor applied."""

    ACTIVE = "ACTIVE"
    BUILD = "BUILD"
    DOWN = "DOWN"


class DeviceOwner(StrEnum):
    """Who uses a port, where it is the network service itself."""

    DHCP = "network:dhcp"
    ROUTER_INTERFACE = "network:router_interface"
    ROUTER_GATEWAY = "network:router_gateway"
    FLOATING_IP = "network:floatingip"


ROUTER_OWNERS = frozenset({DeviceOwner.ROUTER_INTERFACE, DeviceOwner.ROUTER_GATEWAY})
SERVICE_OWNERS = frozenset({*ROUTER_OWNERS, DeviceOwner.FLOATING_IP})
"""Ports of these owners go with what they belong to and are not deleted by themselves."""

NETWORK_OWNER_PREFIX = "network:"
COMPUTE_OWNER_PREFIX = "compute:"

SLAAC_MODES = frozenset({"slaac", "dhcpv6-stateless"})
"""IPv6 address modes in which a guest derives its address from its MAC."""

EXTERNAL_TYPE = "flat"
PROJECT_TYPE = "vxlan"
"""Neutron's `provider:network_type` of external and of all other networks."""

MAX_SEGMENT = (1 << 24) - 1
"""The largest VXLAN network identifier (RFC 7348)."""


class Standard(msgspec.Struct, frozen=True):
    """Neutron's standard attributes."""

    id: str
    project_id: str
    name: str
    description: str
    tags: tuple[str, ...]
    revision_number: int
    created_at: int
    updated_at: int


class Network(Standard, frozen=True):
    """A layer 2 network. `subnets` are ids."""

    admin_state_up: bool
    shared: bool
    external: bool
    mtu: int
    segment: int
    physical_network: str | None
    port_security_enabled: bool
    subnets: tuple[str, ...] = ()


class Subnet(Standard, frozen=True):
    """A block of addresses of one network."""

    network_id: str
    ip_version: int
    cidr: str
    gateway_ip: str | None
    enable_dhcp: bool
    dns_nameservers: tuple[str, ...]
    host_routes: tuple[tuple[str, str], ...]
    allocation_pools: tuple[tuple[str, str], ...]
    ipv6_ra_mode: str | None
    ipv6_address_mode: str | None

    @property
    def is_slaac(self) -> bool:
        """Whether ports get the address that their MAC gives."""
        return self.ip_version == 6 and (self.ipv6_address_mode in SLAAC_MODES or self.ipv6_ra_mode in SLAAC_MODES)


class FixedIp(NamedTuple):
    """An address of a port."""

    subnet_id: str
    ip: str


class Port(Standard, frozen=True):
    """An attachment point of a network."""

    network_id: str
    network_project_id: str
    mac: str
    admin_state_up: bool
    status: str
    device_id: str
    device_owner: str
    host: str
    vnic_type: str
    profile: dict[str, Any]
    port_security_enabled: bool
    allowed_address_pairs: tuple[tuple[str, str], ...]
    made_by_compute: bool
    hostname: str
    fixed_ips: tuple[FixedIp, ...] = ()
    security_groups: tuple[str, ...] = ()


class Router(Standard, frozen=True):
    """A router. `external_fixed_ips` are those of its gateway port."""

    admin_state_up: bool
    enable_snat: bool
    gateway_network_id: str | None
    gateway_port_id: str | None
    routes: tuple[tuple[str, str], ...]
    host: str
    external_fixed_ips: tuple[FixedIp, ...] = ()


class FloatingIp(Standard, frozen=True):
    """An address of an external network that leads to a port's address."""

    status: str
    floating_network_id: str
    floating_ip_address: str
    floating_port_id: str
    port_id: str | None
    fixed_ip_address: str | None
    router_id: str | None


class SecurityGroupRule(Standard, frozen=True):
    """What one group lets pass. All that is None matches everything."""

    security_group_id: str
    direction: str
    ethertype: str
    protocol: str | None
    port_range_min: int | None
    port_range_max: int | None
    remote_ip_prefix: str | None
    remote_group_id: str | None


class SecurityGroup(Standard, frozen=True):
    """A named set of rules."""

    rules: tuple[SecurityGroupRule, ...] = ()


def network_target(network: Network) -> dict[str, Any]:
    """A network as policy checks see it."""
    return {
        "project_id": network.project_id,
        "tenant_id": network.project_id,
        "shared": network.shared,
        "router:external": network.external,
    }


def owned_target(project_id: str, network: Network | None = None) -> dict[str, Any]:
    """A thing with an owner, and the network it is on, as policy checks see them."""
    target: dict[str, Any] = {"project_id": project_id, "tenant_id": project_id}
    if network is not None:
        target |= {
            "network:project_id": network.project_id,
            "network:tenant_id": network.project_id,
            "shared": network.shared,
            "router:external": network.external,
        }
    return target


# --- what compute asks for and gets ---------------------------------------------------------------------------


class RequestedNic(msgspec.Struct, frozen=True, kw_only=True):
    """A network interface as the user asked for it: a port, or a network with perhaps an address."""

    network_id: str | None = None
    port_id: str | None = None
    fixed_ip: str | None = None
    tag: str | None = None


class PlannedNic(msgspec.Struct, frozen=True, kw_only=True):
    """A network interface that was checked. `port_id` is minted before anything is made, so that it can be repeated."""

    network_id: str
    port_id: str
    fixed_ip: str | None = None
    existing: bool = False
    tag: str | None = None


class Unplugged(msgspec.Struct, frozen=True, kw_only=True):
    """A port that a server no longer has."""

    port_id: str
    network_id: str
    host: str


class SecurityGroupRef(msgspec.Struct, frozen=True):
    """A security group, by both its names."""

    id: str
    name: str


class PortAddress(msgspec.Struct, frozen=True, kw_only=True):
    """An address of a server's port with what its subnet says of it."""

    ip: str
    subnet_id: str
    version: int
    cidr: str
    gateway: str | None
    dns: tuple[str, ...]
    floating_ip: str | None = None


class PortInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A server's port as compute shows it and describes it to the hypervisor."""

    id: str
    server_id: str
    network_id: str
    network_name: str
    project_id: str
    mac: str
    mtu: int
    status: str
    host: str
    port_security_enabled: bool
    addresses: tuple[PortAddress, ...]
    security_groups: tuple[SecurityGroupRef, ...]


Attributes = Mapping[str, Any]
"""A resource's attributes as a request named them: under the API's names, only those that were sent."""
