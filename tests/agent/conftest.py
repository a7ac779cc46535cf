"""A host's parts in a directory of the test's own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pileus.agent.api import MetadataAddress, MetadataSpec
from pileus.agent.disks import FileDisks
from pileus.agent.host import Host
from pileus.agent.image_cache import ImageCache
from pileus.agent.journal import Journal
from pileus.agent.metadata_server import MetadataStore
from pileus.agent.settings import AgentSettings
from pileus.drivers.hypervisor.fake import FakeHypervisor
from pileus.drivers.network.fake import FakeNetwork
from pileus.kernel.clock import FakeClock
from tests.agent.images import Source

SERVER = "11111111-2222-3333-4444-555555555555"
METADATA = MetadataSpec(
    server_id=SERVER,
    project_id="p1",
    name="web",
    hostname="web.novalocal",
    instance_type="m1.tiny",
    image_id="99999999-2222-3333-4444-555555555555",
    availability_zone="nova",
    launch_index=2,
    reservation_id="r-abc",
    public_ipv4="203.0.113.5",
    metadata={"role": "front"},
    public_keys={"mine": "ssh-ed25519 AAAA me"},
    user_data="IyEvYmluL3NoCg==",
    security_groups=("default", "web"),
    addresses=(MetadataAddress(network_id="n1", port_id="p", mac="m", mtu=1450, ips=("fd00::5", "10.0.0.5")),),
    network_data={"links": [], "networks": [], "services": []},
)


@dataclass
class Site:
    """What outlives an agent: its directories and its fake guests and networks. `boot` starts an agent anew."""

    directory: Path
    source: Source

    def boot(self) -> Host:
        settings = AgentSettings(
            host="h1",
            journal_dir=self.directory / "journal",
            instances_dir=self.directory / "instances",
            socket=self.directory / "agent.sock",
        )
        journal = Journal(settings.journal_dir)
        metadata = MetadataStore(journal)
        cache = ImageCache(self.directory / "cache", self.source)
        return Host(
            settings,
            hypervisor=FakeHypervisor(FakeClock(), directory=self.directory / "guests"),
            network=FakeNetwork(self.directory / "network"),
            cache=cache,
            disks=FileDisks(settings.instances_dir, cache, journal, metadata.of),
            metadata=metadata,
            journal=journal,
            address="127.0.0.1",
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, Source())


@pytest.fixture
def boot(site: Site) -> Callable[[], Host]:
    """Starts the agent of one host, and again."""
    return site.boot
