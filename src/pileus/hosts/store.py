"""Queries on hosts."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from pileus.hosts.models import host
from pileus.kernel.db import Row, Tx

_ALL = sa.select(host).order_by(host.c.name)
_ONE = sa.select(host).where(host.c.name == sa.bindparam("name"))

_PLACES = sa.select(host.c.name, host.c.availability_zone).order_by(host.c.name)


def all_hosts(tx: Tx) -> Sequence[Row]:
    """All hosts by name."""
    return tx.all(_ALL)


def by_name(tx: Tx, name: str) -> Row | None:
    """One host."""
    return tx.one(_ONE, {"name": name})


def locked(tx: Tx, names: Sequence[str]) -> Sequence[Row]:
    """Name and availability zone of hosts, whose rows are held until the transaction ends. In one order always, so that
    writers do not deadlock."""
    statement = _PLACES.where(host.c.name.in_(list(names)))
    return tx.all(statement if tx.dialect == "sqlite" else statement.with_for_update())


def insert(tx: Tx, values: dict[str, Any]) -> None:
    """Add a host."""
    tx.execute(sa.insert(host).values(**values))


def update(tx: Tx, name: str, values: dict[str, Any]) -> bool:
    """Change a host; False if there is none of that name."""
    return tx.changed(sa.update(host).where(host.c.name == name).values(**values)) == 1


def delete(tx: Tx, name: str) -> None:
    """Remove a host."""
    tx.execute(sa.delete(host).where(host.c.name == name))
