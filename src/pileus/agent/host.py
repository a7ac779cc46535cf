"""One host, put together: drivers, cache, metadata, and the answers to "what is here"."""

import os
import threading
from pathlib import Path

import structlog

from pileus.agent.api import (
    AddressSetSpec,
    DiskFile,
    DisksSpec,
    HostReport,
    HostState,
    ImageRef,
    Inventory,
    MetadataSpec,
    NetworkSpec,
    PortSpec,
    Prefetched,
    PrunedImages,
    PruneImages,
    RouterSpec,
)
from pileus.agent.disks import Disks, FileDisks
from pileus.agent.guests import Guests
from pileus.agent.image_cache import ImageCache
from pileus.agent.image_cache.prefetch import Prefetcher
from pileus.agent.journal import Journal
from pileus.agent.metadata_server import MetadataServer, MetadataStore
from pileus.agent.settings import AgentSettings
from pileus.drivers.hypervisor.base import Hypervisor
from pileus.drivers.network.base import NetworkDriver

log = structlog.get_logger("pileus.agent")

GIB = 1 << 30
MIB = 1 << 20


class Host:
    """Everything that the agent's API acts on."""

    def __init__(
        self,
        settings: AgentSettings,
        *,
        hypervisor: Hypervisor,
        network: NetworkDriver,
        cache: ImageCache,
        disks: Disks,
        metadata: MetadataStore,
        journal: Journal,
        address: str,
    ) -> None:
        self.settings = settings
        self.hypervisor = hypervisor
        self.network = network
        self.cache = cache
        self.disks = disks
        self.metadata = metadata
        self.journal = journal
        self.address = address
        self._taps: dict[str, str] = {}
        self.guests = Guests(hypervisor, disks, journal, self._tap_of)
        self.metadata_server: MetadataServer | None = None
        self._attending = threading.Lock()
        self._prefetcher = Prefetcher(cache.ensure, settings.image_cache_prefetches)

    # --- networks -------------------------------------------------------------------------------------------

    def ensure_network(self, spec: NetworkSpec) -> None:
        """Make a network be as described, and listen for metadata requests on it."""
        self.network.ensure_network(spec)
        self.attend()

    def ensure_no_network(self, network_id: str) -> None:
        """Remove a network from this host."""
        self.network.ensure_no_network(network_id)
        self.attend()

    def ensure_port(self, spec: PortSpec) -> str:
        """Make a port's tap; answer its name."""
        tap = self.network.ensure_port(spec)
        self._taps[spec.id] = tap
        self.journal.put("ports", spec.id, spec)
        return tap

    def ensure_no_port(self, port_id: str) -> None:
        """Remove a port's tap."""
        self.network.ensure_no_port(port_id)
        self._taps.pop(port_id, None)
        self.journal.forget("ports", port_id)

    def ensure_router(self, spec: RouterSpec) -> None:
        """Make a router be as described, and listen for metadata requests in it."""
        self.network.ensure_router(spec)
        self.attend()

    def ensure_no_router(self, router_id: str) -> None:
        """Remove a router from this host."""
        self.network.ensure_no_router(router_id)
        self.attend()

    def ensure_address_set(self, spec: AddressSetSpec) -> None:
        """Set the members of an address set."""
        self.network.ensure_address_set(spec)

    def ensure_no_address_set(self, set_id: str) -> None:
        """Remove an address set."""
        self.network.ensure_no_address_set(set_id)

    def attend(self) -> None:
        """Listen for metadata requests wherever guests may ask now."""
        if self.metadata_server is not None:
            with self._attending:  # or what was seen before a change could be applied after it
                self.metadata_server.attend(self.network.metadata_endpoints())

    def _tap_of(self, port_id: str) -> str | None:
        tap = self._taps.get(port_id)
        if tap is None:
            spec = self.journal.get("ports", port_id, PortSpec)
            if spec is not None:
                tap = self._taps[port_id] = self.network.ensure_port(spec)
        return tap

    # --- disks and metadata ---------------------------------------------------------------------------------

    def ensure_disks(self, spec: DisksSpec) -> tuple[DiskFile, ...]:
        """Make a server's disks."""
        return self.disks.ensure(spec)

    def ensure_no_disks(self, server_id: str) -> None:
        """Remove a server's disks."""
        self.disks.ensure_none(server_id)

    def ensure_metadata(self, spec: MetadataSpec) -> None:
        """Take over what a server may learn of itself."""
        self.metadata.put(spec)

    def ensure_no_metadata(self, server_id: str) -> None:
        """Forget a server's metadata."""
        self.metadata.forget(server_id)

    # --- the image cache ------------------------------------------------------------------------------------

    def prefetch_image(self, image: ImageRef, seconds: float) -> Prefetched:
        """Have an image in the cache; wait for it no longer than `seconds`."""
        return self._prefetcher.prefetch(image, seconds)

    def prune_images(self, wanted: PruneImages) -> PrunedImages:
        """Remove cached images that no disk needs, by the settings where nothing else is said."""
        unused_for = self.settings.image_cache_unused if wanted.unused_for is None else wanted.unused_for
        min_free = self.settings.image_cache_min_free * MIB if wanted.min_free is None else wanted.min_free
        return self.cache.upkeep.prune(unused_for, min_free, wanted.checksums)

    # --- what is here ---------------------------------------------------------------------------------------

    def inventory(self) -> Inventory:
        """What this host has."""
        facts = self.hypervisor.facts()
        filesystem = os.statvfs(_existing(self.settings.instances_dir))
        return Inventory(
            host=self.settings.host,
            hypervisor_type=facts.hypervisor_type,
            hypervisor_version=facts.hypervisor_version,
            arch=facts.arch,
            cpu_model=facts.cpu_model,
            vcpus=facts.vcpus,
            memory_mb=facts.memory_mb,
            memory_mb_used=facts.memory_mb_used,
            disk_gb=filesystem.f_blocks * filesystem.f_frsize // GIB,
            disk_gb_free=filesystem.f_bavail * filesystem.f_frsize // GIB,
            host_ip=self.address,
            cached_images=self.cache.cached(),
        )

    def report(self, booted_at: int) -> HostReport:
        """What the control plane hears every few seconds."""
        return HostReport(
            address=f"unix://{self.settings.socket}",
            inventory=self.inventory(),
            power=dict(self.guests.states()),
            booted_at=booted_at,
        )

    def state(self) -> HostState:
        """Everything of this site on the host, by looking at the host itself."""
        network = self.network.observe()
        return HostState(
            guests=dict(self.guests.states()),
            disks=self.disks.servers(),
            taps=network.ports,
            networks=network.networks,
            routers=network.routers,
            address_sets=network.address_sets,
            dhcp_hosts=dict(network.dhcp_hosts),
            metadata=self.metadata.servers(),
            strays=(*network.strays, *self.cache.upkeep.strays()),
        )

    def tidy(self) -> None:
        """Finish what a killed agent left half done, let unused images go, and listen where that failed before."""
        self.journal.remove_partial()
        if isinstance(self.disks, FileDisks):
            self.disks.remove_partial()
            self.disks.settle_usage()
        self.cache.upkeep.tidy()
        self.prune_images(PruneImages())
        self.hypervisor.tidy()
        self.attend()


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)
