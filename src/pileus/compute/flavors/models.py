"""Tables of flavors."""

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from pileus.kernel.db import Json, Name, Timestamp, Uuid, metadata

_LongText = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")

flavor = sa.Table(
    "flavor",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("flavorid", Name(), nullable=False, unique=True),
    sa.Column("name", Name(), nullable=False, unique=True),
    sa.Column("description", _LongText),
    sa.Column("ram", sa.Integer, nullable=False),
    sa.Column("vcpus", sa.Integer, nullable=False),
    sa.Column("disk", sa.Integer, nullable=False),
    sa.Column("ephemeral", sa.Integer, nullable=False),
    sa.Column("swap", sa.Integer, nullable=False),
    sa.Column("rxtx_factor", sa.Double, nullable=False),
    sa.Column("is_public", sa.Boolean, nullable=False),
    sa.Column("extra_specs", Json(dict[str, str]), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("updated_at", Timestamp),
)

flavor_access = sa.Table(
    "flavor_access",
    metadata,
    sa.Column("flavor", sa.Integer, sa.ForeignKey("flavor.number", ondelete="CASCADE"), primary_key=True),
    sa.Column("project_id", Uuid(), primary_key=True),
    sa.Index("ix_flavor_access_project_id", "project_id"),
)
