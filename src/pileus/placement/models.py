"""Tables of placement."""

import sqlalchemy as sa

from pileus.kernel.db import Name, Uuid, metadata

inventory = sa.Table(
    "placement_inventory",
    metadata,
    sa.Column("host", Name(), primary_key=True),
    sa.Column("resource_class", Name(64), primary_key=True),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("reserved", sa.BigInteger, nullable=False),
    sa.Column("allocation_ratio", sa.Float, nullable=False),
    # The sum of the allocations, changed in the transaction that changes them, and the judge of whether one more fits.
    sa.Column("used", sa.BigInteger, nullable=False, default=0),
)

allocation = sa.Table(
    "placement_allocation",
    metadata,
    sa.Column("consumer_id", Uuid(), primary_key=True),
    sa.Column("host", Name(), primary_key=True),
    sa.Column("resource_class", Name(64), primary_key=True),
    sa.Column("used", sa.BigInteger, nullable=False),
    sa.Column("project_id", Uuid(), nullable=False),
    sa.Column("user_id", Name(64), nullable=False),
    sa.Index("ix_placement_allocation_host", "host", "resource_class"),
    sa.Index("ix_placement_allocation_project_id", "project_id"),
)
