"""The journal's tables."""

import sqlalchemy as sa

from pileus.kernel.db import Json, Name, Timestamp, Uuid, metadata

saga = sa.Table(
    "saga",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column("name", Name(64), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("resource", Name(64), nullable=False),
    # Start order among the sagas of one resource: the instant of the start, or one more than the resource's last.
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("project", Name(64), nullable=False),
    sa.Column("user", Name(64), nullable=False),
    sa.Column("request_id", Name(64), nullable=False),
    sa.Column("action", Name(64), nullable=False),
    sa.Column("params", Json(dict), nullable=False),
    sa.Column("state", Name(16), nullable=False),
    sa.Column("request", Name(16), nullable=False),  # "", "cancel" or "abandon"
    sa.Column("owner", Name(128)),
    sa.Column("generation", sa.Integer, nullable=False),
    # From when anybody may take the saga: 0 at once, the end of the owner's lease, the next try of a stuck one;
    # NULL never again, because it has ended.
    sa.Column("lease_until", Timestamp),
    sa.Column("problem", Json()),  # of a stuck saga: step, error, message, traceback, tries
    sa.Column("started_at", Timestamp, nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False),
    sa.Column("finished_at", Timestamp),
    sa.Index("ix_saga_resource_seq", "resource", "seq"),
    sa.Index("ix_saga_lease_until", "lease_until"),
    sa.Index("ix_saga_finished_at", "finished_at"),
)

saga_event = sa.Table(
    "saga_event",
    metadata,
    sa.Column("saga_id", Uuid(), sa.ForeignKey("saga.id"), primary_key=True),
    sa.Column("step", Name(64), primary_key=True),
    sa.Column("event", Name(8), primary_key=True),
    # began: {"owner"}; done: {"result", "host"}; failed: Failure, "host"; undone: {}
    sa.Column("data", Json(dict), nullable=False),
    sa.Column("at", Timestamp, nullable=False),
)


def unfinished_row(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """That a saga has not ended: in a form for which SQLite too uses the index (for IS NOT NULL it does not)."""
    return table.c.lease_until >= 0
