"""A cloud to measure: real processes, started with `pileus up`, on fake drivers unless asked otherwise."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.support.http import Connection
from tests.cloud import Cloud

from pileus.supervisor import processes

ROOMY = {
    "compute.quota_instances": -1,
    "compute.quota_cores": -1,
    "compute.quota_ram": -1,
    "network.quota_port": -1,
    "placement.disk_allocation_ratio": 1000.0,
}
FAKE = {"agent.hypervisor": "fake", "agent.network": "fake"}
_TICKS = os.sysconf("SC_CLK_TCK")


class Site:
    """A running cloud and an administrator's connection to it."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.api = Connection(cloud.port).login(cloud.admin_password)

    def connect(self) -> Connection:
        """A further connection of the same user."""
        return Connection(self.cloud.port, self.api.token)

    def pids(self, name: str) -> list[int]:
        """The processes whose name begins so: serve, conductor, agent."""
        paths = sorted((self.cloud.directory / "run").glob(f"{name}*.pid"))
        return [pid for path in paths if (pid := processes.recorded(path)) is not None]

    def template(self, image: Path | None = None, memory: int = 64) -> dict[str, Any]:
        """What servers are made from: an image, a flavor and a network of its own."""
        format_ = "qcow2" if image else "raw"
        made = self.api.make("/image/v2/images", {"name": "i", "disk_format": format_, "container_format": "bare"})
        upload(self.cloud.port, self.api.token, made["id"], image.read_bytes() if image else b"\0" * 4096)
        flavor = self.api.make("/compute/v2.1/flavors", {"flavor": {"name": "f", "vcpus": 1, "ram": memory, "disk": 1}})
        network = self.api.make("/network/v2.0/networks", {"network": {"name": "n"}})["network"]
        subnet = {"network_id": network["id"], "cidr": "10.128.0.0/14", "ip_version": 4}
        self.api.make("/network/v2.0/subnets", {"subnet": subnet})
        return {
            "name": "vm",
            "imageRef": made["id"],
            "flavorRef": flavor["flavor"]["id"],
            "networks": [{"uuid": network["id"]}],
        }

    def boot(self, template: Mapping[str, Any], poll: float = 0.002) -> tuple[str, float]:
        """Create a server and wait until it is ACTIVE: its id, and the milliseconds from the call."""
        begun = time.perf_counter()
        server_id = self.api.make("/compute/v2.1/servers", {"server": template})["server"]["id"]
        while (server := self.server(server_id))["status"] != "ACTIVE":
            if server["status"] == "ERROR":
                raise RuntimeError(str(server.get("fault")))
            time.sleep(poll)
        return server_id, (time.perf_counter() - begun) * 1000

    def server(self, server_id: str) -> dict[str, Any]:
        """A server."""
        status, document = self.api.ask("GET", f"/compute/v2.1/servers/{server_id}")
        if status != 200:
            raise RuntimeError(f"server {server_id}: {status} {document}")
        found: dict[str, Any] = document["server"]
        return found

    def delete(self, server_id: str, poll: float = 0.002) -> float:
        """Delete a server and wait until it is gone: the milliseconds."""
        begun = time.perf_counter()
        self.api.ask("DELETE", f"/compute/v2.1/servers/{server_id}")
        while self.api.ask("GET", f"/compute/v2.1/servers/{server_id}")[0] != 404:
            time.sleep(poll)
        return (time.perf_counter() - begun) * 1000


def upload(port: int, token: str, image_id: str, data: bytes) -> None:
    """Send an image's data on a connection of its own."""
    connection = Connection(port, token)
    head = [
        f"PUT /image/v2/images/{image_id}/file HTTP/1.1",
        "Host: 127.0.0.1",
        f"X-Auth-Token: {token}",
        "Content-Type: application/octet-stream",
        f"Content-Length: {len(data)}",
    ]
    connection.send("\r\n".join(head).encode() + b"\r\n\r\n" + data)
    status, answer = connection.receive()
    if status != 204:
        raise RuntimeError(f"upload: {status} {answer[:300]!r}")


def pin(pid: int, cores: set[int]) -> None:
    """Keep all threads of a process on these cores."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cores)


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def site(settings: Mapping[str, object] | None = None, *, fake: bool = True) -> Iterator[Site]:
    """A running cloud for the length of a block."""
    with Cloud("qb", ROOMY | (FAKE if fake else {}) | dict(settings or {})) as cloud:
        yield Site(cloud)
