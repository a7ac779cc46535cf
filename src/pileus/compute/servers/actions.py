"""POST /servers/{id}/action: one route for each action."""

from collections.abc import Callable
from typing import Any

from pileus.compute.servers import schemas
from pileus.compute.servers.domain import RESETTABLE, Server
from pileus.compute.servers.policy import UNLOCK_OVERRIDE, S
from pileus.compute.servers.service import Servers
from pileus.kernel.db import Tx
from pileus.kernel.fields import Body, given
from pileus.kernel.http import Call, Route
from pileus.kernel.versions import Version

Do = Callable[[Call, Servers, Tx, Server], None]


def load(call: Call, svc: Servers, tx: Tx) -> Server:
    """The server of the request's path, if the caller may do with it what the route's rule says."""
    server = svc.get(tx, call.actor, call.params["server_id"])
    call.authorize({"project_id": server.project_id, "user_id": server.user_id})
    return server


def _action(name: str, rule: str, do: Do, body: Body | None = None) -> Route[Servers]:
    def handler(call: Call, svc: Servers) -> None:
        call.transact(lambda tx: do(call, svc, tx, load(call, svc, tx)))

    return Route(
        "POST",
        "/servers/{server_id}/action",
        handler,
        rule,
        status=202,
        action=name,
        body=body or schemas.bare(name),
    )


def start(call: Call, svc: Servers, tx: Tx, server: Server) -> None:
    svc.start(tx, call.actor, server, call.request_id)


def stop(call: Call, svc: Servers, tx: Tx, server: Server) -> None:
    svc.stop(tx, call.actor, server, call.request_id)


def reboot(call: Call, svc: Servers, tx: Tx, server: Server) -> None:
    hard = call.body.reboot.type.upper() == "HARD"
    svc.reboot(tx, call.actor, server, call.request_id, hard=hard)


def force_delete(call: Call, svc: Servers, tx: Tx, server: Server) -> None:
    svc.delete(tx, call.actor, server, call.request_id)


def restore(call: Call, svc: Servers, _tx: Tx, server: Server) -> None:
    svc.restore(call.actor, server)


def lock(call: Call, svc: Servers, tx: Tx, server: Server) -> None:
    arguments = call.body.lock
    with_reason = call.version is not None and call.version >= Version(2, 73) and arguments is not None
    reason = given(arguments.locked_reason) if with_reason else None
    svc.lock(tx, call.actor, server, reason, call.request_id)


def unlock(call: Call, svc: Servers, tx: Tx, server: Server) -> None:
    svc.unlock(tx, call.actor, server, override=call.may(UNLOCK_OVERRIDE), request_id=call.request_id)


def reset_state(call: Call, svc: Servers, tx: Tx, server: Server) -> None:
    svc.reset_state(tx, server, RESETTABLE[call.body.os_resetState.state])


def add_group(call: Call, svc: Servers, tx: Tx, server: Server) -> None:
    svc.add_group(tx, call.actor, server, call.body.group.name)


def remove_group(call: Call, svc: Servers, tx: Tx, server: Server) -> None:
    svc.remove_group(tx, call.actor, server, call.body.group.name)


def console_output(call: Call, svc: Servers) -> dict[str, Any]:
    with call.read() as tx:
        server = load(call, svc, tx)
        host = svc.console_source(call.actor, server)
    return {"output": svc.console_output(host, server, call.body.os_getConsoleOutput.length)}


ACTIONS: tuple[Route[Servers], ...] = (
    _action("os-start", f"{S}start", start),
    _action("os-stop", f"{S}stop", stop),
    _action("reboot", f"{S}reboot", reboot, schemas.REBOOT),
    _action("forceDelete", "os_compute_api:os-deferred-delete:force", force_delete),
    _action("restore", "os_compute_api:os-deferred-delete:restore", restore),
    _action("lock", "os_compute_api:os-lock-server:lock", lock, schemas.LOCK),
    _action("unlock", "os_compute_api:os-lock-server:unlock", unlock),
    _action("os-resetState", "os_compute_api:os-admin-actions:reset_state", reset_state, schemas.RESET_STATE),
    _action(
        "addSecurityGroup",
        "os_compute_api:os-security-groups:add",
        add_group,
        schemas.group_action("addSecurityGroup"),
    ),
    _action(
        "removeSecurityGroup",
        "os_compute_api:os-security-groups:remove",
        remove_group,
        schemas.group_action("removeSecurityGroup"),
    ),
    Route(
        "POST",
        "/servers/{server_id}/action",
        console_output,
        "os_compute_api:os-console-output",
        action="os-getConsoleOutput",
        body=schemas.CONSOLE,
    ),
)
