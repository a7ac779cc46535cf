"""The agent process of one host."""

import os
import signal
import threading
import time
from pathlib import Path

import structlog
from cheroot import wsgi

from pileus.agent.control_plane import ControlPlane
from pileus.agent.disks import Disks, FakeDisks, FileDisks
from pileus.agent.host import Host
from pileus.agent.image_cache import ImageCache
from pileus.agent.image_cache.scan import Scanner
from pileus.agent.injection.injector import Injector
from pileus.agent.journal import Journal
from pileus.agent.metadata_server import MetadataServer, MetadataStore
from pileus.agent.reporter import Reporter
from pileus.agent.server import make_agent_app
from pileus.agent.settings import AgentSettings
from pileus.drivers.hypervisor.base import Hypervisor
from pileus.drivers.network.base import NetworkDriver
from pileus.kernel.clock import MICROSECONDS, SystemClock
from pileus.kernel.rpc import host_secret
from pileus.settings import Settings
from pileus.supervisor.credentials import load_or_create

log = structlog.get_logger("pileus.agent")

MIB = 1 << 20
FIRST_REPORT_SECONDS = 5.0  # how long the control plane may take to answer before the agent serves all the same


def make_hypervisor(settings: Settings) -> Hypervisor:
    """The hypervisor driver that the settings name."""
    if settings.agent.hypervisor == "fake":
        from pileus.drivers.hypervisor.fake import FakeHypervisor  # noqa: PLC0415 - only the chosen driver is loaded

        return FakeHypervisor(SystemClock(), directory=settings.agent.journal_dir / "fake-guests")
    from pileus.drivers.hypervisor.libvirt.opening import open_libvirt  # noqa: PLC0415

    return open_libvirt(settings.libvirt, site=settings.site, clock=SystemClock())


def make_network(settings: Settings) -> NetworkDriver:
    """The network driver that the settings name."""
    if settings.agent.network == "fake":
        from pileus.drivers.network.fake import FakeNetwork  # noqa: PLC0415

        return FakeNetwork(settings.agent.journal_dir / "fake-network")
    from pileus.drivers.network.linux import LinuxNetwork  # noqa: PLC0415

    return LinuxNetwork(
        settings.linux_network, settings.site.prefix, settings.agent.journal_dir / "network", SystemClock()
    )


def make_host(settings: Settings, hypervisor: Hypervisor, network: NetworkDriver, control: ControlPlane) -> Host:
    """This host, with what its journal remembers."""
    agent = settings.agent
    journal = Journal(agent.journal_dir)
    metadata = MetadataStore(journal)
    cache = ImageCache(agent.image_cache_dir, control.image, host=agent.host, base_format=agent.image_cache_format)
    disks: Disks
    if agent.hypervisor == "fake":
        disks = FakeDisks(journal)
    else:
        injector = Injector(settings.injection, agent.journal_dir / "injection")
        disks = FileDisks(
            agent.instances_dir, cache, journal, metadata.of, injector,
            mode=agent.disk_mode, preallocate=agent.disk_preallocate,
        )  # fmt: skip
    return Host(
        agent,
        hypervisor=hypervisor,
        network=network,
        cache=cache,
        disks=disks,
        metadata=metadata,
        journal=journal,
        address="127.0.0.1",
    )


def make_scanner(agent: AgentSettings, cache: ImageCache) -> Scanner:
    """What verifies the cached images in the background."""
    return Scanner(
        cache.upkeep,
        agent.image_cache_dir,
        rate=agent.image_cache_scan_rate * MIB,
        interval=agent.image_cache_scan_interval,
        clock=SystemClock(),
    )


def run(settings: Settings) -> None:
    """Run the agent until it is told to stop. Guests and networks stay as they are when it ends."""
    agent = settings.agent
    secret = host_secret(load_or_create(settings.site.state_dir).host_secret, agent.host)
    control = ControlPlane(agent.control_url or settings.site.public_url, agent.host, secret)
    hypervisor, network = make_hypervisor(settings), make_network(settings)
    host = make_host(settings, hypervisor, network, control)
    network.restore()
    if agent.network == "linux":
        from pileus.drivers.network.linux.namespaces import listen_in  # noqa: PLC0415

        host.metadata_server = MetadataServer(host.metadata, listen_in, control.password)
        host.metadata_server.start()
        host.attend()
    host.tidy()
    reporter = Reporter(host, control, agent.report_interval, _booted_at())
    reporter.start()
    # The socket tells the supervisor that this host works; then servers must find it among the hosts.
    reporter.heard.wait(FIRST_REPORT_SECONDS)
    server = _serve(agent.socket, make_agent_app(host, secret), agent.threads + agent.slow_threads)
    scanner = make_scanner(agent, host.cache)
    if agent.image_cache_scan_interval:
        scanner.start()
    log.info("agent ready", host=agent.host, hypervisor=agent.hypervisor, network=agent.network)
    _until_told_to_stop()
    reporter.stop()
    scanner.stop()
    server.stop()
    if host.metadata_server is not None:
        host.metadata_server.stop()
    hypervisor.close()


def _serve(path: Path, app: object, threads: int) -> wsgi.Server:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    server = wsgi.Server(str(path), app, numthreads=threads, request_queue_size=256, timeout=600)
    server.prepare()
    path.chmod(0o600)
    threading.Thread(target=server.serve, name="agent-http", daemon=True).start()
    return server


def _until_told_to_stop() -> None:
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    parent = os.getppid()
    while not told.wait(1.0):
        if os.getppid() != parent:
            return


def _booted_at() -> int:
    with Path("/proc/uptime").open() as uptime:
        seconds = float(uptime.read().split()[0])
    return int((time.time() - seconds) * MICROSECONDS)
