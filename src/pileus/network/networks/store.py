"""Queries over networks."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from pileus.kernel.auth import Actor
from pileus.kernel.db import Row, Tx
from pileus.network.domain import EXTERNAL_TYPE, MAX_SEGMENT, PROJECT_TYPE, Network
from pileus.network.lists import Filter, Listing, ListRequest, Values
from pileus.network.models import network, port, router, subnet
from pileus.network.rows import built, grouped


def visible(me: Values) -> sa.ColumnElement[bool]:
    """Networks that a project may use or see: its own, shared ones, external ones."""
    return sa.or_(network.c.project_id == me, network.c.shared, network.c.external)


def _status(texts: Sequence[str]) -> sa.ColumnElement[bool]:
    return sa.true() if "ACTIVE" in texts else sa.false()


def _type(texts: Sequence[str]) -> sa.ColumnElement[bool]:
    terms: list[sa.ColumnElement[bool]] = [network.c.external] if EXTERNAL_TYPE in texts else []
    if PROJECT_TYPE in texts:
        terms.append(sa.not_(network.c.external))
    return sa.or_(sa.false(), *terms)


def _with_subnet(term: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return network.c.id.in_(sa.select(subnet.c.network_id).where(term))


LISTING = Listing(
    "network",
    network,
    visible,
    columns={
        "admin_state_up": network.c.admin_state_up,
        "shared": network.c.shared,
        "router:external": network.c.external,
        "mtu": network.c.mtu,
        "port_security_enabled": network.c.port_security_enabled,
        "provider:physical_network": network.c.physical_network,
        "provider:segmentation_id": network.c.segment,
    },
    filters={
        "subnets": Filter(subnet.c.id, within=_with_subnet),
    },
    special={"status": _status, "provider:network_type": _type},
)

_SUBNETS_OF = (
    sa.select(subnet.c.network_id, subnet.c.id)
    .where(subnet.c.network_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(subnet.c.created_at, subnet.c.id)
)
_SUBNETS_OF_ONE = (
    sa.select(subnet.c.network_id, subnet.c.id)
    .where(subnet.c.network_id == sa.bindparam("id"))
    .order_by(subnet.c.created_at, subnet.c.id)
)
_BY_ID = sa.select(network).where(network.c.id == sa.bindparam("id"))
_BY_IDS = sa.select(network).where(network.c.id.in_(sa.bindparam("ids", expanding=True)))
_HOSTS = sa.select(port.c.host).where(port.c.network_id == sa.bindparam("network"), port.c.host != "").distinct()


def _with_subnets(tx: Tx, rows: Sequence[Row]) -> list[Network]:
    if not rows:
        return []
    if len(rows) == 1:
        found = tx.all(_SUBNETS_OF_ONE, {"id": rows[0][0]})
    else:
        found = tx.all(_SUBNETS_OF, {"ids": [row[0] for row in rows]})
    subnets = grouped(found, lambda row: row[1])
    return [built(Network, row, tuple(subnets.get(row[0], ()))) for row in rows]


def get(tx: Tx, actor: Actor, network_id: str) -> Network:
    """A network that the caller may see. NotFound else."""
    return _with_subnets(tx, [LISTING.one(tx, actor, network_id)])[0]


def page(tx: Tx, actor: Actor, request: ListRequest) -> tuple[list[Network], bool]:
    """One page of networks, and whether there are more."""
    rows, more = LISTING.rows(tx, actor, request)
    return _with_subnets(tx, rows), more


def find(tx: Tx, network_id: str) -> Network | None:
    """A network whoever may see it."""
    row = tx.one(_BY_ID, {"id": network_id})
    return None if row is None else _with_subnets(tx, [row])[0]


def by_ids(tx: Tx, network_ids: Collection[str]) -> dict[str, Network]:
    """Several networks, without their subnets."""
    if not network_ids:
        return {}
    return {row[0]: built(Network, row) for row in tx.all(_BY_IDS, {"ids": sorted(network_ids)})}


def usable(tx: Tx, project_id: str) -> list[Network]:
    """A project's own and the shared networks that servers can be put on, oldest first."""
    rows = tx.all(
        sa.select(network)
        .where(
            sa.or_(network.c.project_id == project_id, network.c.shared),
            sa.not_(network.c.external),
            network.c.admin_state_up,
        )
        .order_by(network.c.created_at, network.c.id)
    )
    return _with_subnets(tx, rows)


def insert(tx: Tx, values: Mapping[str, Any]) -> None:
    """Add a network."""
    tx.execute(sa.insert(network).values(values))


def free_segment(tx: Tx) -> int:
    """A VXLAN network identifier that no network has."""
    while True:
        segment = 1 + secrets.randbelow(MAX_SEGMENT)
        if not segment_taken(tx, segment):
            return segment


def segment_taken(tx: Tx, segment: int) -> bool:
    """Whether a network has this identifier."""
    return tx.one(sa.select(network.c.id).where(network.c.segment == segment)) is not None


def hosts(tx: Tx, network_id: str) -> list[str]:
    """Hosts that have a port on the network, a server's or a router's."""
    return [row.host for row in tx.all(_HOSTS, {"network": network_id})]


def other_users(tx: Tx, network_id: str, project_id: str) -> bool:
    """Whether ports of other projects are on the network."""
    statement = sa.select(port.c.id).where(port.c.network_id == network_id, port.c.project_id.not_in(["", project_id]))
    return tx.one(statement.limit(1)) is not None


def gateway_of_routers(tx: Tx, network_id: str) -> bool:
    """Whether routers have their gateway on the network."""
    return tx.one(sa.select(router.c.id).where(router.c.gateway_network_id == network_id).limit(1)) is not None
