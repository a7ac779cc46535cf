"""Does what is match what should be? The database against the hosts, as a pure comparison.

`Want` is read from the database, `Have` from the agents (each host's `HostState`). Both describe a cloud at rest: while
operations run, differences are normal.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pileus.agent.api import HostState, PowerState
from pileus.compute.servers.domain import Server, Task, VmState
from pileus.placement.domain import Allocation

_BUSY = frozenset(Task)


@dataclass(frozen=True)
class Discrepancy:
    """One difference. `kind` is what differs (guest, disks, tap, allocation ...), `where` a host or "database"."""

    kind: str
    where: str
    what: str
    problem: str

    def __str__(self) -> str:
        return f"{self.kind} {self.what} on {self.where}: {self.problem}"


@dataclass(frozen=True)
class WantedHost:
    """What a host should carry. Sets that are None are not compared."""

    # Server -> whether it runs. None: a server in ERROR, of which a failed deletion may have left anything or nothing.
    guests: Mapping[str, bool | None] = field(default_factory=dict)
    taps: frozenset[str] = frozenset()  # ports
    networks: frozenset[str] | None = None
    routers: frozenset[str] | None = None
    address_sets: frozenset[str] | None = None
    dhcp_hosts: Mapping[str, frozenset[str]] | None = None  # network -> ports


@dataclass(frozen=True)
class Want:
    """What should be."""

    servers: Sequence[Server]  # not deleted
    live: frozenset[str]  # resources with an unfinished saga
    hosts: Mapping[str, WantedHost]
    addresses: frozenset[tuple[str, str]] | None = None  # (port, address) that servers' ports have


@dataclass(frozen=True)
class Have:
    """What is. A host that did not answer is missing from `hosts`."""

    hosts: Mapping[str, HostState]
    allocations: Sequence[Allocation] = ()
    addresses: frozenset[tuple[str, str]] | None = None  # (port, address) that are allocated to servers' ports
    miscounted: Sequence[str] = ()  # sentences of `Placement.miscounted`


def wanted_host(servers: Iterable[Server], ports: Mapping[str, Iterable[str]]) -> WantedHost:
    """What a host should carry for its servers. `ports`: server -> its ports' ids."""
    guests: dict[str, bool | None] = {}
    taps: set[str] = set()
    for server in servers:
        if server.vm_state == VmState.ERROR:
            guests[server.id] = None
        else:
            guests[server.id] = server.vm_state == VmState.ACTIVE
        taps.update(ports.get(server.id, ()))
    return WantedHost(guests=guests, taps=frozenset(taps))


def compare(want: Want, have: Have) -> list[Discrepancy]:
    """All differences, sorted by host. Empty for a clean cloud."""
    found = [*_states(want), *_allocations(want, have), *_addresses(want, have)]
    for host in sorted({*want.hosts, *have.hosts}):
        state = have.hosts.get(host)
        if state is None:
            found.append(Discrepancy("host", host, "agent", "does not answer, so that nothing of it is known"))
        else:
            found.extend(_host(host, want.hosts.get(host, WantedHost()), state))
    return found


def _states(want: Want) -> Iterable[Discrepancy]:
    for server in want.servers:
        busy = server.vm_state == VmState.BUILDING or server.task_state in _BUSY
        if busy and server.id not in want.live:
            state = f"{server.vm_state}, {server.task_state}"
            yield Discrepancy("server", "database", server.id, f"is in a passing state ({state}) with no operation")


def _allocations(want: Want, have: Have) -> Iterable[Discrepancy]:
    servers = {server.id: server for server in want.servers}
    allocated: dict[str, dict[str, int]] = {}
    for one in have.allocations:
        server = servers.get(one.consumer_id)
        if server is None or server.host != one.host:
            place = "no server" if server is None else f"a server on {server.host}"
            yield Discrepancy("allocation", one.host, one.consumer_id, f"{one.resource_class} is held by {place}")
        else:
            allocated.setdefault(one.consumer_id, {})[one.resource_class] = one.used
    for server in want.servers:
        if server.host is None or server.id in want.live:
            continue
        flavor, held = server.flavor, allocated.get(server.id, {})
        due = {
            "VCPU": flavor.vcpus,
            "MEMORY_MB": flavor.ram,
            "DISK_GB": flavor.disk + flavor.ephemeral + -(-flavor.swap // 1024),
        }
        missing = {name: amount for name, amount in due.items() if amount and held.get(name) != amount}
        for name, amount in missing.items():
            problem = f"{name} should be {amount} and is {held.get(name, 0)}"
            yield Discrepancy("allocation", server.host, server.id, problem)
    for sentence in have.miscounted:
        yield Discrepancy("inventory", "database", "used", sentence)


def _addresses(want: Want, have: Have) -> Iterable[Discrepancy]:
    if want.addresses is None or have.addresses is None:
        return
    for port, address in sorted(want.addresses - have.addresses):
        yield Discrepancy("address", "database", address, f"of port {port} is not allocated")
    for port, address in sorted(have.addresses - want.addresses):
        yield Discrepancy("address", "database", address, f"is allocated to port {port}, which does not have it")


def _host(host: str, want: WantedHost, have: HostState) -> Iterable[Discrepancy]:
    due = frozenset(server_id for server_id, running in want.guests.items() if running is not None)
    optional = frozenset(want.guests) - due
    yield from _sets("guest", host, due, frozenset(have.guests) - optional)
    for server_id, running in sorted(want.guests.items()):
        seen = have.guests.get(server_id)
        if running is not None and seen is not None and (seen == PowerState.RUNNING) != running:
            problem = f"is {seen} and should {'run' if running else 'be off'}"
            yield Discrepancy("guest", host, server_id, problem)
    yield from _sets("disks", host, due, frozenset(have.disks) - optional)
    yield from _sets("metadata", host, due, frozenset(have.metadata) - optional)
    yield from _sets("tap", host, want.taps, frozenset(have.taps))
    for kind, wanted, there in (
        ("network", want.networks, have.networks),
        ("router", want.routers, have.routers),
        ("address set", want.address_sets, have.address_sets),
    ):
        if wanted is not None:
            yield from _sets(kind, host, wanted, frozenset(there))
    if want.dhcp_hosts is not None:
        for network in sorted({*want.dhcp_hosts, *have.dhcp_hosts}):
            wanted_ports = want.dhcp_hosts.get(network, frozenset())
            yield from _sets("DHCP host", host, wanted_ports, frozenset(have.dhcp_hosts.get(network, ())))
    for stray in have.strays:
        yield Discrepancy("stray", host, stray, "carries our prefix and belongs to nothing")


def _sets(kind: str, host: str, want: frozenset[str], have: frozenset[str]) -> Iterable[Discrepancy]:
    for thing in sorted(want - have):
        yield Discrepancy(kind, host, thing, "is missing")
    for thing in sorted(have - want):
        yield Discrepancy(kind, host, thing, "should not be there")
