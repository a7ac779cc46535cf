"""Tables of federation.

Who logged in through an identity provider has a row in `identity_user` like everybody; `federated_user` says whose it
is. Groups that a login brings are rows of `expiring_membership`: each login through a provider replaces those of the
login before, and they end by themselves.
"""

from typing import Any

import sqlalchemy as sa

from pileus.kernel.db import Json, Name, Timestamp, Uuid, metadata

provider = sa.Table(
    "identity_provider",
    metadata,
    sa.Column("id", Name(64), primary_key=True),
    sa.Column(
        "domain_id", Uuid(), sa.ForeignKey("identity_project.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("authorization_ttl", sa.Integer),  # minutes
)

remote_id = sa.Table(
    "identity_provider_remote_id",
    metadata,
    sa.Column("remote_id", Name(255), primary_key=True),
    sa.Column("idp_id", Name(64), sa.ForeignKey("identity_provider.id", ondelete="CASCADE"), nullable=False),
    sa.Index("ix_identity_provider_remote_id_idp_id", "idp_id"),
)

mapping = sa.Table(
    "identity_mapping",
    metadata,
    sa.Column("id", Name(64), primary_key=True),
    sa.Column("rules", Json(list[dict[str, Any]]), nullable=False),
    sa.Column("schema_version", Name(8), nullable=False),
)

protocol = sa.Table(
    "identity_federation_protocol",
    metadata,
    sa.Column("idp_id", Name(64), sa.ForeignKey("identity_provider.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("id", Name(64), primary_key=True),
    sa.Column("mapping_id", Name(64), sa.ForeignKey("identity_mapping.id"), nullable=False, index=True),
    sa.Column("remote_id_attribute", Name(64)),
)

service_provider = sa.Table(
    "identity_service_provider",
    metadata,
    sa.Column("id", Name(64), primary_key=True),
    sa.Column("auth_url", Name(256), nullable=False),
    sa.Column("sp_url", Name(256), nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("relay_state_prefix", Name(256), nullable=False),
)

federated_user = sa.Table(
    "identity_federated_user",
    metadata,
    sa.Column("idp_id", Name(64), primary_key=True),
    sa.Column("protocol_id", Name(64), primary_key=True),
    sa.Column("unique_id", Name(255), primary_key=True),  # what the mapping made of the provider's claims
    sa.Column("user_id", Uuid(), sa.ForeignKey("identity_user.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.ForeignKeyConstraint(
        ("idp_id", "protocol_id"),
        ("identity_federation_protocol.idp_id", "identity_federation_protocol.id"),
        ondelete="CASCADE",
    ),
)

expiring_membership = sa.Table(
    "identity_expiring_membership",
    metadata,
    sa.Column("user_id", Uuid(), sa.ForeignKey("identity_user.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("group_id", Uuid(), sa.ForeignKey("identity_group.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("idp_id", Name(64), sa.ForeignKey("identity_provider.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("expires_at", Timestamp, nullable=False),
    sa.Index("ix_identity_expiring_membership_group_id", "group_id"),
    sa.Index("ix_identity_expiring_membership_idp_id", "idp_id"),
)
