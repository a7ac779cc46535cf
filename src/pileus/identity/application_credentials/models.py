"""Tables of application credentials and their access rules."""

import sqlalchemy as sa

from pileus.identity import models as identity  # noqa: F401 - the tables referred to
from pileus.kernel.db import Name, Timestamp, Uuid, metadata

application_credential = sa.Table(
    "identity_application_credential",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column("user_id", Uuid(), sa.ForeignKey("identity_user.id", ondelete="CASCADE"), nullable=False),
    sa.Column(
        "project_id", Uuid(), sa.ForeignKey("identity_project.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column("name", Name(255), nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("secret_hash", Name(255), nullable=False),
    sa.Column("unrestricted", sa.Boolean, nullable=False),
    sa.Column("expires_at", Timestamp),
    sa.UniqueConstraint("user_id", "name"),
)

application_credential_role = sa.Table(
    "identity_application_credential_role",
    metadata,
    sa.Column(
        "application_credential_id",
        Uuid(),
        sa.ForeignKey("identity_application_credential.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("role_id", Uuid(), sa.ForeignKey("identity_role.id", ondelete="CASCADE"), primary_key=True),
    sa.Index("ix_identity_application_credential_role_role_id", "role_id"),
)

access_rule = sa.Table(
    "identity_access_rule",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column("user_id", Uuid(), sa.ForeignKey("identity_user.id", ondelete="CASCADE"), nullable=False),
    sa.Column("service", Name(255), nullable=False),
    sa.Column("method", Name(16), nullable=False),
    sa.Column("path", Name(255), nullable=False),
    sa.UniqueConstraint("user_id", "service", "method", "path"),
)

application_credential_access_rule = sa.Table(
    "identity_application_credential_access_rule",
    metadata,
    sa.Column(
        "application_credential_id",
        Uuid(),
        sa.ForeignKey(
            "identity_application_credential.id", ondelete="CASCADE", name="fk_identity_app_cred_rule_credential"
        ),
        primary_key=True,
    ),
    # Without a cascade: a rule in use cannot be deleted, since its credential would then be good for anything.
    sa.Column(
        "access_rule_id",
        Uuid(),
        sa.ForeignKey("identity_access_rule.id", name="fk_identity_app_cred_rule_rule"),
        primary_key=True,
    ),
    sa.Index("ix_identity_app_cred_rule_access_rule_id", "access_rule_id"),
)
