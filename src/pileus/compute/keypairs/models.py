"""The table of key pairs."""

import sqlalchemy as sa

from pileus.kernel.db import Name, Timestamp, metadata

keypair = sa.Table(
    "keypair",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("user_id", Name(64), nullable=False),
    sa.Column("name", Name(), nullable=False),
    sa.Column("type", Name(16), nullable=False),
    sa.Column("fingerprint", Name(), nullable=False),
    sa.Column("public_key", sa.Text, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.UniqueConstraint("user_id", "name"),
)
