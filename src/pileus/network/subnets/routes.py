"""Subnets over HTTP."""

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Route
from pileus.network.domain import Network, Subnet, owned_target
from pileus.network.service import Networks
from pileus.network.subnets.schemas import CREATE, UPDATE, VIEW
from pileus.network.wire import authorize_attributes, owner_of, render_batch, render_list, render_one


def list_subnets(call: Call, svc: Networks) -> dict[str, object]:
    """GET /subnets"""
    request = svc.subnets.listing.parse(call.query)
    with call.read() as tx:
        subnets, more = svc.subnets.page(tx, call.actor, request)
    return render_list(call, VIEW, "subnets", subnets, request, more)


def show_subnet(call: Call, svc: Networks) -> dict[str, object]:
    """GET /subnets/{subnet_id}"""
    with call.read() as tx:
        subnet = svc.subnets.get(tx, call.actor, call.params["subnet_id"])
    return render_one(call, VIEW, "subnet", subnet)


def create_subnets(call: Call, svc: Networks) -> dict[str, object]:
    """POST /subnets: one, or several at once"""

    def work(tx: Tx) -> list[Subnet]:
        made = []
        for item in call.body.items:
            network = svc.networks.get(tx, call.actor, item["network_id"])
            project_id = owner_of(call, item)
            call.authorize(owned_target(network.project_id, network))
            authorize_attributes(call, "create_subnet", item, owned_target(project_id, network))
            made.append(svc.subnets.create(tx, project_id, network, item))
        return made

    return render_batch(call, VIEW, CREATE, call.body, call.transact(work))


def update_subnet(call: Call, svc: Networks) -> dict[str, object]:
    """PUT /subnets/{subnet_id}"""

    def work(tx: Tx) -> Subnet:
        subnet, network = _own(call, svc, tx)
        authorize_attributes(call, "update_subnet", call.body, owned_target(subnet.project_id, network))
        return svc.subnets.update(tx, network, subnet, call.body)

    return render_one(call, VIEW, "subnet", call.transact(work))


def delete_subnet(call: Call, svc: Networks) -> None:
    """DELETE /subnets/{subnet_id}"""

    def work(tx: Tx) -> None:
        subnet, network = _own(call, svc, tx)
        svc.subnets.delete(tx, network, subnet)

    call.transact(work)


def _own(call: Call, svc: Networks, tx: Tx) -> tuple[Subnet, Network]:
    subnet = svc.subnets.get(tx, call.actor, call.params["subnet_id"])
    network = svc.networks.find(tx, subnet.network_id)
    call.authorize(owned_target(subnet.project_id, network))
    return subnet, network


ROUTES: tuple[Route[Networks], ...] = (
    Route("GET", "/subnets", list_subnets, "get_subnet"),
    Route("POST", "/subnets", create_subnets, "create_subnet", 201, CREATE, targeted=True),
    Route("GET", "/subnets/{subnet_id}", show_subnet, "get_subnet"),
    Route("PUT", "/subnets/{subnet_id}", update_subnet, "update_subnet", 200, UPDATE, targeted=True),
    Route("DELETE", "/subnets/{subnet_id}", delete_subnet, "delete_subnet", 204, targeted=True),
)
