"""What hosts must carry of networks by the database's word, and records that contradict each other. For audits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import sqlalchemy as sa

from pileus.kernel.db import Tx
from pileus.network.domain import COMPUTE_OWNER_PREFIX, ROUTER_OWNERS, DeviceOwner
from pileus.network.models import (
    floating_ip,
    ip_allocation,
    network_sync,
    port,
    port_security_group,
    router,
    security_group_rule,
)
from pileus.network.specs import SpecBuilder

_NETWORKS = sa.select(port.c.host, port.c.network_id).where(port.c.host != "").distinct()
_WIRED = sa.select(port.c.id, port.c.device_id, port.c.host).where(
    port.c.host != "", port.c.device_owner.like(f"{COMPUTE_OWNER_PREFIX}%")
)
_ROUTERS = sa.select(router.c.host, router.c.id).where(router.c.host != "")
_ADDRESS_SETS = (
    sa.select(port.c.host, security_group_rule.c.remote_group_id)
    .join(port_security_group, port_security_group.c.port_id == port.c.id)
    .join(security_group_rule, security_group_rule.c.security_group_id == port_security_group.c.security_group_id)
    .where(port.c.host != "", security_group_rule.c.remote_group_id.is_not(None))
    .distinct()
)
_SERVER_ADDRESSES = (
    sa.select(ip_allocation.c.port_id, ip_allocation.c.ip)
    .join(port, port.c.id == ip_allocation.c.port_id)
    .where(port.c.device_owner.like(f"{COMPUTE_OWNER_PREFIX}%"))
)
_BEHIND = sa.select(network_sync.c.host, network_sync.c.kind, network_sync.c.resource_id).where(
    network_sync.c.applied < network_sync.c.wanted
)
_floating_port = port.alias("floating_port")
_CONTRADICTIONS: Mapping[str, sa.Select[tuple[str]]] = {
    "floating IP {} leads to a port that does not exist": (
        sa.select(floating_ip.c.id)
        .outerjoin(port, port.c.id == floating_ip.c.port_id)
        .where(floating_ip.c.port_id.is_not(None), port.c.id.is_(None))
    ),
    "floating IP {} has no port on its external network": (
        sa.select(floating_ip.c.id)
        .outerjoin(_floating_port, _floating_port.c.id == floating_ip.c.floating_port_id)
        .where(_floating_port.c.id.is_(None))
    ),
    "port {} is that of a floating IP that does not exist": (
        sa.select(port.c.id)
        .outerjoin(floating_ip, floating_ip.c.floating_port_id == port.c.id)
        .where(port.c.device_owner == str(DeviceOwner.FLOATING_IP), floating_ip.c.id.is_(None))
    ),
    "port {} is that of a router that does not exist": (
        sa.select(port.c.id)
        .outerjoin(router, router.c.id == port.c.device_id)
        .where(port.c.device_owner.in_([str(owner) for owner in ROUTER_OWNERS]), router.c.id.is_(None))
    ),
}


@dataclass(frozen=True)
class HostNetworks:
    """What one host must carry, by ids. `dhcp_hosts`: network -> ports that its DHCP server answers to."""

    networks: set[str] = field(default_factory=set)
    taps: set[str] = field(default_factory=set)
    routers: set[str] = field(default_factory=set)
    address_sets: set[str] = field(default_factory=set)
    dhcp_hosts: dict[str, frozenset[str]] = field(default_factory=dict)


class WiredPort(NamedTuple):
    """A port that says it is a server's, on a host."""

    port_id: str
    server_id: str
    host: str


def wired(tx: Tx) -> list[WiredPort]:
    """All ports that should have a tap somewhere."""
    return [WiredPort(row.id, row.device_id, row.host) for row in tx.all(_WIRED)]


def wanted(tx: Tx, specs: SpecBuilder) -> dict[str, HostNetworks]:
    """What each host must carry; hosts that must carry nothing are left out."""
    found: dict[str, HostNetworks] = {}

    def of(host: str) -> HostNetworks:
        return found.setdefault(host, HostNetworks())

    for row in tx.all(_NETWORKS):
        here = of(row.host)
        here.networks.add(row.network_id)
        spec = specs.network(tx, row.network_id, row.host)
        if spec is not None and spec.dhcp_mac is not None:
            here.dhcp_hosts[row.network_id] = frozenset(one.port_id for one in spec.dhcp_hosts)
    for one in wired(tx):
        of(one.host).taps.add(one.port_id)
    for row in tx.all(_ROUTERS):
        of(row.host).routers.add(row.id)
    for row in tx.all(_ADDRESS_SETS):
        of(row.host).address_sets.add(row.remote_group_id)
    return found


def server_addresses(tx: Tx) -> frozenset[tuple[str, str]]:
    """Every (port, address) that is allocated to a port which says that it is a server's."""
    return frozenset((row.port_id, row.ip) for row in tx.all(_SERVER_ADDRESSES))


def contradictions(tx: Tx) -> list[str]:
    """Records that cannot both be true, and changes that hosts have not applied, one sentence each."""
    found = [
        sentence.format(identifier)
        for sentence, query in _CONTRADICTIONS.items()
        for (identifier,) in sorted(map(tuple, tx.all(query)))
    ]
    found += [
        f"host {row.host} has not applied the latest change of {row.kind} {row.resource_id}" for row in tx.all(_BEHIND)
    ]
    return found
