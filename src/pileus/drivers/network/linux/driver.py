"""The Linux network driver: the verbs, each journaled, locked and repeatable."""

import threading
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import structlog

from pileus.agent.api import AddressSetSpec, NetworkSpec, PortSpec, RouterSpec
from pileus.drivers.network import checks
from pileus.drivers.network.base import MetadataEndpoint, NetworkDriverError, NetworkNotFound, NetworkState
from pileus.drivers.network.linux import advertisements, conntrack, links, namespaces, observation, routers, rules
from pileus.drivers.network.linux.admission import Admission
from pileus.drivers.network.linux.advertisements import Advertisers
from pileus.drivers.network.linux.dhcp import DhcpServers
from pileus.drivers.network.linux.dnsmasq import unprivileged_user
from pileus.drivers.network.linux.filters import Filters, NetworkEntry
from pileus.drivers.network.linux.journal import Journal
from pileus.drivers.network.linux.names import Names, Owner
from pileus.drivers.network.linux.networks import Networks
from pileus.drivers.network.linux.routers import Routers
from pileus.drivers.network.linux.settings import LinuxNetworkSettings
from pileus.kernel.clock import Clock

log = structlog.get_logger("pileus.network")
_ZONES = range(1, 1 << 16)
_STRIPES = 256


class LinuxNetwork:
    """Implements NetworkDriver. `prefix` (a letter and one or two letters or digits) begins every name on the host.

    `state_dir` is the driver's alone. Each verb holds its resource's lock; a port's hold nothing of its network, so
    that a slow network never stops others.
    """

    def __init__(self, settings: LinuxNetworkSettings, prefix: str, state_dir: Path, clock: Clock) -> None:
        self._names = Names(prefix)
        self._networks = Journal(state_dir / "networks", NetworkEntry)
        self._ports = Journal(state_dir / "ports", PortSpec)
        self._sets = Journal(state_dir / "address-sets", AddressSetSpec)
        self._routers = Journal(state_dir / "routers", RouterSpec)
        self._filters = Filters(self._names, self._networks, self._ports, self._sets)
        user = unprivileged_user(settings.dnsmasq_user, state_dir)
        self._servers = DhcpServers(settings, state_dir / "dhcp", user, clock)
        self._advertisers = Advertisers(state_dir / "advertisers", user, clock)
        self._bridges = Networks(settings, self._names, self._servers)
        self._namespaces = Routers(self._names, self._advertisers)
        self._applied: dict[str, object] = {}  # what this process has made true, by id
        self._locks = [threading.RLock() for _ in range(_STRIPES)]  # a resource's is found by its id
        self._choosing_zone = threading.Lock()

    # --- networks -------------------------------------------------------------------------------------------

    def ensure_network(self, spec: NetworkSpec) -> None:
        checks.check_network(spec)
        self._bridges.way_out(spec)
        with self._locked(spec.id):
            before = self._applied.get(spec.id)
            zone = self._zone(spec)
            if (
                isinstance(before, NetworkSpec)
                and _without_hosts(before) == _without_hosts(spec)
                and self._bridges.refresh(spec)
            ):
                self._networks.put(spec.id, NetworkEntry(spec, zone))
                self._filters.verify()
            else:
                self._networks.put(spec.id, NetworkEntry(spec, zone))
                self._bridges.ensure(spec)
                self._filters.ensure_network(spec.id)
            self._applied[spec.id] = spec

    def ensure_no_network(self, network_id: str) -> None:
        checks.checked_id(network_id)
        with self._locked(network_id):
            self._applied.pop(network_id, None)
            self._bridges.ensure_no(network_id)
            self._networks.drop(network_id)
            self._filters.ensure_no_network(network_id)

    def _zone(self, spec: NetworkSpec) -> int:
        """The network's conntrack zone: its former one, or one that no other network of this host has."""
        if spec.external:
            return 0
        with self._choosing_zone:
            entry = self._networks.get(spec.id)
            if entry is None or not entry.zone:
                taken = {other.zone for other in self._networks.all().values()}
                entry = NetworkEntry(spec, next(zone for zone in _ZONES if zone not in taken))
                self._networks.put(spec.id, entry)
            return entry.zone

    # --- ports ----------------------------------------------------------------------------------------------

    def ensure_port(self, spec: PortSpec) -> str:
        checks.check_port(spec)
        tap = self._names.tap(spec.id)
        with self._locked(spec.id):
            if self._applied.get(spec.id) != spec or self._filters.verify() or not self._port_is_whole(spec, tap):
                self._make_port(spec, tap)
            return tap

    def _make_port(self, spec: PortSpec, tap: str) -> None:
        """Filters first: no packet passes before them."""
        if self._networks.get(spec.network_id) is None:
            raise NetworkNotFound(spec.network_id)
        before = self._ports.get(spec.id)
        self._applied.pop(spec.id, None)
        self._ports.put(spec.id, spec)
        try:
            self._filters.ensure_port(spec.id)
        except NetworkDriverError:
            self._ports.put(spec.id, before) if before else self._ports.drop(spec.id)
            raise
        with links.netlink() as route:
            bridge = links.find(route, self._names.bridge(spec.network_id))
            if bridge is None:
                raise NetworkNotFound(spec.network_id)
            link = links.ensure_tap(route, tap)
            alias = Owner("port", spec.id).alias()
            links.attach(route, link, bridge, spec.mtu, alias, up=spec.admin_state_up)
        if before is not None and (before.rules, before.filtered) != (spec.rules, spec.filtered):
            self._expel(spec)
        self._applied[spec.id] = spec

    def _port_is_whole(self, spec: PortSpec, tap: str) -> bool:
        with links.netlink() as route:
            link = links.find(route, tap)
            bridge = links.find(route, self._names.bridge(spec.network_id))
        return (
            link is not None
            and bridge is not None
            and (link.master, link.mtu, link.up) == (bridge.index, spec.mtu, spec.admin_state_up)
        )

    def _expel(self, *ports: PortSpec) -> None:
        """Refuse from now on the ports' connections that their rules admit no more."""
        by_zone: defaultdict[int, list[PortSpec]] = defaultdict(list)
        for port in ports:
            entry = self._networks.get(port.network_id)
            if port.filtered and entry is not None:
                by_zone[entry.zone].append(port)
        for zone, affected in by_zone.items():
            admission = Admission(affected, self._sets.all())
            count = conntrack.mark(admission.expels, zone, rules.EXPELLED)
            log.debug("connections refused from now on", ports=[port.id for port in affected], count=count)

    def ensure_no_port(self, port_id: str) -> None:
        tap = self._names.tap(port_id)
        with self._locked(port_id):
            self._applied.pop(port_id, None)
            with links.netlink() as route:
                links.remove(route, tap)
            self._ports.drop(port_id)
            self._filters.ensure_no_port(port_id)

    # --- address sets ---------------------------------------------------------------------------------------

    def ensure_address_set(self, spec: AddressSetSpec) -> None:
        checks.check_address_set(spec)
        with self._locked(spec.id):
            if self._applied.get(spec.id) == spec and not self._filters.verify():
                return
            before = self._sets.get(spec.id)
            self._sets.put(spec.id, spec)
            self._filters.ensure_set(spec.id)
            self._applied[spec.id] = spec
            if before is not None and set(before.ipv4 + before.ipv6) - set(spec.ipv4 + spec.ipv6):
                self._expel_from_users(spec.id)

    def ensure_no_address_set(self, set_id: str) -> None:
        checks.checked_id(set_id)
        with self._locked(set_id):
            self._applied.pop(set_id, None)
            known = self._sets.get(set_id) is not None
            self._sets.drop(set_id)
            self._filters.ensure_no_set(set_id)
            if known:
                self._expel_from_users(set_id)

    def _expel_from_users(self, set_id: str) -> None:
        self._expel(*(port for port in self._ports.all().values() if set_id in rules.set_references(port)))

    # --- routers --------------------------------------------------------------------------------------------

    def ensure_router(self, spec: RouterSpec) -> None:
        checks.check_router(spec)
        with self._locked(spec.id):
            networks = {identifier: entry.spec for identifier, entry in self._networks.all().items()}
            for port in routers.ports_of(spec).values():
                if port.network_id not in networks:
                    raise NetworkNotFound(port.network_id)
            announced = advertisements.announced(spec, networks)
            if self._applied.get(spec.id) == (spec, announced) and self._namespaces.whole(spec, announced):
                return
            before = self._routers.get(spec.id)
            self._applied.pop(spec.id, None)
            self._routers.put(spec.id, spec)
            for route in self._namespaces.ensure(spec, announced, before):
                log.warning(
                    "route left out: no interface reaches its next hop",
                    router=spec.id,
                    destination=route.destination,
                    nexthop=route.nexthop,
                )
            self._applied[spec.id] = (spec, announced)

    def ensure_no_router(self, router_id: str) -> None:
        checks.checked_id(router_id)
        with self._locked(router_id):
            self._applied.pop(router_id, None)
            self._namespaces.ensure_no(router_id)
            self._routers.drop(router_id)

    # --- the whole ------------------------------------------------------------------------------------------

    def metadata_endpoints(self) -> tuple[MetadataEndpoint, ...]:
        found = []
        for name in namespaces.names():
            owner = self._names.namespace_owner(name)
            if owner is None or not namespaces.exists(name):
                continue
            path = str(namespaces.DIRECTORY / name)
            if owner.kind == "network":
                found.append(MetadataEndpoint("network", owner.id, path, (owner.id,)))
            elif router := self._routers.get(owner.id):
                heard = dict.fromkeys(port.network_id for port in router.interfaces)
                found.append(MetadataEndpoint("router", owner.id, path, tuple(heard)))
        return tuple(found)

    def observe(self) -> NetworkState:
        return observation.observe(self._names, self._servers, self._advertisers, self._networks.all())

    def restore(self) -> None:
        restored: list[Callable[[], object]] = []
        restored += [partial(self.ensure_network, entry.spec) for entry in self._networks.all().values()]
        restored += [partial(self.ensure_address_set, spec) for spec in self._sets.all().values()]
        restored += [partial(self.ensure_port, spec) for spec in self._ports.all().values()]
        restored += [partial(self.ensure_router, spec) for spec in self._routers.all().values()]
        for verb in restored:
            try:
                verb()
            except NetworkDriverError as err:
                log.warning("not restored", error=str(err), verb=str(verb))

    def remove_everything(self) -> None:
        self._applied.clear()
        observation.remove_everything(self._names, self._servers, self._advertisers)
        for journal in (self._ports, self._routers, self._sets, self._networks):
            for identifier in journal.all():
                journal.drop(identifier)
        self._filters.forget()

    def _locked(self, identifier: str) -> threading.RLock:
        return self._locks[hash(identifier) % _STRIPES]


def _without_hosts(spec: NetworkSpec) -> NetworkSpec:
    return msgspec.structs.replace(spec, dhcp_hosts=())
