"""What an image is, its states and who may see it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec


class Status(StrEnum):
    """States of an image (Glance's "Image statuses")."""

    QUEUED = "queued"
    SAVING = "saving"
    UPLOADING = "uploading"
    IMPORTING = "importing"
    ACTIVE = "active"
    DEACTIVATED = "deactivated"
    DELETED = "deleted"


TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.SAVING, Status.UPLOADING, Status.IMPORTING, Status.ACTIVE, Status.DELETED}),
    Status.SAVING: frozenset({Status.QUEUED, Status.ACTIVE, Status.DELETED}),
    Status.UPLOADING: frozenset({Status.QUEUED, Status.IMPORTING, Status.DELETED}),
    Status.IMPORTING: frozenset({Status.QUEUED, Status.ACTIVE, Status.DELETED}),
    Status.ACTIVE: frozenset({Status.DEACTIVATED, Status.IMPORTING, Status.DELETED}),  # a location is taken back
    Status.DEACTIVATED: frozenset({Status.ACTIVE, Status.DELETED}),
    Status.DELETED: frozenset(),
}
"""To which states each state may change; a change is a compare-and-swap."""

VISIBILITIES = ("public", "community", "shared", "private")
CONTAINER_FORMATS = ("bare", "ami", "ari", "aki", "ovf", "ova", "docker", "compressed")
MEMBER_STATUSES = ("pending", "accepted", "rejected")
DISK_FORMATS = ("raw", "qcow2", "vhd", "vhdx", "vmdk", "vdi", "iso", "ploop", "gpt", "ami", "ari", "aki")


class Location(msgspec.Struct, frozen=True):
    """Where an image's data is: a store's name, and what that store finds it by. `metadata` is the owner's."""

    store: str
    locator: str
    metadata: dict[str, Any]


class ImportState(msgspec.Struct, frozen=True):
    """How the image's last import goes or went: the stores that still wait for data, and those that failed."""

    importing: list[str]
    failed: list[str]


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """One image. Sizes: `size`, `virtual_size` bytes; `min_disk` GiB; `min_ram` MiB. Times: microseconds."""

    id: str
    name: str | None
    status: str
    visibility: str
    owner: str
    disk_format: str | None
    container_format: str | None
    size: int | None
    virtual_size: int | None
    min_disk: int
    min_ram: int
    checksum: str | None
    os_hash_algo: str | None
    os_hash_value: str | None
    protected: bool
    os_hidden: bool
    properties: dict[str, str]
    tags: list[str]
    locations: list[Location]
    created_at: int
    updated_at: int
    import_task: str | None = None  # of the import that runs
    import_state: ImportState | None = None

    def replaced(self, values: Mapping[str, Any]) -> "Image":
        """The image with these fields changed; others that `values` may hold are not an image's."""
        return msgspec.structs.replace(self, **{name: values[name] for name in _FIELDS & values.keys()})

    def target(self, member: "Member | None" = None) -> dict[str, Any]:
        """What policy checks may look at, in the case of this member."""
        target = {
            "project_id": self.owner,
            "owner": self.owner,
            "visibility": self.visibility,
            "status": self.status,
            "protected": self.protected,
        }
        if member is not None:
            target["member_id"] = member.member_id
        return target


_FIELDS = frozenset(Image.__struct_fields__)


class Member(msgspec.Struct, frozen=True):
    """A project that an image is shared with. `status`: what it says of that, one of MEMBER_STATUSES."""

    image_id: str
    member_id: str
    status: str
    created_at: int
    updated_at: int


@dataclass(frozen=True)
class Filters:
    """What a list is narrowed by. `compare`: (column, operator, value) with SQL's operators as Python names."""

    visible_to: str | None = None  # a project; None sees everything
    visibility: str | None = None
    member_status: Sequence[str] = ("accepted",)  # of images that others share with the project
    equal: Mapping[str, Any] = field(default_factory=dict)
    within: Mapping[str, Collection[Any]] = field(default_factory=dict)
    compare: Sequence[tuple[str, str, Any]] = ()
    tags: Sequence[str] = ()
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def further(self) -> bool:
        """Whether there is more to it than visibility and equal columns."""
        return bool(self.within or self.compare or self.tags or self.properties)
