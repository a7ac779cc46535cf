"""Kills the processes of a real cloud while it works, and looks whether anything was lost, doubled or left behind.

`python -m tests.faults.kill --kills 50` starts a cloud of its own (real processes, real networks, real guests; with
`--fake` on fake drivers). Users create and delete servers as fast as they like, while SIGKILL hits an API worker, the
conductor or the agent at random moments. Then everybody rests, and this must hold:

* every server is there or gone as its user was told, and none is being built or deleted;
* `pileus doctor --audit` finds no difference between the database and the host;
* the same after all servers were deleted, and `pileus down` leaves no trace.

The seed decides who is killed after which pause and what users do; what the kills hit is up to the machine.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import urllib3

from pileus.supervisor import processes
from pileus.supervisor.children import QUICK
from tests.cloud import PILEUS, Cloud

ROOT = Path(__file__).parents[2]
MEAN_PAUSE = 0.8  # seconds between two kills
YOUNG = 0.15  # of the kills hit whoever runs, however young
GUEST_MEMORY = 96  # MiB
SETTINGS = {
    "network.public_cidr": "172.31.77.0/24",
    "network.public_gateway": "172.31.77.1",
    "network.public_pool_start": "172.31.77.10",
    "network.public_pool_end": "172.31.77.250",
    "compute.quota_instances": -1,
    "compute.quota_cores": -1,
    "agent.report_interval": 2.0,
}
FAKE = {"agent.hypervisor": "fake", "agent.network": "fake"}


class Lost(Exception):
    """No answer: what was asked may or may not have happened."""


class User:
    """Logged in as the administrator; speaks to the cloud without any retries of its own."""

    def __init__(self, cloud: Cloud) -> None:
        self._http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=5.0, read=30.0), retries=False)
        self._url = cloud.url
        domain = {"name": "Default"}
        user = {"name": "admin", "domain": domain, "password": cloud.admin_password}
        auth = {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": "admin", "domain": domain}},
        }
        response = self._send("POST", "/identity/v3/auth/tokens", {"auth": auth}, {})
        self._token = {"X-Auth-Token": response.headers["X-Subject-Token"]}

    def call(self, method: str, path: str, body: Any = None, *, data: bytes | None = None) -> tuple[int, Any]:
        """Status and document. Lost if none came, or the answer was that something is out of order (5xx)."""
        response = self._send(method, path, body, self._token, data)
        if response.status >= 500:
            raise Lost(f"{method} {path}: {response.status}")
        return response.status, msgspec.json.decode(response.data) if response.data else None

    def make(self, path: str, kind: str, **values: Any) -> dict[str, Any]:
        """Create something before the trouble begins."""
        status, document = self.call("POST", path, {kind: values})
        if status >= 300:
            raise RuntimeError(f"{path}: {status} {document}")
        made: dict[str, Any] = document[kind]
        return made

    def _send(
        self, method: str, path: str, body: Any, headers: dict[str, str], data: bytes | None = None
    ) -> urllib3.BaseHTTPResponse:
        kind = "application/json" if data is None else "application/octet-stream"
        payload = data if data is not None else None if body is None else msgspec.json.encode(body)
        try:
            return self._http.request(method, self._url + path, body=payload, headers={**headers, "Content-Type": kind})
        except (urllib3.exceptions.HTTPError, OSError) as err:
            raise Lost(f"{method} {path}: {type(err).__name__}") from err


@dataclass
class Asked:
    """What a user asked for and was told of one server. `id` is None where the answer to the creation was lost."""

    name: str
    id: str | None = None
    delete: bool = False  # asked for
    deleted: bool = False  # and promised


@dataclass
class Diary:
    """What users did, and what they found strange."""

    asked: list[Asked] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    lost: int = 0


class Customer:
    """Creates and deletes servers, on a thread, until told to stop; at most `most` at a time."""

    def __init__(self, cloud: Cloud, number: int, seed: int, template: dict[str, Any], most: int) -> None:
        self.diary = Diary()
        self._user = User(cloud)
        self._random = random.Random(f"{seed}-{number}")
        self._template = template
        self._number = number
        self._most = most
        self._mine: list[Asked] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._live, name=f"customer-{number}", daemon=True)
        self._thread.start()

    def _live(self) -> None:
        try:
            while not self._ending.wait(self._random.uniform(0.0, 0.4)):
                if len(self._mine) < self._most and self._random.random() < 0.6:
                    self._create()
                elif self._mine:
                    self._delete(self._mine.pop(self._random.randrange(len(self._mine))))
        except Exception as err:  # noqa: BLE001 - it must be told of in the end
            self.diary.strange.append(f"{self._thread.name} broke off: {err!r}")

    def stop(self) -> Diary:
        """End, and tell."""
        self._ending.set()
        self._thread.join(120)
        return self.diary

    def _create(self) -> None:
        asked = Asked(f"s{self._number}-{len(self.diary.asked)}")
        self.diary.asked.append(asked)
        try:
            status, document = self._user.call(
                "POST", "/compute/v2.1/servers", {"server": {**self._template, "name": asked.name}}
            )
        except Lost:
            self.diary.lost += 1
            return
        if status == 202:
            asked.id = document["server"]["id"]
            self._mine.append(asked)
        else:
            self.diary.strange.append(f"creating {asked.name} answered {status}: {document}")

    def _delete(self, asked: Asked) -> None:
        """Ask until there is an answer."""
        for _ in range(100):
            sure, asked.delete = not asked.delete, True
            try:
                status, document = self._user.call("DELETE", f"/compute/v2.1/servers/{asked.id}")
            except Lost:
                self.diary.lost += 1
                time.sleep(0.1)
                continue
            if status == 204 or (status == 404 and not sure):
                asked.deleted = True
            else:
                self.diary.strange.append(f"deleting {asked.name} answered {status}: {document}")
            return
        self.diary.strange.append(f"deleting {asked.name} was never answered")


def kill(cloud: Cloud, count: int, chance: random.Random) -> Counter[str]:
    """SIGKILL `count` processes, one after another, each after a pause; how often each kind was hit.

    Mostly those are hit that have been at work for a while: one that dies young again and again is restarted with
    growing pauses, in which nothing would be tested. Some are hit young nevertheless.
    """
    hit: Counter[str] = Counter()
    while sum(hit.values()) < count:
        time.sleep(chance.expovariate(1 / MEAN_PAUSE))
        grown = 0.0 if chance.random() < YOUNG else QUICK
        deadline = time.monotonic() + 60
        while not (running := _running(cloud.directory / "run", grown)):
            if time.monotonic() > deadline:
                raise RuntimeError("no process is running that could be killed")
            time.sleep(0.02)
        name = chance.choice(sorted(running))
        os.kill(running[name], signal.SIGKILL)
        hit[name.partition("-")[0]] += 1
    return hit


def _running(run_dir: Path, grown: float) -> dict[str, int]:
    """The processes of a cloud, but its supervisor, that have run for `grown` seconds: name -> process id."""
    found = {}
    for path in run_dir.glob("*.pid"):
        pid = processes.recorded(path)
        if pid is not None and time.time() - path.stat().st_mtime > grown:
            found[path.stem] = pid
    return found


def unsettled(user: User, asked: Sequence[Asked]) -> list[str]:
    """What is not yet as users were told; empty once the cloud rests."""
    try:
        status, document = user.call("GET", "/compute/v2.1/servers/detail")
    except Lost as err:
        return [f"no list of servers: {err}"]
    if status != 200:
        return [f"the list of servers: {status} {document}"]
    there = {server["name"]: server for server in document["servers"]}
    wrong = [
        f"{server['name']} is {server['status']}, {server['OS-EXT-STS:task_state']}"
        for server in there.values()
        if server["status"] not in ("ACTIVE", "ERROR") or server["OS-EXT-STS:task_state"] is not None
    ]
    for one in asked:
        if one.deleted and one.name in there:
            wrong.append(f"{one.name} was deleted and is there")
        elif one.id is not None and not one.delete and one.name not in there:
            wrong.append(f"{one.name} was created and is not there")
    return wrong


def settle(user: User, asked: Sequence[Asked], patience: float) -> list[str]:
    """Wait until the cloud rests; what is still wrong after `patience` seconds."""
    deadline = time.monotonic() + patience
    while (wrong := unsettled(user, asked)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return wrong


def audit(cloud: Cloud) -> list[str]:
    """The differences that `pileus doctor --audit` prints."""
    try:
        cloud.pileus("doctor", "--audit", timeout=120)
    except RuntimeError as err:
        return str(err).splitlines()
    return []


def guest_disk() -> Path:
    """The project's own guest image, made if it is not there."""
    subprocess.run([PILEUS, "image", "build-test"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return ROOT / "build/guest-image/disk.qcow2"


def prepare(user: User, image: Path | None) -> dict[str, Any]:
    """Image, flavor, network and router; what servers are asked for with."""
    status, made = user.call(
        "POST",
        "/image/v2/images",
        {"name": "guest", "disk_format": "qcow2" if image else "raw", "container_format": "bare"},
    )
    assert status == 201, made
    data = image.read_bytes() if image else b"\0" * 4096
    status, _ = user.call("PUT", f"/image/v2/images/{made['id']}/file", data=data)
    assert status == 204
    flavor = user.make("/compute/v2.1/flavors", "flavor", name="tiny", vcpus=1, ram=GUEST_MEMORY, disk=1)
    network = user.make("/network/v2.0/networks", "network", name="net")
    subnet = user.make("/network/v2.0/subnets", "subnet", network_id=network["id"], cidr="10.77.0.0/24", ip_version=4)
    _, public = user.call("GET", "/network/v2.0/networks?router:external=true")
    gateway = {"network_id": public["networks"][0]["id"]}
    router = user.make("/network/v2.0/routers", "router", name="r", external_gateway_info=gateway)
    user.call("PUT", f"/network/v2.0/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    return {"imageRef": made["id"], "flavorRef": flavor["id"], "networks": [{"uuid": network["id"]}]}


@dataclass
class Outcome:
    """What a run came to. `wrong` is empty if all is well."""

    wrong: list[str]
    kills: Counter[str]
    servers: int
    errors: list[str]  # faults of servers that ended in ERROR
    lost: int
    settled_after: float  # seconds from the last kill


def run(cloud: Cloud, *, kills: int, seed: int, customers: int, most: int, image: Path | None) -> Outcome:
    """The whole run on a cloud that is up."""
    chance = random.Random(seed)
    user = User(cloud)
    template = prepare(user, image)
    busy = [Customer(cloud, number, seed, template, most) for number in range(customers)]
    hit = kill(cloud, kills, chance)
    last = time.monotonic()
    diaries = [customer.stop() for customer in busy]
    asked = [one for diary in diaries for one in diary.asked]
    wrong = [line for diary in diaries for line in diary.strange]
    wrong += settle(user, asked, 120)
    settled_after = time.monotonic() - last
    wrong += audit(cloud)
    errors = _faults(user)
    _delete_all(user)
    for one in asked:
        one.delete = one.deleted = True
    wrong += settle(user, asked, 120)
    wrong += audit(cloud)
    return Outcome(wrong, hit, len(asked), errors, sum(diary.lost for diary in diaries), settled_after)


def _faults(user: User) -> list[str]:
    _, document = user.call("GET", "/compute/v2.1/servers/detail?status=ERROR")
    return [f"{server['name']}: {server.get('fault', {}).get('message')}" for server in document["servers"]]


def _delete_all(user: User) -> None:
    _, document = user.call("GET", "/compute/v2.1/servers")
    for server in document["servers"]:
        user.call("DELETE", f"/compute/v2.1/servers/{server['id']}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--customers", type=int, default=3)
    parser.add_argument("--most", type=int, default=2, help="servers that each customer has at a time")
    parser.add_argument("--fake", action="store_true", help="no real guests and networks: faster, and more of them")
    arguments = parser.parse_args()
    image = None if arguments.fake else guest_disk()
    with Cloud("qk", SETTINGS | (FAKE if arguments.fake else {})) as cloud:
        outcome = run(
            cloud,
            kills=arguments.kills,
            seed=arguments.seed,
            customers=arguments.customers,
            most=arguments.most,
            image=image,
        )
        if outcome.wrong:
            print(cloud.logs()[-100_000:])
    hits = ", ".join(f"{name} {count}" for name, count in sorted(outcome.kills.items()))
    print(
        f"seed {arguments.seed}: {sum(outcome.kills.values())} kills ({hits}), {outcome.servers} servers asked for, "
        f"{outcome.lost} answers lost, at rest {outcome.settled_after:.1f} s after the last kill, "
        f"{len(outcome.errors)} servers in ERROR"
    )
    for line in outcome.errors:
        print(f"  {line}")
    for line in outcome.wrong:
        print(f"WRONG: {line}")
    print("Nothing was lost and nothing was left." if not outcome.wrong else f"{len(outcome.wrong)} things are wrong.")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
