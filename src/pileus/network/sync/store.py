"""The `network_sync` table: what was wanted of each host, and what it has applied.

`wanted` counts changes; a host is up to date when `applied` has caught up. Whoever pushes a description holds the row's
lease from before it reads the description until the host has answered, so that an older description cannot land after a
newer one.

Rows are locked in the order of their keys, always, so that writers do not deadlock.
"""

from collections.abc import Collection, Iterable, Sequence
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


class Sync(NamedTuple):
    """How far a host is with a resource, and who is telling it, if anybody."""

    key: Key
    wanted: int
    applied: int
    owner: str | None
    lease_until: int
    failures: int


class Pending(NamedTuple):
    """A resource that a host has to be told about. `wanted` is the change that the telling will cover."""

    key: Key
    wanted: int


def mark(tx: Tx, keys: Iterable[Key]) -> None:
    """Note that these resources changed for these hosts."""
    rows = [
        {"host": key.host, "kind": str(key.kind), "resource_id": key.resource_id}
        for key in sorted(set(keys))
        if key.host
    ]
    if rows:
        tx.execute(_UPSERTS.get(tx.dialect, _MYSQL_UPSERT), rows)


_c = network_sync.c
_FRESH = {"wanted": 1, "applied": 0, "owner": None, "lease_until": 0, "retry_at": 0, "failures": 0}
# PyMySQL takes no parameters after VALUES in a statement for many rows, hence literal numbers
_AGAIN = {"wanted": _c.wanted + sa.literal_column("1"), "retry_at": sa.literal_column("0")}
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

_OWNERS = sa.select(_c.owner).where(_c.owner.is_not(None)).distinct()
_DUE = (
    sa.select(_c.host, _c.kind, _c.resource_id)
    .where(_c.applied < _c.wanted, _c.retry_at <= sa.bindparam("now"), _c.lease_until <= sa.bindparam("now"))
    .order_by(_c.retry_at, _c.host, _c.kind, _c.resource_id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_LOOK = (
    sa.select(_c.host, _c.kind, _c.resource_id, _c.wanted, _c.applied, _c.owner, _c.lease_until, _c.failures)
    .where(
        _c.host == sa.bindparam("on_host"),
        _c.kind.in_(sa.bindparam("kinds", expanding=True)),
        _c.resource_id.in_(sa.bindparam("ids", expanding=True)),
    )
    .order_by(_c.host, _c.kind, _c.resource_id)
    .with_for_update()
)
_ROW = (_c.host == sa.bindparam("b_host"), _c.kind == sa.bindparam("b_kind"), _c.resource_id == sa.bindparam("b_id"))
_LEASE = sa.update(network_sync).where(*_ROW).values(owner=sa.bindparam("b_owner"), lease_until=sa.bindparam("b_until"))
_FINISH = (
    sa.update(network_sync)
    .where(*_ROW)
    .values(applied=sa.bindparam("b_applied"), owner=None, lease_until=0, retry_at=0, failures=0)
)
_FORGET = sa.delete(network_sync).where(*_ROW, _c.wanted == sa.bindparam("b_wanted"))
_GIVE_UP = (
    sa.update(network_sync)
    .where(*_ROW)
    .values(owner=None, lease_until=0, retry_at=sa.bindparam("b_retry_at"), failures=_c.failures + 1)
)


def _row(key: Key) -> dict[str, Any]:
    return {"b_host": key.host, "b_kind": str(key.kind), "b_id": key.resource_id}


def due(tx: Tx, now: int, limit: int) -> list[Key]:
    """Resources whose hosts lag behind and that nobody is pushing, the longest waiting kinds first."""
    return [Key(row.host, row.kind, row.resource_id) for row in tx.all(_DUE, {"now": now, "most": limit})]


def lock(tx: Tx, host: str, keys: Collection[Key]) -> dict[Key, Sync]:
    """How far one host is with each of these that there is. The rows are this transaction's until it ends."""
    wanted = {
        "on_host": host,
        "kinds": sorted({str(key.kind) for key in keys}),
        "ids": sorted({key.resource_id for key in keys}),
    }
    found: dict[Key, Sync] = {}
    for row in tx.all(_LOOK, wanted):
        key = Key(row.host, row.kind, row.resource_id)
        if key in keys:
            found[key] = Sync(key, row.wanted, row.applied, row.owner, row.lease_until, row.failures)
    return found


def lease(tx: Tx, keys: Sequence[Key], owner: str, until: int) -> None:
    """Take the leases of rows that the caller has locked and seen to be free or its own."""
    if keys:
        tx.execute(_LEASE, [{**_row(key), "b_owner": owner, "b_until": until} for key in keys])


def owners(tx: Tx) -> list[str]:
    """All who hold a lease, or did."""
    return [row.owner for row in tx.all(_OWNERS)]


def release(tx: Tx, owners: Sequence[str]) -> None:
    """End the leases of these, who are dead."""
    tx.execute(sa.update(network_sync).where(_c.owner.in_(owners)).values(owner=None, lease_until=0))


def finish(tx: Tx, applied: Sequence[Pending]) -> None:
    """The host has applied these, whose leases the caller has seen to be its own."""
    if applied:
        tx.execute(_FINISH, [{**_row(key), "b_applied": wanted} for key, wanted in applied])


def forget(tx: Tx, removed: Sequence[Pending]) -> None:
    """Drop the rows of resources that the host has removed, unless they were wanted again meanwhile."""
    if removed:
        tx.execute(_FORGET, [{**_row(key), "b_wanted": wanted} for key, wanted in removed])


def give_up(tx: Tx, retries: Sequence[tuple[Key, int]]) -> None:
    """Pushing these failed: release their leases; each is to be tried again at its instant."""
    if retries:
        tx.execute(_GIVE_UP, [{**_row(key), "b_retry_at": retry_at} for key, retry_at in retries])


def postpone(tx: Tx, host: str, retry_at: int) -> None:
    """Leave a host that does not answer alone for a while."""
    tx.execute(
        sa.update(network_sync)
        .where(_c.host == host, _c.applied < _c.wanted, _c.retry_at < retry_at)
        .values(retry_at=retry_at)
    )
