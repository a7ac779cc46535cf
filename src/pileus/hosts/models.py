"""The table of hosts."""

import sqlalchemy as sa

from pileus.agent.api import Inventory
from pileus.kernel.db import Json, Name, Timestamp, Uuid, metadata

host = sa.Table(
    "host",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", Uuid(), nullable=False, unique=True),
    sa.Column("name", Name(), nullable=False, unique=True),
    sa.Column("address", sa.String(255), nullable=False),
    sa.Column("inventory", Json(Inventory), nullable=False),
    sa.Column("availability_zone", Name(), nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("disabled_reason", sa.String(255)),
    # An administrator knows that the host is dead: it counts as down, whatever its agent says.
    sa.Column("forced_down", sa.Boolean, nullable=False),
    sa.Column("last_seen", Timestamp, nullable=False),
    sa.Column("booted_at", Timestamp, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
)
