"""Every query of what hosts are to fetch, and of what servers make an image worth fetching."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from pileus.compute.image_cache.domain import Wish, Wisher
from pileus.compute.image_cache.models import image_prefetch
from pileus.compute.servers.models import server
from pileus.kernel.db import Tx

_c, _s = image_prefetch.c, server.c
_NEW: dict[str, Any] = {
    "host": sa.bindparam("host"),
    "image_id": sa.bindparam("image_id"),
    "wisher": sa.bindparam("wisher"),
    "requested_at": sa.bindparam("requested_at"),
    "retry_at": 0,
    "failures": 0,
}
_KEY = ["host", "image_id"]


def _anew(said: Any) -> dict[str, Any]:
    # PyMySQL takes no parameters after VALUES in a statement for many rows, hence a literal number
    return {"wisher": said.wisher, "requested_at": said.requested_at, "retry_at": sa.literal_column("0")}


_mysql = mysql.insert(image_prefetch).values(_NEW)
_sqlite = sqlite.insert(image_prefetch).values(_NEW)
_postgresql = postgresql.insert(image_prefetch).values(_NEW)
_REQUEST: dict[str, sa.Executable] = {
    "sqlite": _sqlite.on_conflict_do_update(index_elements=_KEY, set_=_anew(_sqlite.excluded)),
    "postgresql": _postgresql.on_conflict_do_update(index_elements=_KEY, set_=_anew(_postgresql.excluded)),
}
_MYSQL_REQUEST: sa.Executable = _mysql.on_duplicate_key_update(_anew(_mysql.inserted))
_PROPOSE: dict[str, sa.Executable] = {
    "sqlite": _sqlite.on_conflict_do_nothing(),
    "postgresql": _postgresql.on_conflict_do_nothing(),
}
_MYSQL_PROPOSE: sa.Executable = mysql.insert(image_prefetch).values(_NEW).prefix_with("IGNORE")

_ALL = sa.select(*(_c[name] for name in Wish.__struct_fields__)).order_by(_c.requested_at, _c.host, _c.image_id)
_DUE = _ALL.where(_c.retry_at <= sa.bindparam("now")).limit(sa.bindparam("most"))
_MOST_USED = (
    sa.select(_s.image_id)
    .where(_s.created_at >= sa.bindparam("since"), _s.deleted.in_((0, 1)), _s.image_id.is_not(None))
    .group_by(_s.image_id)
    .order_by(sa.func.count().desc(), _s.image_id)
    .limit(sa.bindparam("most"))
)


def _rows(pairs: Collection[tuple[str, str]], wisher: Wisher, now: int) -> list[dict[str, Any]]:
    """In one order always, so that writers do not deadlock."""
    return [
        {"host": host, "image_id": image_id, "wisher": wisher, "requested_at": now} for host, image_id in sorted(pairs)
    ]


def request(tx: Tx, pairs: Collection[tuple[str, str]], now: int) -> None:
    """Wish for each (host, image) at once, whatever was wished and has failed before."""
    tx.execute(_REQUEST.get(tx.dialect, _MYSQL_REQUEST), _rows(pairs, Wisher.REQUEST, now))


def propose(tx: Tx, pairs: Collection[tuple[str, str]], now: int) -> None:
    """Wish for each (host, image), except where it is wished for already."""
    tx.execute(_PROPOSE.get(tx.dialect, _MYSQL_PROPOSE), _rows(pairs, Wisher.POLICY, now))


def _wish(row: Any) -> Wish:
    return Wish(*row)


def wishes(tx: Tx) -> list[Wish]:
    """Everything that is wished for, the oldest first."""
    return [_wish(row) for row in tx.all(_ALL)]


def due(tx: Tx, now: int, most: int) -> list[Wish]:
    """What is to be tried now, the oldest first."""
    return [_wish(row) for row in tx.all(_DUE, {"now": now, "most": most})]


def _is(wish: Wish) -> sa.ColumnElement[bool]:
    return sa.and_(_c.host == wish.host, _c.image_id == wish.image_id, _c.requested_at == wish.requested_at)


def drop(tx: Tx, wish: Wish) -> None:
    """The wish is fulfilled, or given up. One that was made anew meanwhile stays."""
    tx.execute(sa.delete(image_prefetch).where(_is(wish)))


def drop_host(tx: Tx, host: str) -> None:
    """The host is no more."""
    tx.execute(sa.delete(image_prefetch).where(_c.host == host))


def postpone(tx: Tx, wishes: Sequence[Wish], retry_at: int, error: str, *, failed: bool) -> None:
    """Try again at `retry_at`, those excepted that were made anew meanwhile."""
    for wish in wishes:
        changed = {"retry_at": retry_at, "error": error, "failures": _c.failures + 1 if failed else _c.failures}
        tx.execute(sa.update(image_prefetch).where(_is(wish)).values(changed))


# --- servers ------------------------------------------------------------------------------------------------


def most_used(tx: Tx, since: int, most: int) -> list[str]:
    """The images from which the most servers were made since then, deleted ones counted; the most used first."""
    return [row.image_id for row in tx.all(_MOST_USED, {"since": since, "most": most})]


def images_of_servers_with(tx: Tx, key: str, value: str, most: int) -> list[str]:
    """The images of servers that have a metadata item, those of the most servers first.

    The text of the column finds the rows, as it holds each item in one form only; the decoded item decides.
    """
    item = msgspec.json.encode({key: value})[1:-1].decode()
    text = sa.type_coerce(_s.metadata, sa.Text)
    rows = tx.all(
        sa.select(_s.image_id, _s.metadata).where(
            _s.deleted == 0, _s.image_id.is_not(None), text.contains(item, autoescape=True)
        )
    )
    counted = Counter(row.image_id for row in rows if row.metadata.get(key) == value)
    return sorted(counted, key=lambda image_id: (-counted[image_id], image_id))[:most]
