"""The loop that tells hosts what their guests may learn of themselves.

It runs in one process of the cloud at a time, so no older description overtakes a newer one. Operations on servers also
describe them to hosts; they look whether there was a change meanwhile and then describe them again.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from pileus.compute.metadata_sync import store
from pileus.compute.metadata_sync.service import METADATA_LOOP
from pileus.compute.metadata_sync.store import Due
from pileus.compute.servers.domain import Server, VmState
from pileus.compute.servers.service import Servers
from pileus.kernel.clock import MICROSECONDS
from pileus.kernel.db import Tx
from pileus.kernel.errors import NotFound, PileusError
from pileus.kernel.loops import Loop, LoopCtx
from pileus.kernel.rpc import AgentUnreachable

log = structlog.get_logger("pileus.compute.metadata")

_BATCH = 500
_HOSTS_AT_ONCE = 8
_BUILD_PAUSE = 1.0  # seconds
_HOST_PAUSE = 2.0
_LONGEST_PAUSE = 60.0


def metadata_loop(servers: Servers) -> Loop:
    """The loop for a cloud's servers."""

    def run(ctx: LoopCtx) -> None:
        while not ctx.stopping():
            with ctx.db.read() as tx:
                due = store.due(tx, ctx.clock.now(), _BATCH)
            if not due:
                return
            _tell_all(ctx, servers, due)

    return Loop(METADATA_LOOP, every=5.0, run=run)


def _tell_all(ctx: LoopCtx, servers: Servers, due: Sequence[Due]) -> None:
    """Tell several hosts at once, so that one that does not answer keeps no other waiting."""
    by_host: dict[str, list[Due]] = {}
    for one in due:
        by_host.setdefault(one.host, []).append(one)
    if len(by_host) == 1:
        _tell_host(ctx, servers, due)
        return
    with ThreadPoolExecutor(min(_HOSTS_AT_ONCE, len(by_host)), thread_name_prefix=METADATA_LOOP) as pool:
        for future in [pool.submit(_tell_host, ctx, servers, group) for group in by_host.values()]:
            future.result()


def _tell_host(ctx: LoopCtx, servers: Servers, due: Sequence[Due]) -> None:
    for position, one in enumerate(due):
        try:
            _tell(ctx, servers, one)
        except NotFound:
            ctx.db.transact(lambda tx, host=one.host: store.drop_host(tx, host))  # type: ignore[misc]
            return
        except AgentUnreachable as err:
            log.warning("metadata not told", server=one.server_id, host=one.host, reason=err.message)
            _postpone(ctx, due[position:], _HOST_PAUSE, failed=False)
            return
        except PileusError as err:
            log.warning("metadata not told", server=one.server_id, host=one.host, reason=err.message)
            _postpone(ctx, [one], min(2.0 ** min(one.failures, 10), _LONGEST_PAUSE), failed=True)


def _postpone(ctx: LoopCtx, due: Sequence[Due], pause: float, *, failed: bool) -> None:
    retry_at = ctx.clock.now() + int(pause * MICROSECONDS)

    def work(tx: Tx) -> None:
        for one in due:
            store.postpone(tx, one, retry_at, failed=failed)

    ctx.db.transact(work)


def _tell(ctx: LoopCtx, servers: Servers, one: Due) -> None:
    """Describe the server to the host, or have the host forget it. A server that is being built waits until that has
    ended: only the operation that builds it knows the password that its config drive holds."""
    with ctx.db.read() as tx:
        latest = store.wanted(tx, one.server_id, one.host)
        server = _if_there(servers, tx, one)
        spec = None if server is None else servers.metadata_of(tx, server)
    one = one._replace(wanted=latest)
    if server is not None and server.vm_state == VmState.BUILDING:
        _postpone(ctx, [one], _BUILD_PAUSE, failed=False)
        return
    path = f"/metadata/{one.server_id}"
    servers.neighbours.agents.call(one.host, "DELETE" if spec is None else "PUT", path, spec)
    ctx.db.transact(lambda tx: _told(servers, tx, one, present=spec is not None))


def _told(servers: Servers, tx: Tx, one: Due, *, present: bool) -> None:
    """Record what the host has done. If the server has come or gone meanwhile, that was wrong and is done anew."""
    if (_if_there(servers, tx, one) is not None) != present:
        store.mark_on(tx, [(one.server_id, one.host)])
    elif present:
        store.applied(tx, one)
    else:
        store.forget(tx, one)


def _if_there(servers: Servers, tx: Tx, one: Due) -> Server | None:
    server = servers.find(tx, one.server_id)
    return server if server is not None and server.host == one.host and not server.deleted else None
