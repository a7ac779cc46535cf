"""The durable operations on servers.

`server.create` claims a host and plugs the ports (database only), then makes the host carry the network, the disks and
at last the guest. Where a host refuses, everything is undone and the server is tried on another: a saga of its own
(`server.create.again`), unseen in the server's history, that knows which hosts were tried.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Any

import msgspec

from pileus.agent.api import Injection, MetadataSpec, PowerAction, PowerState
from pileus.compute.metadata_sync import store as metadata_store
from pileus.compute.servers import specs, store
from pileus.compute.servers.domain import Fault, Server, Task, VmState
from pileus.compute.servers.injection import Secrets, from_params, injection_for
from pileus.compute.servers.service import CREATE, DELETE, REBOOT, START, STOP, Servers
from pileus.kernel.db import Tx
from pileus.kernel.errors import NotFound, PileusError
from pileus.kernel.rpc import AgentRefused, AgentUnreachable
from pileus.kernel.saga import Cancelled, Ctx, Failure, Json, Retry, Saga, Step
from pileus.network.domain import PlannedNic, Unplugged
from pileus.placement.service import DoesNotFit
from pileus.scheduler.domain import HostRequest

CREATE_AGAIN = "server.create.again"
REMOVE_ORPHAN = "server.remove_orphan"
_FINAL_REFUSALS = frozenset({"image-unusable", "invalid"})
_LOOK = 0.1  # seconds between looks whether a guest that is shutting down is being deleted
_CALL = 60.0  # seconds for calls that change little
_SLOW_CALL = 900.0  # seconds for calls that may fetch and convert an image
_DISKS = Retry(deadline=1800.0, attempts=8, longest=2.0)  # 4 to 7 s of pauses: an agent that was killed is back by then
_GUEST = Retry(deadline=300.0, attempts=8, longest=2.0)
_CLAIM = Retry(deadline=30.0, first=0.01, longest=0.5)
_RESCHEDULED = frozenset({"AgentRefused", "AgentUnreachable"})


class BuildAborted(PileusError):
    """The server cannot be built on any host."""


def _servers(ctx: Ctx) -> Servers:
    servers: Servers = ctx.services.compute.servers
    return servers


def _server(ctx: Ctx) -> Server:
    with ctx.db.read() as tx:
        return _row(tx, ctx.resource)


def _row(tx: Tx, server_id: str) -> Server:
    server = store.get(tx, server_id)
    if server is None:
        raise BuildAborted(f"Instance {server_id} could not be found.")
    return server


def _call(
    ctx: Ctx, host: str, verb: str, path: str, body: msgspec.Struct | None = None, timeout: float = _CALL
) -> Json:
    """Ask the agent, within what is left of the step's time."""
    ctx.host = host
    try:
        return _servers(ctx).neighbours.agents.call(host, verb, path, body, min(timeout, max(ctx.remaining(), 5.0)))
    except AgentRefused as err:
        if err.refusal in _FINAL_REFUSALS:
            raise BuildAborted(err.message, refusal=err.refusal) from err
        raise


def _unless_down(ctx: Ctx, host: str, work: Callable[[], None]) -> None:
    """Do `work` on a host. A host that is known to be down, or was removed, is left alone: when it returns, what it
    still has of deleted servers is found by its reports and removed."""
    try:
        work()
    except (AgentUnreachable, NotFound):
        with ctx.db.read() as tx:
            if _servers(ctx).host_up(tx, host):
                raise
        ctx.log.warning("host is down, its share is left to be removed when it returns", host=host)


def _change(ctx: Ctx, tx: Tx, values: dict[str, Any], tasks: Sequence[Task | None] | None = None) -> bool:
    return store.change(tx, ctx.resource, {**values, "updated_at": ctx.clock.now()}, tasks=tasks)


def _continue_as(ctx: Ctx, tx: Tx, values: dict[str, Any]) -> None:
    """Change a server that is being built; Cancelled if it is being deleted instead."""
    if not _change(ctx, tx, values, (Task.SCHEDULING, Task.NETWORKING, Task.SPAWNING)):
        raise Cancelled(f"Instance {ctx.resource} is being deleted.")


# --- create -------------------------------------------------------------------------------------------------


