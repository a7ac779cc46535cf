"""The table of associations between policy documents and endpoints."""

import sqlalchemy as sa

from pileus.kernel.db import Name, Uuid, metadata

policy_association = sa.Table(
    "identity_policy_association",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column("policy_id", Uuid(), sa.ForeignKey("identity_policy.id", ondelete="CASCADE"), nullable=False, index=True),
    # Of an endpoint, of a service, or of a service in a region: the others are NULL.
    sa.Column("endpoint_id", Uuid(), sa.ForeignKey("identity_endpoint.id", ondelete="CASCADE"), index=True),
    sa.Column("service_id", Uuid(), sa.ForeignKey("identity_service.id", ondelete="CASCADE"), index=True),
    sa.Column("region_id", Name(255), sa.ForeignKey("identity_region.id", ondelete="CASCADE"), index=True),
    # The three as one text, which is unique where NULLs would not be.
    sa.Column("place", Name(512), nullable=False, unique=True),
)
