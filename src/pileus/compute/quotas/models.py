"""Limits of users within projects. Those of projects are the kernel's."""

import sqlalchemy as sa

from pileus.kernel.db import Name, Uuid, metadata

user_limit = sa.Table(
    "compute_user_limit",
    metadata,
    sa.Column("project_id", Uuid(), primary_key=True),
    sa.Column("user_id", Name(64), primary_key=True),
    sa.Column("resource", Name(64), primary_key=True),
    sa.Column("value", sa.Integer, nullable=False),
)
