"""What a flavor is."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec


class Flavor(msgspec.Struct, frozen=True):
    """A flavor's row. Sizes: `ram` and `swap` MiB, `disk` and `ephemeral` GiB. `disk` 0 is as large as the image.

    The order of the fields is that in which the store selects them.
    """

    number: int
    flavorid: str
    name: str
    description: str | None
    ram: int
    vcpus: int
    disk: int
    ephemeral: int
    swap: int
    rxtx_factor: float
    is_public: bool
    extra_specs: dict[str, str]
    created_at: int
    updated_at: int | None


class NewFlavor(msgspec.Struct, frozen=True, kw_only=True):
    """A flavor to be made. `flavorid` None: one is minted."""

    flavorid: str | None
    name: str
    ram: int
    vcpus: int
    disk: int
    ephemeral: int = 0
    swap: int = 0
    rxtx_factor: float = 1.0
    is_public: bool = True
    description: str | None = None


SORT_KEYS: Mapping[str, str] = {
    "id": "number",
    "flavorid": "flavorid",
    "name": "name",
    "description": "description",
    "memory_mb": "ram",
    "vcpus": "vcpus",
    "root_gb": "disk",
    "ephemeral_gb": "ephemeral",
    "swap": "swap",
    "rxtx_factor": "rxtx_factor",
    "is_public": "is_public",
    "created_at": "created_at",
    "updated_at": "updated_at",
}


@dataclass(frozen=True)
class Selection:
    """Which flavors a list holds.

    `is_public` None: all there are. True: public ones, and those to which `project_id` has been given access.
    """

    project_id: str | None
    is_public: bool | None = True
    min_ram: int | None = None
    min_disk: int | None = None
