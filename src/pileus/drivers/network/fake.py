"""A network driver without a network: the real one's peer in every answer, for tests and for simulating hosts."""

import threading
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from pileus.agent.api import AddressSetSpec, NetworkSpec, PortSpec, RouterSpec
from pileus.drivers.network import checks
from pileus.drivers.network.base import MetadataEndpoint, NetworkNotFound, NetworkState, PhysicalNetworkUnusable

S = TypeVar("S", NetworkSpec, PortSpec, AddressSetSpec, RouterSpec)


class _Shelf(Generic[S]):
    """Descriptions by id, in memory and, given a directory, on disk: the fake host outlives its agent."""

    def __init__(self, kind: type[S], directory: Path | None) -> None:
        self.held: dict[str, S] = {}
        self._directory = directory
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            for path in directory.glob("*.json"):
                self.held[path.stem] = msgspec.json.decode(path.read_bytes(), type=kind)

    def put(self, spec: S) -> None:
        if self.held.get(spec.id) == spec:
            return
        self.held[spec.id] = spec
        if self._directory is not None:
            draft = self._directory / f"{spec.id}.new"
            draft.write_bytes(msgspec.json.encode(spec))
            draft.replace(self._directory / f"{spec.id}.json")

    def drop(self, identifier: str) -> None:
        if self.held.pop(identifier, None) is not None and self._directory is not None:
            (self._directory / f"{identifier}.json").unlink(missing_ok=True)


class FakeNetwork:
    """Implements NetworkDriver. `state_dir` is where the fake host keeps what it is; None: in memory only."""

    def __init__(
        self,
        state_dir: Path | None = None,
        prefix: str = "pl",
        physical_networks: tuple[str, ...] = ("external",),
    ) -> None:
        self._prefix = prefix
        self._physical_networks = physical_networks
        self._lock = threading.Lock()

        def directory(name: str) -> Path | None:
            return None if state_dir is None else state_dir / name

        self.networks = _Shelf(NetworkSpec, directory("networks"))
        self.ports = _Shelf(PortSpec, directory("ports"))
        self.address_sets = _Shelf(AddressSetSpec, directory("address-sets"))
        self.routers = _Shelf(RouterSpec, directory("routers"))

    def ensure_network(self, spec: NetworkSpec) -> None:
        checks.check_network(spec)
        if spec.external and spec.physical_network not in self._physical_networks:
            raise PhysicalNetworkUnusable(f"this host has no physical network {spec.physical_network!r}")
        with self._lock:
            self.networks.put(spec)

    def ensure_no_network(self, network_id: str) -> None:
        with self._lock:
            self.networks.drop(checks.checked_id(network_id))

    def ensure_port(self, spec: PortSpec) -> str:
        checks.check_port(spec)
        with self._lock:
            self._must_have(spec.network_id)
            self.ports.put(spec)
        return f"{self._prefix}t{spec.id.replace('-', '')[:11]}"

    def ensure_no_port(self, port_id: str) -> None:
        with self._lock:
            self.ports.drop(checks.checked_id(port_id))

    def ensure_address_set(self, spec: AddressSetSpec) -> None:
        checks.check_address_set(spec)
        with self._lock:
            self.address_sets.put(spec)

    def ensure_no_address_set(self, set_id: str) -> None:
        with self._lock:
            self.address_sets.drop(checks.checked_id(set_id))

    def ensure_router(self, spec: RouterSpec) -> None:
        checks.check_router(spec)
        with self._lock:
            for port in (*spec.interfaces, *((spec.gateway,) if spec.gateway else ())):
                self._must_have(port.network_id)
            self.routers.put(spec)

    def ensure_no_router(self, router_id: str) -> None:
        with self._lock:
            self.routers.drop(checks.checked_id(router_id))

    def metadata_endpoints(self) -> tuple[MetadataEndpoint, ...]:
        with self._lock:
            served = [n.id for n in self.networks.held.values() if n.dhcp_mac is not None]
            found = [MetadataEndpoint("network", network, "", (network,)) for network in served]
            for router in self.routers.held.values():
                heard = dict.fromkeys(port.network_id for port in router.interfaces)
                found.append(MetadataEndpoint("router", router.id, "", tuple(heard)))
            return tuple(found)

    def observe(self) -> NetworkState:
        with self._lock:
            named = {r.remote_set for p in self.ports.held.values() if p.filtered for r in p.rules if r.remote_set}
            return NetworkState(
                networks=tuple(sorted(self.networks.held)),
                ports=tuple(sorted(self.ports.held)),
                routers=tuple(sorted(self.routers.held)),
                address_sets=tuple(sorted(self.address_sets.held.keys() | named)),
                dhcp_hosts={
                    network.id: tuple(sorted(host.port_id for host in network.dhcp_hosts if host.ips))
                    for network in self.networks.held.values()
                    if network.dhcp_mac is not None
                },
            )

    def restore(self) -> None:
        """Nothing to do: what the fake host has been told is all that it is."""

    def remove_everything(self) -> None:
        with self._lock:
            for port in list(self.ports.held):
                self.ports.drop(port)
            for router in list(self.routers.held):
                self.routers.drop(router)
            for address_set in list(self.address_sets.held):
                self.address_sets.drop(address_set)
            for network in list(self.networks.held):
                self.networks.drop(network)

    def _must_have(self, network_id: str) -> None:
        if network_id not in self.networks.held:
            raise NetworkNotFound(network_id)
