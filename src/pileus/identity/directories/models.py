"""The table of what users and groups of directories are called there.

Each has a row in `identity_user` or `identity_group` as well, made when it was first seen, so that whatever refers to
users and groups (assignments, memberships, tokens) does so in the same way for all of them.
"""

import sqlalchemy as sa

from pileus.kernel.db import Name, Uuid, metadata

id_mapping = sa.Table(
    "identity_id_mapping",
    metadata,
    sa.Column("public_id", Uuid(), primary_key=True),
    sa.Column(
        "domain_id", Uuid(), sa.ForeignKey("identity_project.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column("kind", Name(8), nullable=False),  # user or group
    sa.Column("local_id", Name(255), nullable=False),
    sa.Column("dn", sa.Text, nullable=False),  # in the form of `names.normal_dn`
    sa.UniqueConstraint("domain_id", "kind", "local_id"),
)
