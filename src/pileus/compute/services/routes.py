"""URLs of services."""

from typing import Any

from pileus.compute.query_strings import refuse_unknown
from pileus.compute.services.domain import ComputeService, ServiceUpdate
from pileus.compute.services.policy import SERVICES
from pileus.compute.services.schemas import (
    DISABLE_WITH_REASON,
    FORCE_DOWN,
    SERVICE,
    SWITCH,
    UPDATE,
    service_update,
)
from pileus.compute.services.service import ComputeServices
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call, Route
from pileus.kernel.ids import is_uuid
from pileus.kernel.versions import Version

_BY_UUID = Version(2, 53)


def list_services(call: Call, svc: ComputeServices) -> dict[str, Any]:
    refuse_unknown(call, {"host", "binary"})
    with call.read() as tx:
        found = svc.all(tx, host=call.query.get("host"), binary=call.query.get("binary"))
    return {"services": [SERVICE.render(one, call.version) for one in found]}


def _named(call: Call, svc: ComputeServices, tx: Tx) -> ComputeService:
    service_id = call.params["service_id"]
    by_number = call.version is not None and call.version < _BY_UUID
    if not (service_id.isdecimal() if by_number else is_uuid(service_id)):
        raise BadRequest(f"Invalid {'id' if by_number else 'uuid'} {service_id}")
    return svc.get(tx, service_id, by_number=by_number)


def update_service(call: Call, svc: ComputeServices) -> dict[str, Any]:
    update = service_update(call.body)
    changed = call.transact(lambda tx: svc.update(tx, _named(call, svc, tx), update))
    return {"service": SERVICE.render(changed, call.version)}


def delete_service(call: Call, svc: ComputeServices) -> None:
    call.transact(lambda tx: svc.delete(tx, _named(call, svc, tx)))


def _change(call: Call, svc: ComputeServices, update: ServiceUpdate, **shown: Any) -> dict[str, Any]:
    """The form of the old versions: the service is named in the body, and only what changed is shown."""
    host, binary = call.body.host, call.body.binary
    call.transact(lambda tx: svc.update(tx, svc.on_host(tx, host, binary), update))
    return {"service": {"host": host, "binary": binary, **shown}}


def enable_service(call: Call, svc: ComputeServices) -> dict[str, Any]:
    return _change(call, svc, ServiceUpdate(enabled=True), status="enabled")


def disable_service(call: Call, svc: ComputeServices) -> dict[str, Any]:
    return _change(call, svc, ServiceUpdate(enabled=False), status="disabled")


def disable_service_log_reason(call: Call, svc: ComputeServices) -> dict[str, Any]:
    reason = call.body.disabled_reason
    update = ServiceUpdate(enabled=False, disabled_reason=reason)
    return _change(call, svc, update, status="disabled", disabled_reason=reason)


def force_service_down(call: Call, svc: ComputeServices) -> dict[str, Any]:
    forced_down = call.body.forced_down
    return _change(call, svc, ServiceUpdate(forced_down=forced_down), forced_down=forced_down)


_ALL, _ONE = "/os-services", "/os-services/{service_id}"
_RULE = f"{SERVICES}update"

ROUTES: tuple[Route[ComputeServices], ...] = (
    Route("GET", _ALL, list_services, f"{SERVICES}list"),
    Route("PUT", f"{_ALL}/enable", enable_service, _RULE, body=SWITCH, until="2.52"),
    Route("PUT", f"{_ALL}/disable", disable_service, _RULE, body=SWITCH, until="2.52"),
    Route(
        "PUT", f"{_ALL}/disable-log-reason", disable_service_log_reason, _RULE, body=DISABLE_WITH_REASON, until="2.52"
    ),
    Route("PUT", f"{_ALL}/force-down", force_service_down, _RULE, body=FORCE_DOWN, since="2.11", until="2.52"),
    Route("PUT", _ONE, update_service, _RULE, body=UPDATE, since="2.53"),
    Route("DELETE", _ONE, delete_service, f"{SERVICES}delete", status=204),
)
