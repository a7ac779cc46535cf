"""Tables of trusts."""

import sqlalchemy as sa

from pileus.identity import models as identity  # noqa: F401 - the tables referred to
from pileus.kernel.db import Timestamp, Uuid, metadata

trust = sa.Table(
    "identity_trust",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column(
        "trustor_user_id", Uuid(), sa.ForeignKey("identity_user.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column(
        "trustee_user_id", Uuid(), sa.ForeignKey("identity_user.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column("project_id", Uuid(), sa.ForeignKey("identity_project.id", ondelete="CASCADE"), index=True),
    sa.Column("impersonation", sa.Boolean, nullable=False),
    sa.Column("expires_at", Timestamp),
    sa.Column("remaining_uses", sa.Integer),  # NULL: any number
    # The trust that this one hands on; what hands on a trust ends with it.
    sa.Column("redelegated_trust_id", Uuid(), sa.ForeignKey("identity_trust.id", ondelete="CASCADE"), index=True),
    sa.Column("redelegation_count", sa.Integer, nullable=False),  # how often it may be handed on from here
)

trust_role = sa.Table(
    "identity_trust_role",
    metadata,
    sa.Column("trust_id", Uuid(), sa.ForeignKey("identity_trust.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("role_id", Uuid(), sa.ForeignKey("identity_role.id", ondelete="CASCADE"), primary_key=True),
    sa.Index("ix_identity_trust_role_role_id", "role_id"),
)
