"""Placement: what hosts have and who takes it.

A claim is one conditional update per resource class, so that two claims cannot both take the last place; the
database serialises them by the host's rows, which are always touched in the order of their class names.
"""

from collections.abc import Mapping

from pileus.kernel.db import Tx
from pileus.kernel.errors import Conflict
from pileus.placement import store
from pileus.placement.domain import DISK_GB, MEMORY_MB, RESOURCE_CLASSES, VCPU, Allocation, Inventory
from pileus.placement.settings import PlacementSettings

_MIB_PER_GIB = 1024


class DoesNotFit(Conflict):
    """The host has less left than is claimed. `transient`: another host may be chosen."""

    transient = True


class Placement:
    """Inventories and allocations. Amounts are whole units of the resource class: VCPU, MiB, GiB."""

    def __init__(self, settings: PlacementSettings) -> None:
        self._settings = settings

    def set_inventory(self, tx: Tx, host: str, totals: Mapping[str, int]) -> None:
        """Make a host's inventory be `totals` (VCPU, MEMORY_MB, DISK_GB as the host has them, before ratios)."""
        known = {record.resource_class: record for record in store.inventories(tx, host)}
        for resource_class in sorted(totals):
            wanted = self._inventory(host, resource_class, totals[resource_class])
            there = known.get(resource_class)
            if there is None or _shape(there) != _shape(wanted):
                store.put_inventory(tx, wanted)

    def forget_host(self, tx: Tx, host: str) -> None:
        """Remove a host's inventories: nothing can be claimed on it any more. Allocations stay with their consumers."""
        store.delete_inventory(tx, host)

    def claim(
        self,
        tx: Tx,
        consumer_id: str,
        project_id: str,
        user_id: str,
        host: str,
        resources: Mapping[str, int],
    ) -> None:
        """Allocate `resources` of `host` to a consumer. DoesNotFit if they are not there any more, Conflict if the
        consumer has other allocations already; the same claim again changes nothing.

        The caller rolls its transaction back on an error: part of the claim may have been counted.
        """
        wanted = {name: amount for name, amount in resources.items() if amount > 0}
        present = store.allocations_of(tx, consumer_id)
        if present:
            if {(one.host, one.resource_class): one.used for one in present} == {
                (host, name): amount for name, amount in wanted.items()
            }:
                return
            raise Conflict(f"Consumer {consumer_id} has allocations already.")
        for resource_class in sorted(wanted):
            if not store.take(tx, host, resource_class, wanted[resource_class]):
                raise DoesNotFit(f"Host {host} has no {wanted[resource_class]} {resource_class} left.")
        if wanted:
            store.insert_allocations(
                tx,
                [
                    {
                        "consumer_id": consumer_id,
                        "host": host,
                        "resource_class": name,
                        "used": amount,
                        "project_id": project_id,
                        "user_id": user_id,
                    }
                    for name, amount in sorted(wanted.items())
                ],
            )

    def release(self, tx: Tx, consumer_id: str) -> None:
        """Give back everything that a consumer has. Accepts a consumer that has nothing."""
        present = store.allocations_of(tx, consumer_id)
        for one in present:
            store.give_back(tx, one.host, one.resource_class, one.used)
        if present:
            store.delete_allocations(tx, consumer_id)

    def usages(self, tx: Tx) -> dict[str, dict[str, Inventory]]:
        """All inventories with what is used of them: host -> resource class -> inventory. One query."""
        found: dict[str, dict[str, Inventory]] = {}
        for record in store.inventories(tx):
            found.setdefault(record.host, {})[record.resource_class] = record
        return found

    def candidates(self, tx: Tx, resources: Mapping[str, int]) -> list[str]:
        """The hosts on which `resources` would fit now."""
        return sorted(
            host
            for host, records in self.usages(tx).items()
            if all(name in records and records[name].free >= amount for name, amount in resources.items() if amount > 0)
        )

    def allocations(self, tx: Tx) -> list[Allocation]:
        """Every allocation, for audits."""
        return store.all_allocations(tx)

    def miscounted(self, tx: Tx) -> list[str]:
        """Inventories whose `used` is not the sum of their allocations, in words. Empty unless there is a defect."""
        sums = store.allocated(tx)
        wrong = []
        for record in store.inventories(tx):
            true = sums.get((record.host, record.resource_class), 0)
            if record.used != true:
                wrong.append(
                    f"{record.host} counts {record.used} {record.resource_class} as used, allocated are {true}"
                )
        return wrong

    def _inventory(self, host: str, resource_class: str, total: int) -> Inventory:
        settings = self._settings
        reserved, ratio = {
            VCPU: (settings.reserved_host_cpus, settings.cpu_allocation_ratio),
            MEMORY_MB: (settings.reserved_host_memory_mb, settings.ram_allocation_ratio),
            DISK_GB: (-(-settings.reserved_host_disk_mb // _MIB_PER_GIB), settings.disk_allocation_ratio),
        }.get(resource_class, (0, 1.0))
        return Inventory(host, resource_class, total, min(reserved, total), ratio, 0)


def _shape(record: Inventory) -> tuple[int, int, float]:
    return record.total, record.reserved, record.allocation_ratio


__all__ = ["DISK_GB", "MEMORY_MB", "RESOURCE_CLASSES", "VCPU", "DoesNotFit", "Inventory", "Placement"]
