"""Tables of servers."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from pileus.compute.servers.domain import Boot, Fault, FlavorSnapshot, ImageSnapshot
from pileus.kernel.db import Json, Name, Timestamp, Uuid, metadata

_LongText = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")

server = sa.Table(
    "server",
    metadata,
    # Numbers instances for the hypervisor, and is never used twice: instance-0000001a.
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", Uuid(), nullable=False, unique=True),
    sa.Column("project_id", Uuid(), nullable=False),
    sa.Column("user_id", Name(64), nullable=False),
    sa.Column("name", Name(), nullable=False),
    sa.Column("description", Name()),
    sa.Column("hostname", Name(), nullable=False),
    sa.Column("vm_state", Name(32), nullable=False),
    sa.Column("task_state", Name(32)),
    sa.Column("power_state", Name(16), nullable=False),
    sa.Column("host", Name()),
    sa.Column("availability_zone", Name()),
    sa.Column("pinned_zone", Name()),
    # The flavor and the image as they were, so that showing a server needs neither: they may be gone by now.
    sa.Column("flavor", Json(FlavorSnapshot), nullable=False),
    sa.Column("image", Json(ImageSnapshot)),
    sa.Column("key_name", Name()),
    sa.Column("config_drive", sa.Boolean, nullable=False),
    sa.Column("auto_disk_config", sa.Boolean, nullable=False),
    sa.Column("metadata", Json(dict[str, str]), nullable=False),
    sa.Column("tags", Json(list[str]), nullable=False),
    sa.Column("security_groups", Json(list[str]), nullable=False),
    sa.Column("hints", Json(dict[str, Any]), nullable=False),
    sa.Column("access_ip_v4", Name(45)),
    sa.Column("access_ip_v6", Name(45)),
    sa.Column("locked_by", Name(16)),
    sa.Column("locked_reason", Name()),
    sa.Column("reservation_id", Name(64), nullable=False),
    sa.Column("launch_index", sa.Integer, nullable=False),
    sa.Column("fault", Json(Fault)),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False),
    sa.Column("launched_at", Timestamp),
    sa.Column("terminated_at", Timestamp),
    sa.Column("deleted", sa.Integer, nullable=False),
    # Not shown, or to few: read only where they are needed.
    sa.Column("user_data", _LongText),
    sa.Column("boot", Json(Boot), nullable=False),
    sa.Column("trusted_certificates", Json(list[str])),
    sa.Column("password", sa.Text),  # what the guest gave to keep, encrypted with its key
    # Copies for counting quotas and for filters.
    sa.Column("vcpus", sa.Integer, nullable=False),
    sa.Column("memory_mb", sa.Integer, nullable=False),
    sa.Column("flavorid", Name(), nullable=False),
    sa.Column("image_id", Uuid()),
    sa.Index("ix_server_project_list", "project_id", "deleted", "created_at", "id"),
    sa.Index("ix_server_project_quota", "project_id", "deleted", "vcpus", "memory_mb"),  # counted without the rows
    sa.Index("ix_server_list", "deleted", "created_at", "id"),
    sa.Index("ix_server_project_changes", "project_id", "updated_at"),
    sa.Index("ix_server_host", "host", "deleted"),
    sa.Index("ix_server_reservation", "reservation_id"),
    sqlite_autoincrement=True,
)

server_tag = sa.Table(
    "server_tag",
    metadata,
    # The same as server.tags, for filters.
    sa.Column("server_id", Uuid(), primary_key=True),
    sa.Column("tag", Name(80), primary_key=True),
    sa.Index("ix_server_tag_tag", "tag"),
)
