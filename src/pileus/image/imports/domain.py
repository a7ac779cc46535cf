"""What an import is."""

from enum import StrEnum
from typing import Any

import msgspec

from pileus.kernel.auth import Actor


class Method(StrEnum):
    """How the data comes. FETCH is not one that users name: it is that of a task of type import."""

    GLANCE_DIRECT = "glance-direct"
    WEB_DOWNLOAD = "web-download"
    COPY_IMAGE = "copy-image"
    GLANCE_DOWNLOAD = "glance-download"
    FETCH = "fetch"


class Remote(msgspec.Struct, frozen=True):
    """An image in a region: this one, or another of the same catalog, wanted by `actor`."""

    actor: Actor
    region: str
    image_id: str
    interface: str
    permitted: bool  # of this region: whether the caller may download the image
    token: str | None  # of another region: the caller's token, sealed


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that an import needs to know: the parameters of its saga.

    `stores`: where the data shall be, in turn. `source_format`: of the data as it comes, None: what the image says.
    `inject`: properties that the image is given. `delete_on_failure`: the image was made for this import alone.
    """

    method: Method
    task: str
    stores: list[str]
    must_succeed: bool
    uri: str | None = None
    remote: Remote | None = None
    source_format: str | None = None
    inject: dict[str, str] = {}
    delete_on_failure: bool = False


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A staged file on its way, and what the image says of it now. `changes`: fields of the image that follow."""

    file: str
    disk_format: str
    container_format: str
    changes: dict[str, Any] = {}
