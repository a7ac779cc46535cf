"""A host's parts in a directory of the test's own."""

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        cache = ImageCache(self.directory / "cache", self.source, host="h1")
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


@pytest.fixture
def serve_bytes() -> Iterator[Callable[[bytes, list[int]], str]]:
    """Serves the data of an image as the control plane does, at a URL; `breaks`: the numbers of bytes after which
    connections are cut, one after the other. The image `gone` is not there."""
    with ExitStack() as stack:

        def serve(data: bytes, breaks: list[int]) -> str:
            class Handler(http.server.BaseHTTPRequestHandler):
                protocol_version = "HTTP/1.1"

                def do_GET(self) -> None:
                    if "/images/gone/" in self.path:
                        self.send_error(404)
                        return
                    start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
                    self.send_response(206 if start else 200)
                    self.send_header("Content-Length", str(len(data) - start))
                    self.end_headers()
                    end = start + breaks.pop(0) if breaks else len(data)
                    self.wfile.write(data[start:end])
                    self.close_connection = end < len(data)

                def log_message(self, *_: Any) -> None:
                    """Say nothing."""

            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield serve