def _nics(ctx: Ctx) -> list[PlannedNic]:
    return msgspec.convert(ctx.params["nics"], list[PlannedNic])


def claim_host(ctx: Ctx) -> Json:
    """Choose a host, take its resources and bind the ports to it: all in the database."""
    servers, params = _servers(ctx), ctx.params
    server = _server(ctx)
    view = servers.neighbours.scheduler.select(
        ctx.db,
        HostRequest(
            resources=params["resources"],
            image_checksum=server.image.checksum if server.image else None,
            availability_zone=params["zone"],
            host=params["host"],
            same_hosts=None if params["same_hosts"] is None else frozenset(params["same_hosts"]),
            different_hosts=frozenset(params["different_hosts"]),
            tried=frozenset(params["tried"]),
            project_id=ctx.project,
            extra_specs=server.flavor.extra_specs,
            image_properties=server.image.properties if server.image else {},
        ),
    )
    ctx.host = view.name

    def work(tx: Tx) -> Json:
        try:
            servers.neighbours.placement.claim(tx, ctx.resource, ctx.project, ctx.user, view.name, params["resources"])
        except DoesNotFit:
            servers.neighbours.scheduler.forget()
            raise
        for nic in _nics(ctx):
            servers.neighbours.networks.plug(
                tx,
                port=nic,
                server_id=ctx.resource,
                server_name=server.hostname,
                project_id=ctx.project,
                host=view.name,
                availability_zone=view.availability_zone,
                security_group_ids=params["groups"],
            )
        zone = view.availability_zone
        _continue_as(ctx, tx, {"host": view.name, "availability_zone": zone, "task_state": Task.NETWORKING})
        return {"host": view.name}

    ctx.write(work)
    return None


def release_claim(ctx: Ctx) -> None:
    """Give back the host's resources and the ports, and have the host drop those that it carried: they were unplugged
    by the undo of `network`, and if they still are plugged then it never carried them."""
    servers = _servers(ctx)
    networks = servers.neighbours.networks
    host = ctx.results["claim"]["host"] if "claim" in ctx.results else None
    ports = [Unplugged(port_id=nic.port_id, network_id=nic.network_id, host=host or "") for nic in _nics(ctx)]
    with ctx.db.read() as tx:
        plugged = bool(servers.ports(tx, [ctx.resource]).get(ctx.resource))
    if host is not None and ports and not plugged:
        ctx.host = host
        _unless_down(ctx, host, lambda: networks.unwire(servers.neighbours.agents, host, ports))

    def work(tx: Tx) -> None:
        networks.unplug(tx, ctx.resource)
        servers.neighbours.placement.release(tx, ctx.resource)
        _change(ctx, tx, {"host": None, "availability_zone": None})
        servers.metadata_sync.left(tx, ctx.resource)

    ctx.write(work)


def wire_ports(ctx: Ctx) -> Json:
    """Make the host carry the ports' networks: taps, DHCP, filters."""
    host = ctx.host = ctx.results["claim"]["host"]
    neighbours = _servers(ctx).neighbours
    if _nics(ctx):
        neighbours.networks.wire(neighbours.agents, host, ctx.resource)
    ctx.write(lambda tx: _continue_as(ctx, tx, {"task_state": Task.SPAWNING}))
    return None


def unplug_ports(ctx: Ctx) -> None:
    """Give the ports back. The host is told next, by the undo of `claim`: it drops only what is unplugged."""
    networks = _servers(ctx).neighbours.networks

    def work(tx: Tx) -> None:
        networks.unplug(tx, ctx.resource)

    ctx.write(work)


def prepare_disks(ctx: Ctx) -> Json:
    """Tell the metadata service of the server (the config drive is made from it), and make the disks."""
    host = ctx.results["claim"]["host"]
    secrets, config_drive = from_params(ctx.params, _servers(ctx).seal), _server(ctx).config_drive
    metadata = _describe(ctx, host, secrets if config_drive else None)
    ctx.check()
    _put_disks(ctx, host, injection_for(_servers(ctx).injection, metadata, secrets, config_drive=config_drive))
    return None


