"""The `network_sync` table: what was wanted of each host, and what it has applied.

`wanted` counts changes; a host is up to date when `applied` has caught up. Whoever pushes a description holds the row's
lease from before it reads the description until the host has answered, so that an older description cannot land after a
newer one.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from pileus.kernel.db import Tx
from pileus.network.models import network_sync


class Kind(StrEnum):
    """What is described to hosts, in the order in which it must be there."""

    NETWORK = "network"
    ADDRESS_SET = "address_set"
    PORT = "port"
    ROUTER = "router"


class Key(NamedTuple):
    """One resource on one host."""

    host: str
    kind: str
    resource_id: str


class Pending(NamedTuple):
    """A resource that a host has to be told about. `wanted` is the change that the telling will cover."""

    key: Key
    wanted: int


def mark(tx: Tx, keys: Iterable[Key]) -> None:
    """Note that these resources changed for these hosts. In one order always, so that writers do not deadlock."""
    rows = [
        {"host": key.host, "kind": str(key.kind), "resource_id": key.resource_id}
        for key in sorted(set(keys))
        if key.host
    ]
    if rows:
        tx.execute(_UPSERTS.get(tx.dialect, _MYSQL_UPSERT), rows)


_FRESH = {"wanted": 1, "applied": 0, "owner": None, "lease_until": 0, "retry_at": 0, "failures": 0}
# PyMySQL takes no parameters after VALUES in a statement for many rows, hence literal numbers
_AGAIN = {"wanted": network_sync.c.wanted + sa.literal_column("1"), "retry_at": sa.literal_column("0")}
_NEW: dict[str, Any] = {name: sa.bindparam(name) for name in ("host", "kind", "resource_id")}
_MYSQL_UPSERT: sa.Executable = mysql.insert(network_sync).values({**_NEW, **_FRESH}).on_duplicate_key_update(_AGAIN)
_UPSERTS: dict[str, sa.Executable] = {
    "sqlite": sqlite.insert(network_sync)
    .values({**_NEW, **_FRESH})
    .on_conflict_do_update(index_elements=["host", "kind", "resource_id"], set_=_AGAIN),
    "postgresql": postgresql.insert(network_sync)
    .values({**_NEW, **_FRESH})
    .on_conflict_do_update(index_elements=["host", "kind", "resource_id"], set_=_AGAIN),
}


_OWNERS = sa.select(network_sync.c.owner).where(network_sync.c.owner.is_not(None)).distinct()


def _is(key: Key) -> sa.ColumnElement[bool]:
    return sa.and_(
        network_sync.c.host == key.host,
        network_sync.c.kind == str(key.kind),
        network_sync.c.resource_id == key.resource_id,
    )


def due(tx: Tx, now: int, limit: int) -> list[Key]:
    """Resources whose hosts lag behind and that nobody is pushing, the longest waiting kinds first."""
    rows = tx.all(
        sa.select(network_sync.c.host, network_sync.c.kind, network_sync.c.resource_id)
        .where(
            network_sync.c.applied < network_sync.c.wanted,
            network_sync.c.retry_at <= now,
            network_sync.c.lease_until <= now,
        )
        .order_by(network_sync.c.retry_at, network_sync.c.host, network_sync.c.kind, network_sync.c.resource_id)
        .limit(limit)
    )
    return [Key(row.host, row.kind, row.resource_id) for row in rows]


def state(tx: Tx, keys: Sequence[Key]) -> dict[Key, tuple[int, int]]:
    """(wanted, applied) of each of these that there is."""
    if not keys:
        return {}
    rows = tx.all(
        sa.select(
            network_sync.c.host,
            network_sync.c.kind,
            network_sync.c.resource_id,
            network_sync.c.wanted,
            network_sync.c.applied,
        ).where(
            network_sync.c.host.in_({key.host for key in keys}),
            network_sync.c.resource_id.in_({key.resource_id for key in keys}),
        )
    )
    return {Key(row.host, row.kind, row.resource_id): (row.wanted, row.applied) for row in rows}


def claim(tx: Tx, key: Key, owner: str, now: int, until: int) -> Pending | None:
    """Take a row's lease if it is free and the host lags behind; what the push will cover."""
    taken = tx.changed(
        sa.update(network_sync)
        .where(
            _is(key),
            network_sync.c.applied < network_sync.c.wanted,
            sa.or_(network_sync.c.lease_until <= now, network_sync.c.owner == owner),
        )
        .values(owner=owner, lease_until=until)
    )
    if not taken:
        return None
    wanted = tx.scalar(sa.select(network_sync.c.wanted).where(_is(key)))
    return Pending(key, wanted)


def owner(tx: Tx, key: Key) -> list[str]:
    """Who holds a row's lease, or did, if anybody."""
    return [row.owner for row in tx.all(_OWNERS.where(_is(key)))]


def owners(tx: Tx) -> list[str]:
    """All who hold a lease, or did."""
    return [row.owner for row in tx.all(_OWNERS)]


def release(tx: Tx, owners: Sequence[str]) -> None:
    """End the leases of these, who are dead."""
    tx.execute(sa.update(network_sync).where(network_sync.c.owner.in_(owners)).values(owner=None, lease_until=0))


def finish(tx: Tx, pending: Pending, owner: str) -> bool:
    """The host has applied what was claimed: whether the lease was still ours when it did."""
    return bool(
        tx.changed(
            sa.update(network_sync)
            .where(_is(pending.key), network_sync.c.owner == owner, network_sync.c.applied < pending.wanted)
            .values(applied=pending.wanted, owner=None, lease_until=0, retry_at=0, failures=0)
        )
    )


def forget(tx: Tx, pending: Pending) -> None:
    """Drop the row of a resource that the host has removed, unless it was wanted again meanwhile."""
    tx.execute(sa.delete(network_sync).where(_is(pending.key), network_sync.c.wanted == pending.wanted))


def give_up(tx: Tx, pending: Pending, owner: str, retry_at: int) -> None:
    """The push failed: release the lease, to be tried again at `retry_at`."""
    tx.execute(
        sa.update(network_sync)
        .where(_is(pending.key), network_sync.c.owner == owner)
        .values(owner=None, lease_until=0, retry_at=retry_at, failures=network_sync.c.failures + 1)
    )


def failures(tx: Tx, key: Key) -> int:
    """How often in a row the host could not be told."""
    return int(tx.scalar(sa.select(network_sync.c.failures).where(_is(key))) or 0)


def postpone(tx: Tx, host: str, retry_at: int) -> None:
    """Leave a host that does not answer alone for a while."""
    tx.execute(
        sa.update(network_sync)
        .where(
            network_sync.c.host == host,
            network_sync.c.applied < network_sync.c.wanted,
            network_sync.c.retry_at < retry_at,
        )
        .values(retry_at=retry_at)
    )
