"""Bodies and views of flavors."""

from operator import attrgetter
from typing import Annotated, Any

from msgspec import Meta

from pileus.compute.flavors.domain import Flavor, NewFlavor
from pileus.compute.flavors.policy import EXTRA_SPECS
from pileus.compute.servers.views import links
from pileus.kernel.fields import UNSET, Body, Field, Integer, Param, Text, View, given

MAX = (1 << 31) - 1
_MAX_FLOAT = 3.40282e38
_NAME = Text(1, 255, r"\A[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?\Z")
_ID = Text(1, 255, r"\A[a-zA-Z0-9._-](?:[a-zA-Z0-9. _-]*[a-zA-Z0-9._-])?\Z")
_DESCRIPTION = Text(0, 65535, r"\A[^\x00]*\Z")
_KEY = Text(1, 255, r"\A[a-zA-Z0-9\-_:. ]+\Z")
_VALUE = Text(0, 255, r"\A[^\x00]*\Z")
_SPECS: Any = dict[_KEY, _VALUE]  # type: ignore[valid-type]
_PROJECT = Text(1, 255, r"\A[a-zA-Z0-9-]+\Z")

CREATE = Body(
    "flavor",
    Param("name", _NAME, required=True),
    Param("id", _ID | int, nullable=True, default=None),
    Param("ram", Integer(1, MAX), required=True),
    Param("vcpus", Integer(1, MAX), required=True),
    Param("disk", Integer(0, MAX), required=True),
    Param("OS-FLV-EXT-DATA:ephemeral", Integer(0, MAX), default=0, attr="ephemeral"),
    Param("swap", Integer(0, MAX), default=0),
    Param("rxtx_factor", Annotated[float, Meta(gt=0, le=_MAX_FLOAT)], until="2.101", default=1.0),
    Param("os-flavor-access:is_public", bool, default=True, attr="is_public"),
    Param("description", _DESCRIPTION, since="2.55", nullable=True),
)
UPDATE = Body("flavor", Param("description", _DESCRIPTION, required=True, nullable=True))
ADD_EXTRA_SPECS = Body(None, Param("extra_specs", _SPECS, required=True))
EXTRA_SPEC = Body(None, shape=Annotated[_SPECS, Meta(min_length=1, max_length=1)])


def access_action(action: str) -> Body:
    """`{"addTenantAccess": {"tenant": PROJECT}}`."""
    return Body(None, Param(action, (Param("tenant", _PROJECT, required=True),), required=True, attr="arguments"))


def new_flavor(body: Any) -> NewFlavor:
    """The flavor that a POST /flavors body asks for."""
    return NewFlavor(
        flavorid=None if body.id in (None, "auto") else str(body.id),
        name=body.name,
        ram=body.ram,
        vcpus=body.vcpus,
        disk=body.disk,
        ephemeral=body.ephemeral,
        swap=body.swap,
        rxtx_factor=body.rxtx_factor,
        is_public=body.is_public,
        description=given(getattr(body, "description", UNSET)),
    )


class Shown:
    """A flavor as it is about to be rendered. `base` is the API's address."""

    __slots__ = ("base", "flavor")

    def __init__(self, flavor: Flavor, base: str) -> None:
        self.flavor = flavor
        self.base = base


BRIEF = View(
    Field("id", attrgetter("flavor.flavorid")),
    Field("name", attrgetter("flavor.name")),
    Field("description", attrgetter("flavor.description"), since="2.55"),
    Field(
        "links",
        lambda shown: links(shown.base, shown.base.removesuffix("/v2.1"), "flavors", shown.flavor.flavorid),
    ),
)
"""A flavor of GET /flavors."""

FULL = BRIEF + View(
    Field("ram", attrgetter("flavor.ram")),
    Field("vcpus", attrgetter("flavor.vcpus")),
    Field("disk", attrgetter("flavor.disk")),
    Field("OS-FLV-EXT-DATA:ephemeral", attrgetter("flavor.ephemeral")),
    Field("swap", lambda shown: shown.flavor.swap or "", until="2.74"),
    Field("swap", attrgetter("flavor.swap"), since="2.75"),
    Field("rxtx_factor", attrgetter("flavor.rxtx_factor"), until="2.101"),
    Field("OS-FLV-DISABLED:disabled", lambda _shown: False, until="2.101"),
    Field("os-flavor-access:is_public", attrgetter("flavor.is_public")),
    Field("extra_specs", attrgetter("flavor.extra_specs"), since="2.61", rule=f"{EXTRA_SPECS}index"),
)
"""A flavor everywhere else."""