def remove_disks(ctx: Ctx) -> None:
    """Remove the disks and what the metadata service knows."""
    host = ctx.results["claim"]["host"]
    _unless_down(ctx, host, lambda: _delete_all(ctx, host, ("disks", "metadata")))


def ensure_guest(ctx: Ctx) -> Json:
    """Make the guest and start it."""
    host = ctx.results["claim"]["host"]
    answer = _put_guest(ctx, host)
    return {"power_state": answer.get("power_state", PowerState.RUNNING)}


def ensure_no_guest(ctx: Ctx) -> None:
    """Destroy the guest."""
    host = ctx.results["claim"]["host"]
    _unless_down(ctx, host, lambda: _delete_all(ctx, host, ("guests",)))


def built(ctx: Ctx, tx: Tx) -> None:
    """The server is there."""
    _continue_as(
        ctx,
        tx,
        {
            "vm_state": VmState.ACTIVE,
            "task_state": None,
            "power_state": ctx.results["guest"]["power_state"],
            "launched_at": ctx.clock.now(),
            "fault": None,
        },
    )


def not_built(ctx: Ctx, tx: Tx, failure: Failure) -> None:
    """Everything was undone: try the server on another host, or say why it failed. One that is being deleted is left
    to its deletion."""
    claimed = ctx.results.get("claim")
    before, tried = ctx.params["reasons"], ctx.params["tried"]
    if claimed is not None:
        tried = [*tried, claimed["host"]]
    servers = _servers(ctx)
    again = (
        claimed is not None
        and not failure.cancelled
        and failure.error in _RESCHEDULED
        and len(tried) < servers.neighbours.scheduler.settings.max_attempts
    )
    if not _change(ctx, tx, {"task_state": Task.SCHEDULING if again else None}, _BUILDING):
        return
    if again:
        reasons = [*before, f"{tried[-1]}: {failure.message}"]
        servers.sagas.start(
            tx,
            CREATE_AGAIN,
            resource=ctx.resource,
            project=ctx.project,
            user=ctx.user,
            request_id=ctx.request_id,
            params={**ctx.params, "tried": tried, "reasons": reasons},
        )
        return
    message = " ".join([_reason(failure), *(["Before that,", "; ".join(before)] if before else [])])
    _change(ctx, tx, {"vm_state": VmState.ERROR, "fault": _fault(ctx, failure, message)})


_BUILDING = (Task.SCHEDULING, Task.NETWORKING, Task.SPAWNING)


# --- delete -------------------------------------------------------------------------------------------------


def delete_guest(ctx: Ctx) -> Json:
    """Remove everything of the server from its host, then give back its ports and resources."""
    servers = _servers(ctx)
    server = _server(ctx)
    if server.host is not None:
        host = ctx.host = server.host
        _unless_down(ctx, host, lambda: _delete_all(ctx, host, ("guests", "disks", "metadata")))

    def work(tx: Tx) -> Json:
        ports = servers.neighbours.networks.unplug(tx, ctx.resource)
        servers.neighbours.placement.release(tx, ctx.resource)
        return msgspec.to_builtins(ports)

    ctx.write(work)
    return None


def delete_network(ctx: Ctx) -> Json:
    """Make the host carry the server's ports no longer."""
    neighbours = _servers(ctx).neighbours
    ports = [port for port in msgspec.convert(ctx.results["guest"], list[Unplugged]) if port.host]
    for host in sorted({port.host for port in ports}):
        here = [port for port in ports if port.host == host]
        ctx.host = host
        _unless_down(ctx, host, lambda host=host, here=here: neighbours.networks.unwire(neighbours.agents, host, here))  # type: ignore[misc]
    return None


def deleted(ctx: Ctx, tx: Tx) -> None:
    """The server is gone."""
    store.set_deleted(tx, ctx.resource, ctx.clock.now())
    _servers(ctx).metadata_sync.left(tx, ctx.resource)


def not_deleted(ctx: Ctx, tx: Tx, failure: Failure) -> None:
    """The host could not be cleared: the server shows why, and may be deleted again. If its guest is gone and its
    resources are given back, it is on no host any more."""
    fault = _fault(ctx, failure, _reason(failure))
    values: dict[str, Any] = {"vm_state": VmState.ERROR, "task_state": None, "fault": fault}
    if "guest" in ctx.results:
        values["host"] = None
    _change(ctx, tx, values)
    _servers(ctx).metadata_sync.left(tx, ctx.resource)


