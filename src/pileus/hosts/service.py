"""The registry of hosts. A host is known from its agent's first report on."""

import threading
from collections.abc import Callable, Mapping, Sequence

from pileus.agent.api import HostReport, Inventory, PowerState
from pileus.hosts import store
from pileus.hosts.domain import Host
from pileus.hosts.settings import HostsSettings
from pileus.kernel.clock import MICROSECONDS, Clock
from pileus.kernel.db import Database, Row, Tx
from pileus.kernel.errors import NotFound
from pileus.kernel.ids import new_uuid

InventoryChanged = Callable[[Tx, str, Inventory], None]
PowerObserved = Callable[[Tx, str, Mapping[str, PowerState], bool], None]
"""(tx, host, states, whether these are all guests of the host)."""

ADDRESS_SECONDS = 5.0


class Hosts:
    """Hosts and their reports. Who must hear of inventories and power states is told in the same transaction."""

    def __init__(
        self,
        settings: HostsSettings,
        clock: Clock,
        *,
        on_inventory: InventoryChanged,
        on_power: PowerObserved,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._on_inventory = on_inventory
        self._on_power = on_power

    def all(self, tx: Tx) -> list[Host]:
        """All hosts by name."""
        return [self._host(row) for row in store.all_hosts(tx)]

    def get(self, tx: Tx, name: str) -> Host:
        """One host. NotFound."""
        row = store.by_name(tx, name)
        if row is None:
            raise NotFound(f"Compute host {name} could not be found.")
        return self._host(row)

    def report(self, tx: Tx, name: str, report: HostReport) -> None:
        """Take over what an agent says of its host; register the host if it is new."""
        now = self._clock.now()
        row = store.by_name(tx, name)
        said = {
            "address": report.address,
            "inventory": report.inventory,
            "last_seen": now,
            "booted_at": report.booted_at,
        }
        if row is None:
            store.insert(
                tx,
                {
                    "id": new_uuid(),
                    "name": name,
                    "availability_zone": self._settings.availability_zone,
                    "enabled": True,
                    "disabled_reason": None,
                    "forced_down": False,
                    "created_at": now,
                    **said,
                },
            )
        else:
            store.update(tx, name, said)
        if row is None or row.inventory != report.inventory:
            self._on_inventory(tx, name, report.inventory)
        self._on_power(tx, name, report.power, True)

    def power(self, tx: Tx, name: str, states: Mapping[str, PowerState]) -> None:
        """Take over changes of power that an agent saw."""
        self._on_power(tx, name, states, False)

    def set_enabled(self, tx: Tx, name: str, enabled: bool, reason: str | None = None) -> Host:
        """Let a host take new servers, or not. NotFound."""
        if not store.update(tx, name, {"enabled": enabled, "disabled_reason": None if enabled else reason}):
            raise NotFound(f"Compute host {name} could not be found.")
        return self.get(tx, name)

    def set_forced_down(self, tx: Tx, name: str, forced_down: bool) -> Host:
        """Declare a host to be down, or no longer. NotFound."""
        if not store.update(tx, name, {"forced_down": forced_down}):
            raise NotFound(f"Compute host {name} could not be found.")
        return self.get(tx, name)

    @property
    def default_zone(self) -> str:
        """The availability zone of hosts that are in no other."""
        return self._settings.availability_zone

    def hold(self, tx: Tx, names: Sequence[str]) -> dict[str, str]:
        """Let nobody else change these hosts until the transaction ends. Their availability zones, for those that
        there are."""
        return {row.name: row.availability_zone for row in store.locked(tx, names)}

    def set_availability_zone(self, tx: Tx, name: str, zone: str) -> None:
        """Put a host into a zone. Host aggregates decide that: nobody else calls this."""
        store.update(tx, name, {"availability_zone": zone})

    def forget(self, tx: Tx, name: str) -> None:
        """Remove a host from the registry. If its agent still runs, its next report registers it anew."""
        store.delete(tx, name)

    def _host(self, row: Row) -> Host:
        age = self._clock.now() - row.last_seen
        return Host(
            id=row.id,
            number=row.number,
            name=row.name,
            address=row.address,
            inventory=row.inventory,
            availability_zone=row.availability_zone,
            enabled=row.enabled,
            disabled_reason=row.disabled_reason,
            forced_down=row.forced_down,
            last_seen=row.last_seen,
            booted_at=row.booted_at,
            created_at=row.created_at,
            up=not row.forced_down and age <= self._settings.down_after * MICROSECONDS,
        )


class HostAddresses:
    """Where agents are reached, remembered for a few seconds: for `kernel.rpc.Agents`."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}
        self._until = 0.0

    def __call__(self, name: str) -> str:
        """The address of a host's agent. NotFound if no such host ever reported."""
        with self._lock:
            if name not in self._known or self._clock.monotonic() >= self._until:
                with self._db.read() as tx:
                    self._known = {row.name: row.address for row in store.all_hosts(tx)}
                self._until = self._clock.monotonic() + ADDRESS_SECONDS
            if name not in self._known:
                raise NotFound(f"Compute host {name} could not be found.")
            return self._known[name]
