"""Filters remove the hosts that cannot take a server, weighers choose among the rest.

The view of the hosts is a snapshot that may be a second old, so that a choice among ten thousand hosts costs no
database reads; what was chosen since is subtracted from it. If it shows no host, it is taken anew before the
refusal. A refusal says how many hosts each filter removed.
"""

import heapq
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

from pileus.agent.api import Inventory as HostInventory
from pileus.kernel.clock import Clock
from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import PileusError
from pileus.placement.domain import DISK_GB, MEMORY_MB, VCPU, Inventory
from pileus.scheduler.aggregates import asks_for_metadata, has_metadata, projects_of, takes_properties
from pileus.scheduler.domain import AggregateMetadata, HostRequest, HostView
from pileus.scheduler.settings import SchedulerSettings


class NoValidHost(PileusError):
    """No host can take the server. The message counts what stood in the way."""

    status = 500


class KnownHost(Protocol):
    """What the scheduler reads of a host's registration."""

    @property
    def name(self) -> str: ...
    @property
    def up(self) -> bool: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def availability_zone(self) -> str: ...
    @property
    def inventory(self) -> HostInventory: ...
    @property
    def booted_at(self) -> int: ...


class HostRegistry(Protocol):
    """Who knows the hosts."""

    def all(self, tx: Tx) -> Sequence[KnownHost]:
        """All hosts."""
        ...


class Usages(Protocol):
    """Who knows what is used of them."""

    def usages(self, tx: Tx) -> dict[str, dict[str, Inventory]]:
        """Host -> resource class -> inventory."""
        ...


MetadataByHost = Callable[[Tx], Mapping[str, AggregateMetadata]]
"""Host -> what its aggregates say; hosts in none may be left out."""


def _no_aggregates(_tx: Tx) -> Mapping[str, AggregateMetadata]:
    return {}


@dataclass(frozen=True)
class Filter:
    """A reason to leave a host out, and how a refusal words it after a number of hosts. `asked`: whether a request
    gives the filter anything to do."""

    name: str
    removed: str
    asked: Callable[[HostRequest], bool]
    keeps: Callable[[HostView, HostRequest], bool]


def _has(resource_class: str) -> Filter:
    return Filter(
        resource_class,
        f"without enough free {resource_class}",
        lambda request: request.resources.get(resource_class, 0) > 0,
        lambda host, request: host.free.get(resource_class, 0) >= request.resources[resource_class],
    )


FILTERS: tuple[Filter, ...] = (
    Filter(
        "RequestedHost",
        "not the requested host",
        lambda request: request.host is not None,
        lambda host, request: host.name == request.host,
    ),
    Filter("ComputeFilter", "down or disabled", lambda _: True, lambda host, _: host.available),
    Filter(
        "AvailabilityZoneFilter",
        "in another availability zone",
        lambda request: request.availability_zone is not None,
        lambda host, request: host.availability_zone == request.availability_zone,
    ),
    Filter(
        "AggregateMultiTenancyIsolation",
        "kept for other projects",
        lambda request: request.project_id is not None,
        lambda host, request: host.projects is None or request.project_id in host.projects,
    ),
    Filter(
        "AggregateInstanceExtraSpecsFilter",
        "in no aggregate that the flavor asks for",
        asks_for_metadata,
        has_metadata,
    ),
    Filter(
        "AggregateImagePropertiesIsolation",
        "kept for images with other properties",
        lambda request: bool(request.image_properties),
        takes_properties,
    ),
    Filter(
        "SameHostFilter",
        "without the servers of hint same_host",
        lambda request: request.same_hosts is not None,
        lambda host, request: host.name in (request.same_hosts or ()),
    ),
    Filter(
        "DifferentHostFilter",
        "with a server of hint different_host",
        lambda request: bool(request.different_hosts),
        lambda host, request: host.name not in request.different_hosts,
    ),
    Filter(
        "RetryFilter",
        "refused it before",
        lambda request: bool(request.tried),
        lambda host, request: host.name not in request.tried,
    ),
    _has(VCPU),
    _has(MEMORY_MB),
    _has(DISK_GB),
)


