"""The tables of metadata definitions. What a namespace holds has one name there, and goes with the namespace."""

import sqlalchemy as sa

from pileus.kernel.db import Json, Name, Timestamp, Uuid, metadata

NAME_LENGTH = 80

metadef_namespace = sa.Table(
    "metadef_namespace",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column("namespace", Name(NAME_LENGTH), nullable=False, unique=True),
    sa.Column("display_name", Name(NAME_LENGTH)),
    sa.Column("description", sa.Text),
    sa.Column("visibility", sa.String(16), nullable=False),
    sa.Column("protected", sa.Boolean, nullable=False),
    sa.Column("owner", Name(), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False),
    sa.Index("ix_metadef_namespace_created_at", "created_at", "id"),
)

metadef_resource_type = sa.Table(
    "metadef_resource_type",
    metadata,
    sa.Column("name", Name(NAME_LENGTH), primary_key=True),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False),
)


def _content(table: str, *columns: sa.Column[object]) -> sa.Table:
    return sa.Table(
        table,
        metadata,
        sa.Column("namespace_id", Uuid(), sa.ForeignKey("metadef_namespace.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", Name(NAME_LENGTH), primary_key=True),
        *columns,
        sa.Column("created_at", Timestamp, nullable=False),
        sa.Column("updated_at", Timestamp, nullable=False),
    )


metadef_association = _content(  # `name` is the resource type's
    "metadef_association",
    sa.Column("prefix", Name(NAME_LENGTH)),
    sa.Column("properties_target", Name(NAME_LENGTH)),
)
sa.Index("ix_metadef_association_name", metadef_association.c.name)

metadef_object = _content(
    "metadef_object",
    sa.Column("description", sa.Text),
    sa.Column("required", Json(list[str]), nullable=False),
    sa.Column("properties", Json(dict[str, dict[str, object]]), nullable=False),
)
metadef_property = _content("metadef_property", sa.Column("definition", Json(dict[str, object]), nullable=False))
metadef_tag = _content("metadef_tag")
