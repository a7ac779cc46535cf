"""URLs of floating IPs up to version 2.35, and the actions on servers up to version 2.43."""

from typing import Any

from pileus.compute.floating_ips.policy import IPS, POOLS
from pileus.compute.floating_ips.schemas import ADD, CREATE, REMOVE
from pileus.compute.floating_ips.service import FloatingIps, ShownFloatingIp
from pileus.compute.query_strings import part_of_list
from pileus.compute.servers.domain import Server
from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Route

_LAST, _LAST_ACTION = "2.35", "2.43"


def _rendered(one: ShownFloatingIp) -> dict[str, Any]:
    return {"id": one.id, "ip": one.ip, "pool": one.pool, "fixed_ip": one.fixed_ip, "instance_id": one.instance_id}


def _own(call: Call, svc: FloatingIps, tx: Tx) -> ShownFloatingIp:
    found = svc.get(tx, call.actor, call.params["floating_ip_id"])
    call.authorize({"project_id": found.project_id})
    return found


def list_floating_ips(call: Call, svc: FloatingIps) -> dict[str, Any]:
    with call.read() as tx:
        found = svc.all(tx, call.actor)
    return {"floating_ips": [_rendered(one) for one in found[part_of_list(call)]]}


def show_floating_ip(call: Call, svc: FloatingIps) -> dict[str, Any]:
    with call.read() as tx:
        return {"floating_ip": _rendered(_own(call, svc, tx))}


def create_floating_ip(call: Call, svc: FloatingIps) -> dict[str, Any]:
    return {"floating_ip": _rendered(call.transact(lambda tx: svc.create(tx, call.actor, call.body.pool)))}


def delete_floating_ip(call: Call, svc: FloatingIps) -> None:
    call.transact(lambda tx: svc.delete(tx, call.actor, _own(call, svc, tx).id))


def list_pools(call: Call, svc: FloatingIps) -> dict[str, Any]:
    with call.read() as tx:
        pools = svc.pools(tx, call.actor)
    return {"floating_ip_pools": [{"name": pool.name or pool.id} for pool in pools]}


def _server(call: Call, svc: FloatingIps, tx: Tx) -> Server:
    server = svc.servers.get(tx, call.actor, call.params["server_id"])
    call.authorize({"project_id": server.project_id, "user_id": server.user_id})
    return server


def add_to_server(call: Call, svc: FloatingIps) -> None:
    wanted = call.body.wanted
    call.transact(lambda tx: svc.add(tx, call.actor, _server(call, svc, tx), wanted.address, wanted.fixed_address))


def remove_from_server(call: Call, svc: FloatingIps) -> None:
    call.transact(lambda tx: svc.remove(tx, call.actor, _server(call, svc, tx), call.body.wanted.address))


_ALL, _ONE = "/os-floating-ips", "/os-floating-ips/{floating_ip_id}"
_ACTION = "/servers/{server_id}/action"

ROUTES: tuple[Route[FloatingIps], ...] = (
    Route("GET", _ALL, list_floating_ips, f"{IPS}list", until=_LAST),
    Route("POST", _ALL, create_floating_ip, f"{IPS}create", body=CREATE, until=_LAST),
    Route("GET", _ONE, show_floating_ip, f"{IPS}show", until=_LAST),
    Route("DELETE", _ONE, delete_floating_ip, f"{IPS}delete", status=202, until=_LAST),
    Route("GET", "/os-floating-ip-pools", list_pools, POOLS, until=_LAST),
    Route(
        "POST", _ACTION, add_to_server, f"{IPS}add", status=202, action="addFloatingIp", body=ADD, until=_LAST_ACTION
    ),
    Route(
        "POST",
        _ACTION,
        remove_from_server,
        f"{IPS}remove",
        status=202,
        action="removeFloatingIp",
        body=REMOVE,
        until=_LAST_ACTION,
    ),
)
