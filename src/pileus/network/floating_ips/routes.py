"""Floating IPs over HTTP."""

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Route
from pileus.network.domain import FloatingIp, owned_target
from pileus.network.floating_ips.schemas import CREATE, UPDATE, VIEW
from pileus.network.service import Networks
from pileus.network.wire import authorize_attributes, owner_of, render_batch, render_list, render_one


def list_floating_ips(call: Call, svc: Networks) -> dict[str, object]:
    """GET /floatingips"""
    request = svc.floating_ips.listing.parse(call.query)
    with call.read() as tx:
        found, more = svc.floating_ips.page(tx, call.actor, request)
    return render_list(call, VIEW, "floatingips", found, request, more)


def show_floating_ip(call: Call, svc: Networks) -> dict[str, object]:
    """GET /floatingips/{floatingip_id}"""
    with call.read() as tx:
        floating = svc.floating_ips.get(tx, call.actor, call.params["floatingip_id"])
    return render_one(call, VIEW, "floatingip", floating)


def create_floating_ips(call: Call, svc: Networks) -> dict[str, object]:
    """POST /floatingips: one, or several at once"""
    owned = [(owner_of(call, item), item) for item in call.body.items]
    for project_id, item in owned:
        authorize_attributes(call, "create_floatingip", item, owned_target(project_id), {"floating_ip_address": None})

    def work(tx: Tx) -> list[FloatingIp]:
        return [svc.floating_ips.create(tx, call.actor, project_id, item) for project_id, item in owned]

    return render_batch(call, VIEW, CREATE, call.body, call.transact(work))


def update_floating_ip(call: Call, svc: Networks) -> dict[str, object]:
    """PUT /floatingips/{floatingip_id}"""

    def work(tx: Tx) -> FloatingIp:
        return svc.floating_ips.update(tx, call.actor, _own(call, svc, tx), call.body)

    return render_one(call, VIEW, "floatingip", call.transact(work))


def delete_floating_ip(call: Call, svc: Networks) -> None:
    """DELETE /floatingips/{floatingip_id}"""

    def work(tx: Tx) -> None:
        svc.floating_ips.delete(tx, _own(call, svc, tx))

    call.transact(work)


def _own(call: Call, svc: Networks, tx: Tx) -> FloatingIp:
    floating = svc.floating_ips.get(tx, call.actor, call.params["floatingip_id"])
    call.authorize(owned_target(floating.project_id))
    return floating


ROUTES: tuple[Route[Networks], ...] = (
    Route("GET", "/floatingips", list_floating_ips, "get_floatingip"),
    Route("POST", "/floatingips", create_floating_ips, "create_floatingip", 201, CREATE),
    Route("GET", "/floatingips/{floatingip_id}", show_floating_ip, "get_floatingip"),
    Route("PUT", "/floatingips/{floatingip_id}", update_floating_ip, "update_floatingip", 200, UPDATE),
    Route("DELETE", "/floatingips/{floatingip_id}", delete_floating_ip, "delete_floatingip", 204),
)
