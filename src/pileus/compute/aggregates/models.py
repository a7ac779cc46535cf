"""Tables of host aggregates."""

import sqlalchemy as sa

from pileus.kernel.db import Json, Name, Timestamp, Uuid, metadata

aggregate = sa.Table(
    "aggregate",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", Uuid(), nullable=False, unique=True),
    sa.Column("name", Name(), nullable=False, unique=True),
    sa.Column("metadata", Json(dict[str, str]), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("updated_at", Timestamp),
    sqlite_autoincrement=True,
)

aggregate_host = sa.Table(
    "aggregate_host",
    metadata,
    sa.Column("aggregate", sa.Integer, sa.ForeignKey("aggregate.number", ondelete="CASCADE"), primary_key=True),
    sa.Column("host", Name(), primary_key=True),
    sa.Index("ix_aggregate_host_host", "host"),
)
