"""Tables of endpoint groups, and of what projects are associated with."""

import sqlalchemy as sa

from pileus.kernel.db import Json, Name, Uuid, metadata

endpoint_group = sa.Table(
    "identity_endpoint_group",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column("name", Name(255), nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("filters", Json(dict[str, str]), nullable=False),
)

project_endpoint = sa.Table(
    "identity_project_endpoint",
    metadata,
    sa.Column("project_id", Uuid(), sa.ForeignKey("identity_project.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("endpoint_id", Uuid(), sa.ForeignKey("identity_endpoint.id", ondelete="CASCADE"), primary_key=True),
    sa.Index("ix_identity_project_endpoint_endpoint_id", "endpoint_id"),
)

project_endpoint_group = sa.Table(
    "identity_project_endpoint_group",
    metadata,
    sa.Column("project_id", Uuid(), sa.ForeignKey("identity_project.id", ondelete="CASCADE"), primary_key=True),
    sa.Column(
        "endpoint_group_id", Uuid(), sa.ForeignKey("identity_endpoint_group.id", ondelete="CASCADE"), primary_key=True
    ),
    sa.Index("ix_identity_project_endpoint_group_endpoint_group_id", "endpoint_group_id"),
)
