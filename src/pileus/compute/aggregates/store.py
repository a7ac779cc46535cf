"""Every query of host aggregates."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from pileus.compute.aggregates.domain import Aggregate
from pileus.compute.aggregates.models import aggregate, aggregate_host
from pileus.compute.rows import inserted
from pileus.kernel.db import Row, Tx

_c, _m = aggregate.c, aggregate_host.c
_ALL = sa.select(aggregate).order_by(_c.number)
_ONE = sa.select(aggregate).where(_c.number == sa.bindparam("number"))
_ONE_LOCKED = _ONE.with_for_update()
_MEMBERS = sa.select(aggregate_host).order_by(_m.host)
_HOSTS = sa.select(_m.host).where(_m.aggregate == sa.bindparam("number")).order_by(_m.host)
_METADATA = sa.select(_m.host, _c.number, _c.metadata).join(aggregate, _c.number == _m.aggregate).order_by(_c.number)
_NAME_TAKEN = sa.select(_c.number).where(_c.name == sa.bindparam("the_name"))


def _aggregate(row: Row, hosts: Sequence[str]) -> Aggregate:
    return Aggregate(row.number, row.id, row.name, row.metadata, row.created_at, row.updated_at, tuple(hosts))


def all_aggregates(tx: Tx) -> list[Aggregate]:
    """All aggregates in the order in which they were made. Two queries."""
    hosts: dict[int, list[str]] = {}
    for row in tx.all(_MEMBERS):
        hosts.setdefault(row.aggregate, []).append(row.host)
    return [_aggregate(row, hosts.get(row.number, ())) for row in tx.all(_ALL)]


def get(tx: Tx, number: int, *, lock: bool = False) -> Aggregate | None:
    """One aggregate. `lock`: nobody else changes it until this transaction ends."""
    row = tx.one(_ONE_LOCKED if lock and tx.dialect != "sqlite" else _ONE, {"number": number})
    return None if row is None else _aggregate(row, [one.host for one in tx.all(_HOSTS, {"number": number})])


def number_of(tx: Tx, name: str) -> int | None:
    """The number of the aggregate of a name."""
    number: int | None = tx.scalar(_NAME_TAKEN, {"the_name": name})
    return number


def insert(tx: Tx, values: Mapping[str, Any]) -> bool:
    """Add an aggregate. False if one that another request has just added has its name; nothing more can then be done in
    this transaction."""
    return inserted(tx, sa.insert(aggregate).values(**values))


def change(tx: Tx, number: int, values: Mapping[str, Any]) -> None:
    """Change an aggregate that is locked."""
    tx.execute(sa.update(aggregate).where(_c.number == number).values(**values))


def delete(tx: Tx, number: int) -> None:
    """Remove an aggregate."""
    tx.execute(sa.delete(aggregate).where(_c.number == number))


def add_host(tx: Tx, number: int, host: str) -> None:
    """Put a host into an aggregate."""
    tx.execute(sa.insert(aggregate_host).values(aggregate=number, host=host))


def remove_host(tx: Tx, number: int, host: str) -> None:
    """Take a host out of an aggregate."""
    tx.execute(sa.delete(aggregate_host).where(_m.aggregate == number, _m.host == host))


def forget_host(tx: Tx, host: str) -> None:
    """Take a host out of all aggregates."""
    tx.execute(sa.delete(aggregate_host).where(_m.host == host))


def metadata(tx: Tx, hosts: Sequence[str] | None = None) -> list[tuple[str, int, dict[str, str]]]:
    """(host, aggregate, metadata) for each aggregate that each host (None: every host) is in. One query."""
    statement = _METADATA if hosts is None else _METADATA.where(_m.host.in_(list(hosts)))
    return [(row.host, row.number, row.metadata) for row in tx.all(statement)]
