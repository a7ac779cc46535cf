"""The tables of images.

An image's properties, tags and locations are kept whole in its row, where reading it finds them, and once more one by
one in tables of their own, where filters and sums find them.
"""

import sqlalchemy as sa

from pileus.image.domain import ImportState, Location
from pileus.kernel.db import Json, Name, Timestamp, Uuid, metadata

image = sa.Table(
    "image",
    metadata,
    sa.Column("id", Uuid(), primary_key=True),
    sa.Column("name", Name()),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("visibility", sa.String(16), nullable=False),
    sa.Column("owner", Uuid(), nullable=False),
    sa.Column("disk_format", sa.String(20)),
    sa.Column("container_format", sa.String(20)),
    sa.Column("size", sa.BigInteger),
    sa.Column("virtual_size", sa.BigInteger),
    sa.Column("min_disk", sa.Integer, nullable=False),
    sa.Column("min_ram", sa.Integer, nullable=False),
    sa.Column("checksum", sa.String(32)),
    sa.Column("os_hash_algo", sa.String(16)),
    sa.Column("os_hash_value", sa.String(128)),
    sa.Column("protected", sa.Boolean, nullable=False),
    sa.Column("os_hidden", sa.Boolean, nullable=False),
    sa.Column("properties", Json(dict[str, str]), nullable=False),
    sa.Column("tags", Json(list[str]), nullable=False),
    sa.Column("locations", Json(list[Location]), nullable=False, server_default="[]"),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False),
    sa.Column("uploader", Name(128)),  # the process that receives data, while the status is saving or uploading
    sa.Column("import_task", Uuid()),  # of the import that runs: there is one at most
    sa.Column("import_state", Json(ImportState)),
    sa.Index("ix_image_owner", "owner", "created_at"),
    sa.Index("ix_image_visibility", "visibility", "created_at"),
    sa.Index("ix_image_created_at", "created_at", "id"),
    sa.Index("ix_image_status", "status"),
)

image_property = sa.Table(
    "image_property",
    metadata,
    sa.Column("image_id", Uuid(), sa.ForeignKey("image.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", Name(), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

image_tag = sa.Table(
    "image_tag",
    metadata,
    sa.Column("image_id", Uuid(), sa.ForeignKey("image.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("tag", Name(), primary_key=True),
    sa.Index("ix_image_tag_tag", "tag"),
)

image_location = sa.Table(
    "image_location",
    metadata,
    sa.Column("image_id", Uuid(), sa.ForeignKey("image.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("store", Name(64), nullable=False),
    sa.Index("ix_image_location_store", "store"),
)

image_member = sa.Table(
    "image_member",
    metadata,
    sa.Column("image_id", Uuid(), sa.ForeignKey("image.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("member_id", Uuid(), primary_key=True),  # a project
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False),
    sa.Index("ix_image_member_member_id", "member_id", "status"),
)
