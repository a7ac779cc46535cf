"""Tags over HTTP: the same six operations on every collection that can be tagged."""

from collections.abc import Callable
from typing import Any

from pileus.kernel.auth import Actor
from pileus.kernel.db import Tx
from pileus.kernel.fields import Param
from pileus.kernel.http import Call, Handler, Route
from pileus.network import tags
from pileus.network.domain import Standard, owned_target
from pileus.network.service import Networks
from pileus.network.wire import AttributesBody

_Get = Callable[[Networks, Tx, Actor, str], Standard]

_COLLECTIONS: dict[str, tuple[str, _Get]] = {
    "networks": ("network_id", lambda svc, tx, actor, key: svc.networks.get(tx, actor, key)),
    "subnets": ("subnet_id", lambda svc, tx, actor, key: svc.subnets.get(tx, actor, key)),
    "ports": ("port_id", lambda svc, tx, actor, key: svc.ports.get(tx, actor, key)),
    "routers": ("router_id", lambda svc, tx, actor, key: svc.routers.get(tx, actor, key)),
    "floatingips": ("floatingip_id", lambda svc, tx, actor, key: svc.floating_ips.get(tx, actor, key)),
    "security-groups": ("security_group_id", lambda svc, tx, actor, key: svc.security_groups.get(tx, actor, key)),
}

_REPLACE = AttributesBody(None, Param("tags", list[str], required=True))


def _routes_of(collection: str, parameter: str, get: _Get) -> tuple[Route[Networks], ...]:
    path = f"/{collection}/{{{parameter}}}/tags"
    rule = f"{collection.replace('-', '_')}_tags"

    def thing_of(call: Call, svc: Networks, tx: Tx) -> Standard:
        return get(svc, tx, call.actor, call.params[parameter])

    def show_all(call: Call, svc: Networks) -> dict[str, object]:
        with call.read() as tx:
            return {"tags": thing_of(call, svc, tx).tags}

    def show_one(call: Call, svc: Networks) -> None:
        with call.read() as tx:
            tags.check(thing_of(call, svc, tx), call.params["tag"])

    def changing(change: Callable[[Call, Networks, Tx, Standard], Any]) -> Handler[Networks]:
        def handler(call: Call, svc: Networks) -> dict[str, Any] | None:
            def work(tx: Tx) -> dict[str, Any] | None:
                thing = thing_of(call, svc, tx)
                call.authorize(owned_target(thing.project_id))
                answer: dict[str, Any] | None = change(call, svc, tx, thing)
                return answer

            return call.transact(work)

        return handler

    replace = changing(
        lambda call, svc, tx, thing: {"tags": svc.tags.replace(tx, collection, thing, call.body["tags"])}
    )
    clear = changing(lambda _call, svc, tx, thing: svc.tags.clear(tx, collection, thing))
    add = changing(lambda call, svc, tx, thing: svc.tags.add(tx, collection, thing, call.params["tag"]))
    remove = changing(lambda call, svc, tx, thing: svc.tags.remove(tx, collection, thing, call.params["tag"]))
    one = f"{path}/{{tag}}"
    return (
        Route("GET", path, show_all, f"get_{rule}"),
        Route("PUT", path, replace, f"update_{rule}", 200, _REPLACE),
        Route("DELETE", path, clear, f"delete_{rule}", 204),
        Route("GET", one, show_one, f"get_{rule}", 204),
        Route("PUT", one, add, f"update_{rule}", 201),
        Route("DELETE", one, remove, f"delete_{rule}", 204),
    )


ROUTES: tuple[Route[Networks], ...] = tuple(
    route for collection, (parameter, get) in _COLLECTIONS.items() for route in _routes_of(collection, parameter, get)
)
