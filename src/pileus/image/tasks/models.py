"""The table of tasks."""

import sqlalchemy as sa

from pileus.kernel.db import Json, Name, Timestamp, Uuid, metadata

image_task = sa.Table(
    "image_task",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column("type", sa.String(30), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("owner", Uuid(), nullable=False),
    sa.Column("user_id", Name(64), nullable=False),
    sa.Column("request_id", Name(64), nullable=False),
    sa.Column("image_id", Uuid()),  # no foreign key: a task outlives its image
    sa.Column("input", Json(dict), nullable=False),
    sa.Column("result", Json(dict)),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp),  # when a finished task is forgotten
    sa.Index("ix_image_task_image_id", "image_id"),
    sa.Index("ix_image_task_owner", "owner", "created_at"),
    sa.Index("ix_image_task_expires_at", "expires_at"),
)
