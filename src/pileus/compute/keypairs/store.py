"""Every query of key pairs."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from pileus.compute.keypairs.domain import Keypair
from pileus.compute.keypairs.models import keypair
from pileus.compute.rows import inserted
from pileus.kernel.db import Tx

_c = keypair.c
_SELECT = sa.select(*(_c[name] for name in Keypair.__struct_fields__))
_ONE = _SELECT.where(_c.user_id == sa.bindparam("user"), _c.name == sa.bindparam("the_name"))
_OF_USER = _SELECT.where(_c.user_id == sa.bindparam("user")).order_by(_c.name)
_COUNT = sa.select(sa.func.count()).where(_c.user_id == sa.bindparam("user"))


def _keypair(row: Any) -> Keypair:
    return Keypair(*row)


def get(tx: Tx, user_id: str, name: str) -> Keypair | None:
    """One key pair of a user."""
    row = tx.one(_ONE, {"user": user_id, "the_name": name})
    return None if row is None else _keypair(row)


def of_user(tx: Tx, user_id: str, limit: int | None = None, after: str | None = None) -> list[Keypair]:
    """A user's key pairs by name: at most `limit`, from the one that follows the name `after`."""
    statement = _OF_USER
    if after is not None:
        statement = statement.where(_c.name > after)
    if limit is not None:
        statement = statement.limit(limit)
    return [_keypair(row) for row in tx.all(statement, {"user": user_id})]


def count(tx: Tx, user_id: str) -> int:
    """How many key pairs a user has."""
    return int(tx.scalar(_COUNT, {"user": user_id}))


def insert(tx: Tx, values: Mapping[str, Any]) -> bool:
    """Add a key pair. False if another request has just added one of that name; nothing more can then be done in this
    transaction."""
    return inserted(tx, sa.insert(keypair).values(**values))


def delete(tx: Tx, user_id: str, name: str) -> bool:
    """Remove a key pair; False if there is none of that name."""
    return tx.changed(sa.delete(keypair).where(_c.user_id == user_id, _c.name == name)) == 1
