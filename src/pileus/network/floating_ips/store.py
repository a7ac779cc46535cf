"""Queries over floating IPs."""

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from pileus.kernel.auth import Actor
from pileus.kernel.db import Tx
from pileus.network.domain import FloatingIp
from pileus.network.lists import Listing, ListRequest
from pileus.network.models import floating_ip, ip_allocation
from pileus.network.rows import built, remove

ACTIVE, DOWN = "ACTIVE", "DOWN"

LISTING = Listing(
    "floatingip",
    floating_ip,
    lambda me: floating_ip.c.project_id == me,
    columns={
        name: floating_ip.c[name]
        for name in (
            "status",
            "floating_network_id",
            "floating_ip_address",
            "port_id",
            "fixed_ip_address",
            "router_id",
        )
    },
)


def get(tx: Tx, actor: Actor, floating_id: str) -> FloatingIp:
    """A floating IP that the caller may see. NotFound else."""
    return built(FloatingIp, LISTING.one(tx, actor, floating_id))


def page(tx: Tx, actor: Actor, request: ListRequest) -> tuple[list[FloatingIp], bool]:
    """One page of floating IPs, and whether there are more."""
    rows, more = LISTING.rows(tx, actor, request)
    return [built(FloatingIp, row) for row in rows], more


def _where(tx: Tx, *terms: sa.ColumnElement[bool]) -> list[FloatingIp]:
    statement = sa.select(floating_ip).where(*terms).order_by(floating_ip.c.created_at, floating_ip.c.id)
    return [built(FloatingIp, row) for row in tx.all(statement)]


def on_network(tx: Tx, network_id: str) -> list[FloatingIp]:
    """The floating IPs of an external network."""
    return _where(tx, floating_ip.c.floating_network_id == network_id)


def of_ports(tx: Tx, port_ids: Collection[str]) -> list[FloatingIp]:
    """The floating IPs that lead to these ports."""
    return _where(tx, floating_ip.c.port_id.in_(sorted(port_ids))) if port_ids else []


def of_router(tx: Tx, router_id: str) -> list[FloatingIp]:
    """The floating IPs that a router translates."""
    return _where(tx, floating_ip.c.router_id == router_id)


def subnet_of(tx: Tx, floating: FloatingIp) -> str | None:
    """The subnet of the address that a floating IP leads to."""
    found: str | None = tx.scalar(
        sa.select(ip_allocation.c.subnet_id).where(
            ip_allocation.c.port_id == floating.port_id, ip_allocation.c.ip == floating.fixed_ip_address
        )
    )
    return found


def insert(tx: Tx, values: Mapping[str, Any]) -> None:
    """Add a floating IP."""
    tx.execute(sa.insert(floating_ip).values(values))


def delete(tx: Tx, floating_id: str) -> bool:
    """Delete a floating IP; its port on the external network is the caller's to delete."""
    return remove(tx, floating_ip, floating_id)


def disassociate(tx: Tx, port_id: str, now: int, fixed_ip: str | None = None) -> list[str]:
    """Make the floating IPs of a port (or of one of its addresses) lead nowhere; the routers that translated them."""
    terms = [floating_ip.c.port_id == port_id]
    if fixed_ip is not None:
        terms.append(floating_ip.c.fixed_ip_address == fixed_ip)
    found = tx.all(sa.select(floating_ip.c.router_id).where(*terms))
    if found:
        tx.execute(
            sa.update(floating_ip)
            .where(*terms)
            .values(
                port_id=None,
                fixed_ip_address=None,
                router_id=None,
                status=DOWN,
                updated_at=now,
                revision_number=floating_ip.c.revision_number + 1,
            )
        )
    return [row.router_id for row in found if row.router_id]


def set_active(tx: Tx, floating_ids: Collection[str], router_id: str) -> None:
    """A router's host has applied these: an observation, so the revision stays."""
    if floating_ids:
        tx.execute(
            sa.update(floating_ip)
            .where(
                floating_ip.c.id.in_(sorted(floating_ids)),
                floating_ip.c.router_id == router_id,
                floating_ip.c.status != ACTIVE,
            )
            .values(status=ACTIVE)
        )
