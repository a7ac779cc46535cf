"""The loop that brings hosts up to date with what the database says of networks."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pileus.kernel.loops import Loop, LoopCtx
from pileus.network.service import SYNC_LOOP, Networks
from pileus.network.sync.pusher import AgentCaller
from pileus.network.sync.store import Key

_BATCH = 500
_HOSTS_AT_ONCE = 8
_APART = 0.1  # seconds between runs, in which changes gather that are told together


def loops(networks: Networks, agents: AgentCaller) -> tuple[Loop, ...]:
    """The network service's loops."""

    def run(ctx: LoopCtx) -> None:
        with ctx.db.read() as tx:
            homeless = networks.routers.homeless(tx)
        if homeless:
            ctx.db.transact(networks.routers.settle_homeless)
        while not ctx.stopping():
            due = networks.pusher.due(_BATCH)
            if not due:
                return
            _push(networks, agents, due)

    return (Loop(SYNC_LOOP, every=5.0, run=run, apart=_APART),)


def _push(networks: Networks, agents: AgentCaller, due: Sequence[Key]) -> None:
    """Push to several hosts at once, so that one that does not answer keeps no other waiting."""
    by_host: dict[str, list[Key]] = {}
    for key in due:
        by_host.setdefault(key.host, []).append(key)
    if len(by_host) == 1:
        (host, keys), *_ = by_host.items()
        networks.pusher.push_host(agents, host, keys)
        return
    with ThreadPoolExecutor(min(_HOSTS_AT_ONCE, len(by_host)), thread_name_prefix="network-sync") as pool:
        for future in [pool.submit(networks.pusher.push_host, agents, *item) for item in by_host.items()]:
            future.result()
