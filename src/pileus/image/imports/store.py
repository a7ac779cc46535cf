"""Queries on images that are staged or imported."""

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from pileus.image import store
from pileus.image.domain import ImportState, Status
from pileus.image.models import image
from pileus.kernel.db import Row, Tx


def finish_stage(tx: Tx, image_id: str, uploader: str, target: str, **values: Any) -> bool:
    """End the arrival of data in the staging area, if it is still this uploader's."""
    statement = sa.update(image).where(
        image.c.id == image_id, image.c.status == Status.UPLOADING, image.c.uploader == uploader
    )
    return tx.changed(statement.values(status=target, uploader=None, **values)) == 1


def uploaders(tx: Tx) -> Sequence[Row]:
    """Images whose data is arriving in the staging area: id and uploader."""
    return tx.all(
        sa.select(image.c.id, image.c.uploader).where(image.c.status == Status.UPLOADING, image.c.uploader.is_not(None))
    )


def begin(tx: Tx, image_id: str, sources: Collection[str], target: str, task: str, state: ImportState) -> bool:
    """Begin an import: compare-and-swap of the status of an image to which no other data is coming."""
    statement = sa.update(image).where(
        image.c.id == image_id,
        image.c.status.in_(sources),
        image.c.uploader.is_(None),
        image.c.import_task.is_(None),
    )
    return tx.changed(statement.values(status=target, import_task=task, import_state=state)) == 1


def change(tx: Tx, image_id: str, task: str, sources: Collection[str], **values: Any) -> bool:
    """Change an image that this import works on, if it is in one of these states still."""
    statement = sa.select(image.c.id).where(
        image.c.id == image_id, image.c.import_task == task, image.c.status.in_(sources)
    )
    if tx.one(statement.with_for_update()) is None:
        return False
    store.update(tx, image_id, values)
    return True


def at_work(tx: Tx, image_id: str) -> bool:
    """Whether an image may have something in the staging area."""
    statement = sa.select(image.c.id).where(
        image.c.id == image_id, image.c.status.in_((Status.UPLOADING, Status.IMPORTING))
    )
    return tx.one(statement) is not None


def show(tx: Tx, image_id: str, task: str, state: ImportState) -> None:
    """Show how far this import is, if the image still has it."""
    tx.execute(sa.update(image).where(image.c.id == image_id, image.c.import_task == task).values(import_state=state))
