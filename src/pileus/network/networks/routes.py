"""Networks over HTTP."""

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Route
from pileus.network.domain import Network, network_target, owned_target
from pileus.network.networks.schemas import CREATE, DEFAULTS, UPDATE, VIEW
from pileus.network.service import Networks
from pileus.network.wire import (
    authorize_attributes,
    owner_of,
    render_batch,
    render_list,
    render_one,
)


def list_networks(call: Call, svc: Networks) -> dict[str, object]:
    """GET /networks"""
    request = svc.networks.listing.parse(call.query)
    with call.read() as tx:
        networks, more = svc.networks.page(tx, call.actor, request)
    return render_list(call, VIEW, "networks", networks, request, more)


def show_network(call: Call, svc: Networks) -> dict[str, object]:
    """GET /networks/{network_id}"""
    with call.read() as tx:
        network = svc.networks.get(tx, call.actor, call.params["network_id"])
    return render_one(call, VIEW, "network", network)


def create_networks(call: Call, svc: Networks) -> dict[str, object]:
    """POST /networks: one, or several at once"""
    owned = [(owner_of(call, item), item) for item in call.body.items]
    for project_id, item in owned:
        authorize_attributes(call, "create_network", item, owned_target(project_id), DEFAULTS)

    def work(tx: Tx) -> list[Network]:
        return [svc.networks.create(tx, project_id, item) for project_id, item in owned]

    return render_batch(call, VIEW, CREATE, call.body, call.transact(work))


def update_network(call: Call, svc: Networks) -> dict[str, object]:
    """PUT /networks/{network_id}"""

    def work(tx: Tx) -> Network:
        network = svc.networks.get(tx, call.actor, call.params["network_id"])
        call.authorize(network_target(network))
        authorize_attributes(call, "update_network", call.body, network_target(network))
        return svc.networks.update(tx, network, call.body)

    return render_one(call, VIEW, "network", call.transact(work))


def delete_network(call: Call, svc: Networks) -> None:
    """DELETE /networks/{network_id}"""

    def work(tx: Tx) -> None:
        network = svc.networks.get(tx, call.actor, call.params["network_id"])
        call.authorize(network_target(network))
        svc.networks.delete(tx, network)

    call.transact(work)


ROUTES: tuple[Route[Networks], ...] = (
    Route("GET", "/networks", list_networks, "get_network"),
    Route("POST", "/networks", create_networks, "create_network", 201, CREATE),
    Route("GET", "/networks/{network_id}", show_network, "get_network"),
    Route("PUT", "/networks/{network_id}", update_network, "update_network", 200, UPDATE),
    Route("DELETE", "/networks/{network_id}", delete_network, "delete_network", 204),
)