class Scheduler:
    """Chooses hosts. Thread-safe."""

    def __init__(
        self,
        settings: SchedulerSettings,
        hosts: HostRegistry,
        placement: Usages,
        clock: Clock,
        aggregates: MetadataByHost = _no_aggregates,
    ) -> None:
        self.settings = settings
        self._hosts = hosts
        self._placement = placement
        self._aggregates = aggregates
        self._clock = clock
        self._lock = threading.Lock()
        self._views: list[HostView] = []
        self._taken_at: float | None = None

    def select(self, db: Database, request: HostRequest) -> HostView:
        """The best host for `request`. NoValidHost explains itself."""
        with self._lock:
            fresh = self._refresh(db, self.settings.snapshot_age)
            try:
                chosen = self._choose(request)
            except NoValidHost:
                if fresh:
                    raise
                self._refresh(db, 0.0)
                chosen = self._choose(request)
            for name, amount in request.resources.items():
                chosen.free[name] = chosen.free.get(name, 0) - amount
            chosen.score = self._score(chosen)
            return chosen

    def forget(self) -> None:
        """Take a new snapshot for the next choice: a claim has shown this one to be out of date."""
        with self._lock:
            self._taken_at = None

    def _refresh(self, db: Database, age: float) -> bool:
        now = self._clock.monotonic()
        if self._taken_at is not None and now - self._taken_at < age:
            return False
        with db.read() as tx:
            usages = self._placement.usages(tx)
            said = self._aggregates(tx)
            self._views = [
                _view(host, usages.get(host.name, {}), said.get(host.name, {})) for host in self._hosts.all(tx)
            ]
        for view in self._views:
            view.score = self._score(view)
        self._taken_at = now
        return True

    def _choose(self, request: HostRequest) -> HostView:
        hosts: Sequence[HostView] = self._views
        removed: list[tuple[Filter, int]] = []
        for one in FILTERS:
            if not one.asked(request):
                continue
            kept = [host for host in hosts if one.keeps(host, request)]
            if len(kept) < len(hosts):
                removed.append((one, len(hosts) - len(kept)))
            hosts = kept
        if not hosts:
            raise NoValidHost(_refusal(len(self._views), removed))
        return random.choice(self._best(hosts, request))  # noqa: S311 - spreads load, guards nothing

    def _best(self, hosts: Sequence[HostView], request: HostRequest) -> list[HostView]:
        """The hosts with the highest scores. The image adds the same to each that holds it, so that the best of those
        and the best of all are enough to compare."""
        size, extra = self.settings.host_subset_size, self.settings.image_weight_multiplier
        best = heapq.nlargest(size, hosts, key=_SCORE)
        image = request.image_checksum
        if image is None:
            return best
        holding = heapq.nlargest(size, [host for host in hosts if image in host.cached_images], key=_SCORE)
        both = {host.name: host for host in (*holding, *best)}.values()
        return heapq.nlargest(size, both, key=lambda host: host.score + extra * (image in host.cached_images))

    def _score(self, host: HostView) -> float:
        settings = self.settings
        return (
            settings.ram_weight_multiplier * _share(host, MEMORY_MB)
            + settings.cpu_weight_multiplier * _share(host, VCPU)
            + settings.disk_weight_multiplier * _share(host, DISK_GB)
        )


_SCORE = attrgetter("score")


def _share(host: HostView, resource_class: str) -> float:
    capacity = host.capacity.get(resource_class, 0)
    return host.free.get(resource_class, 0) / capacity if capacity > 0 else 0.0


def _view(host: KnownHost, records: Mapping[str, Inventory], metadata: AggregateMetadata) -> HostView:
    return HostView(
        name=host.name,
        available=host.up and host.enabled,
        availability_zone=host.availability_zone,
        cached_images=frozenset(host.inventory.cached_images),
        capacity={name: record.capacity for name, record in records.items()},
        free={name: record.free for name, record in records.items()},
        metadata=metadata,
        projects=projects_of(metadata),
    )


def _refusal(hosts: int, removed: Sequence[tuple[Filter, int]]) -> str:
    if hosts == 0:
        return "No valid host was found. There are no hosts."
    counted = ", ".join(f"{count} {one.removed} ({one.name})" for one, count in removed)
    return f"No valid host was found. Of {hosts} hosts: {counted}."
