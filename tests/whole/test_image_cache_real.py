"""The image cache under real guests: an agent killed while it fetches, a base that rots under a running guest."""

import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import openstack
import pytest

from pileus.agent import api
from pileus.kernel.rpc import Agents, host_secret
from pileus.settings import load_settings
from pileus.supervisor.processes import recorded
from tests.cloud import Cloud
from tests.faults.kill import guest_disk
from tests.real_things import require
from tests.world import wait_until

BOOT_SECONDS = 120


class Site:
    """A cloud with an image and a flavor; servers without a network, which tell on their console that they are up."""

    def __init__(self, cloud: Cloud) -> None:
        self.settings = load_settings(cloud.config, {}).settings
        self.connection: openstack.connection.Connection = cloud.connect()
        self.image = self.connection.image.create_image(
            name="guest", filename=str(guest_disk()), disk_format="qcow2", container_format="bare", wait=True
        )
        self.flavor = self.connection.compute.create_flavor(name="tiny", ram=112, vcpus=1, disk=1)
        secret = host_secret(
            (self.settings.site.state_dir / "secrets" / "host_secret").read_text().strip(), self.settings.agent.host
        )
        self._agents = Agents(lambda _host: f"unix://{self.settings.agent.socket}", lambda _host: secret)

    def request(self, name: str) -> Any:
        return self.connection.compute.create_server(
            name=name, image_id=self.image.id, flavor_id=self.flavor.id, networks="none"
        )

    def up(self, server: Any, times: int = 1) -> None:
        """Wait until a server runs, and its guest has come up so many times."""
        self.connection.compute.wait_for_server(server, wait=BOOT_SECONDS)
        wait_until(lambda: self.console(server).count("SSH is open") >= times, BOOT_SECONDS, 0.5)

    def console(self, server: Any) -> str:
        return str(self.connection.compute.get_server_console_output(server)["output"])

    def ask(self, verb: str, path: str, body: msgspec.Struct | None = None) -> dict[str, Any]:
        """What the agent of the host answers."""
        return self._agents.call("h", verb, path, body, timeout=60)

    def images(self) -> tuple[api.CachedImage, ...]:
        return msgspec.convert(self.ask("GET", "/images"), api.CachedImages).images


@pytest.mark.real
@pytest.mark.timeout(900)
@pytest.mark.parametrize("base_format", ["raw", "qcow2"])
def test_a_cache_under_real_guests(base_format: str) -> None:
    require("qemu-system-x86_64", "qemu-img", "libvirtd", "nft", "dnsmasq")
    with Cloud("qi", {"agent.image_cache_format": base_format}) as cloud:
        site = Site(cloud)
        base = site.settings.agent.image_cache_dir / "base"

        # The agent is killed while it fetches the image for two servers at once.
        servers = [site.request("a"), site.request("b")]
        wait_until(lambda: list(base.glob(".*.lock")), 60)
        agent = recorded(site.settings.site.run_dir / "agent.pid")
        assert agent is not None
        os.kill(agent, signal.SIGKILL)
        for server in servers:
            site.up(server)
        (image,) = site.images()
        assert (image.format, image.state) == (base_format, "ready")
        assert image.users == tuple(sorted(server.id for server in servers))
        assert cloud.logs().count("image cached") == 1
        assert [path.name for path in base.glob(".*") if not path.name.endswith(".lock")] == []

        # The base rots under the running guests. It is found, and fetched anew before one boots again.
        path = next(path for path in base.iterdir() if path.name in (image.checksum, f"{image.checksum}.qcow2"))
        found = path.stat()
        with path.open("r+b") as out:
            out.seek(found.st_size // 2)
            out.write(b"rotten" * 100)
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        assert site.ask("POST", "/images/verify", api.VerifyImages())["damaged"] == [image.checksum]
        assert "a cached image is damaged" in cloud.logs()
        site.connection.compute.reboot_server(servers[0], "HARD")
        site.up(servers[0], times=2)
        assert [image.state for image in site.images()] == ["damaged", "ready"]

        # Nothing goes that a server needs; all goes when there is none.
        everything = api.PruneImages(unused_for=0)
        assert site.ask("POST", "/images/prune", everything)["removed"] == []
        for server in servers:
            site.connection.compute.delete_server(server)
        for server in servers:
            site.connection.compute.wait_for_delete(server, wait=60)
        assert site.ask("POST", "/images/prune", everything)["removed"] == [image.checksum]
        assert list(base.iterdir()) == []
        assert not list(Path(site.settings.agent.instances_dir).iterdir())
