"""Routers over HTTP."""

from collections.abc import Mapping
from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Route
from pileus.network.domain import Router, owned_target
from pileus.network.routers.interfaces import Interface
from pileus.network.routers.schemas import CREATE, EXTRA_ROUTES, INTERFACE, UPDATE, VIEW, rendered_interface
from pileus.network.service import Networks
from pileus.network.wire import authorize_attributes, owner_of, render_batch, render_list, render_one


def list_routers(call: Call, svc: Networks) -> dict[str, object]:
    """GET /routers"""
    request = svc.routers.listing.parse(call.query)
    with call.read() as tx:
        routers, more = svc.routers.page(tx, call.actor, request)
    return render_list(call, VIEW, "routers", routers, request, more)


def show_router(call: Call, svc: Networks) -> dict[str, object]:
    """GET /routers/{router_id}"""
    with call.read() as tx:
        router = svc.routers.get(tx, call.actor, call.params["router_id"])
    return render_one(call, VIEW, "router", router)


def create_routers(call: Call, svc: Networks) -> dict[str, object]:
    """POST /routers: one, or several at once"""
    owned = [(owner_of(call, item), item) for item in call.body.items]
    for project_id, item in owned:
        authorize_attributes(call, "create_router", _with_parts(item), owned_target(project_id))

    def work(tx: Tx) -> list[Router]:
        return [svc.routers.create(tx, call.actor, project_id, item) for project_id, item in owned]

    return render_batch(call, VIEW, CREATE, call.body, call.transact(work))


def update_router(call: Call, svc: Networks) -> dict[str, object]:
    """PUT /routers/{router_id}"""

    def work(tx: Tx) -> Router:
        router = _own(call, svc, tx)
        authorize_attributes(call, "update_router", _with_parts(call.body), owned_target(router.project_id))
        return svc.routers.update(tx, call.actor, router.id, call.body)

    return render_one(call, VIEW, "router", call.transact(work))


def delete_router(call: Call, svc: Networks) -> None:
    """DELETE /routers/{router_id}"""

    def work(tx: Tx) -> None:
        svc.routers.delete(tx, _own(call, svc, tx).id)

    call.transact(work)


def add_interface(call: Call, svc: Networks) -> dict[str, object]:
    """PUT /routers/{router_id}/add_router_interface"""

    def work(tx: Tx) -> tuple[Router, Interface]:
        router = _own(call, svc, tx)
        return router, svc.routers.add_interface(tx, call.actor, router.id, call.body)

    router, added = call.transact(work)
    return rendered_interface(router, added.port.network_id, added.port.id, added.subnet_ids)


def remove_interface(call: Call, svc: Networks) -> dict[str, object]:
    """PUT /routers/{router_id}/remove_router_interface"""

    def work(tx: Tx) -> tuple[Router, Interface]:
        router = _own(call, svc, tx)
        return router, svc.routers.remove_interface(tx, router.id, call.body)

    router, removed = call.transact(work)
    return rendered_interface(router, removed.port.network_id, removed.port.id, removed.subnet_ids)


def add_routes(call: Call, svc: Networks) -> dict[str, object]:
    """PUT /routers/{router_id}/add_extraroutes"""
    return _change_routes(call, svc, add=True)


def remove_routes(call: Call, svc: Networks) -> dict[str, object]:
    """PUT /routers/{router_id}/remove_extraroutes"""
    return _change_routes(call, svc, add=False)


def _change_routes(call: Call, svc: Networks, *, add: bool) -> dict[str, object]:
    def work(tx: Tx) -> Router:
        router = _own(call, svc, tx)
        return svc.routers.change_routes(tx, router.id, call.body["routes"], add=add)

    return render_one(call, VIEW, "router", call.transact(work))


def _own(call: Call, svc: Networks, tx: Tx) -> Router:
    router = svc.routers.get(tx, call.actor, call.params["router_id"])
    call.authorize(owned_target(router.project_id))
    return router


def _with_parts(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes with the parts of `external_gateway_info` that have rules of their own."""
    info = attributes.get("external_gateway_info") or {}
    return {**attributes, **{f"external_gateway_info:{key}": value for key, value in info.items()}}


_ROUTER = "/routers/{router_id}"

ROUTES: tuple[Route[Networks], ...] = (
    Route("GET", "/routers", list_routers, "get_router"),
    Route("POST", "/routers", create_routers, "create_router", 201, CREATE),
    Route("GET", _ROUTER, show_router, "get_router"),
    Route("PUT", _ROUTER, update_router, "update_router", 200, UPDATE),
    Route("DELETE", _ROUTER, delete_router, "delete_router", 204),
    Route("PUT", f"{_ROUTER}/add_router_interface", add_interface, "add_router_interface", 200, INTERFACE),
    Route("PUT", f"{_ROUTER}/remove_router_interface", remove_interface, "remove_router_interface", 200, INTERFACE),
    Route("PUT", f"{_ROUTER}/add_extraroutes", add_routes, "add_extraroutes", 200, EXTRA_ROUTES),
    Route("PUT", f"{_ROUTER}/remove_extraroutes", remove_routes, "remove_extraroutes", 200, EXTRA_ROUTES),
)
