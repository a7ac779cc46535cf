"""Queries on the cache of one node."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from pileus.image.cache.models import image_cache
from pileus.kernel.db import Row, Tx

_MINE = image_cache.c.node == sa.bindparam("node")
_ALL = sa.select(image_cache).where(_MINE).order_by(image_cache.c.last_modified, image_cache.c.image_id)
_ONE = sa.select(image_cache).where(_MINE, image_cache.c.image_id == sa.bindparam("image_id"))


def entries(tx: Tx, node: str) -> Sequence[Row]:
    """All images that are cached on the node or wait for it, the oldest first."""
    return tx.all(_ALL, {"node": node})


def find(tx: Tx, node: str, image_id: str) -> Row | None:
    """One of them."""
    return tx.one(_ONE, {"node": node, "image_id": image_id})


def insert(tx: Tx, values: dict[str, Any]) -> None:
    """Add an image."""
    tx.execute(sa.insert(image_cache).values(**values))


def filled(tx: Tx, node: str, image_id: str, size: int, now: int) -> bool:
    """The copy is complete; False if nobody wants it any more."""
    mine = sa.update(image_cache).where(image_cache.c.node == node, image_cache.c.image_id == image_id)
    return tx.changed(mine.values(cached=True, size=size, last_modified=now)) == 1


def hit(tx: Tx, node: str, image_id: str, now: int) -> bool:
    """The copy is read; whether there is a complete one."""
    mine = sa.update(image_cache).where(
        image_cache.c.node == node, image_cache.c.image_id == image_id, image_cache.c.cached
    )
    return tx.changed(mine.values(hits=image_cache.c.hits + 1, last_accessed=now)) == 1


def delete(tx: Tx, node: str, image_id: str) -> bool:
    """Forget one image; whether it was there."""
    mine = sa.delete(image_cache).where(image_cache.c.node == node, image_cache.c.image_id == image_id)
    return tx.changed(mine) == 1


def clear(tx: Tx, node: str, cached: bool) -> None:
    """Forget all images that are cached, or all that wait."""
    tx.execute(sa.delete(image_cache).where(image_cache.c.node == node, image_cache.c.cached == cached))


def forget_image(tx: Tx, image_id: str) -> None:
    """Forget an image on every node."""
    tx.execute(sa.delete(image_cache).where(image_cache.c.image_id == image_id))
