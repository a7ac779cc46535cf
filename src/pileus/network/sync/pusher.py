"""Tells hosts what changed for them, in the order in which they need it, each resource by one teller at a time.

Whoever wants a host to be told queues for it. The first in the queue tells for all who wait: many servers that start
on one host share the description of their network, and the transactions in which leases are taken and given back.
"""

import threading
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

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
from pileus.network.sync.store import Key, Kind, Pending, Sync

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
_AT_ONCE = 32  # resources that the loop pushes before servers that start get their turn

_LATEST = 1 << 62  # more changes than there will be
Specs = Mapping[Key, api.Spec | None]
Errors = dict[Key, Exception]


class AgentCaller(Protocol):
    """How agents are reached: `kernel.rpc.Agents`."""

    def call(
        self, host: str, verb: str, path: str, body: msgspec.Struct | None = None, timeout: float = 30.0
    ) -> dict[str, Any]:
        """Ask a host."""
        ...


class _Request:
    """What one caller wants a host to be told, and what has become of it."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self.left: dict[Key, int] = dict.fromkeys(keys, _LATEST)  # the change that is needed
        self.errors: Errors = {}
        self.broken: Exception | None = None
        self.served = False

    def learn(self, found: Mapping[Key, Sync], told: Collection[Key], errors: Errors) -> None:
        """Cross off what was told, or had been told before. What another process is telling is left."""
        for key, need in tuple(self.left.items()):
            row = found.get(key)
            if key in told or row is None or row.applied >= min(need, row.wanted):
                del self.left[key]
                if key in errors:
                    self.errors[key] = errors[key]
            elif need == _LATEST:
                self.left[key] = row.wanted


class _Queue:
    """Who waits for a host to be told. Whoever has the lock tells for all of them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._waiting: deque[_Request] = deque()

    def join(self, request: _Request) -> None:
        """Wait for the next telling."""
        request.served = False
        self._waiting.append(request)

    def take(self) -> list[_Request]:
        """All who wait."""
        return [self._waiting.popleft() for _ in range(len(self._waiting))]


