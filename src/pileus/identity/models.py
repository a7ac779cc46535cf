"""Tables of identity.

A domain is a project with `is_domain`, as in Keystone. `namespace` is where a name is unique: the domain's id, or ""
for what belongs to no domain (the domains themselves, and global roles); a nullable column would not be unique.

`epoch` of users and projects: a token carries the value it was issued at and is void under any other one. Counting it
up revokes all tokens of a user, or all that are scoped to a project, exactly and without comparing clocks.
"""

import sqlalchemy as sa

from pileus.kernel.db import Json, Name, Timestamp, Uuid, metadata

Attributes = dict[str, object]

project = sa.Table(
    "identity_project",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column("namespace", Uuid(), nullable=False),
    sa.Column("name", Name(64), nullable=False),
    sa.Column("domain_id", Uuid(), sa.ForeignKey("identity_project.id")),  # NULL: it is a domain
    sa.Column("parent_id", Uuid(), sa.ForeignKey("identity_project.id"), index=True),
    # The ids of all ancestors, the domain first, each with a "/" behind it: the tree never changes its shape.
    sa.Column("lineage", Name(760), nullable=False),
    sa.Column("is_domain", sa.Boolean, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("options", Json(Attributes), nullable=False),
    sa.Column("extra", Json(Attributes), nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False, default=0),
    sa.UniqueConstraint("namespace", "name"),
    sa.Index("ix_identity_project_domain_id", "domain_id"),
)

project_tag = sa.Table(
    "identity_project_tag",
    metadata,
    sa.Column("project_id", Uuid(), sa.ForeignKey("identity_project.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", Name(255), primary_key=True),
    sa.Index("ix_identity_project_tag_name", "name"),
)

user = sa.Table(
    "identity_user",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column("domain_id", Uuid(), sa.ForeignKey("identity_project.id"), nullable=False),
    sa.Column("name", Name(255), nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("default_project_id", Uuid(), index=True),
    sa.Column("options", Json(Attributes), nullable=False),
    sa.Column("extra", Json(Attributes), nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False, default=0),
    sa.Column("password_expires_at", Timestamp, index=True),  # NULL: never
    # The first login of the last day with one, as far as inactivity matters; NULL: the user cannot become inactive.
    sa.Column("last_active_at", Timestamp),
    sa.UniqueConstraint("domain_id", "name"),
)

# The newest of a user is the password in force; the others are there so that it is not chosen again.
password = sa.Table(
    "identity_password",
    metadata,
    sa.Column("user_id", Uuid(), sa.ForeignKey("identity_user.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("created_at", Timestamp, primary_key=True, autoincrement=False),
    sa.Column("hash", Name(255), nullable=False),
    # Chosen by the user, who may have to keep it for some time; an administrator's can be changed at once.
    sa.Column("self_service", sa.Boolean, nullable=False, server_default=sa.false()),
)

# Wrong passwords in a row. `account` is a user's id; or, for names that nobody has, "?" and a few bits of the name's
# digest, so that both cost the same work and the table stays bounded.
failed_login = sa.Table(
    "identity_failed_login",
    metadata,
    sa.Column("account", Name(64), primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("failed_at", Timestamp, nullable=False),  # of the last that counted: those of a locked account do not
)

group = sa.Table(
    "identity_group",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column("domain_id", Uuid(), sa.ForeignKey("identity_project.id"), nullable=False),
    sa.Column("name", Name(64), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("extra", Json(Attributes), nullable=False),
    sa.UniqueConstraint("domain_id", "name"),
)

membership = sa.Table(
    "identity_membership",
    metadata,
    sa.Column("user_id", Uuid(), sa.ForeignKey("identity_user.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("group_id", Uuid(), sa.ForeignKey("identity_group.id", ondelete="CASCADE"), primary_key=True),
    sa.Index("ix_identity_membership_group_id", "group_id"),
)

role = sa.Table(
    "identity_role",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column("namespace", Uuid(), nullable=False),
    sa.Column("name", Name(255), nullable=False),
    sa.Column("domain_id", Uuid(), sa.ForeignKey("identity_project.id")),
    sa.Column("description", sa.Text),
    sa.Column("options", Json(Attributes), nullable=False),
    sa.Column("extra", Json(Attributes), nullable=False),
    sa.UniqueConstraint("namespace", "name"),
)

implied_role = sa.Table(
    "identity_implied_role",
    metadata,
    sa.Column("prior_role_id", Uuid(), sa.ForeignKey("identity_role.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("implied_role_id", Uuid(), sa.ForeignKey("identity_role.id", ondelete="CASCADE"), primary_key=True),
)

assignment = sa.Table(
    "identity_assignment",
    metadata,
    sa.Column("actor_kind", Name(8), primary_key=True),  # user or group
    sa.Column("actor_id", Uuid(), primary_key=True),
    sa.Column("target_kind", Name(8), primary_key=True),  # project, domain or system
    sa.Column("target_id", Uuid(), primary_key=True),  # "system" for the system
    sa.Column("role_id", Uuid(), sa.ForeignKey("identity_role.id", ondelete="CASCADE"), primary_key=True),
    # Held not on the target itself but on the projects below it.
    sa.Column("inherited", sa.Boolean, primary_key=True),
    sa.Index("ix_identity_assignment_actor_id", "actor_id", "target_id"),
    sa.Index("ix_identity_assignment_target_id", "target_id"),
    sa.Index("ix_identity_assignment_role_id", "role_id"),
)

region = sa.Table(
    "identity_region",
    metadata,
    sa.Column("id", Name(255), primary_key=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("parent_region_id", Name(255), sa.ForeignKey("identity_region.id"), index=True),
    sa.Column("extra", Json(Attributes), nullable=False),
)

service = sa.Table(
    "identity_service",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column("type", Name(255), nullable=False, index=True),
    sa.Column("name", Name(255)),
    sa.Column("description", sa.Text),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("extra", Json(Attributes), nullable=False),
)

endpoint = sa.Table(
    "identity_endpoint",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column(
        "service_id", Uuid(), sa.ForeignKey("identity_service.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column("interface", Name(8), nullable=False),
    sa.Column("region_id", Name(255), sa.ForeignKey("identity_region.id"), index=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("extra", Json(Attributes), nullable=False),
)

credential = sa.Table(
    "identity_credential",
    metadata,
    sa.Column("id", Name(64), primary_key=True),  # of type ec2: the SHA-256 of the access key
    sa.Column("user_id", Uuid(), nullable=False, index=True),
    sa.Column("project_id", Uuid(), index=True),
    sa.Column("type", Name(255), nullable=False),
    sa.Column("encrypted_blob", sa.Text, nullable=False),
    sa.Column("extra", Json(Attributes), nullable=False),
)

policy = sa.Table(
    "identity_policy",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column("type", Name(255), nullable=False),
    sa.Column("blob", Json(), nullable=False),
    sa.Column("extra", Json(Attributes), nullable=False),
)

registered_limit = sa.Table(
    "identity_registered_limit",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column("service_id", Uuid(), sa.ForeignKey("identity_service.id"), nullable=False),
    sa.Column("region_id", Name(255), sa.ForeignKey("identity_region.id"), index=True),
    sa.Column("place", Name(255), nullable=False),  # the region's id, or "": what is NULL would not be unique
    sa.Column("resource_name", Name(255), nullable=False),
    sa.Column("default_limit", sa.Integer, nullable=False),
    sa.Column("description", sa.Text),
    sa.UniqueConstraint("service_id", "resource_name", "place"),
)

limit = sa.Table(
    "identity_limit",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column("registered_limit_id", Uuid(), sa.ForeignKey("identity_registered_limit.id"), nullable=False, index=True),
    # One of the two is NULL, so that each constraint below counts the limits of one kind.
    sa.Column("project_id", Uuid(), sa.ForeignKey("identity_project.id", ondelete="CASCADE")),
    sa.Column("domain_id", Uuid(), sa.ForeignKey("identity_project.id", ondelete="CASCADE")),
    sa.Column("resource_limit", sa.Integer, nullable=False),
    sa.Column("description", sa.Text),
    sa.UniqueConstraint("project_id", "registered_limit_id"),
    sa.UniqueConstraint("domain_id", "registered_limit_id"),
)

revocation = sa.Table(
    "identity_revocation",
    metadata,
    sa.Column("audit_id", Name(32), primary_key=True),
    sa.Column("expires_at", Timestamp, nullable=False, index=True),  # of the token: after it the row says nothing
    sa.Column("revoked_at", Timestamp, nullable=False, server_default="0"),
)

generation = sa.Table(
    "identity_generation",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),  # always 1
    sa.Column("value", sa.BigInteger, nullable=False),
)
