"""The table of domains' own options."""

import sqlalchemy as sa

from pileus.kernel.db import Json, Name, Uuid, metadata

domain_option = sa.Table(
    "identity_domain_option",
    metadata,
    sa.Column("domain_id", Uuid(), sa.ForeignKey("identity_project.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("section", Name(64), primary_key=True),  # what the API calls a group
    sa.Column("name", Name(255), primary_key=True),
    # A sensitive option is in the one column, any other in the other.
    sa.Column("value", Json()),
    sa.Column("encrypted_value", sa.Text),
)
