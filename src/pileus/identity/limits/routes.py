"""Operations on registered limits and limits."""

from collections.abc import Mapping
from typing import Any

from pileus.identity.limits.domain import Limit, RegisteredLimit
from pileus.identity.limits.schemas import (
    LIMIT,
    LIMIT_CREATE,
    LIMIT_UPDATE,
    REGISTERED,
    REGISTERED_CREATE,
    REGISTERED_UPDATE,
)
from pileus.identity.rest import many, one, permitted, target, wanted
from pileus.identity.rows import Found
from pileus.identity.service import Identity
from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Route

_REGISTERED_FILTERS: Mapping[str, str] = {
    "service_id": "service_id",
    "region_id": "region_id",
    "resource_name": "resource_name",
}
_FILTERS: Mapping[str, str] = {**_REGISTERED_FILTERS, "project_id": "project_id", "domain_id": "domain_id"}


def show_a_registered(call: Call, registered: RegisteredLimit) -> dict[str, Any]:
    """A registered limit in a response."""
    return one(call, "registered_limits", REGISTERED, registered)


def list_registered(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /registered_limits"""
    want = wanted(call, svc.max_limit, _REGISTERED_FILTERS, alike=("resource_name",))
    with call.read() as tx:
        found = svc.limits.registered_page(tx, want)
    return many(call, "registered_limits", found, lambda registered: show_a_registered(call, registered))


def create_registered(call: Call, svc: Identity) -> dict[str, Any]:
    """POST /registered_limits: several at once, all or none"""
    made = call.transact(lambda tx: svc.limits.register(tx, call.body))
    return {"registered_limits": [show_a_registered(call, registered) for registered in made]}


def show_registered(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /registered_limits/{registered_limit_id}"""
    with call.read() as tx:
        registered = svc.limits.registered(tx, call.params["registered_limit_id"])
    return {"registered_limit": show_a_registered(call, registered)}


def update_registered(call: Call, svc: Identity) -> dict[str, Any]:
    """PATCH /registered_limits/{registered_limit_id}"""
    registered_id = call.params["registered_limit_id"]
    registered = call.transact(lambda tx: svc.limits.update_registered(tx, registered_id, call.body))
    return {"registered_limit": show_a_registered(call, registered)}


def delete_registered(call: Call, svc: Identity) -> None:
    """DELETE /registered_limits/{registered_limit_id}"""
    call.transact(lambda tx: svc.limits.unregister(tx, call.params["registered_limit_id"]))


def show_model(_call: Call, svc: Identity) -> dict[str, Any]:
    """GET /limits/model"""
    return {"model": {"name": svc.limits.model.name, "description": svc.limits.model.description}}


def show_a_limit(call: Call, limit: Limit) -> dict[str, Any]:
    """A limit in a response."""
    return one(call, "limits", LIMIT, limit)


def list_limits(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /limits: all that the caller may show, which for most is their project's or their domain's"""
    want = wanted(call, svc.max_limit, _FILTERS, alike=())
    actor = call.actor
    with call.read() as tx:
        if call.may("identity:get_limit", {}):
            found = svc.limits.page(tx, want)
        elif actor.domain_id is not None:
            found = svc.limits.page(tx, want, domain_id=actor.domain_id)
        elif actor.project_id is not None:
            found = svc.limits.page(tx, want, project_id=actor.project_id)
        else:
            found = Found([])
    return many(call, "limits", found, lambda limit: show_a_limit(call, limit))


def create_limits(call: Call, svc: Identity) -> dict[str, Any]:
    """POST /limits: several at once, all or none"""
    made = call.transact(lambda tx: svc.limits.create(tx, call.body))
    return {"limits": [show_a_limit(call, limit) for limit in made]}


def _limit(call: Call, svc: Identity, tx: Tx) -> Limit:
    limit_id = call.params["limit_id"]
    limit = svc.limits.find(tx, limit_id)
    about: Mapping[str, Any] = {}
    if limit is not None:
        about = target(
            limit__project_id=limit.project_id,
            limit__project__domain_id=svc.limits.domain_of(tx, limit),
            limit__domain__id=limit.domain_id,
        )
    return permitted(call, limit, "limit", limit_id, about)


def show_limit(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /limits/{limit_id}"""
    with call.read() as tx:
        return {"limit": show_a_limit(call, _limit(call, svc, tx))}


def update_limit(call: Call, svc: Identity) -> dict[str, Any]:
    """PATCH /limits/{limit_id}"""
    limit = call.transact(lambda tx: svc.limits.update(tx, _limit(call, svc, tx), call.body))
    return {"limit": show_a_limit(call, limit)}


def delete_limit(call: Call, svc: Identity) -> None:
    """DELETE /limits/{limit_id}"""
    call.transact(lambda tx: svc.limits.delete(tx, _limit(call, svc, tx)))


_REGISTERED = "/registered_limits/{registered_limit_id}"
_LIMIT = "/limits/{limit_id}"
ROUTES: tuple[Route[Identity], ...] = (
    Route("GET", "/registered_limits", list_registered, "identity:list_registered_limits"),
    Route("POST", "/registered_limits", create_registered, "identity:create_registered_limits", 201, REGISTERED_CREATE),
    Route("GET", _REGISTERED, show_registered, "identity:get_registered_limit"),
    Route("PATCH", _REGISTERED, update_registered, "identity:update_registered_limit", body=REGISTERED_UPDATE),
    Route("DELETE", _REGISTERED, delete_registered, "identity:delete_registered_limit", 204),
    Route("GET", "/limits/model", show_model, "identity:get_limit_model"),
    Route("GET", "/limits", list_limits, "identity:list_limits"),
    Route("POST", "/limits", create_limits, "identity:create_limits", 201, LIMIT_CREATE),
    Route("GET", _LIMIT, show_limit, "identity:get_limit", targeted=True),
    Route("PATCH", _LIMIT, update_limit, "identity:update_limit", body=LIMIT_UPDATE, targeted=True),
    Route("DELETE", _LIMIT, delete_limit, "identity:delete_limit", 204, targeted=True),
)
