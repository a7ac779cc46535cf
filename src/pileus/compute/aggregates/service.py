"""Host aggregates and what follows from them: which availability zone each host is in.

The registry of hosts keeps each host's zone, so that whoever asks needs no aggregates. It is written here alone, in the
transaction that changes a zone or who is in it, with the hosts' rows held: a host is in one zone, and in none other
than its aggregates say. Servers never move to another zone by such a change; it is refused while there are any.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from pileus.compute.aggregates import store
from pileus.compute.aggregates.domain import ZONE, Aggregate, values_of
from pileus.compute.hypervisors.store import loads
from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Conflict, NotFound, PileusError
from pileus.kernel.ids import new_uuid

_MAX_NUMBER = (1 << 31) - 1


class Hosts(Protocol):
    """The registry of hosts, as far as zones are concerned."""

    @property
    def default_zone(self) -> str:
        """The zone of hosts that are in no other."""
        ...

    def hold(self, tx: Tx, names: Sequence[str]) -> Mapping[str, str]:
        """Let nobody else change these hosts until the transaction ends. Their zones, for those that there are."""
        ...

    def set_availability_zone(self, tx: Tx, name: str, zone: str) -> None:
        """Put a host into a zone."""
        ...


class Precaching(Protocol):
    """Who has hosts fetch images."""

    def request(self, tx: Tx, actor: Actor, hosts: Sequence[str], image_ids: Sequence[str]) -> None:
        """Note that these hosts are to have these images. BadRequest if the actor sees no such image."""
        ...


def metadata_by_host(tx: Tx) -> dict[str, dict[str, frozenset[str]]]:
    """What the aggregates of each host say: host -> key -> values. Hosts in none are left out. One query."""
    found: dict[str, list[Mapping[str, str]]] = {}
    for host, _, metadata in store.metadata(tx):
        found.setdefault(host, []).append(metadata)
    return {host: values_of(many) for host, many in found.items()}


class Aggregates:
    """Host aggregates. `changed` is called when a change of what the scheduler looks at is durable."""

    def __init__(self, hosts: Hosts, precaching: Precaching, changed: Callable[[], None], clock: Clock) -> None:
        self._hosts = hosts
        self._precaching = precaching
        self._changed = changed
        self._clock = clock

    # --- reading --------------------------------------------------------------------------------------------

    def all(self, tx: Tx) -> list[Aggregate]:
        """All aggregates in the order in which they were made."""
        return store.all_aggregates(tx)

    def get(self, tx: Tx, aggregate_id: str) -> Aggregate:
        """One aggregate by its number. NotFound."""
        return self._found(tx, aggregate_id, lock=False)

    def named(self, tx: Tx, name: str) -> Aggregate:
        """One aggregate by its name or number. NotFound."""
        number = store.number_of(tx, name)
        return self.get(tx, name if number is None else str(number))

    # --- changing -------------------------------------------------------------------------------------------

    def create(self, tx: Tx, name: str, zone: str | None) -> Aggregate:
        """Make an aggregate without hosts. Conflict if the name is taken."""
        taken = Conflict(f"Aggregate {name} already exists.")
        if store.number_of(tx, name) is not None:
            raise taken
        row = {
            "id": new_uuid(),
            "name": name,
            "metadata": {} if zone is None else {ZONE: zone},
            "created_at": self._clock.now(),
            "updated_at": None,
        }
        if not store.insert(tx, row):
            raise taken
        return self.get(tx, str(store.number_of(tx, name)))

    def update(self, tx: Tx, aggregate_id: str, changes: Mapping[str, str | None]) -> Aggregate:
        """Change name, zone or both. Conflict if the name is taken, BadRequest if the zone cannot be changed."""
        aggregate = self._found(tx, aggregate_id, lock=True)
        name = changes.get("name") or aggregate.name
        if store.number_of(tx, name) not in (None, aggregate.number):
            raise Conflict(f"Aggregate {name} already exists.")
        metadata = {ZONE: changes[ZONE]} if ZONE in changes else {}
        return self._change(tx, aggregate, name, metadata, "update aggregate")

    def set_metadata(self, tx: Tx, aggregate_id: str, metadata: Mapping[str, str | None]) -> Aggregate:
        """Set some keys and remove those whose value is None; the others stay. BadRequest if the zone cannot be
        changed."""
        aggregate = self._found(tx, aggregate_id, lock=True)
        return self._change(tx, aggregate, aggregate.name, metadata, "update aggregate metadata")

    def delete(self, tx: Tx, aggregate_id: str) -> None:
        """Delete an aggregate. BadRequest if there are hosts in it."""
        aggregate = self._found(tx, aggregate_id, lock=True)
        if aggregate.hosts:
            raise BadRequest(_cannot("delete", aggregate, "Host aggregate is not empty"))
        store.delete(tx, aggregate.number)

    def add_host(self, tx: Tx, aggregate_id: str, host: str) -> Aggregate:
        """Put a host into an aggregate. NotFound if there is no such host; Conflict if it is in the aggregate or in
        another zone, or has servers that would change their zone."""
        aggregate = self._found(tx, aggregate_id, lock=True)
        zones = self._hosts.hold(tx, [host])
        if host not in zones:
            raise NotFound(f"Compute host {host} could not be found.")
        if host in aggregate.hosts:
            raise Conflict(f"Aggregate {aggregate.number} already has host {host}.")
        if aggregate.availability_zone is not None:
            self._move(tx, aggregate, zones, aggregate.availability_zone, Conflict, "add host to aggregate")
        store.add_host(tx, aggregate.number, host)
        return self._written(tx, aggregate)

    def remove_host(self, tx: Tx, aggregate_id: str, host: str) -> Aggregate:
        """Take a host out of an aggregate. NotFound if it is not in it, Conflict if it has servers that would change
        their zone."""
        aggregate = self._found(tx, aggregate_id, lock=True)
        if host not in aggregate.hosts:
            raise NotFound(f"Cannot remove host {host} in aggregate {aggregate.number}")
        zones = self._hosts.hold(tx, [host])
        if aggregate.availability_zone is not None:
            self._move(tx, aggregate, zones, None, Conflict, "remove host from aggregate")
        store.remove_host(tx, aggregate.number, host)
        return self._written(tx, aggregate)

    def forget_host(self, tx: Tx, host: str) -> None:
        """A host was removed from the cloud; it is in no aggregate any more."""
        store.forget_host(tx, host)
        tx.after_commit(self._changed)

    def cache_images(self, tx: Tx, actor: Actor, aggregate_id: str, image_ids: Sequence[str]) -> None:
        """Have all hosts of an aggregate fetch images, in the background. BadRequest if there is no such image."""
        aggregate = self.get(tx, aggregate_id)
        self._precaching.request(tx, actor, aggregate.hosts, image_ids)

    # --- zones ----------------------------------------------------------------------------------------------

    def _change(
        self, tx: Tx, aggregate: Aggregate, name: str, metadata: Mapping[str, str | None], action: str
    ) -> Aggregate:
        if ZONE in metadata:
            zone = metadata[ZONE]
            if not zone:
                reason = f"Aggregate {aggregate.name} does not support empty named availability zone"
                raise BadRequest(_cannot(action, aggregate, reason))
            self._move(tx, aggregate, self._hosts.hold(tx, aggregate.hosts), zone, BadRequest, action)
        changed = {key: value for key, value in (aggregate.metadata | dict(metadata)).items() if value is not None}
        store.change(tx, aggregate.number, {"name": name, "metadata": changed})
        return self._written(tx, aggregate)

    def _move(
        self,
        tx: Tx,
        aggregate: Aggregate,
        zones: Mapping[str, str],
        zone: str | None,
        refusal: type[PileusError],
        action: str,
    ) -> None:
        """Make `zone` what the aggregate says of hosts whose rows are held; `zones` has the ones that they are in.
        None: it says nothing any more."""
        elsewhere: dict[str, str] = {}
        for host, number, metadata in store.metadata(tx, list(zones)):
            if ZONE in metadata and number != aggregate.number:
                elsewhere[host] = metadata[ZONE]
        conflicting = {other for other in elsewhere.values() if zone not in (None, other)}
        if conflicting:
            reason = f"One or more hosts already in availability zone(s) {sorted(conflicting)}"
            raise refusal(_cannot(action, aggregate, reason))
        target = zone or self._hosts.default_zone
        moving = [host for host, now in zones.items() if host not in elsewhere and now != target]
        if moving and loads(tx, moving):
            raise refusal(_cannot(action, aggregate, "One or more hosts contain instances in this zone"))
        for host in moving:
            self._hosts.set_availability_zone(tx, host, target)

    def _found(self, tx: Tx, aggregate_id: str, *, lock: bool) -> Aggregate:
        number = int(aggregate_id) if aggregate_id.isascii() and aggregate_id.isdecimal() else 0
        aggregate = store.get(tx, number, lock=lock) if number <= _MAX_NUMBER else None
        if aggregate is None:
            raise NotFound(f"Aggregate {aggregate_id} could not be found.")
        return aggregate

    def _written(self, tx: Tx, aggregate: Aggregate) -> Aggregate:
        store.change(tx, aggregate.number, {"updated_at": self._clock.now()})
        tx.after_commit(self._changed)
        return self.get(tx, str(aggregate.number))


def _cannot(action: str, aggregate: Aggregate, reason: str) -> str:
    return f"Cannot {action} {aggregate.number}. Reason: {reason}."
