"""Queries over subnets."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from pileus.kernel.auth import Actor
from pileus.kernel.db import Row, Tx
from pileus.network import ipam
from pileus.network.domain import DeviceOwner, FixedIp, Subnet
from pileus.network.lists import Listing, ListRequest, Values
from pileus.network.models import ip_allocation, network, port, subnet
from pileus.network.rows import built, remove


def visible(me: Values) -> sa.ColumnElement[bool]:
    """Subnets that a project may see: its own, and those of networks that it may use or see."""
    seen = sa.select(network.c.id).where(sa.or_(network.c.project_id == me, network.c.shared, network.c.external))
    return sa.or_(subnet.c.project_id == me, subnet.c.network_id.in_(seen))


LISTING = Listing(
    "subnet",
    subnet,
    visible,
    columns={
        "network_id": subnet.c.network_id,
        "ip_version": subnet.c.ip_version,
        "cidr": subnet.c.cidr,
        "gateway_ip": subnet.c.gateway_ip,
        "enable_dhcp": subnet.c.enable_dhcp,
        "ipv6_ra_mode": subnet.c.ipv6_ra_mode,
        "ipv6_address_mode": subnet.c.ipv6_address_mode,
    },
)

_OF_NETWORK = (
    sa.select(subnet).where(subnet.c.network_id == sa.bindparam("network")).order_by(subnet.c.created_at, subnet.c.id)
)
_BY_IDS = sa.select(subnet).where(subnet.c.id.in_(sa.bindparam("ids", expanding=True)))


def get(tx: Tx, actor: Actor, subnet_id: str) -> Subnet:
    """A subnet that the caller may see. NotFound else."""
    return built(Subnet, LISTING.one(tx, actor, subnet_id))


def page(tx: Tx, actor: Actor, request: ListRequest) -> tuple[list[Subnet], bool]:
    """One page of subnets, and whether there are more."""
    found, more = LISTING.rows(tx, actor, request)
    return [built(Subnet, row) for row in found], more


def of_network(tx: Tx, network_id: str) -> list[Subnet]:
    """A network's subnets, oldest first: the order in which addresses are taken from them."""
    return [built(Subnet, row) for row in tx.all(_OF_NETWORK, {"network": network_id})]


def by_ids(tx: Tx, subnet_ids: Collection[str]) -> dict[str, Subnet]:
    """Several subnets."""
    if not subnet_ids:
        return {}
    return {row[0]: built(Subnet, row) for row in tx.all(_BY_IDS, {"ids": sorted(subnet_ids)})}


def insert(tx: Tx, values: Mapping[str, Any]) -> None:
    """Add a subnet and make its addresses allocatable."""
    tx.execute(sa.insert(subnet).values(values))
    ipam.open_subnet(tx, values["id"])


def delete(tx: Tx, subnet_id: str) -> None:
    """Delete a subnet, and its addresses from the ports that still have some."""
    ipam.close_subnet(tx, subnet_id)
    remove(tx, subnet, subnet_id)


def users(tx: Tx, subnet_id: str) -> Sequence[Row]:
    """(port_id, device_owner, ip) of every address in use but DHCP's own."""
    return tx.all(
        sa.select(ip_allocation.c.port_id, port.c.device_owner, ip_allocation.c.ip)
        .join(port, port.c.id == ip_allocation.c.port_id)
        .where(ip_allocation.c.subnet_id == subnet_id, port.c.device_owner != DeviceOwner.DHCP)
    )


def holder(tx: Tx, fixed: FixedIp) -> str | None:
    """The port that has an address."""
    found: str | None = tx.scalar(
        sa.select(ip_allocation.c.port_id).where(
            ip_allocation.c.subnet_id == fixed.subnet_id, ip_allocation.c.ip == fixed.ip
        )
    )
    return found
