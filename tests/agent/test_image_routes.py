"""The cache over the agent's API; and requests that wait for images, which keep none of the others waiting."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest

from pileus.agent import api
from pileus.agent.disks import FileDisks
from pileus.agent.host import Host
from pileus.agent.main import _serve, make_scanner
from pileus.agent.server import make_agent_app
from pileus.agent.settings import AgentSettings
from pileus.kernel.rpc import AgentRefused, Agents
from tests.agent.conftest import Site
from tests.agent.images import CONTENT, RAW, pattern, reference, wait_until
from tests.real_things import require

SECRET = "the secret of h1"
PATH = f"/images/{RAW.checksum}"


def server_id(number: int) -> str:
    return f"11111111-2222-3333-4444-{number:012}"


@pytest.fixture
def host(site: Site) -> Host:
    require("qemu-img")
    site.source.images["i1"] = CONTENT
    return site.boot()


class Client:
    """The control plane's end of the wire to the host."""

    def __init__(self, agents: Agents) -> None:
        self._agents = agents

    def call(self, verb: str, path: str, body: msgspec.Struct | None = None) -> dict[str, Any]:
        return self._agents.call("h1", verb, path, body, timeout=30)

    def refused(self, verb: str, path: str, body: msgspec.Struct | None = None) -> AgentRefused:
        with pytest.raises(AgentRefused) as caught:
            self.call(verb, path, body)
        return caught.value

    def images(self) -> tuple[api.CachedImage, ...]:
        return msgspec.convert(self.call("GET", "/images"), api.CachedImages).images


@pytest.fixture
def client(host: Host, site: Site) -> Iterator[Client]:
    """A host that is served with as many threads as its settings say."""
    settings = host.settings
    with ExitStack() as stack:
        server = _serve(settings.socket, make_agent_app(host, SECRET), settings.threads + settings.slow_threads)
        stack.callback(server.stop)
        agents = Agents(lambda _host: f"unix://{settings.socket}", lambda _host: SECRET)
        stack.callback(agents.close)
        yield Client(agents)


def test_the_cache_over_the_wire(client: Client, site: Site, host: Host) -> None:
    assert client.images() == ()
    for _ in range(2):
        assert client.call("PUT", PATH, RAW) == {"ready": True}
    (image,) = client.images()
    assert (image.checksum, image.format, image.virtual_size) == (RAW.checksum, "raw", len(CONTENT))
    assert (image.users, image.copies, image.state, image.image_ids) == ((), (), "ready", ("i1",))
    assert abs(image.last_used - time.time() * 1e6) < 60e6
    assert image.created_at <= image.verified_at <= image.last_used
    assert image.size >= len(CONTENT)
    assert client.call("GET", "/inventory")["cached_images"] == [RAW.checksum]

    client.call("PUT", f"/disks/{server_id(1)}", api.DisksSpec(server_id=server_id(1), image=RAW, root_gb=1))
    assert client.images()[0].users == (server_id(1),)
    everything = api.PruneImages(unused_for=0)
    assert client.call("POST", "/images/prune", everything) == {"removed": [], "freed": 0}
    verified = client.call("POST", "/images/verify", api.VerifyImages())
    assert verified == {"verified": [RAW.checksum], "damaged": [], "remaining": []}

    host.cache.ensure(RAW).path.write_bytes(b"!" * len(CONTENT))
    assert client.call("POST", "/images/verify", api.VerifyImages())["damaged"] == [RAW.checksum]
    assert client.images()[0].state == "damaged"
    assert client.call("GET", "/inventory")["cached_images"] == []
    assert client.call("GET", "/state")["strays"] == [f"damaged-image {RAW.checksum}.damaged"]
    client.call("DELETE", f"/disks/{server_id(1)}")
    assert client.call("POST", "/images/prune", everything)["removed"] == [RAW.checksum]
    assert client.images() == ()


