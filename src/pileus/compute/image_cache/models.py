"""The table of what hosts are to fetch."""

import sqlalchemy as sa

from pileus.kernel.db import Name, Timestamp, Uuid, metadata

image_prefetch = sa.Table(
    "image_prefetch",
    metadata,
    sa.Column("host", Name(), primary_key=True),
    sa.Column("image_id", Uuid(), primary_key=True),
    sa.Column("wisher", Name(16), nullable=False),
    sa.Column("requested_at", Timestamp, nullable=False),
    sa.Column("retry_at", Timestamp, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),  # in a row
    sa.Column("error", sa.Text),  # the last one
    sa.Index("ix_image_prefetch_retry_at", "retry_at"),
)
