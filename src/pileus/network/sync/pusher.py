"""Tells hosts what changed for them, in the order in which they need it, each resource by one teller at a time."""

import threading
from collections.abc import Iterable, Sequence
from typing import Any, Protocol
from weakref import WeakValueDictionary

import msgspec
import structlog

from pileus.agent import api
from pileus.kernel.clock import MICROSECONDS, Clock
from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import PileusError, Unavailable
from pileus.kernel.owner import dead_here, new_owner
from pileus.kernel.rpc import AgentUnreachable
from pileus.network.domain import PortStatus
from pileus.network.floating_ips import store as floating_store
from pileus.network.ports import store as port_store
from pileus.network.settings import NetworkSettings
from pileus.network.specs import SpecBuilder
from pileus.network.sync import store
from pileus.network.sync.store import Key, Kind, Pending

log = structlog.get_logger("pileus.network.sync")

_PATHS = {
    Kind.NETWORK: "/networks/",
    Kind.ADDRESS_SET: "/address-sets/",
    Kind.PORT: "/ports/",
    Kind.ROUTER: "/routers/",
}
_ORDER = {str(kind): position for position, kind in enumerate(Kind)}
_POLL = 0.02  # seconds between looks at a lease that another process holds
_LEASE_MARGIN = 10.0
_LONGEST_PAUSE = 60.0
_HOST_PAUSE = 2 * MICROSECONDS


class AgentCaller(Protocol):
    """How agents are reached: `kernel.rpc.Agents`."""

    def call(
        self, host: str, verb: str, path: str, body: msgspec.Struct | None = None, timeout: float = 30.0
    ) -> dict[str, Any]:
        """Ask a host."""
        ...


class _Turn:
    """Threads of this process that push the same resource take turns on this."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Pusher:
    """Pushes descriptions to agents. Thread-safe; several processes may push at once."""

    def __init__(self, db: Database, clock: Clock, settings: NetworkSettings, specs: SpecBuilder) -> None:
        self._db = db
        self._clock = clock
        self._timeout = settings.sync_timeout
        self._specs = specs
        self._turns: WeakValueDictionary[Key, _Turn] = WeakValueDictionary()
        self._turns_lock = threading.Lock()

    def push(self, agents: AgentCaller, keys: Iterable[Key]) -> None:
        """Return once the hosts have applied these resources as they are now, or newer.

        Changes that others pushed meanwhile are not pushed again, so that many servers which start on one network share
        its description. AgentUnreachable or AgentRefused as the host answers; what failed is tried again by the loop.
        """
        ordered = sorted(set(keys), key=lambda key: (_ORDER[key.kind], key))
        with self._db.read() as tx:
            state = store.state(tx, ordered)
        for key in ordered:
            wanted, applied = state.get(key, (0, 0))
            if applied < wanted:
                self._push_one(agents, key, wanted)

    def _push_one(self, agents: AgentCaller, key: Key, need: int) -> None:
        owner = new_owner()
        deadline = self._clock.monotonic() + self._timeout
        with self._turn(key).lock:
            while True:
                pending = self._claim(key, owner, need)
                if isinstance(pending, Pending):
                    self._tell(agents, pending, owner)
                    return
                if pending:
                    return
                if self._clock.monotonic() > deadline:
                    raise Unavailable(f"Another process is still telling host {key.host} of {key.kind}.")
                self._clock.sleep(_POLL)

    def _turn(self, key: Key) -> _Turn:
        with self._turns_lock:
            turn = self._turns.get(key)
            if turn is None:
                turn = self._turns[key] = _Turn()
            return turn

    def _claim(self, key: Key, owner: str, need: int) -> Pending | bool:
        """The lease and what it covers; True if the host is up to date already; False if another has the lease."""
        with self._db.read() as tx:
            wanted, applied = store.state(tx, [key]).get(key, (0, 0))
        if applied >= need or applied >= wanted:
            return True
        now = self._clock.now()
        until = now + int((self._timeout + _LEASE_MARGIN) * MICROSECONDS)

        def work(tx: Tx) -> Pending | None:
            taken = store.claim(tx, key, owner, now, until)
            if taken is None and (dead := dead_here(store.owner(tx, key))):
                store.release(tx, dead)
                taken = store.claim(tx, key, owner, now, until)
            return taken

        return self._db.transact(work) or False

    def _tell(self, agents: AgentCaller, pending: Pending, owner: str) -> None:
        key = pending.key
        path = f"{_PATHS[Kind(key.kind)]}{key.resource_id}"
        with self._db.read() as tx:
            spec = self._specs.build(tx, key.kind, key.resource_id, key.host)
        try:
            agents.call(key.host, "DELETE" if spec is None else "PUT", path, spec, self._timeout)
        except PileusError as err:
            self._db.transact(lambda tx: self._failed(tx, pending, owner))
            log.warning("host not told", host=key.host, kind=key.kind, id=key.resource_id, reason=err.message)
            raise
        self._db.transact(lambda tx: self._applied(tx, pending, owner, spec))

    def _failed(self, tx: Tx, pending: Pending, owner: str) -> None:
        pause = min(2.0 ** min(store.failures(tx, pending.key), 10), _LONGEST_PAUSE)
        store.give_up(tx, pending, owner, self._clock.now() + int(pause * MICROSECONDS))

    @staticmethod
    def _applied(tx: Tx, pending: Pending, owner: str, spec: api.Spec | None) -> None:
        """Record that the host has it, and what follows for users to see. A lease that was lost records nothing."""
        if not store.finish(tx, pending, owner):
            return
        if spec is None:
            store.forget(tx, pending)
        elif isinstance(spec, api.PortSpec):
            port_store.set_status(tx, [spec.id], PortStatus.ACTIVE if spec.admin_state_up else PortStatus.DOWN)
        elif isinstance(spec, api.NetworkSpec):
            if spec.dhcp_mac is not None and (dhcp := port_store.dhcp_port(tx, spec.id)) is not None:
                port_store.set_status(tx, [dhcp.id], PortStatus.ACTIVE)
        elif isinstance(spec, api.RouterSpec):
            connected = [interface.port_id for interface in spec.interfaces]
            if spec.gateway is not None:
                connected.append(spec.gateway.port_id)
            port_store.set_status(tx, connected, PortStatus.ACTIVE)
            floating_store.set_active(tx, [floating.id for floating in spec.floating], spec.id)

    # --- the loop's part ----------------------------------------------------------------------------------------

    def due(self, limit: int) -> list[Key]:
        """What hosts lag behind with and nobody is pushing. What processes of this host held that are dead is free."""
        with self._db.read() as tx:
            dead = dead_here(store.owners(tx))
        if dead:
            self._db.transact(lambda tx: store.release(tx, dead))
        with self._db.read() as tx:
            return store.due(tx, self._clock.now(), limit)

    def push_host(self, agents: AgentCaller, host: str, keys: Sequence[Key]) -> int:
        """Push what is due for one host, as far as it answers; how many could not be pushed."""
        failed = 0
        for key in sorted(keys, key=lambda key: (_ORDER[key.kind], key)):
            try:
                self.push(agents, [key])
            except AgentUnreachable:
                self._db.transact(lambda tx: store.postpone(tx, host, self._clock.now() + _HOST_PAUSE))
                return failed + 1
            except PileusError:
                failed += 1
        return failed