def test_what_is_refused(client: Client, site: Site) -> None:
    assert client.refused("PUT", "/images/abc", RAW).refusal == "invalid"
    assert client.refused("PUT", f"{PATH}?wait=long", RAW).refusal == "invalid"
    bad = reference(pattern(4096), image_id="bad")
    site.source.images["bad"] = pattern(8192)
    assert client.refused("PUT", f"/images/{bad.checksum}", bad).refusal == "image-unusable"


def test_a_prefetch_answers_in_time(client: Client, site: Site) -> None:
    site.source.hold = True
    assert client.call("PUT", f"{PATH}?wait=0.05", RAW) == {"ready": False}
    site.source.go_on.set()
    assert client.call("PUT", PATH, RAW) == {"ready": True}
    assert site.source.fetches == ["i1"]


def test_an_age_of_ones_own(client: Client, host: Host) -> None:
    """What the request leaves open is as in the settings: after a day, or when the disk is full."""
    client.call("PUT", PATH, RAW)
    assert client.call("POST", "/images/prune", api.PruneImages(min_free=0)) == {"removed": [], "freed": 0}
    assert client.call("POST", "/images/prune", api.PruneImages(min_free=1 << 60))["removed"] == [RAW.checksum]


def test_those_who_wait_keep_nobody_waiting(client: Client, host: Host, site: Site) -> None:
    """As many boots as may wait for an image do, and more come: they are told to come back. Deletions, of those who
    wait too, and all else are done meanwhile; as many at a time as ever."""
    site.source.hold = True
    places, threads = host.settings.slow_threads, host.settings.threads
    with ThreadPoolExecutor(places + threads) as pool:
        boots = [pool.submit(client.call, "PUT", f"/disks/{server_id(n)}", disks(n)) for n in range(places)]
        wait_until(lambda: len(host.disks.servers()) == places)
        refused = client.refused("PUT", f"/disks/{server_id(999)}", disks(999))
        assert (refused.refusal, refused.transient) == ("failed", True)
        assert client.refused("PUT", PATH, RAW).transient

        together = threading.Barrier(threads)
        host.metadata.servers = lambda: (together.wait(20), ())[1]  # type: ignore[method-assign]
        states = [pool.submit(client.call, "GET", "/state") for _ in range(threads)]
        assert all("guests" in state.result(20) for state in states)

        for number in range(0, places, 2):
            client.call("DELETE", f"/disks/{server_id(number)}")
        site.source.go_on.set()
        outcomes = [boot.exception(20) for boot in boots]
    assert [outcome is None for outcome in outcomes] == [number % 2 == 1 for number in range(places)]
    assert host.disks.servers() == tuple(server_id(number) for number in range(1, places, 2))
    assert site.source.fetches == ["i1"]
    client.call("PUT", f"/disks/{server_id(999)}", disks(999))


def disks(number: int) -> api.DisksSpec:
    return api.DisksSpec(server_id=server_id(number), image=RAW, root_gb=1)


def test_twenty_first_boots_download_once(client: Client, host: Host, site: Site) -> None:
    with ThreadPoolExecutor(20) as pool:
        boots = [pool.submit(client.call, "PUT", f"/disks/{server_id(n)}", disks(n)) for n in range(20)]
        assert {boot.result(60)["disks"][0]["format"] for boot in boots} == {"qcow2"}
    assert site.source.fetches == ["i1"]
    assert isinstance(host.disks, FileDisks)
    assert client.images()[0].users == tuple(server_id(number) for number in range(20))


def test_the_scanner_is_as_the_settings_say(host: Host, site: Site) -> None:
    settings = AgentSettings(image_cache_dir=site.directory / "cache", image_cache_scan_interval=1)
    host.cache.ensure(RAW).path.write_bytes(b"!" * len(CONTENT))
    scanner = make_scanner(settings, host.cache)
    wait_until(lambda: scanner.scan() == (RAW.checksum,))
    assert host.cache.cached() == ()
