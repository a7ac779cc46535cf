"""Queries on locations."""

import sqlalchemy as sa

from pileus.image.domain import Status
from pileus.image.models import image, image_location
from pileus.kernel.db import Tx


def in_store(tx: Tx, store: str) -> list[str]:
    """The ids of the images that have data in a store, in their order."""
    statement = (
        sa.select(image.c.id)
        .join(image_location, image_location.c.image_id == image.c.id)
        .where(image_location.c.store == store, image.c.status != Status.DELETED)
        .distinct()
        .order_by(image.c.id)
    )
    return [row.id for row in tx.all(statement)]
