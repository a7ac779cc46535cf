"""Bodies and views of services."""

from operator import attrgetter
from typing import Any, Literal

from pileus.compute.services.domain import ServiceUpdate
from pileus.kernel.clock import iso_micro
from pileus.kernel.errors import BadRequest
from pileus.kernel.fields import UNSET, Body, Field, Param, Text, View, given

_HOST = Param("host", Text(1, 255), required=True)
_BINARY = Param("binary", Text(1, 255), required=True)
_REASON = Text(1, 255, r"\A[^\x00]*[^\s\x00][^\x00]*\Z")

SWITCH = Body(None, _HOST, _BINARY)
DISABLE_WITH_REASON = Body(None, _HOST, _BINARY, Param("disabled_reason", _REASON, required=True))
FORCE_DOWN = Body(None, _HOST, _BINARY, Param("forced_down", bool, required=True))
UPDATE = Body(
    None,
    Param("status", Literal["enabled", "disabled"]),
    Param("disabled_reason", _REASON),
    Param("forced_down", bool),
)

SERVICE = View(
    Field("id", attrgetter("number"), until="2.52"),
    Field("id", attrgetter("id"), since="2.53"),
    Field("binary", attrgetter("binary")),
    Field("host", attrgetter("host")),
    Field("zone", attrgetter("zone")),
    Field("status", lambda service: "enabled" if service.enabled else "disabled"),
    Field("state", lambda service: "up" if service.up else "down"),
    Field("updated_at", lambda service: iso_micro(service.updated_at)),
    Field("disabled_reason", attrgetter("disabled_reason")),
    Field("forced_down", attrgetter("forced_down"), since="2.11"),
)


def service_update(body: Any) -> ServiceUpdate:
    """What a PUT /os-services/{id} body changes. BadRequest if that is nothing, or contradicts itself."""
    status, reason = given(body.status), given(body.disabled_reason)
    if body.status is UNSET and body.disabled_reason is UNSET and body.forced_down is UNSET:
        raise BadRequest("At least one of 'status', 'disabled_reason' and 'forced_down' must be given.")
    if reason is not None and status != "disabled":
        raise BadRequest("Specifying disabled_reason requires that status is 'disabled'.")
    enabled = None if status is None else status == "enabled"
    return ServiceUpdate(enabled=enabled, disabled_reason=reason, forced_down=given(body.forced_down))
