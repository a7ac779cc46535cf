"""Queries over routers."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from pileus.kernel.auth import Actor
from pileus.kernel.db import Row, Tx
from pileus.network.domain import DeviceOwner, FixedIp, Router
from pileus.network.lists import Listing, ListRequest
from pileus.network.models import ip_allocation, port, router
from pileus.network.rows import built, grouped


def _status(texts: Sequence[str]) -> sa.ColumnElement[bool]:
    return sa.true() if "ACTIVE" in texts else sa.false()


LISTING = Listing(
    "router",
    router,
    lambda me: router.c.project_id == me,
    columns={"admin_state_up": router.c.admin_state_up},
    special={"status": _status},
)

_GATEWAY_ADDRESSES = (
    sa.select(ip_allocation.c.port_id, ip_allocation.c.subnet_id, ip_allocation.c.ip)
    .where(ip_allocation.c.port_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(ip_allocation.c.port_id, ip_allocation.c.position)
)
_BY_ID = sa.select(router).where(router.c.id == sa.bindparam("id"))
_BY_ID_LOCKED = _BY_ID.with_for_update()
_LOADS = sa.select(router.c.host, sa.func.count().label("routers")).where(router.c.host != "").group_by(router.c.host)
_HOMELESS = (
    sa.select(router.c.id)
    .where(router.c.host == "", sa.exists().where(port.c.device_id == router.c.id))
    .order_by(router.c.created_at)
)


def _with_gateways(tx: Tx, rows: Sequence[Row]) -> list[Router]:
    ids = [row.gateway_port_id for row in rows if row.gateway_port_id is not None]
    fixed = grouped(tx.all(_GATEWAY_ADDRESSES, {"ids": ids}), lambda row: FixedIp(row[1], row[2])) if ids else {}
    return [built(Router, row, tuple(fixed.get(row.gateway_port_id, ()))) for row in rows]


def get(tx: Tx, actor: Actor, router_id: str) -> Router:
    """A router that the caller may see. NotFound else."""
    return _with_gateways(tx, [LISTING.one(tx, actor, router_id)])[0]


def page(tx: Tx, actor: Actor, request: ListRequest) -> tuple[list[Router], bool]:
    """One page of routers, and whether there are more."""
    rows, more = LISTING.rows(tx, actor, request)
    return _with_gateways(tx, rows), more


def find(tx: Tx, router_id: str, *, lock: bool = False) -> Router | None:
    """A router whoever may see it; `lock`: other writers who lock it wait until this transaction ends."""
    row = tx.one(_BY_ID_LOCKED if lock else _BY_ID, {"id": router_id})
    return None if row is None else _with_gateways(tx, [row])[0]


def insert(tx: Tx, values: Mapping[str, Any]) -> None:
    """Add a router."""
    tx.execute(sa.insert(router).values(values))


def set_host(tx: Tx, router_id: str, host: str) -> bool:
    """Give a router without a host one. Whether it had none."""
    return bool(tx.changed(sa.update(router).where(router.c.id == router_id, router.c.host == "").values(host=host)))


def loads(tx: Tx) -> dict[str, int]:
    """How many routers each host has."""
    return {row.host: int(row.routers) for row in tx.all(_LOADS)}


def homeless(tx: Tx) -> list[str]:
    """Routers that are connected to something and that no host has."""
    return [row.id for row in tx.all(_HOMELESS)]


def reaching(tx: Tx, subnet_id: str, external_network_id: str, gateway_ip: str | None) -> str | None:
    """The router that connects a subnet to an external network: the subnet's own gateway before others."""
    rows = tx.all(
        sa.select(port.c.device_id, ip_allocation.c.ip)
        .join(ip_allocation, ip_allocation.c.port_id == port.c.id)
        .join(router, router.c.id == port.c.device_id)
        .where(
            ip_allocation.c.subnet_id == subnet_id,
            port.c.device_owner == str(DeviceOwner.ROUTER_INTERFACE),
            router.c.gateway_network_id == external_network_id,
        )
        .order_by(port.c.created_at, port.c.id)
    )
    for row in rows:
        if row.ip == gateway_ip:
            return str(row.device_id)
    return str(rows[0].device_id) if rows else None


def existing(tx: Tx, router_ids: Collection[str]) -> set[str]:
    """Those of the routers that there are."""
    if not router_ids:
        return set()
    return {row.id for row in tx.all(sa.select(router.c.id).where(router.c.id.in_(sorted(router_ids))))}
