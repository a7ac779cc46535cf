"""The services of the cloud, from what is known of its processes.

Every host runs an agent, which is its nova-compute. Conductors are known by the loops that they run; the
scheduler is a part of each. A conductor is up while its loops run, so one that has died shows as down until others
have taken over all its loops.
"""

import uuid
from collections.abc import Sequence
from typing import Protocol

from pileus.compute.hypervisors.store import loads
from pileus.compute.services.domain import (
    COMPUTE,
    CONDUCTOR,
    INTERNAL_ZONE,
    SCHEDULER,
    ComputeService,
    ServiceUpdate,
)
from pileus.hosts.domain import Host
from pileus.kernel.clock import MICROSECONDS, Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Conflict, NotFound
from pileus.kernel.loops import states
from pileus.kernel.owner import host_of

CONDUCTOR_DOWN_AFTER = 120
"""Seconds without a run of any loop after which a conductor counts as down: some loops run every few seconds."""

_IDS = uuid.UUID("5d7c9a0e-61c3-4bb0-9f4b-3f1f6f6f2c11")


class Hosts(Protocol):
    """The registry of hosts."""

    def all(self, tx: Tx) -> Sequence[Host]:
        """All hosts."""
        ...

    def set_enabled(self, tx: Tx, name: str, enabled: bool, reason: str | None = None) -> Host:
        """Let a host take new servers, or not."""
        ...

    def set_forced_down(self, tx: Tx, name: str, forced_down: bool) -> Host:
        """Declare a host to be down, or no longer."""
        ...

    def forget(self, tx: Tx, name: str) -> None:
        """Remove a host from the registry."""
        ...


class Inventories(Protocol):
    """Who keeps what hosts have."""

    def forget_host(self, tx: Tx, host: str) -> None:
        """Remove a host's inventories."""
        ...


class Memberships(Protocol):
    """Who knows which aggregates hosts are in."""

    def forget_host(self, tx: Tx, host: str) -> None:
        """Take a host out of all aggregates."""
        ...


class ComputeServices:
    """Services as administrators see and change them. Methods run in the caller's transaction."""

    def __init__(self, hosts: Hosts, placement: Inventories, aggregates: Memberships, clock: Clock) -> None:
        self._hosts = hosts
        self._placement = placement
        self._aggregates = aggregates
        self._clock = clock

    def all(self, tx: Tx, *, host: str | None = None, binary: str | None = None) -> list[ComputeService]:
        """The services, those of one host or of one kind if asked for."""
        found = [*self._conductors(tx), *(_of_host(one) for one in self._hosts.all(tx))]
        return [one for one in found if host in (None, one.host) and binary in (None, one.binary)]

    def get(self, tx: Tx, service_id: str, *, by_number: bool) -> ComputeService:
        """One service by its id, or by its number. NotFound."""
        for one in self.all(tx):
            if service_id == (str(one.number) if by_number else one.id):
                return one
        raise NotFound(f"Service {service_id} could not be found.")

    def on_host(self, tx: Tx, host: str, binary: str) -> ComputeService:
        """The service of a kind on a host. NotFound."""
        for one in self.all(tx, host=host, binary=binary):
            return one
        raise NotFound(f"Could not find binary {binary} on host {host}.")

    def update(self, tx: Tx, service: ComputeService, update: ServiceUpdate) -> ComputeService:
        """Change a service. BadRequest for one that is not nova-compute: nothing is scheduled to others."""
        if service.binary != COMPUTE:
            raise BadRequest(
                f"Updating a {service.binary} service is not supported. Only {COMPUTE} services can be updated."
            )
        if update.enabled is not None:
            self._hosts.set_enabled(tx, service.host, update.enabled, update.disabled_reason)
        if update.forced_down is not None:
            self._hosts.set_forced_down(tx, service.host, update.forced_down)
        return self.on_host(tx, service.host, service.binary)

    def delete(self, tx: Tx, service: ComputeService) -> None:
        """Remove a host from the cloud; if its agent still runs, it registers again. Conflict if servers are on it."""
        if service.binary != COMPUTE:
            raise BadRequest(f"A {service.binary} service is known only while it runs, and cannot be deleted.")
        if loads(tx, [service.host]):
            raise Conflict(
                "Unable to delete compute service that is hosting instances. Migrate or delete the instances first."
            )
        self._placement.forget_host(tx, service.host)
        self._hosts.forget(tx, service.host)
        self._aggregates.forget_host(tx, service.host)  # only now: whoever was about to add it finds it gone

    def _conductors(self, tx: Tx) -> list[ComputeService]:
        seen: dict[str, int] = {}
        for loop in states(tx):
            if loop.owner is not None:
                host = host_of(loop.owner)
                seen[host] = max(seen.get(host, 0), loop.started_at or 0, loop.finished_at or 0)
        now = self._clock.now()
        return [
            _of_conductor(binary, host, at, up=now - at <= CONDUCTOR_DOWN_AFTER * MICROSECONDS)
            for host, at in sorted(seen.items())
            for binary in (CONDUCTOR, SCHEDULER)
        ]


def _of_host(host: Host) -> ComputeService:
    return ComputeService(
        id=host.id,
        number=host.number,
        binary=COMPUTE,
        host=host.name,
        zone=host.availability_zone,
        enabled=host.enabled,
        up=host.up,
        updated_at=host.last_seen,
        disabled_reason=host.disabled_reason,
        forced_down=host.forced_down,
    )


def _of_conductor(binary: str, host: str, at: int, *, up: bool) -> ComputeService:
    """Ids are derived, so that they are the same in every list; numbers from above those of hosts."""
    derived = uuid.uuid5(_IDS, f"{binary}@{host}")
    return ComputeService(
        id=str(derived),
        number=(1 << 30) + derived.int % (1 << 30),
        binary=binary,
        host=host,
        zone=INTERNAL_ZONE,
        enabled=True,
        up=up,
        updated_at=at,
    )
