"""Request bodies of servers."""

from typing import Any, Literal

import msgspec

from pileus.kernel.fields import Body, Integer, Param, Pattern, Text

NAME = Text(1, 255, r"^\S(?s:.*\S)?\Z")
HOSTNAME = Text(1, 63, r"^[a-zA-Z0-9-]+\Z")
FQDN = Text(1, 255, r"^[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*\Z")
METADATA: Any = dict[Text(1, 255, r"^[a-zA-Z0-9\-_:. ]{1,255}\Z"), Text(0, 255)]  # type: ignore[misc]
TAG = Text(1, 60, r"^[^,/]*\Z")
DISK_CONFIG = Literal["AUTO", "MANUAL"]


class NetworkItem(msgspec.Struct, forbid_unknown_fields=True):
    """One entry of `networks`. `tag` is there from 2.32 to 2.36 and again from 2.42."""

    uuid: str | None = None
    port: str | None = None
    fixed_ip: str | None = None
    tag: Text(1, 60, r"^[^,/]*\Z") | None = None  # type: ignore[valid-type]


class GroupItem(msgspec.Struct, forbid_unknown_fields=True):
    """One entry of `security_groups`."""

    name: Text(0, 255)  # type: ignore[valid-type]


class BlockDevice(msgspec.Struct):
    """One entry of `block_device_mapping_v2`, as far as it is looked at."""

    source_type: str | None = None
    destination_type: str | None = None
    uuid: str | None = None
    boot_index: int | None = None
    volume_size: int | None = None


class Personality(msgspec.Struct, forbid_unknown_fields=True):
    """One entry of `personality`."""

    path: str
    contents: str


_NETWORKS = list[NetworkItem]

CREATE = Body(
    "server",
    Param("name", NAME, required=True),
    Param("flavorRef", str | int, required=True),
    Param("imageRef", str, default=None, nullable=True),
    Param("networks", _NETWORKS, until="2.36", default=None, nullable=True),
    Param("networks", _NETWORKS | Literal["auto", "none"], since="2.37", required=True),
    Param("key_name", Text(1, 255), default=None, nullable=True),
    Param("user_data", str, default=None, nullable=True),
    Param("config_drive", bool, default=None, nullable=True),
    Param("metadata", METADATA, default={}),
    Param("security_groups", list[GroupItem], default=[]),
    Param("availability_zone", Text(1, 255), default=None, nullable=True),
    Param("host", Text(1, 255), since="2.74"),
    Param("hypervisor_hostname", Text(1, 255), since="2.74"),
    Param("min_count", Integer(1, 1000), default=None, nullable=True),
    Param("max_count", Integer(1, 1000), default=None, nullable=True),
    Param("return_reservation_id", bool, default=False),
    Param("block_device_mapping", list[dict[str, Any]], default=[]),
    Param("block_device_mapping_v2", list[BlockDevice], default=[]),
    Param("personality", list[Personality], until="2.56", default=[]),
    Param("adminPass", Text(0, None), default=None, nullable=True),
    Param("accessIPv4", str, default=None, nullable=True),
    Param("accessIPv6", str, default=None, nullable=True),
    Param("OS-DCF:diskConfig", DISK_CONFIG, default=None),
    Param("description", Text(0, 255), since="2.19", nullable=True),
    Param("tags", list[TAG], since="2.52"),  # type: ignore[valid-type]
    Param("trusted_image_certificates", list[str], since="2.63", nullable=True),
    Param("hostname", HOSTNAME, since="2.90", until="2.93"),
    Param("hostname", FQDN, since="2.94"),
    envelope=(
        Param("os:scheduler_hints", dict[str, Any], default={}),
        Param("OS-SCH-HNT:scheduler_hints", dict[str, Any], default={}),
    ),
)

UPDATE = Body(
    "server",
    Param("name", NAME),
    Param("accessIPv4", str, nullable=True),
    Param("accessIPv6", str, nullable=True),
    Param("OS-DCF:diskConfig", DISK_CONFIG),
    Param("description", Text(0, 255), since="2.19", nullable=True),
    Param("hostname", HOSTNAME, since="2.90", until="2.93"),
    Param("hostname", FQDN, since="2.94"),
)

METADATA_BODY = Body(None, Param("metadata", METADATA, required=True))
METADATA_ITEM = Body(None, Param("meta", METADATA, required=True))
TAGS = Body(None, Param("tags", list[TAG], required=True))  # type: ignore[valid-type]


def bare(action: str) -> Body:
    """The body of an action without arguments: `{"os-start": null}`."""
    return Body(None, Param(action, Any, required=True, nullable=True, attr="arguments"))


REBOOT = Body(
    None,
    Param(
        "reboot",
        (Param("type", Literal["HARD", "Hard", "hard", "SOFT", "Soft", "soft"], required=True),),
        required=True,
    ),
)
RESET_STATE = Body(
    None, Param("os-resetState", (Param("state", Literal["active", "error"], required=True),), required=True)
)
CONSOLE = Body(
    None, Param("os-getConsoleOutput", (Param("length", Integer(-1), default=None, nullable=True),), required=True)
)
LOCK = Body(
    None,
    Param("lock", Any, until="2.72", required=True, nullable=True),
    Param("lock", (Param("locked_reason", Text(1, 255)),), since="2.73", required=True, nullable=True),
)


def group_action(action: str) -> Body:
    """`{"addSecurityGroup": {"name": ...}}`."""
    return Body(None, Param(action, (Param("name", Pattern(r"\S"), required=True),), required=True, attr="group"))
