"""The table of cached images."""

import sqlalchemy as sa

from pileus.kernel.db import Name, Timestamp, Uuid, metadata

image_cache = sa.Table(
    "image_cache",
    metadata,
    sa.Column("node", Name(), primary_key=True),  # the machine on whose disk the copy is
    sa.Column("image_id", Uuid(), primary_key=True),
    sa.Column("cached", sa.Boolean, nullable=False),  # False: it waits to be fetched
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("hits", sa.BigInteger, nullable=False),
    sa.Column("last_accessed", Timestamp),
    sa.Column("last_modified", Timestamp, nullable=False),
    sa.Index("ix_image_cache_image_id", "image_id"),
)
