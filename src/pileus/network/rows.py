"""What the stores of all resources share: standard attributes, revisions, one-to-many look-ups."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import sqlalchemy as sa

from pileus.kernel.db import Row, Tx
from pileus.kernel.ids import new_uuid

T = TypeVar("T")


def standard(
    project_id: str, attributes: Mapping[str, Any], now: int, resource_id: str | None = None
) -> dict[str, Any]:
    """The columns of `models._standard` for a new resource."""
    return {
        "id": resource_id or new_uuid(),
        "project_id": project_id,
        "name": attributes.get("name", ""),
        "description": attributes.get("description", ""),
        "tags": (),
        "revision_number": 0,
        "created_at": now,
        "updated_at": now,
    }


def change(tx: Tx, table: sa.Table, resource_id: str, now: int, values: Mapping[str, Any]) -> bool:
    """Change a resource as its owner sees it: the revision counts up. Whether it was there."""
    return bool(
        tx.changed(
            sa.update(table)
            .where(table.c.id == resource_id)
            .values({**values, "revision_number": table.c.revision_number + 1, "updated_at": now})
        )
    )


def remove(tx: Tx, table: sa.Table, resource_id: str) -> bool:
    """Delete one row by its id. Whether it was there."""
    return bool(tx.changed(sa.delete(table).where(table.c.id == resource_id)))


def built(kind: Callable[..., T], row: Row, *more: Any) -> T:
    """The struct whose fields are the row's columns in order, and after them `more`."""
    return kind(*row, *more)


def grouped(rows: Iterable[Row], value: Callable[[Any], Any]) -> dict[str, list[Any]]:
    """Rows whose first column is an owner's id, as lists by owner."""
    groups: dict[str, list[Any]] = {}
    for row in rows:
        groups.setdefault(row[0], []).append(value(row))
    return groups
