"""Servers in numbers: how fast they are made, shown, listed and deleted.

    python bench/compute.py [--servers 200] [--clients 8] [--one-by-one 30] [--listed 1000]

The cloud is found by the OS_* variables (an administrator's). With `[agent] hypervisor = "fake"` and `network = "fake"`
the figures are those of Pileus alone. Everything made is deleted again.
"""

import argparse
import contextlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import urllib3

POLL = 0.005
PATIENCE = 300.0
VERSION = "2.90"
IMAGE_BYTES = 1 << 20


class Client:
    """A logged-in caller with connections of its own."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._http = urllib3.PoolManager(maxsize=32)
        self._cloud = environ["OS_AUTH_URL"].rstrip("/").removesuffix("/v3").removesuffix("/identity")
        self._token = ""
        password = {
            "user": {
                "name": environ["OS_USERNAME"],
                "password": environ["OS_PASSWORD"],
                "domain": {"name": environ.get("OS_USER_DOMAIN_NAME", "Default")},
            }
        }
        project = {
            "name": environ["OS_PROJECT_NAME"],
            "domain": {"name": environ.get("OS_PROJECT_DOMAIN_NAME", "Default")},
        }
        body = {"auth": {"identity": {"methods": ["password"], "password": password}, "scope": {"project": project}}}
        answer = self.request("POST", "/identity/v3/auth/tokens", body)
        self._token = answer.headers["X-Subject-Token"]
        self.project: str = answer.json()["token"]["project"]["id"]

    def request(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None) -> Any:
        """An answer below 300; RuntimeError for every other."""
        headers = {
            "X-Auth-Token": self._token,
            "OpenStack-API-Version": f"compute {VERSION}",
            "Content-Type": "application/json" if raw is None else "application/octet-stream",
        }
        url = f"{self._cloud}{path}"
        if raw is not None:
            answer = self._http.request(method, url, body=raw, headers=headers)
        else:
            answer = self._http.request(method, url, json=body, headers=headers)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.data[:500]!r}")
        return answer

    def get(self, path: str) -> Any:
        """The JSON of a GET."""
        return self.request("GET", path).json()


@contextlib.contextmanager
def ground(client: Client) -> Iterator[dict[str, Any]]:
    """A flavor, an image and a network with room for many servers; the fields of a request for one."""
    with contextlib.ExitStack() as stack:

        def made(path: str, kind: str, body: dict[str, Any]) -> str:
            thing: str = client.request("POST", path, {kind: body}).json()[kind]["id"]
            stack.callback(client.request, "DELETE", f"{path}/{thing}")
            return thing

        limits = {"instances": -1, "cores": -1, "ram": -1}
        client.request("PUT", f"/compute/v2.1/os-quota-sets/{client.project}", {"quota_set": limits})
        client.request("PUT", f"/network/v2.0/quotas/{client.project}", {"quota": {"port": -1}})
        flavor = made("/compute/v2.1/flavors", "flavor", {"name": "bench", "vcpus": 1, "ram": 64, "disk": 1})
        image = client.request(
            "POST", "/image/v2/images", {"name": "bench", "disk_format": "raw", "container_format": "bare"}
        ).json()["id"]
        stack.callback(client.request, "DELETE", f"/image/v2/images/{image}")
        client.request("PUT", f"/image/v2/images/{image}/file", raw=bytes(IMAGE_BYTES))
        network = made("/network/v2.0/networks", "network", {"name": "bench"})
        made("/network/v2.0/subnets", "subnet", {"network_id": network, "ip_version": 4, "cidr": "10.99.0.0/16"})
        yield {"name": "bench", "flavorRef": flavor, "imageRef": image, "networks": [{"uuid": network}]}


def create(client: Client, fields: dict[str, Any]) -> str:
    """Ask for a server."""
    server_id: str = client.request("POST", "/compute/v2.1/servers", {"server": fields}).json()["server"]["id"]
    return server_id


def until_active(client: Client, server_id: str) -> None:
    """Wait for one server."""
    deadline = time.monotonic() + PATIENCE
    while True:
        server = client.get(f"/compute/v2.1/servers/{server_id}")["server"]
        if server["status"] == "ACTIVE":
            return
        if server["status"] == "ERROR" or time.monotonic() > deadline:
            raise RuntimeError(f"{server_id} is {server['status']}: {server.get('fault')}")
        time.sleep(POLL)


def until_gone(client: Client, server_id: str) -> None:
    """Wait for one server's end."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            client.get(f"/compute/v2.1/servers/{server_id}")
        except RuntimeError as err:
            if ": 404 " in str(err):
                return
            raise
        time.sleep(POLL)
    raise RuntimeError(f"{server_id} is still there")


