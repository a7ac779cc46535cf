"""The table of what hosts must be told of servers' metadata."""

import sqlalchemy as sa

from pileus.kernel.db import Name, Timestamp, Uuid, metadata

metadata_sync = sa.Table(
    "metadata_sync",
    metadata,
    sa.Column("server_id", Uuid(), primary_key=True),
    sa.Column("host", Name(), primary_key=True),
    sa.Column("wanted", sa.BigInteger, nullable=False),  # counts changes
    sa.Column("applied", sa.BigInteger, nullable=False),  # the change that the host has heard of
    sa.Column("retry_at", Timestamp, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),  # in a row
)
