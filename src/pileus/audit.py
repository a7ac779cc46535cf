"""`pileus doctor --audit`: the database against the hosts, and the database against itself.

What is wanted is read from the database, what is there from each host's agent, which looks at the host itself. Quotas
keep no ledger of their own (usage is counted from the rows), so that they are true when the rows are.

Operations that run make differences for a moment, so a difference is reported only if it was there at every one of
several looks.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import NamedTuple

import msgspec

from pileus.agent.api import HostState
from pileus.compute.servers import store
from pileus.compute.servers.audit import Have, Want, WantedHost, compare, wanted_host
from pileus.compute.servers.domain import Server
from pileus.kernel.db import Tx
from pileus.kernel.errors import PileusError
from pileus.kernel.saga import State, listing
from pileus.network import audit as network_audit
from pileus.network.audit import HostNetworks, WiredPort
from pileus.placement.domain import Allocation
from pileus.settings import Settings
from pileus.supervisor.credentials import load_or_create
from pileus.wiring import Cloud, build

LOOKS = 6
PAUSE = 1.0  # seconds between looks
_STATE_TIMEOUT = 60.0
_MOST_SAGAS = 1_000_000


def audit(settings: Settings) -> Iterator[str]:
    """Where database and hosts differ, one line for each difference; none if they agree."""
    cloud = build(settings, load_or_create(settings.site.state_dir).host_secret)
    try:
        yield from lasting(cloud)
    finally:
        cloud.close()


def lasting(cloud: Cloud, looks: int = LOOKS, pause: float = PAUSE) -> list[str]:
    """The differences that are seen at every look, in the order of the last one."""
    found = differences(cloud)
    for _ in range(looks - 1):
        if not found:
            return []
        cloud.clock.sleep(pause)
        before = set(found)
        found = [line for line in differences(cloud) if line in before]
    return found


def differences(cloud: Cloud) -> list[str]:
    """The differences that there are now."""
    with cloud.db.read() as tx:
        recorded = _recorded(tx, cloud)
    states = _states(cloud, recorded.host_names)
    want = Want(
        servers=recorded.servers,
        live=recorded.live,
        hosts=_wanted_hosts(recorded),
        addresses=recorded.addresses_of_servers,
    )
    have = Have(
        hosts=states,
        allocations=recorded.allocations,
        addresses=recorded.addresses_allocated,
        miscounted=recorded.miscounted,
    )
    return [*(str(one) for one in compare(want, have)), *recorded.others]


class _Recorded(NamedTuple):
    """What the database says, read in one transaction."""

    host_names: Sequence[str]
    servers: Sequence[Server]
    live: frozenset[str]
    networks: dict[str, HostNetworks]
    allocations: Sequence[Allocation]
    addresses_of_servers: frozenset[tuple[str, str]]
    addresses_allocated: frozenset[tuple[str, str]]
    miscounted: Sequence[str]
    others: Sequence[str]  # sentences


def _recorded(tx: Tx, cloud: Cloud) -> _Recorded:
    servers = store.matching(tx, store.Selection())
    placed = [server.id for server in servers if server.host is not None]
    ports = cloud.networks.server_ports(tx, placed)
    unfinished = listing(tx, limit=_MOST_SAGAS)
    live = frozenset(saga.resource for saga in unfinished)
    return _Recorded(
        host_names=[host.name for host in cloud.hosts.all(tx)],
        servers=servers,
        live=live,
        networks=network_audit.wanted(tx, cloud.networks.specs),
        allocations=cloud.placement.allocations(tx),
        addresses_of_servers=frozenset(
            (one.id, address.ip) for its_ports in ports.values() for one in its_ports for address in one.addresses
        ),
        addresses_allocated=network_audit.server_addresses(tx),
        miscounted=cloud.placement.miscounted(tx),
        others=[
            *(f"saga {one.id} ({one.name}) is stuck: {one.problem}" for one in unfinished if one.state == State.STUCK),
            *_misplaced(servers, live, network_audit.wired(tx)),
            *network_audit.contradictions(tx),
            *cloud.compute.servers.metadata_sync.behind(tx),
        ],
    )


def _misplaced(servers: Sequence[Server], live: Set[str], ports: Iterable[WiredPort]) -> Iterator[str]:
    """Ports that are bound for a server which is not there."""
    hosts = {server.id: server.host for server in servers}
    for port in ports:
        if port.server_id not in live and hosts.get(port.server_id) != port.host:
            where = "gone" if port.server_id not in hosts else f"on {hosts[port.server_id]}"
            yield f"port {port.port_id} is bound to {port.host} for server {port.server_id}, which is {where}"


def _wanted_hosts(recorded: _Recorded) -> dict[str, WantedHost]:
    """For every host that is registered, or that something is recorded on."""
    names = {*recorded.host_names, *recorded.networks, *(one.host for one in recorded.servers if one.host)}
    wanted = {}
    for name in names:
        networks = recorded.networks.get(name, HostNetworks())
        here = wanted_host((server for server in recorded.servers if server.host == name), {})
        wanted[name] = WantedHost(
            guests=here.guests,
            taps=frozenset(networks.taps),
            networks=frozenset(networks.networks),
            routers=frozenset(networks.routers),
            address_sets=frozenset(networks.address_sets),
            dhcp_hosts=networks.dhcp_hosts,
        )
    return wanted


def _states(cloud: Cloud, names: Sequence[str]) -> dict[str, HostState]:
    """What each host that answers has."""
    found = {}
    for name in names:
        try:
            answer = cloud.agents.call(name, "GET", "/state", timeout=_STATE_TIMEOUT)
        except PileusError:
            continue  # a host without a state is a difference of its own
        found[name] = msgspec.convert(answer, HostState)
    return found
