"""Hypervisors: the registry of hosts, with what placement and the servers say of each.

There are at most some ten thousand hosts and the registry reads them all at once, so lists are cut to pages here.
"""

from collections.abc import Sequence
from typing import Protocol

from pileus.compute.hypervisors import store
from pileus.compute.hypervisors.domain import HostedServer, Hypervisor, Load, Statistics, Usage
from pileus.compute.settings import ComputeSettings
from pileus.hosts.domain import Host
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, NotFound
from pileus.placement.domain import DISK_GB, MEMORY_MB, VCPU, Inventory


class Hosts(Protocol):
    """The registry of hosts."""

    def all(self, tx: Tx) -> Sequence[Host]:
        """All hosts."""
        ...


class Usages(Protocol):
    """Who knows what is used of hosts."""

    def usages(self, tx: Tx) -> dict[str, dict[str, Inventory]]:
        """Host -> resource class -> inventory."""
        ...


class Hypervisors:
    """Hosts as administrators see them. A hypervisor has the host's id (UUID) and number (in old versions)."""

    def __init__(self, settings: ComputeSettings, hosts: Hosts, placement: Usages, clock: Clock) -> None:
        self.settings = settings
        self.now = clock.now
        self._hosts = hosts
        self._placement = placement

    def page(self, tx: Tx, *, limit: int | None, marker: str | None, by_number: bool) -> list[Host]:
        """Hosts in the order of their numbers: after the one that the marker names, `limit` (None: all) and one
        further if there are more. BadRequest if there is no such marker."""
        hosts = self._sorted(tx)
        start = 0
        if marker is not None:
            names = [str(host.number) if by_number else host.id for host in hosts]
            if marker not in names:
                raise BadRequest(f"marker [{marker}] not found")
            start = names.index(marker) + 1
        if limit is None:
            return hosts[start:]
        return hosts[start : start + limit + 1] if limit else []

    def search(self, tx: Tx, pattern: str) -> list[Host]:
        """The hosts with `pattern` in their names. NotFound if there are none."""
        found = [host for host in self._sorted(tx) if pattern in host.name]
        if not found:
            raise NotFound(f"No hypervisor matching '{pattern}' could be found.")
        return found

    def get(self, tx: Tx, hypervisor_id: str, *, by_number: bool) -> Host:
        """One host by its id, or by its number. NotFound."""
        for host in self._hosts.all(tx):
            if hypervisor_id == (str(host.number) if by_number else host.id):
                return host
        raise NotFound(f"Hypervisor with ID '{hypervisor_id}' could not be found.")

    def with_servers(self, tx: Tx, hosts: Sequence[Host]) -> dict[str, list[HostedServer]]:
        """Host name -> the servers on it; every host is there."""
        found = store.servers_on(tx, [host.name for host in hosts]) if hosts else {}
        return {host.name: found.get(host.name, []) for host in hosts}

    def detailed(self, tx: Tx, hosts: Sequence[Host], *, servers: bool = False) -> list[Hypervisor]:
        """Hosts with what is used of them and, if asked for, their servers. Three queries for any number of hosts."""
        usages = self._placement.usages(tx)
        loads = store.loads(tx, [host.name for host in hosts]) if hosts else {}
        there = self.with_servers(tx, hosts) if servers else {}
        return [
            Hypervisor(host, _usage(usages.get(host.name, {})), loads.get(host.name, Load()), there.get(host.name))
            for host in hosts
        ]

    def statistics(self, tx: Tx) -> Statistics:
        """Sums over the hosts that are enabled."""
        shown = self.detailed(tx, [host for host in self._hosts.all(tx) if host.enabled])
        vcpus_used = sum(one.usage.vcpus for one in shown)
        memory, memory_used = sum(one.host.inventory.memory_mb for one in shown), sum(o.usage.memory_mb for o in shown)
        disk, disk_used = sum(one.host.inventory.disk_gb for one in shown), sum(o.usage.disk_gb for o in shown)
        return Statistics(
            count=len(shown),
            vcpus=sum(one.host.inventory.vcpus for one in shown),
            vcpus_used=vcpus_used,
            memory_mb=memory,
            memory_mb_used=memory_used,
            free_ram_mb=memory - memory_used,
            local_gb=disk,
            local_gb_used=disk_used,
            free_disk_gb=disk - disk_used,
            disk_available_least=sum(one.host.inventory.disk_gb_free for one in shown),
            running_vms=sum(one.load.servers for one in shown),
            current_workload=sum(one.load.busy for one in shown),
        )

    def _sorted(self, tx: Tx) -> list[Host]:
        return sorted(self._hosts.all(tx), key=lambda host: host.number)


def _usage(records: dict[str, Inventory]) -> Usage:
    def taken(resource_class: str) -> int:
        record = records.get(resource_class)
        return 0 if record is None else record.used + record.reserved

    vcpus = records.get(VCPU)
    return Usage(0 if vcpus is None else vcpus.used, taken(MEMORY_MB), taken(DISK_GB))
