"""The caches of a few hosts: the real registry of hosts and the real wishes; agents that remember what they hold."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from pileus.agent.api import (
    CachedImage,
    CachedImages,
    HostReport,
    ImageRef,
    Inventory,
    Prefetched,
    PrunedImages,
    PruneImages,
    VerifiedImages,
    VerifyImages,
)
from pileus.compute.image_cache.domain import Wish
from pileus.compute.image_cache.loops import fetch_all, follow
from pileus.compute.image_cache.policies import PrecachePolicy, UsedAndCritical
from pileus.compute.image_cache.service import ImageCaches
from pileus.compute.image_cache.settings import PrecacheSettings
from pileus.compute.servers.domain import Boot, FlavorSnapshot
from pileus.compute.servers.models import server
from pileus.hosts.service import Hosts
from pileus.hosts.settings import HostsSettings
from pileus.kernel.auth import Actor
from pileus.kernel.clock import FakeClock
from pileus.kernel.db import Database
from pileus.kernel.ids import new_uuid
from pileus.kernel.loops import LoopCtx
from pileus.kernel.rpc import AgentRefused, AgentUnreachable
from tests.compute.fakes import FakeImage, FakeImages

ADMIN = Actor(user_id="a", roles=frozenset({"admin"}), is_admin=True)
GIB = 1 << 30


def image_id(number: int) -> str:
    """The id of the world's image of this number, from 1."""
    return f"{number:08d}-0000-4000-8000-000000000000"


class FakeCache:
    """One host's cache. `slow`: so many questions are answered "not yet"; `refusing`: with this kind of refusal."""

    def __init__(self) -> None:
        self.held: dict[str, ImageRef] = {}
        self.down = False
        self.slow = 0
        self.refusing: str | None = None
        self.fetches: list[str] = []

    def call(self, verb: str, path: str, body: Any) -> msgspec.Struct:
        """What the agent answers."""
        if self.down:
            raise AgentUnreachable("The agent does not answer.")
        if self.refusing is not None:
            raise AgentRefused(self.refusing, f"refused: {self.refusing}", transient=False)
        if verb == "GET":
            return CachedImages(tuple(self._shown(ref) for ref in self.held.values()), free=GIB)
        if verb == "PUT":
            assert isinstance(body, ImageRef)
            assert path.startswith(f"/images/{body.checksum}?wait=")
            self.fetches.append(body.id)
            if self.slow:
                self.slow -= 1
                return Prefetched(ready=False)
            self.held[body.checksum] = body
            return Prefetched(ready=True)
        if isinstance(body, VerifyImages):
            return VerifiedImages(tuple(body.checksums or self.held))
        assert isinstance(body, PruneImages)
        removed, self.held = tuple(self.held), {}
        return PrunedImages(removed, freed=len(removed))

    @staticmethod
    def _shown(ref: ImageRef) -> CachedImage:
        return CachedImage(
            checksum=ref.checksum, format="raw", size=ref.size, virtual_size=ref.size, image_ids=(ref.id,)
        )


class FakeAgents:
    """The agents of all hosts."""

    def __init__(self) -> None:
        self.caches: dict[str, FakeCache] = {}
        self.before: Callable[[str], None] = lambda _host: None  # told of each call before it arrives
        self.after: Callable[[str], None] = lambda _host: None  # and when it was done

    def call(
        self, host: str, verb: str, path: str, body: msgspec.Struct | None = None, timeout: float = 30.0
    ) -> dict[str, Any]:
        assert timeout > 0
        self.before(host)
        answer = self.caches[host].call(verb, path, body)
        self.after(host)
        decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(answer))
        return decoded


class World:
    """Hosts h1, h2, ...; images of 1 GiB with the numbers 1, 2, ..."""

    def __init__(self, db: Database, *, hosts: int = 2, images: int = 3, **settings: Any) -> None:
        self.db = db
        self.clock = FakeClock()
        self.settings = PrecacheSettings(**settings)
        self.images = FakeImages(*(self.image(number) for number in range(1, images + 1)))
        self.hosts = Hosts(HostsSettings(), self.clock, on_inventory=lambda *_: None, on_power=lambda *_: None)
        self.agents = FakeAgents()
        self.nudges = 0
        self.caches = ImageCaches(self.settings, self.images, self.hosts, self.agents, self.clock, self._nudged)
        self.context = LoopCtx(db, None, self.clock, lambda: False)
        for number in range(1, hosts + 1):
            self.agents.caches[f"h{number}"] = FakeCache()
            self.report(f"h{number}")

    def _nudged(self, _tx: Any) -> None:
        self.nudges += 1

    @staticmethod
    def image(number: int, size: int = GIB, **values: Any) -> FakeImage:
        return FakeImage(
            **{
                "id": image_id(number), "disk_format": "raw", "size": size, "virtual_size": size,
                "os_hash_value": f"c{number}", **values,
            }
        )  # fmt: skip

    def report(self, host: str, disk_gb: int = 100, disk_gb_free: int = 90) -> None:
        """Have a host say what it has."""
        inventory = Inventory(
            host=host, hypervisor_type="fake", hypervisor_version=1, arch="x86_64", cpu_model="fake", vcpus=8,
            memory_mb=1024, memory_mb_used=0, disk_gb=disk_gb, disk_gb_free=disk_gb_free, host_ip="127.0.0.1",
            cached_images=tuple(self.agents.caches[host].held),
        )  # fmt: skip
        report = HostReport(address="unix:/a", inventory=inventory)
        self.db.transact(lambda tx: self.hosts.report(tx, host, report))

    def request(self, hosts: Sequence[str], numbers: Sequence[int]) -> None:
        """What an administrator's request does."""
        ids = [image_id(number) for number in numbers]
        self.db.transact(lambda tx: self.caches.request(tx, ADMIN, hosts, ids))

    def run(self) -> None:
        """Have hosts fetch what is due."""
        fetch_all(self.context, self.caches)

    def follow(self, policy: PrecachePolicy | None = None) -> None:
        """Have the policy say what is wanted."""
        follow(self.context, self.caches, policy or UsedAndCritical(self.settings))

    def wishes(self) -> list[Wish]:
        """What is not there yet."""
        with self.db.read() as tx:
            return self.caches.wishes(tx)

    def held(self, host: str) -> set[str]:
        """The checksums that a host holds."""
        return set(self.agents.caches[host].held)

    def add_server(self, number: int, *, age_days: float = 0, deleted: bool = False, **metadata: str) -> None:
        """Write a server of an image, made so long ago."""
        created = self.clock.now() - int(age_days * 86400 * 1_000_000)
        row: dict[str, Any] = {
            "id": new_uuid(), "project_id": "p", "user_id": "u", "name": "vm", "hostname": "vm", "vm_state": "active",
            "power_state": "running", "flavor": FlavorSnapshot("1", "m1", 1, 64, 1, 0, 0), "config_drive": False,
            "auto_disk_config": True, "metadata": metadata, "tags": [], "security_groups": [], "hints": {},
            "reservation_id": "r-1", "launch_index": 0, "created_at": created, "updated_at": created,
            "deleted": int(deleted), "boot": Boot(), "vcpus": 1, "memory_mb": 64, "flavorid": "1",
            "image_id": image_id(number),
        }  # fmt: skip
        self.db.transact(lambda tx: tx.execute(server.insert().values(**row)) and None)
