"""Every query of `metadata_sync`. A row is there from a server's first change on a host until the host forgot it."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from pileus.compute.metadata_sync.models import metadata_sync
from pileus.compute.servers.models import server
from pileus.kernel.db import Tx

_c, _s = metadata_sync.c, server.c


class Due(NamedTuple):
    """A host that has not heard of a server's latest change. `wanted` is the change that telling it now covers."""

    server_id: str
    host: str
    wanted: int
    failures: int


_FRESH = {"wanted": 1, "applied": 0, "retry_at": 0, "failures": 0}
# PyMySQL takes no parameters after VALUES in a statement for many rows, hence literal numbers
_AGAIN = {"wanted": _c.wanted + sa.literal_column("1"), "retry_at": sa.literal_column("0")}
_NEW: dict[str, Any] = {name: sa.bindparam(name) for name in ("server_id", "host")}
_MYSQL_UPSERT: sa.Executable = mysql.insert(metadata_sync).values({**_NEW, **_FRESH}).on_duplicate_key_update(_AGAIN)
_UPSERTS: dict[str, sa.Executable] = {
    "sqlite": sqlite.insert(metadata_sync)
    .values({**_NEW, **_FRESH})
    .on_conflict_do_update(index_elements=["server_id", "host"], set_=_AGAIN),
    "postgresql": postgresql.insert(metadata_sync)
    .values({**_NEW, **_FRESH})
    .on_conflict_do_update(index_elements=["server_id", "host"], set_=_AGAIN),
}
_PLACED = sa.select(_s.id, _s.host).where(
    _s.id.in_(sa.bindparam("ids", expanding=True)), _s.host.is_not(None), _s.deleted == 0
)
_REMARK = (
    sa.update(metadata_sync)
    .where(_c.server_id == sa.bindparam("server"))
    .values(wanted=_c.wanted + 1, retry_at=0, failures=0)
)
_DUE = (
    sa.select(_c.server_id, _c.host, _c.wanted, _c.failures)
    .where(_c.applied < _c.wanted, _c.retry_at <= sa.bindparam("now"))
    .order_by(_c.retry_at, _c.server_id, _c.host)
    .limit(sa.bindparam("most"))
)
_BEHIND = sa.select(_c.server_id, _c.host).where(_c.applied < _c.wanted).order_by(_c.server_id, _c.host)
_WANTED = sa.select(_c.wanted).where(_c.server_id == sa.bindparam("server"), _c.host == sa.bindparam("on"))


def mark(tx: Tx, server_ids: Collection[str]) -> bool:
    """Note that what these servers may learn changed, for those that are on a host; whether any is."""
    rows = sorted((row.id, row.host) for row in tx.all(_PLACED, {"ids": sorted(server_ids)}))
    if rows:
        mark_on(tx, rows)
    return bool(rows)


def mark_on(tx: Tx, rows: Sequence[tuple[str, str]]) -> None:
    """Note a change for each (server, host). In one order always, so that writers do not deadlock."""
    parameters = [{"server_id": server_id, "host": host} for server_id, host in rows]
    tx.execute(_UPSERTS.get(tx.dialect, _MYSQL_UPSERT), parameters)


def remark(tx: Tx, server_id: str) -> bool:
    """Have every host that was ever told of a server looked at again; whether there is one."""
    return tx.changed(_REMARK, {"server": server_id}) > 0


def due(tx: Tx, now: int, limit: int) -> list[Due]:
    """What is to be told now, the longest waiting first."""
    return [Due(row.server_id, row.host, row.wanted, row.failures) for row in tx.all(_DUE, {"now": now, "most": limit})]


def behind(tx: Tx) -> list[tuple[str, str]]:
    """Every (server, host) that lags behind, whenever it is tried next."""
    return [(row.server_id, row.host) for row in tx.all(_BEHIND)]


def wanted(tx: Tx, server_id: str, host: str) -> int:
    """The number of the latest change; 0 if there was none."""
    return int(tx.scalar(_WANTED, {"server": server_id, "on": host}) or 0)


def _is(one: Due) -> sa.ColumnElement[bool]:
    return sa.and_(_c.server_id == one.server_id, _c.host == one.host)


def applied(tx: Tx, one: Due) -> None:
    """The host has heard of this change."""
    tx.execute(
        sa.update(metadata_sync)
        .where(_is(one), _c.applied < one.wanted)
        .values(applied=one.wanted, retry_at=0, failures=0)
    )


def forget(tx: Tx, one: Due) -> None:
    """The host has forgotten the server; the row stays if there was another change meanwhile."""
    tx.execute(sa.delete(metadata_sync).where(_is(one), _c.wanted == one.wanted))


def drop_host(tx: Tx, host: str) -> None:
    """The host is no more."""
    tx.execute(sa.delete(metadata_sync).where(_c.host == host))


def postpone(tx: Tx, one: Due, retry_at: int, *, failed: bool) -> None:
    """Try again at `retry_at`, if there is no other change before."""
    tx.execute(
        sa.update(metadata_sync)
        .where(_is(one), _c.wanted == one.wanted)
        .values(retry_at=retry_at, failures=_c.failures + 1 if failed else 0)
    )