class Pusher:
    """Pushes descriptions to agents. Thread-safe; several processes may push at once."""

    def __init__(self, db: Database, clock: Clock, settings: NetworkSettings, specs: SpecBuilder) -> None:
        self._db = db
        self._clock = clock
        self._timeout = settings.sync_timeout
        self._specs = specs
        self._queues: dict[str, _Queue] = {}
        self._queues_lock = threading.Lock()

    def push(self, agents: AgentCaller, keys: Iterable[Key]) -> None:
        """Return once the hosts have applied these resources as they are now, or newer.

        AgentUnreachable or AgentRefused as the host answers; what failed is tried again by the loop.
        """
        by_host: dict[str, list[Key]] = {}
        for key in sorted(set(keys), key=_in_order):
            by_host.setdefault(key.host, []).append(key)
        for host, its_keys in by_host.items():
            errors = self._push(agents, host, its_keys)
            for key in its_keys:
                if key in errors:
                    raise errors[key].with_traceback(None)

    def _push(self, agents: AgentCaller, host: str, keys: Iterable[Key]) -> Errors:
        request = _Request(keys)
        deadline = self._clock.monotonic() + self._timeout
        queue = self._queue(host)
        while True:
            queue.join(request)
            with queue.lock:
                if not request.served:
                    self._serve(agents, host, queue.take())
            if request.broken is not None:
                raise request.broken.with_traceback(None)
            if not request.left:
                return request.errors
            if self._clock.monotonic() > deadline:
                kind = next(iter(request.left)).kind
                raise Unavailable(f"Another process is still telling host {host} of {kind}.")
            self._clock.sleep(_POLL)

    def _queue(self, host: str) -> _Queue:
        with self._queues_lock:
            return self._queues.setdefault(host, _Queue())

    def _serve(self, agents: AgentCaller, host: str, requests: Sequence[_Request]) -> None:
        try:
            need: dict[Key, int] = {}
            for request in requests:
                for key, change in request.left.items():
                    need[key] = max(change, need.get(key, 0))
            owner = new_owner()
            found, claimed = self._claim(host, need, owner)
            errors = self._tell(agents, host, claimed, owner) if claimed else {}
            told = {pending.key for pending in claimed}
            for request in requests:
                request.learn(found, told, errors)
        except Exception as err:  # noqa: BLE001 - each of those who wait raises it
            for request in requests:
                request.broken = err
        finally:
            for request in requests:
                request.served = True

    def _until(self) -> int:
        return self._clock.now() + int((self._timeout + _LEASE_MARGIN) * MICROSECONDS)

    def _claim(self, host: str, need: Mapping[Key, int], owner: str) -> tuple[dict[Key, Sync], list[Pending]]:
        """How far the host is, and of what it lacks all that nobody else is telling: it is leased to `owner` now."""

        def work(tx: Tx) -> tuple[dict[Key, Sync], list[Pending]]:
            found = store.lock(tx, host, need.keys())
            lacking = [row for row in found.values() if row.applied < min(need[row.key], row.wanted)]
            now = self._clock.now()
            held = {row.owner for row in lacking if row.owner is not None and row.lease_until > now}
            alive = held.difference(dead_here(held))
            claimed = [row for row in lacking if row.lease_until <= now or row.owner not in alive]
            store.lease(tx, [row.key for row in claimed], owner, self._until())
            ordered = sorted(claimed, key=lambda row: _in_order(row.key))
            return found, [Pending(row.key, row.wanted) for row in ordered]

        return self._db.transact(work)

    def _tell(self, agents: AgentCaller, host: str, claimed: Sequence[Pending], owner: str) -> Errors:
        leased_until = self._clock.monotonic() + self._timeout + _LEASE_MARGIN
        with self._db.read() as tx:
            specs = self._specs.build_all(tx, [pending.key for pending in claimed])
        errors: Errors = {}
        unreachable: AgentUnreachable | None = None
        for key, _ in claimed:
            if unreachable is not None:
                errors[key] = unreachable
                continue
            if self._clock.monotonic() + self._timeout > leased_until:
                leased_until = self._clock.monotonic() + self._timeout + _LEASE_MARGIN
                self._db.transact(lambda tx: self._prolong(tx, host, claimed, owner))
            spec = specs[key]
            path = f"{_PATHS[Kind(key.kind)]}{key.resource_id}"
            try:
                agents.call(host, "DELETE" if spec is None else "PUT", path, spec, self._timeout)
            except PileusError as err:
                errors[key] = err
                unreachable = err if isinstance(err, AgentUnreachable) else None
                log.warning("host not told", host=host, kind=key.kind, id=key.resource_id, reason=err.message)
        self._db.transact(lambda tx: self._record(tx, host, claimed, specs, errors, owner))
        return errors

    @staticmethod
    def _ours(tx: Tx, host: str, claimed: Sequence[Pending], owner: str) -> dict[Key, Sync]:
        found = store.lock(tx, host, {pending.key for pending in claimed})
        return {key: row for key, row in found.items() if row.owner == owner}

    def _prolong(self, tx: Tx, host: str, claimed: Sequence[Pending], owner: str) -> None:
        """Unavailable if a lease has passed to another, so that what is left is not told any more."""
        ours = self._ours(tx, host, claimed, owner)
        if len(ours) < len(claimed):
            raise Unavailable(f"Telling host {host} took too long.")
        store.lease(tx, list(ours), owner, self._until())

    def _record(self, tx: Tx, host: str, claimed: Sequence[Pending], specs: Specs, errors: Errors, owner: str) -> None:
        """Record what the host has, and what follows for users to see. A lease that was lost records nothing."""
        ours = self._ours(tx, host, claimed, owner)
        applied = [pending for pending in claimed if pending.key in ours and pending.key not in errors]
        store.finish(tx, applied)
        store.forget(tx, [pending for pending in applied if specs[pending.key] is None])
        now = self._clock.now()
        store.give_up(tx, [(key, now + _pause(row.failures)) for key, row in ours.items() if key in errors])
        _show(tx, [spec for pending in applied if (spec := specs[pending.key]) is not None])

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
        ordered = sorted(keys, key=_in_order)
        for start in range(0, len(ordered), _AT_ONCE):
            try:
                errors = self._push(agents, host, ordered[start : start + _AT_ONCE])
            except Unavailable:
                failed += 1
                continue
            failed += len(errors)
            if any(isinstance(err, AgentUnreachable) for err in errors.values()):
                self._db.transact(lambda tx: store.postpone(tx, host, self._clock.now() + _HOST_PAUSE))
                return failed
        return failed


def _in_order(key: Key) -> tuple[int, Key]:
    return _ORDER[key.kind], key


def _pause(failures: int) -> int:
    return int(min(2.0 ** min(failures, 10), _LONGEST_PAUSE) * MICROSECONDS)


def _show(tx: Tx, specs: Sequence[api.Spec]) -> None:
    """What is on its host is ACTIVE."""
    up: list[str] = []
    down: list[str] = []
    served: list[str] = []
    for spec in specs:
        if isinstance(spec, api.PortSpec):
            (up if spec.admin_state_up else down).append(spec.id)
        elif isinstance(spec, api.NetworkSpec):
            if spec.dhcp_mac is not None:
                served.append(spec.id)
        elif isinstance(spec, api.RouterSpec):
            up += [interface.port_id for interface in spec.interfaces]
            if spec.gateway is not None:
                up.append(spec.gateway.port_id)
            floating_store.set_active(tx, [floating.id for floating in spec.floating], spec.id)
    port_store.set_status(tx, up, PortStatus.ACTIVE)
    port_store.set_status(tx, down, PortStatus.DOWN)
    port_store.set_dhcp_active(tx, served)
