"""Ports over HTTP."""

from collections.abc import Mapping
from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Route
from pileus.network.domain import NETWORK_OWNER_PREFIX, Network, Port, owned_target
from pileus.network.ports.schemas import CREATE, DEFAULTS, UPDATE, VIEW
from pileus.network.service import Networks
from pileus.network.wire import authorize_attributes, owner_of, render_batch, render_list, render_one


def list_ports(call: Call, svc: Networks) -> dict[str, object]:
    """GET /ports"""
    request = svc.ports.listing.parse(call.query)
    with call.read() as tx:
        ports, more = svc.ports.page(tx, call.actor, request)
    return render_list(call, VIEW, "ports", ports, request, more)


def show_port(call: Call, svc: Networks) -> dict[str, object]:
    """GET /ports/{port_id}"""
    with call.read() as tx:
        port = svc.ports.get(tx, call.actor, call.params["port_id"])
    return render_one(call, VIEW, "port", port)


def create_ports(call: Call, svc: Networks) -> dict[str, object]:
    """POST /ports: one, or several at once"""

    def work(tx: Tx) -> list[Port]:
        made = []
        for item in call.body.items:
            network = svc.networks.get(tx, call.actor, item["network_id"])
            project_id = owner_of(call, item)
            target = _target(project_id, network, item)
            authorize_attributes(call, "create_port", _with_parts(item), target, DEFAULTS)
            made.append(svc.ports.create(tx, project_id, network, item))
        return made

    return render_batch(call, VIEW, CREATE, call.body, call.transact(work))


def update_port(call: Call, svc: Networks) -> dict[str, object]:
    """PUT /ports/{port_id}"""

    def work(tx: Tx) -> Port:
        port = svc.ports.get(tx, call.actor, call.params["port_id"])
        network = svc.networks.find(tx, port.network_id)
        target = _target(port.project_id, network, call.body)
        call.authorize(target)
        authorize_attributes(call, "update_port", _with_parts(call.body), target)
        return svc.ports.update(tx, port, call.body)

    return render_one(call, VIEW, "port", call.transact(work))


def delete_port(call: Call, svc: Networks) -> None:
    """DELETE /ports/{port_id}"""

    def work(tx: Tx) -> None:
        port = svc.ports.get(tx, call.actor, call.params["port_id"])
        network = svc.networks.find(tx, port.network_id)
        call.authorize(owned_target(port.project_id, network))
        svc.ports.delete(tx, port)

    call.transact(work)


def _target(project_id: str, network: Network, attributes: Mapping[str, Any]) -> dict[str, Any]:
    owner = attributes.get("device_owner", "")
    return {**owned_target(project_id, network), "network_device": owner.startswith(NETWORK_OWNER_PREFIX)}


def _with_parts(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes with the parts of `fixed_ips` that have rules of their own."""
    parts = {f"fixed_ips:{key}": True for item in attributes.get("fixed_ips") or () for key in item}
    return {**attributes, **parts}


ROUTES: tuple[Route[Networks], ...] = (
    Route("GET", "/ports", list_ports, "get_port"),
    Route("POST", "/ports", create_ports, "create_port", 201, CREATE),
    Route("GET", "/ports/{port_id}", show_port, "get_port"),
    Route("PUT", "/ports/{port_id}", update_port, "update_port", 200, UPDATE, targeted=True),
    Route("DELETE", "/ports/{port_id}", delete_port, "delete_port", 204, targeted=True),
)