def one_by_one(client: Client, fields: dict[str, Any], count: int) -> None:
    """Latency of create and delete."""
    created, deleted = [], []
    for _ in range(count):
        start = time.perf_counter()
        server_id = create(client, fields)
        until_active(client, server_id)
        created.append(time.perf_counter() - start)
        start = time.perf_counter()
        client.request("DELETE", f"/compute/v2.1/servers/{server_id}")
        until_gone(client, server_id)
        deleted.append(time.perf_counter() - start)
    show("create to ACTIVE, one at a time", milliseconds(created))
    show("delete to gone, one at a time", milliseconds(deleted))


def storm(clients: Sequence[Client], fields: dict[str, Any], count: int) -> list[str]:
    """Throughput of creating, from several clients at once."""
    start = time.perf_counter()
    with ThreadPoolExecutor(len(clients)) as pool:
        ids = list(pool.map(lambda number: create(clients[number % len(clients)], fields), range(count)))
    accepted = time.perf_counter() - start
    wait_for(clients[0], lambda statuses: all(statuses.get(one) == "ACTIVE" for one in ids))
    show(f"{count} servers from {len(clients)} clients: accepted", f"{accepted:.2f} s")
    show(f"{count} servers from {len(clients)} clients: all ACTIVE", f"{time.perf_counter() - start:.2f} s")
    return ids


def clear(clients: Sequence[Client], ids: Sequence[str]) -> None:
    """Throughput of deleting."""
    start = time.perf_counter()
    with ThreadPoolExecutor(len(clients)) as pool:
        for _ in pool.map(
            lambda pair: clients[pair[0] % len(clients)].request("DELETE", f"/compute/v2.1/servers/{pair[1]}"),
            enumerate(ids),
        ):
            continue
    wait_for(clients[0], lambda statuses: not any(one in statuses for one in ids))
    show(f"{len(ids)} servers: all gone", f"{time.perf_counter() - start:.2f} s")


def wait_for(client: Client, reached: Callable[[dict[str, str]], bool]) -> None:
    """Wait until the list of servers is as it should be."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        statuses: dict[str, str] = {}
        path: str | None = "/compute/v2.1/servers/detail?limit=1000"
        while path:
            page = client.get(path)
            statuses |= {server["id"]: server["status"] for server in page["servers"]}
            following = page.get("servers_links")
            path = "/compute" + following[0]["href"].split("/compute", 1)[1] if following else None
        if any(status == "ERROR" for status in statuses.values()):
            raise RuntimeError("a server is in ERROR")
        if reached(statuses):
            return
        time.sleep(0.1)
    raise RuntimeError("the servers did not come to rest")


def reading(client: Client, ids: Sequence[str]) -> None:
    """Latency and rate of showing and listing."""
    client.get(f"/compute/v2.1/servers/{ids[0]}")
    start = time.perf_counter()
    for number in range(500):
        client.get(f"/compute/v2.1/servers/{ids[number % len(ids)]}")
    show("GET /servers/{id}, one client", f"{500 / (time.perf_counter() - start):.0f}/s")
    times = []
    for _ in range(10):
        start = time.perf_counter()
        found = len(client.get("/compute/v2.1/servers/detail?limit=1000")["servers"])
        times.append(time.perf_counter() - start)
    show(f"GET /servers/detail, {found} servers", milliseconds(times))


def milliseconds(times: Sequence[float]) -> str:
    """Median and 95th percentile."""
    p95 = statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
    return f"p50 {statistics.median(times) * 1000:.1f} ms, p95 {p95 * 1000:.1f} ms"


def show(what: str, figure: str) -> None:
    """One line of the result."""
    print(f"{what:<52} {figure}", flush=True)


def main() -> int:
    """Run everything against the cloud of the environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--one-by-one", type=int, default=30)
    parser.add_argument("--listed", type=int, default=0, help="so many servers more, for the list")
    wanted = parser.parse_args()
    clients = [Client(dict(os.environ)) for _ in range(wanted.clients)]
    with ground(clients[0]) as fields:
        one_by_one(clients[0], fields, wanted.one_by_one)
        ids = storm(clients, fields, wanted.servers)
        if wanted.listed:
            ids += storm(clients, fields, wanted.listed)
        reading(clients[0], ids)
        clear(clients, ids)
    return 0


if __name__ == "__main__":
    sys.exit(main())