# --- power --------------------------------------------------------------------------------------------------


def start_guest(ctx: Ctx) -> Json:
    """Make the guest run. Network, metadata and guest are described anew: the host may have been restarted."""
    host = _host_of(ctx)
    _restore(ctx, host)
    answer = _put_guest(ctx, host)
    return {"power_state": answer.get("power_state", PowerState.RUNNING)}


def stop_guest(ctx: Ctx) -> Json:
    """Shut the guest down; after the time-out its power is cut."""
    host = _host_of(ctx)
    return _power(ctx, host, "stop")


def reboot_guest(ctx: Ctx) -> Json:
    """Restart the guest."""
    host = _host_of(ctx)
    if not ctx.params["hard"]:
        return _power(ctx, host, "soft-reboot")
    _restore(ctx, host)
    _put_guest(ctx, host)
    return _power(ctx, host, "hard-reboot")


def runs(ctx: Ctx, tx: Tx) -> None:
    """The guest runs."""
    _stands(ctx, tx, VmState.ACTIVE, PowerState.RUNNING)


def stopped(ctx: Ctx, tx: Tx) -> None:
    """The guest is shut down."""
    _stands(ctx, tx, VmState.STOPPED, PowerState.SHUTDOWN)


def _stands(ctx: Ctx, tx: Tx, vm_state: VmState, power_state: PowerState) -> None:
    values = {"vm_state": vm_state, "task_state": None, "power_state": power_state, "fault": None}
    _change(ctx, tx, values, _POWER_TASKS)


def power_failed(ctx: Ctx, tx: Tx, failure: Failure) -> None:
    """Nothing is done any more; what the guest does is found by the host's reports."""
    values: dict[str, Any] = {"task_state": None}
    if not failure.cancelled and ctx.name == REBOOT:
        values |= {"vm_state": VmState.ERROR, "fault": _fault(ctx, failure, _reason(failure))}
    _change(ctx, tx, values, _POWER_TASKS)


_POWER_TASKS = (Task.POWERING_ON, Task.POWERING_OFF, Task.REBOOTING, Task.REBOOTING_HARD)


def _restore(ctx: Ctx, host: str) -> None:
    servers = _servers(ctx)
    neighbours = servers.neighbours
    with ctx.db.read() as tx:
        plugged = bool(servers.ports(tx, [ctx.resource]))
    if plugged:
        neighbours.networks.wire(neighbours.agents, host, ctx.resource, again=True)
    _describe(ctx, host)
    _put_disks(ctx, host)


def _power(ctx: Ctx, host: str, action: str) -> Json:
    timeout = _servers(ctx).settings.shutdown_timeout
    body = msgspec.convert({"action": action, "timeout": timeout}, PowerAction)
    path = f"/guests/{ctx.resource}/power"
    with ThreadPoolExecutor(1, thread_name_prefix="power") as pool:
        asked = pool.submit(copy_context().run, _call, ctx, host, "POST", path, body, timeout + _CALL)
        while not wait([asked], timeout=_LOOK).done:
            if ctx.cancelled and _is_deleted(ctx):
                _call(ctx, host, "POST", path, PowerAction(action="stop", timeout=0))
                break
        answer = asked.result()
    return {"power_state": answer.get("power_state")}


def _is_deleted(ctx: Ctx) -> bool:
    """Whether a deletion waits for this operation: then the guest need not be given time to shut down."""
    return _server(ctx).task_state == Task.DELETING


def _host_of(ctx: Ctx) -> str:
    server = _server(ctx)
    if server.host is None or server.task_state == Task.DELETING:
        raise Cancelled(f"Instance {ctx.resource} is on no host, or being deleted.")
    return server.host


# --- orphans ------------------------------------------------------------------------------------------------


def remove_orphan(ctx: Ctx) -> Json:
    """Remove from a host what it still has of a server that was deleted or lives elsewhere."""
    _delete_all(ctx, ctx.params["host"], ("guests", "disks", "metadata"))
    return None


