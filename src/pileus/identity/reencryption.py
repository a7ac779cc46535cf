"""Rotation of the keys that encrypt secrets in the database, and re-encryption of what was encrypted before.

Every column of identity whose name begins with `encrypted_` holds what those keys encrypt, as text.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from pileus.identity.keys import KeyRepository, Rotation, rotate
from pileus.kernel.clock import MICROSECONDS, Clock
from pileus.kernel.db import Database, Tx, metadata
from pileus.kernel.errors import PileusError

_PREFIX = "encrypted_"
_BATCH = 500
_KEEP = 3  # staged, primary, and the one before: a transaction that is under way may have encrypted with it
_LIFETIME = 3600.0


class Reencrypted(msgspec.Struct, frozen=True):
    """How many secrets were encrypted anew, and which keys there are now."""

    secrets: int
    keys: Rotation


def rotate_credential_keys(db: Database, directory: Path, clock: Clock) -> Reencrypted:
    """Rotate the keys and encrypt everything with the new one.

    A key is removed only where nothing can be encrypted with it any more. May be killed at any instruction and run
    again: every secret can be decrypted all the time. PileusError, before anything has changed, if one cannot.
    """
    keys = KeyRepository(directory)
    before = reencrypt(db, keys, clock)  # what a rotation that was killed has left
    rotation = rotate(directory, _KEEP, _LIFETIME)
    return Reencrypted(before + reencrypt(db, keys, clock), rotation)


def reencrypt(db: Database, keys: KeyRepository, clock: Clock) -> int:
    """Encrypt with the primary key what was encrypted with another one; how many secrets that were.

    PileusError if one cannot be decrypted with any key; the others are done nevertheless.
    """
    done = 0
    lost: list[str] = []
    for column in encrypted_columns():
        for batch in _batches(db, column):
            done += db.transact(partial(_renew, keys, clock, column, batch, lost))
    if lost:
        raise PileusError(
            f"{len(set(lost))} secrets cannot be decrypted with any of the keys, which is why none was rotated:"
            f" {', '.join(sorted(set(lost))[:10])}"
        )
    return done


def encrypted_columns() -> list[sa.Column[Any]]:
    """All columns that hold secrets."""
    return [
        column
        for table in metadata.sorted_tables
        if table.name.startswith("identity_")
        for column in table.columns
        if column.name.startswith(_PREFIX)
    ]


def _batches(db: Database, column: sa.Column[Any]) -> Iterator[list[tuple[Any, ...]]]:
    key = tuple(column.table.primary_key.columns)
    last: tuple[Any, ...] | None = None
    while True:
        statement = sa.select(*key, column).where(column.is_not(None)).order_by(*key).limit(_BATCH)
        if last is not None:
            statement = statement.where(sa.tuple_(*key) > sa.tuple_(*last))
        with db.read() as tx:
            rows = [tuple(row) for row in tx.all(statement)]
        if not rows:
            return
        yield rows
        last = rows[-1][:-1]


def _renew(
    keys: KeyRepository, clock: Clock, column: sa.Column[Any], rows: list[tuple[Any, ...]], lost: list[str], tx: Tx
) -> int:
    done = 0
    for *identity, sealed in rows:
        if keys.is_of_primary(sealed.encode()):
            continue
        secret = keys.decrypt(sealed.encode())
        if secret is None:
            lost.append(f"{column.table.name} {' '.join(map(str, identity))}")
            continue
        here = [part == value for part, value in zip(column.table.primary_key.columns, identity, strict=True)]
        anew = keys.encrypt(secret, clock.now() // MICROSECONDS).decode()
        done += tx.changed(sa.update(column.table).where(*here, column == sealed).values({column: anew}))
    return done
