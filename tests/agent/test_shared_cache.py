"""Hosts that share one cache on shared storage: one fetches for all, and none removes what another needs."""

import json
import multiprocessing
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from pileus.agent.api import DisksSpec, PruneImages
from pileus.agent.disks import FileDisks
from pileus.agent.host import Host
from pileus.agent.image_cache import ImageCache
from pileus.agent.journal import Journal
from pileus.agent.metadata_server import MetadataStore
from pileus.agent.settings import AgentSettings
from pileus.drivers.hypervisor.fake import FakeHypervisor
from pileus.drivers.network.fake import FakeNetwork
from pileus.kernel.clock import FakeClock
from tests.agent.images import CONTENT, RAW, Source, cache_of, files, wait_until, waiting_for
from tests.real_things import require

SERVERS = [f"11111111-2222-3333-4444-{number:012}" for number in range(4)]


@dataclass
class SharedHost:
    """One of several hosts: disks of its own, a cache that all of them have."""

    name: str
    directory: Path
    source: Source

    def __post_init__(self) -> None:
        self.boot()

    def boot(self) -> None:
        """Start its agent anew."""
        own = self.directory / self.name
        settings = AgentSettings(host=self.name, journal_dir=own / "journal", instances_dir=own / "instances")
        journal = Journal(settings.journal_dir)
        metadata = MetadataStore(journal)
        cache = ImageCache(self.directory / "cache", self.source, host=self.name)
        self.disks = FileDisks(settings.instances_dir, cache, journal, metadata.of)
        self.host = Host(
            settings,
            hypervisor=FakeHypervisor(FakeClock(), directory=own / "guests"),
            network=FakeNetwork(own / "network"),
            cache=cache,
            disks=self.disks,
            metadata=metadata,
            journal=journal,
            address="127.0.0.1",
        )
        self.host.tidy()

    def make(self, server: str) -> str:
        (disk,) = self.disks.ensure(DisksSpec(server_id=server, image=RAW, root_gb=1))
        return disk.path

    def prune(self) -> tuple[str, ...]:
        return self.host.prune_images(PruneImages(unused_for=0)).removed

    @property
    def users(self) -> tuple[str, ...]:
        return self.host.cache.usage.users(RAW.checksum)


@pytest.fixture
def hosts(tmp_path: Path) -> tuple[SharedHost, SharedHost]:
    require("qemu-img")
    source = Source(i1=CONTENT)
    return SharedHost("east", tmp_path, source), SharedHost("west", tmp_path, source)


def test_one_fetches_for_all(hosts: tuple[SharedHost, SharedHost], tmp_path: Path) -> None:
    east, west = hosts
    east.source.hold = True
    with ThreadPoolExecutor(4) as pool:
        wishes = [pool.submit(host.make, server) for host, server in zip((east, west) * 2, SERVERS, strict=True)]
        wait_until(lambda: waiting_for(tmp_path / "cache", RAW.checksum) == 3)
        east.source.go_on.set()
        for wish in wishes:
            shown = subprocess.run(
                ["qemu-img", "info", "--output=json", wish.result(20)], capture_output=True, check=True
            )
            assert json.loads(shown.stdout)["backing-filename"] == str(tmp_path / "cache" / "base" / RAW.checksum)
    assert east.source.fetches == ["i1"]
    assert west.users == tuple(SERVERS)


def test_no_host_removes_what_another_needs(hosts: tuple[SharedHost, SharedHost]) -> None:
    east, west = hosts
    east.make(SERVERS[0])
    west.make(SERVERS[1])
    assert west.prune() == ()
    west.disks.ensure_none(SERVERS[1])
    assert west.users == (SERVERS[0],)
    assert west.prune() == east.prune() == ()
    east.disks.ensure_none(SERVERS[0])
    assert west.prune() == (RAW.checksum,)


def test_only_a_host_itself_clears_what_it_left(hosts: tuple[SharedHost, SharedHost], tmp_path: Path) -> None:
    """East's agent is killed: once before the disks are made, once before a removal is noted. West cannot know."""
    east, west = hosts
    east.make(SERVERS[0])
    east.host.cache.usage.enter(RAW.checksum, SERVERS[2])
    left = tmp_path / "cache" / "users" / RAW.checksum / f"east__{SERVERS[0]}"
    east.disks.ensure_none(SERVERS[0])
    left.parent.mkdir(exist_ok=True)
    left.touch()
    west.boot()
    assert west.users == (SERVERS[0], SERVERS[2])
    assert west.prune() == ()
    east.boot()
    assert west.users == ()
    assert west.prune() == (RAW.checksum,)


def test_entries_that_were_lost_are_made_again(hosts: tuple[SharedHost, SharedHost], tmp_path: Path) -> None:
    east, west = hosts
    east.make(SERVERS[0])
    (tmp_path / "cache" / "users" / RAW.checksum / f"east__{SERVERS[0]}").unlink()
    east.boot()
    assert west.prune() == ()


def _fetch_until_killed(directory: Path, ready: str) -> None:
    source = Source(i1=CONTENT)
    source.hold = True
    cache = ImageCache(directory, source, host="east")
    cache.usage.enter(RAW.checksum, SERVERS[0])
    with ThreadPoolExecutor(1) as pool:
        wish = pool.submit(cache.ensure, RAW)
        source.begun.wait()
        Path(ready).touch()
        wish.result()


def test_a_host_dies_while_it_fetches_for_others(tmp_path: Path) -> None:
    """While it lives its fetch is waited for and its file is kept; after its death the next host goes on with it."""
    ready = tmp_path / "ready"
    process = multiprocessing.get_context("spawn").Process(target=_fetch_until_killed, args=(tmp_path, str(ready)))
    process.start()
    try:
        wait_until(ready.exists, 60)
        part = f".{RAW.checksum}.part"
        cache, source = cache_of(tmp_path)
        cache.upkeep.tidy()
        assert files(tmp_path) == [part]
        with ThreadPoolExecutor(1) as pool:
            wish = pool.submit(cache.ensure, RAW)
            wait_until(lambda: waiting_for(tmp_path, RAW.checksum) == 1)
            assert (wish.done(), source.fetches) == (False, [])
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join(10)
            assert wish.result(20).path.read_bytes() == CONTENT
        assert files(tmp_path) == [RAW.checksum]
        assert cache.upkeep.prune(0).removed == ()  # the dead host may have a server there
    finally:
        process.kill()
        process.join(10)
