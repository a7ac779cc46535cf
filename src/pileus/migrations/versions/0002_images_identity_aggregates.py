"""images identity aggregates"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from pileus.kernel.db import Json, Name, Uuid

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "aggregate",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("id", Uuid(), nullable=False),
        sa.Column("name", Name(255), nullable=False),
        sa.Column("metadata", Json(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_aggregate")),
        sa.UniqueConstraint("id", name=op.f("uq_aggregate_id")),
        sa.UniqueConstraint("name", name=op.f("uq_aggregate_name")),
        sqlite_autoincrement=True,
        if_not_exists=True,
    )
    op.create_table(
        "identity_consumer",
        sa.Column("id", Uuid(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("encrypted_secret", sa.Text(), nullable=False),
        sa.Column("extra", Json(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_consumer")),
        if_not_exists=True,
    )
    op.create_table(
        "identity_endpoint_group",
        sa.Column("id", Uuid(), nullable=False),
        sa.Column("name", Name(255), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("filters", Json(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_endpoint_group")),
        if_not_exists=True,
    )
    op.create_table(
        "identity_failed_login",
        sa.Column("account", Name(64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_identity_failed_login")),
        if_not_exists=True,
    )
    op.create_table(
        "identity_mapping",
        sa.Column("id", Name(64), nullable=False),
        sa.Column("rules", Json(), nullable=False),
        sa.Column("schema_version", Name(8), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_mapping")),
        if_not_exists=True,
    )
    op.create_table(
        "identity_oauth_nonce",
        sa.Column("digest", Name(64), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_identity_oauth_nonce")),
        if_not_exists=True,
    )
    with op.batch_alter_table("identity_oauth_nonce", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_identity_oauth_nonce_expires_at"), ["expires_at"], unique=False, if_not_exists=True
        )

    op.create_table(
        "identity_service_provider",
        sa.Column("id", Name(64), nullable=False),
        sa.Column("auth_url", Name(256), nullable=False),
        sa.Column("sp_url", Name(256), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("relay_state_prefix", Name(256), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_service_provider")),
        if_not_exists=True,
    )
    op.create_table(
        "image_cache",
        sa.Column("node", Name(255), nullable=False),
        sa.Column("image_id", Uuid(), nullable=False),
        sa.Column("cached", sa.Boolean(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("hits", sa.BigInteger(), nullable=False),
        sa.Column("last_accessed", sa.BigInteger(), nullable=True),
        sa.Column("last_modified", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node", "image_id", name=op.f("pk_image_cache")),
        if_not_exists=True,
    )
    with op.batch_alter_table("image_cache", schema=None) as batch_op:
        batch_op.create_index("ix_image_cache_image_id", ["image_id"], unique=False, if_not_exists=True)

    op.create_table(
        "image_prefetch",
        sa.Column("host", Name(255), nullable=False),
        sa.Column("image_id", Uuid(), nullable=False),
        sa.Column("wisher", Name(16), nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("retry_at", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("host", "image_id", name=op.f("pk_image_prefetch")),
        if_not_exists=True,
    )
    with op.batch_alter_table("image_prefetch", schema=None) as batch_op:
        batch_op.create_index("ix_image_prefetch_retry_at", ["retry_at"], unique=False, if_not_exists=True)

    op.create_table(
        "image_task",
        sa.Column("id", Uuid(), nullable=False),
        sa.Column("type", sa.String(length=30), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("owner", Uuid(), nullable=False),
        sa.Column("user_id", Name(64), nullable=False),
        sa.Column("request_id", Name(64), nullable=False),
        sa.Column("image_id", Uuid(), nullable=True),
        sa.Column("input", Json(), nullable=False),
        sa.Column("result", Json(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image_task")),
        if_not_exists=True,
    )
    with op.batch_alter_table("image_task", schema=None) as batch_op:
        batch_op.create_index("ix_image_task_expires_at", ["expires_at"], unique=False, if_not_exists=True)
        batch_op.create_index("ix_image_task_image_id", ["image_id"], unique=False, if_not_exists=True)
        batch_op.create_index("ix_image_task_owner", ["owner", "created_at"], unique=False, if_not_exists=True)

    op.create_table(
        "metadef_namespace",
        sa.Column("id", Uuid(), nullable=False),
        sa.Column("namespace", Name(80), nullable=False),
        sa.Column("display_name", Name(80), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("visibility", sa.String(length=16), nullable=False),
        sa.Column("protected", sa.Boolean(), nullable=False),
        sa.Column("owner", Name(255), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_metadef_namespace")),
        sa.UniqueConstraint("namespace", name=op.f("uq_metadef_namespace_namespace")),
        if_not_exists=True,
    )
    with op.batch_alter_table("metadef_namespace", schema=None) as batch_op:
        batch_op.create_index("ix_metadef_namespace_created_at", ["created_at", "id"], unique=False, if_not_exists=True)

    op.create_table(
        "metadef_resource_type",
        sa.Column("name", Name(80), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_metadef_resource_type")),
        if_not_exists=True,
    )
    op.create_table(
        "aggregate_host",
        sa.Column("aggregate", sa.Integer(), nullable=False),
        sa.Column("host", Name(255), nullable=False),
        sa.ForeignKeyConstraint(
            ["aggregate"], ["aggregate.number"], name=op.f("fk_aggregate_host_aggregate"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("aggregate", "host", name=op.f("pk_aggregate_host")),
        if_not_exists=True,
    )
    with op.batch_alter_table("aggregate_host", schema=None) as batch_op:
        batch_op.create_index("ix_aggregate_host_host", ["host"], unique=False, if_not_exists=True)

    op.create_table(
        "identity_domain_option",
        sa.Column("domain_id", Uuid(), nullable=False),
        sa.Column("section", Name(64), nullable=False),
        sa.Column("name", Name(255), nullable=False),
        sa.Column("value", Json(), nullable=True),
        sa.Column("encrypted_value", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["domain_id"], ["identity_project.id"], name=op.f("fk_identity_domain_option_domain_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("domain_id", "section", "name", name=op.f("pk_identity_domain_option")),
        if_not_exists=True,
    )
    op.create_table(
        "identity_id_mapping",
        sa.Column("public_id", Uuid(), nullable=False),
        sa.Column("domain_id", Uuid(), nullable=False),
        sa.Column("kind", Name(8), nullable=False),
        sa.Column("local_id", Name(255), nullable=False),
        sa.Column("dn", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["domain_id"], ["identity_project.id"], name=op.f("fk_identity_id_mapping_domain_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("public_id", name=op.f("pk_identity_id_mapping")),
        sa.UniqueConstraint(
            "domain_id", "kind", "local_id", name=op.f("uq_identity_id_mapping_domain_id_kind_local_id")
        ),
        if_not_exists=True,
    )
    with op.batch_alter_table("identity_id_mapping", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_identity_id_mapping_domain_id"), ["domain_id"], unique=False, if_not_exists=True
        )

    op.create_table(
        "identity_project_endpoint_group",
        sa.Column("project_id", Uuid(), nullable=False),
        sa.Column("endpoint_group_id", Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["endpoint_group_id"],
            ["identity_endpoint_group.id"],
            name=op.f("fk_identity_project_endpoint_group_endpoint_group_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["identity_project.id"],
            name=op.f("fk_identity_project_endpoint_group_project_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "endpoint_group_id", name=op.f("pk_identity_project_endpoint_group")),
        if_not_exists=True,
    )
    with op.batch_alter_table("identity_project_endpoint_group", schema=None) as batch_op:
        batch_op.create_index(
            "ix_identity_project_endpoint_group_endpoint_group_id",
            ["endpoint_group_id"],
            unique=False,
            if_not_exists=True,
        )

    op.create_table(
        "identity_provider",
        sa.Column("id", Name(64), nullable=False),
        sa.Column("domain_id", Uuid(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("authorization_ttl", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["domain_id"], ["identity_project.id"], name=op.f("fk_identity_provider_domain_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_provider")),
        if_not_exists=True,
    )
    with op.batch_alter_table("identity_provider", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_identity_provider_domain_id"), ["domain_id"], unique=False, if_not_exists=True
        )

    op.create_table(
        "identity_registered_limit",
        sa.Column("id", Uuid(), nullable=False),
        sa.Column("service_id", Uuid(), nullable=False),
        sa.Column("region_id", Name(255), nullable=True),
        sa.Column("place", Name(255), nullable=False),
        sa.Column("resource_name", Name(255), nullable=False),
        sa.Column("default_limit", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["region_id"], ["identity_region.id"], name=op.f("fk_identity_registered_limit_region_id")
        ),
        sa.ForeignKeyConstraint(
            ["service_id"], ["identity_service.id"], name=op.f("fk_identity_registered_limit_service_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_registered_limit")),
        sa.UniqueConstraint(
            "service_id",
            "resource_name",
            "place",
            name=op.f("uq_identity_registered_limit_service_id_resource_name_place"),
        ),
        if_not_exists=True,
    )
    with op.batch_alter_table("identity_registered_limit", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_identity_registered_limit_region_id"), ["region_id"], unique=False, if_not_exists=True
        )

    op.create_table(
        "identity_totp_use",
        sa.Column("credential_id", Name(64), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["credential_id"],
            ["identity_credential.id"],
            name=op.f("fk_identity_totp_use_credential_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("credential_id", name=op.f("pk_identity_totp_use")),
        if_not_exists=True,
    )
    op.create_table(
        "image_location",
        sa.Column("image_id", Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("store", Name(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_image_location_image_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("image_id", "position", name=op.f("pk_image_location")),
        if_not_exists=True,
    )
    with op.batch_alter_table("image_location", schema=None) as batch_op:
        batch_op.create_index("ix_image_location_store", ["store"], unique=False, if_not_exists=True)

    op.create_table(
        "metadef_association",
        sa.Column("namespace_id", Uuid(), nullable=False),
        sa.Column("name", Name(80), nullable=False),
        sa.Column("prefix", Name(80), nullable=True),
        sa.Column("properties_target", Name(80), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace_id"],
            ["metadef_namespace.id"],
            name=op.f("fk_metadef_association_namespace_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("namespace_id", "name", name=op.f("pk_metadef_association")),
        if_not_exists=True,
    )
    with op.batch_alter_table("metadef_association", schema=None) as batch_op:
        batch_op.create_index("ix_metadef_association_name", ["name"], unique=False, if_not_exists=True)

    op.create_table(
        "metadef_object",
        sa.Column("namespace_id", Uuid(), nullable=False),
        sa.Column("name", Name(80), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("required", Json(), nullable=False),
        sa.Column("properties", Json(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace_id"], ["metadef_namespace.id"], name=op.f("fk_metadef_object_namespace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("namespace_id", "name", name=op.f("pk_metadef_object")),
        if_not_exists=True,
    )
    op.create_table(
        "metadef_property",
        sa.Column("namespace_id", Uuid(), nullable=False),
        sa.Column("name", Name(80), nullable=False),
        sa.Column("definition", Json(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace_id"],
            ["metadef_namespace.id"],
            name=op.f("fk_metadef_property_namespace_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("namespace_id", "name", name=op.f("pk_metadef_property")),
        if_not_exists=True,
    )
    op.create_table(
        "metadef_tag",
        sa.Column("namespace_id", Uuid(), nullable=False),
        sa.Column("name", Name(80), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace_id"], ["metadef_namespace.id"], name=op.f("fk_metadef_tag_namespace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("namespace_id", "name", name=op.f("pk_metadef_tag")),
        if_not_exists=True,
    )
    op.create_table(
        "identity_access_rule",
        sa.Column("id", Uuid(), nullable=False),
        sa.Column("user_id", Uuid(), nullable=False),
        sa.Column("service", Name(255), nullable=False),
        sa.Column("method", Name(16), nullable=False),
        sa.Column("path", Name(255), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["identity_user.id"], name=op.f("fk_identity_access_rule_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_access_rule")),
        sa.UniqueConstraint(
            "user_id", "service", "method", "path", name=op.f("uq_identity_access_rule_user_id_service_method_path")
        ),
        if_not_exists=True,
    )
    op.create_table(
        "identity_application_credential",
        sa.Column("id", Uuid(), nullable=False),
        sa.Column("user_id", Uuid(), nullable=False),
        sa.Column("project_id", Uuid(), nullable=False),
        sa.Column("name", Name(255), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("secret_hash", Name(255), nullable=False),
        sa.Column("unrestricted", sa.Boolean(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["identity_project.id"],
            name=op.f("fk_identity_application_credential_project_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["identity_user.id"],
            name=op.f("fk_identity_application_credential_user_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_application_credential")),
        sa.UniqueConstraint("user_id", "name", name=op.f("uq_identity_application_credential_user_id_name")),
        if_not_exists=True,
    )
    with op.batch_alter_table("identity_application_credential", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_identity_application_credential_project_id"),
            ["project_id"],
            unique=False,
            if_not_exists=True,
        )

    op.create_table(
        "identity_expiring_membership",
        sa.Column("user_id", Uuid(), nullable=False),
        sa.Column("group_id", Uuid(), nullable=False),
        sa.Column("idp_id", Name(64), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"],
            ["identity_group.id"],
            name=op.f("fk_identity_expiring_membership_group_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["idp_id"],
            ["identity_provider.id"],
            name=op.f("fk_identity_expiring_membership_idp_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["identity_user.id"], name=op.f("fk_identity_expiring_membership_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "group_id", "idp_id", name=op.f("pk_identity_expiring_membership")),
        if_not_exists=True,
    )
    with op.batch_alter_table("identity_expiring_membership", schema=None) as batch_op:
        batch_op.create_index(
            "ix_identity_expiring_membership_group_id", ["group_id"], unique=False, if_not_exists=True
        )
        batch_op.create_index("ix_identity_expiring_membership_idp_id", ["idp_id"], unique=False, if_not_exists=True)

    op.create_table(
        "identity_federation_protocol",
        sa.Column("idp_id", Name(64), nullable=False),
        sa.Column("id", Name(64), nullable=False),
        sa.Column("mapping_id", Name(64), nullable=False),
        sa.Column("remote_id_attribute", Name(64), nullable=True),
        sa.ForeignKeyConstraint(
            ["idp_id"],
            ["identity_provider.id"],
            name=op.f("fk_identity_federation_protocol_idp_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["mapping_id"], ["identity_mapping.id"], name=op.f("fk_identity_federation_protocol_mapping_id")
        ),
        sa.PrimaryKeyConstraint("idp_id", "id", name=op.f("pk_identity_federation_protocol")),
        if_not_exists=True,
    )
    with op.batch_alter_table("identity_federation_protocol", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_identity_federation_protocol_mapping_id"), ["mapping_id"], unique=False, if_not_exists=True
        )

    op.create_table(
        "identity_limit",
        sa.Column("id", Uuid(), nullable=False),
        sa.Column("registered_limit_id", Uuid(), nullable=False),
        sa.Column("project_id", Uuid(), nullable=True),
        sa.Column("domain_id", Uuid(), nullable=True),
        sa.Column("resource_limit", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["domain_id"], ["identity_project.id"], name=op.f("fk_identity_limit_domain_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["identity_project.id"], name=op.f("fk_identity_limit_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["registered_limit_id"],
            ["identity_registered_limit.id"],
            name=op.f("fk_identity_limit_registered_limit_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_limit")),
        sa.UniqueConstraint(
            "domain_id", "registered_limit_id", name=op.f("uq_identity_limit_domain_id_registered_limit_id")
        ),
        sa.UniqueConstraint(
            "project_id", "registered_limit_id", name=op.f("uq_identity_limit_project_id_registered_limit_id")
        ),
        if_not_exists=True,
    )
    with op.batch_alter_table("identity_limit", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_identity_limit_registered_limit_id"),
            ["registered_limit_id"],
            unique=False,
            if_not_exists=True,
        )

    op.create_table(
        "identity_oauth_access_token",
        sa.Column("id", Uuid(), nullable=False),
        sa.Column("consumer_id", Uuid(), nullable=False),
        sa.Column("project_id", Uuid(), nullable=False),
        sa.Column("user_id", Uuid(), nullable=False),
        sa.Column("encrypted_secret", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("role_ids", Json(), nullable=False),
        sa.ForeignKeyConstraint(
            ["consumer_id"],
            ["identity_consumer.id"],
            name=op.f("fk_identity_oauth_access_token_consumer_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["identity_project.id"],
            name=op.f("fk_identity_oauth_access_token_project_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["identity_user.id"], name=op.f("fk_identity_oauth_access_token_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_oauth_access_token")),
        if_not_exists=True,
    )
    with op.batch_alter_table("identity_oauth_access_token", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_identity_oauth_access_token_consumer_id"), ["consumer_id"], unique=False, if_not_exists=True
        )
        batch_op.create_index(
            batch_op.f("ix_identity_oauth_access_token_project_id"), ["project_id"], unique=False, if_not_exists=True
        )
        batch_op.create_index(
            batch_op.f("ix_identity_oauth_access_token_user_id"), ["user_id"], unique=False, if_not_exists=True
        )

    op.create_table(
        "identity_oauth_request_token",
        sa.Column("id", Uuid(), nullable=False),
        sa.Column("consumer_id", Uuid(), nullable=False),
        sa.Column("project_id", Uuid(), nullable=False),
        sa.Column("encrypted_secret", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("user_id", Uuid(), nullable=True),
        sa.Column("role_ids", Json(), nullable=True),
        sa.Column("verifier_hash", Name(64), nullable=True),
        sa.ForeignKeyConstraint(
            ["consumer_id"],
            ["identity_consumer.id"],
            name=op.f("fk_identity_oauth_request_token_consumer_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["identity_project.id"],
            name=op.f("fk_identity_oauth_request_token_project_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["identity_user.id"], name=op.f("fk_identity_oauth_request_token_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_oauth_request_token")),
        if_not_exists=True,
    )
    with op.batch_alter_table("identity_oauth_request_token", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_identity_oauth_request_token_consumer_id"), ["consumer_id"], unique=False, if_not_exists=True
        )
        batch_op.create_index(
            batch_op.f("ix_identity_oauth_request_token_expires_at"), ["expires_at"], unique=False, if_not_exists=True
        )
        batch_op.create_index(
            batch_op.f("ix_identity_oauth_request_token_project_id"), ["project_id"], unique=False, if_not_exists=True
        )
        batch_op.create_index(
            batch_op.f("ix_identity_oauth_request_token_user_id"), ["user_id"], unique=False, if_not_exists=True
        )

    op.create_table(
        "identity_policy_association",
        sa.Column("id", Uuid(), nullable=False),
        sa.Column("policy_id", Uuid(), nullable=False),
        sa.Column("endpoint_id", Uuid(), nullable=True),
        sa.Column("service_id", Uuid(), nullable=True),
        sa.Column("region_id", Name(255), nullable=True),
        sa.Column("place", Name(512), nullable=False),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["identity_endpoint.id"],
            name=op.f("fk_identity_policy_association_endpoint_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["policy_id"],
            ["identity_policy.id"],
            name=op.f("fk_identity_policy_association_policy_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["region_id"],
            ["identity_region.id"],
            name=op.f("fk_identity_policy_association_region_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["service_id"],
            ["identity_service.id"],
            name=op.f("fk_identity_policy_association_service_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_policy_association")),
        sa.UniqueConstraint("place", name=op.f("uq_identity_policy_association_place")),
        if_not_exists=True,
    )
    with op.batch_alter_table("identity_policy_association", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_identity_policy_association_endpoint_id"), ["endpoint_id"], unique=False, if_not_exists=True
        )
        batch_op.create_index(
            batch_op.f("ix_identity_policy_association_policy_id"), ["policy_id"], unique=False, if_not_exists=True
        )
        batch_op.create_index(
            batch_op.f("ix_identity_policy_association_region_id"), ["region_id"], unique=False, if_not_exists=True
        )
        batch_op.create_index(
            batch_op.f("ix_identity_policy_association_service_id"), ["service_id"], unique=False, if_not_exists=True
        )

    op.create_table(
        "identity_project_endpoint",
        sa.Column("project_id", Uuid(), nullable=False),
        sa.Column("endpoint_id", Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["identity_endpoint.id"],
            name=op.f("fk_identity_project_endpoint_endpoint_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["identity_project.id"],
            name=op.f("fk_identity_project_endpoint_project_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "endpoint_id", name=op.f("pk_identity_project_endpoint")),
        if_not_exists=True,
    )
    with op.batch_alter_table("identity_project_endpoint", schema=None) as batch_op:
        batch_op.create_index(
            "ix_identity_project_endpoint_endpoint_id", ["endpoint_id"], unique=False, if_not_exists=True
        )

    op.create_table(
        "identity_provider_remote_id",
        sa.Column("remote_id", Name(255), nullable=False),
        sa.Column("idp_id", Name(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["idp_id"], ["identity_provider.id"], name=op.f("fk_identity_provider_remote_id_idp_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("remote_id", name=op.f("pk_identity_provider_remote_id")),
        if_not_exists=True,
    )
    with op.batch_alter_table("identity_provider_remote_id", schema=None) as batch_op:
        batch_op.create_index("ix_identity_provider_remote_id_idp_id", ["idp_id"], unique=False, if_not_exists=True)

    op.create_table(
        "identity_trust",
        sa.Column("id", Uuid(), nullable=False),
        sa.Column("trustor_user_id", Uuid(), nullable=False),
        sa.Column("trustee_user_id", Uuid(), nullable=False),
        sa.Column("project_id", Uuid(), nullable=True),
        sa.Column("impersonation", sa.Boolean(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("remaining_uses", sa.Integer(), nullable=True),
        sa.Column("redelegated_trust_id", Uuid(), nullable=True),
        sa.Column("redelegation_count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["identity_project.id"], name=op.f("fk_identity_trust_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["redelegated_trust_id"],
            ["identity_trust.id"],
            name=op.f("fk_identity_trust_redelegated_trust_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["trustee_user_id"],
            ["identity_user.id"],
            name=op.f("fk_identity_trust_trustee_user_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["trustor_user_id"],
            ["identity_user.id"],
            name=op.f("fk_identity_trust_trustor_user_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_trust")),
        if_not_exists=True,
    )
    with op.batch_alter_table("identity_trust", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_identity_trust_project_id"), ["project_id"], unique=False, if_not_exists=True
        )
        batch_op.create_index(
            batch_op.f("ix_identity_trust_redelegated_trust_id"),
            ["redelegated_trust_id"],
            unique=False,
            if_not_exists=True,
        )
        batch_op.create_index(
            batch_op.f("ix_identity_trust_trustee_user_id"), ["trustee_user_id"], unique=False, if_not_exists=True
        )
        batch_op.create_index(
            batch_op.f("ix_identity_trust_trustor_user_id"), ["trustor_user_id"], unique=False, if_not_exists=True
        )

    op.create_table(
        "identity_application_credential_access_rule",
        sa.Column("application_credential_id", Uuid(), nullable=False),
        sa.Column("access_rule_id", Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["access_rule_id"], ["identity_access_rule.id"], name="fk_identity_app_cred_rule_rule"),
        sa.ForeignKeyConstraint(
            ["application_credential_id"],
            ["identity_application_credential.id"],
            name="fk_identity_app_cred_rule_credential",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "application_credential_id", "access_rule_id", name=op.f("pk_identity_application_credential_access_rule")
        ),
        if_not_exists=True,
    )
    with op.batch_alter_table("identity_application_credential_access_rule", schema=None) as batch_op:
        batch_op.create_index(
            "ix_identity_app_cred_rule_access_rule_id", ["access_rule_id"], unique=False, if_not_exists=True
        )

    op.create_table(
        "identity_application_credential_role",
        sa.Column("application_credential_id", Uuid(), nullable=False),
        sa.Column("role_id", Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["application_credential_id"],
            ["identity_application_credential.id"],
            name=op.f("fk_identity_application_credential_role_application_credential_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["role_id"],
            ["identity_role.id"],
            name=op.f("fk_identity_application_credential_role_role_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "application_credential_id", "role_id", name=op.f("pk_identity_application_credential_role")
        ),
        if_not_exists=True,
    )
    with op.batch_alter_table("identity_application_credential_role", schema=None) as batch_op:
        batch_op.create_index(
            "ix_identity_application_credential_role_role_id", ["role_id"], unique=False, if_not_exists=True
        )

    op.create_table(
        "identity_federated_user",
        sa.Column("idp_id", Name(64), nullable=False),
        sa.Column("protocol_id", Name(64), nullable=False),
        sa.Column("unique_id", Name(255), nullable=False),
        sa.Column("user_id", Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["idp_id", "protocol_id"],
            ["identity_federation_protocol.idp_id", "identity_federation_protocol.id"],
            name=op.f("fk_identity_federated_user_idp_id_protocol_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["identity_user.id"], name=op.f("fk_identity_federated_user_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("idp_id", "protocol_id", "unique_id", name=op.f("pk_identity_federated_user")),
        if_not_exists=True,
    )
    with op.batch_alter_table("identity_federated_user", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_identity_federated_user_user_id"), ["user_id"], unique=False, if_not_exists=True
        )

    op.create_table(
        "identity_trust_role",
        sa.Column("trust_id", Uuid(), nullable=False),
        sa.Column("role_id", Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["role_id"], ["identity_role.id"], name=op.f("fk_identity_trust_role_role_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["trust_id"], ["identity_trust.id"], name=op.f("fk_identity_trust_role_trust_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("trust_id", "role_id", name=op.f("pk_identity_trust_role")),
        if_not_exists=True,
    )
    with op.batch_alter_table("identity_trust_role", schema=None) as batch_op:
        batch_op.create_index("ix_identity_trust_role_role_id", ["role_id"], unique=False, if_not_exists=True)

    _add_column("identity_password", sa.Column("self_service", sa.Boolean(), server_default=sa.false(), nullable=False))
    _drop_column("identity_password", "expires_at")

    _add_column("identity_revocation", sa.Column("revoked_at", sa.BigInteger(), server_default="0", nullable=False))

    _add_column("identity_user", sa.Column("password_expires_at", sa.BigInteger(), nullable=True))
    _add_column("identity_user", sa.Column("last_active_at", sa.BigInteger(), nullable=True))
    with op.batch_alter_table("identity_user", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_identity_user_password_expires_at"),
            ["password_expires_at"],
            unique=False,
            if_not_exists=True,
        )

    _add_column("image", sa.Column("locations", Json(), server_default="[]", nullable=False))
    _add_column("image", sa.Column("import_task", Uuid(), nullable=True))
    _add_column("image", sa.Column("import_state", Json(), nullable=True))

    _add_column("server", sa.Column("trusted_certificates", Json(), nullable=True))

    _locate_images()


def _add_column(table: str, column: sa.Column[Any]) -> None:
    """MariaDB keeps each column from the moment it is added: one killed in the middle goes on."""
    if column.name not in {known["name"] for known in sa.inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)


def _drop_column(table: str, name: str) -> None:
    if name in {known["name"] for known in sa.inspect(op.get_bind()).get_columns(table)}:
        op.drop_column(table, name)


def _locate_images() -> None:
    """Until now every image with data had it in the one store there was, as a file of its id."""
    connection = op.get_bind()
    image = sa.table("image", sa.column("id", Uuid()), sa.column("status"), sa.column("locations", Json()))
    image_location = sa.table("image_location", sa.column("image_id"), sa.column("position"), sa.column("store"))
    with_data = sa.select(image.c.id).where(image.c.status.in_(("active", "deactivated")))
    for image_id in connection.execute(with_data).scalars().all():
        there = sa.select(image_location.c.image_id).where(image_location.c.image_id == image_id)
        if connection.execute(there).first() is not None:
            continue
        location = {"store": "local", "locator": image_id, "metadata": {}}
        connection.execute(sa.update(image).where(image.c.id == image_id).values(locations=[location]))
        connection.execute(sa.insert(image_location).values(image_id=image_id, position=0, store="local"))