# --- shared -------------------------------------------------------------------------------------------------


def _describe(ctx: Ctx, host: str, secrets: Secrets | None = None) -> MetadataSpec:
    """Tell the host's metadata service what the guest may learn; answer what was told. If that changes meanwhile the
    loop tells it too, and what is told here may be the older and arrive last: so it is told again."""
    told, metadata = -1, None
    while True:
        with ctx.db.read() as tx:
            latest = metadata_store.wanted(tx, ctx.resource, host)
            if metadata is not None and latest == told:
                return metadata
            metadata = _servers(ctx).metadata_of(tx, _row(tx, ctx.resource))
        if secrets is not None:
            metadata = msgspec.structs.replace(metadata, admin_pass=secrets.admin_pass, files=secrets.files)
        _call(ctx, host, "PUT", f"/metadata/{ctx.resource}", metadata)
        told = latest


def _put_disks(ctx: Ctx, host: str, inject: Injection | None = None) -> None:
    with ctx.db.read() as tx:
        server = _row(tx, ctx.resource)
        boot, _ = store.boot_of(tx, ctx.resource)
    _call(ctx, host, "PUT", f"/disks/{ctx.resource}", specs.disks_spec(server, boot, inject), _SLOW_CALL)


def _put_guest(ctx: Ctx, host: str) -> Json:
    servers = _servers(ctx)
    with ctx.db.read() as tx:
        server = _row(tx, ctx.resource)
        boot, _ = store.boot_of(tx, ctx.resource)
        ports = servers.ports(tx, [ctx.resource]).get(ctx.resource, [])
    spec = specs.guest_spec(server, boot, ports, servers.settings.instance_name_prefix)
    return _call(ctx, host, "PUT", f"/guests/{ctx.resource}", spec, _SLOW_CALL)


def _delete_all(ctx: Ctx, host: str, kinds: Sequence[str]) -> None:
    for kind in kinds:
        _call(ctx, host, "DELETE", f"/{kind}/{ctx.resource}")


def _reason(failure: Failure) -> str:
    return failure.message if failure.expected else f"Unexpected error: {failure.error}"


def _fault(ctx: Ctx, failure: Failure, message: str) -> Fault:
    return Fault(code=500, message=message[:255], created=ctx.clock.now(), details=failure.traceback)


_BUILD_STEPS = (
    Step("claim", do=claim_host, undo=release_claim, retry=_CLAIM, event="conductor_schedule_and_build_instances"),
    Step("network", do=wire_ports, undo=unplug_ports, event="compute_allocate_network"),
    Step("disks", do=prepare_disks, undo=remove_disks, retry=_DISKS, event="compute_prepare_disks"),
    Step("guest", do=ensure_guest, undo=ensure_no_guest, retry=_GUEST, event="compute__do_build_and_run_instance"),
)

SAGAS: tuple[Saga, ...] = (
    Saga(CREATE, _BUILD_STEPS, action="create", on_done=built, on_failed=not_built),
    Saga(CREATE_AGAIN, _BUILD_STEPS, on_done=built, on_failed=not_built),
    Saga(
        DELETE,
        (
            Step("guest", do=delete_guest, event="compute_terminate_instance"),
            Step("network", do=delete_network, event="compute_deallocate_network"),
        ),
        action="delete",
        on_done=deleted,
        on_failed=not_deleted,
    ),
    Saga(
        START,
        (Step("guest", do=start_guest, retry=_GUEST, event="compute_start_instance"),),
        action="start",
        on_done=runs,
        on_failed=power_failed,
    ),
    Saga(
        STOP,
        (Step("guest", do=stop_guest, retry=_GUEST, event="compute_stop_instance"),),
        action="stop",
        on_done=stopped,
        on_failed=power_failed,
    ),
    Saga(
        REBOOT,
        (Step("guest", do=reboot_guest, retry=_GUEST, event="compute_reboot_instance"),),
        action="reboot",
        on_done=runs,
        on_failed=power_failed,
    ),
    Saga(REMOVE_ORPHAN, (Step("guest", do=remove_orphan, retry=_GUEST),)),
)
"""Every saga of servers, to be registered in `kernel.saga.Sagas`. The engine's services need an attribute `compute`."""
