"""Queries on tasks."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from pileus.image.tasks.domain import TaskStatus
from pileus.image.tasks.models import image_task
from pileus.kernel.db import Row, Tx
from pileus.kernel.paging import Page, keyset

COLUMNS: dict[str, sa.ColumnElement[Any]] = {column.name: column for column in image_task.c}
_UNFINISHED = (TaskStatus.PENDING, TaskStatus.PROCESSING)


def insert(tx: Tx, values: Mapping[str, Any]) -> None:
    """Add a task."""
    tx.execute(sa.insert(image_task).values(**values))


def find(tx: Tx, task_id: str) -> Row | None:
    """One task."""
    return tx.one(sa.select(image_task).where(image_task.c.id == task_id))


def page(tx: Tx, owner: str | None, equal: Mapping[str, str], wanted: Page, marker: Row | None) -> Sequence[Row]:
    """A page of the tasks of a project (None: of all), and one more if there are more."""
    conditions = [COLUMNS[name] == value for name, value in equal.items()]
    if owner is not None:
        conditions.append(image_task.c.owner == owner)
    after = None if marker is None else dict(marker._mapping)
    return tx.all(keyset(sa.select(image_task).where(*conditions), COLUMNS, wanted, after))


def of_image(tx: Tx, image_id: str) -> Sequence[Row]:
    """The tasks of an image, the oldest first."""
    return tx.all(
        sa.select(image_task)
        .where(image_task.c.image_id == image_id)
        .order_by(image_task.c.created_at, image_task.c.id)
    )


def change(tx: Tx, task_id: str, **values: Any) -> bool:
    """Change a task that has not ended; whether there is one."""
    statement = sa.update(image_task).where(image_task.c.id == task_id, image_task.c.status.in_(_UNFINISHED))
    return tx.changed(statement.values(**values)) == 1


def purge(tx: Tx, now: int) -> int:
    """Forget the tasks that expired; how many."""
    return tx.changed(sa.delete(image_task).where(image_task.c.expires_at <= now))
