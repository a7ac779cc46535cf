"""The small services of compute behind the real application: real registry of hosts, placement and quotas."""

from collections.abc import Sequence
from typing import Any

import falcon.testing

from pileus.agent.api import HostReport, Inventory
from pileus.compute.aggregates.policy import RULES as AGGREGATE_RULES
from pileus.compute.aggregates.routes import ROUTES as AGGREGATE_ROUTES
from pileus.compute.aggregates.service import Aggregates
from pileus.compute.availability_zones.policy import RULES as ZONE_RULES
from pileus.compute.availability_zones.routes import ROUTES as ZONE_ROUTES
from pileus.compute.availability_zones.service import AvailabilityZones
from pileus.compute.extensions.policy import RULES as EXTENSION_RULES
from pileus.compute.extensions.routes import ROUTES as EXTENSION_ROUTES
from pileus.compute.flavors.policy import RULES as FLAVOR_RULES
from pileus.compute.flavors.routes import ROUTES as FLAVOR_ROUTES
from pileus.compute.flavors.service import Flavors
from pileus.compute.hypervisors.policy import RULES as HYPERVISOR_RULES
from pileus.compute.hypervisors.routes import ROUTES as HYPERVISOR_ROUTES
from pileus.compute.hypervisors.service import Hypervisors
from pileus.compute.keypairs.policy import RULES as KEYPAIR_RULES
from pileus.compute.keypairs.routes import ROUTES as KEYPAIR_ROUTES
from pileus.compute.keypairs.service import Keypairs
from pileus.compute.limits.policy import RULES as LIMIT_RULES
from pileus.compute.limits.routes import ROUTES as LIMIT_ROUTES
from pileus.compute.policy import BASE
from pileus.compute.quotas.policy import RULES as QUOTA_RULES
from pileus.compute.quotas.routes import ROUTES as QUOTA_ROUTES
from pileus.compute.quotas.service import Quotas
from pileus.compute.routes import bound, make_service
from pileus.compute.servers.domain import Boot, FlavorSnapshot
from pileus.compute.servers.models import server
from pileus.compute.services.policy import RULES as SERVICE_RULES
from pileus.compute.services.routes import ROUTES as SERVICE_ROUTES
from pileus.compute.services.service import ComputeServices
from pileus.compute.settings import ComputeSettings
from pileus.hosts.service import Hosts
from pileus.hosts.settings import HostsSettings
from pileus.kernel.app import Dispatcher, make_app
from pileus.kernel.auth import Actor
from pileus.kernel.clock import FakeClock
from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import Unauthorized
from pileus.kernel.ids import new_uuid
from pileus.kernel.policy import Policy
from pileus.placement.service import DISK_GB, MEMORY_MB, VCPU, Placement
from pileus.placement.settings import PlacementSettings

PROJECT, OTHER_PROJECT, ADMIN_PROJECT = "a" * 32, "b" * 32, "c" * 32
USER, READER, STRANGER, ADMIN = "1" * 32, "2" * 32, "3" * 32, "4" * 32
ACTORS = {
    "member": Actor(user_id=USER, project_id=PROJECT, roles=frozenset({"member", "reader"})),
    "reader": Actor(user_id=READER, project_id=PROJECT, roles=frozenset({"reader"})),
    "stranger": Actor(user_id=STRANGER, project_id=OTHER_PROJECT, roles=frozenset({"member", "reader"})),
    "admin": Actor(user_id=ADMIN, project_id=ADMIN_PROJECT, roles=frozenset({"admin", "reader"}), is_admin=True),
}
LATEST = "2.100"


class Names:
    """Tokens are the actors' names."""

    def authenticate(self, token: str) -> Actor:
        if token not in ACTORS:
            raise Unauthorized("Who?")
        return ACTORS[token]


class FakeProjects:
    """The three projects of the actors."""

    def find(self, _tx: Tx, project_id: str) -> object | None:
        return project_id if project_id in (PROJECT, OTHER_PROJECT, ADMIN_PROJECT) else None


class Wishes:
    """Remembers which hosts were to have which images."""

    def __init__(self) -> None:
        self.made: list[tuple[tuple[str, ...], tuple[str, ...]]] = []

    def request(self, _tx: Tx, _actor: Actor, hosts: Sequence[str], image_ids: Sequence[str]) -> None:
        self.made.append((tuple(hosts), tuple(image_ids)))


class World:
    """Requests go in by `get`, `post`, ...; hosts and servers are made by `add_host` and `add_server`."""

    def __init__(self, db: Database, settings: ComputeSettings | None = None) -> None:
        self.db = db
        self.clock = FakeClock()
        settings = settings or ComputeSettings()
        projects = FakeProjects()
        self.placement = Placement(PlacementSettings())
        self.hosts = Hosts(HostsSettings(), self.clock, on_inventory=self._inventory, on_power=lambda *_: None)
        self.quotas = Quotas(settings, projects)
        self.flavors = Flavors(settings, projects, self.clock)
        self.keypairs = Keypairs(settings, self.quotas, self.clock)
        self.wishes = Wishes()
        self.rescheduled = 0  # how often the scheduler was told to look anew
        aggregates = Aggregates(self.hosts, self.wishes, self._reschedule, self.clock)
        services = ComputeServices(self.hosts, self.placement, aggregates, self.clock)
        service = make_service(
            bound(FLAVOR_ROUTES, self.flavors),
            bound(KEYPAIR_ROUTES, self.keypairs),
            bound(HYPERVISOR_ROUTES, Hypervisors(settings, self.hosts, self.placement, self.clock)),
            bound(SERVICE_ROUTES, services),
            bound(AGGREGATE_ROUTES, aggregates),
            bound(ZONE_ROUTES, AvailabilityZones(settings, services)),
            bound(LIMIT_ROUTES, self.quotas),
            bound(QUOTA_ROUTES, self.quotas),
            bound(EXTENSION_ROUTES, None),
        )
        policy = Policy(
            [
                *BASE, *FLAVOR_RULES, *KEYPAIR_RULES, *HYPERVISOR_RULES, *SERVICE_RULES, *ZONE_RULES, *LIMIT_RULES,
                *QUOTA_RULES, *EXTENSION_RULES, *AGGREGATE_RULES,
            ]
        )  # fmt: skip
        self.client = falcon.testing.TestClient(make_app(Dispatcher(db, policy, Names(), "http://cloud"), [service]))

    def call(
        self, method: str, path: str, body: Any = None, *, as_: str = "admin", version: str = LATEST, code: int = 200
    ) -> Any:
        """Call the API, insist on the status `code`, and answer the document. Paths are below /compute/v2.1."""
        answer = self.raw(method, path, body, as_=as_, version=version)
        assert answer.status_code == code, f"{answer.status_code}: {answer.text}"
        return answer.json if answer.content else None

    def raw(
        self, method: str, path: str, body: Any = None, *, as_: str = "admin", version: str = LATEST
    ) -> falcon.testing.Result:
        """Call the API."""
        headers = {"X-Auth-Token": as_, "OpenStack-API-Version": f"compute {version}"}
        path, _, query = path.partition("?")
        return self.client.simulate_request(
            method, f"/compute/v2.1{path}", json=body, headers=headers, query_string=query
        )

    def add_host(self, name: str, **inventory: Any) -> None:
        """Have a host report."""
        shape: dict[str, Any] = {
            "host": name, "hypervisor_type": "QEMU", "hypervisor_version": 7002000, "arch": "x86_64",
            "cpu_model": "max", "vcpus": 8, "memory_mb": 16384, "memory_mb_used": 0, "disk_gb": 100,
            "disk_gb_free": 90, "host_ip": "127.0.0.1",
        }  # fmt: skip
        report = HostReport(
            address="unix:/a", inventory=Inventory(**(shape | inventory)), booted_at=self.clock.now() - 93_780_000_000
        )
        self.db.transact(lambda tx: self.hosts.report(tx, name, report))

    def add_server(
        self, host: str | None = None, *, name: str = "vm", project: str = PROJECT, user: str = USER, busy: bool = False
    ) -> str:
        """Write a server of 2 CPUs and 512 MiB, with its claim on a host."""
        server_id, now = new_uuid(), self.clock.now()
        row: dict[str, Any] = {
            "id": server_id, "project_id": project, "user_id": user, "name": name, "hostname": name,
            "vm_state": "active", "task_state": "rebooting" if busy else None, "power_state": "running",
            "host": host, "flavor": FlavorSnapshot("1", "m1", 2, 512, 1, 0, 0), "config_drive": False,
            "auto_disk_config": True, "metadata": {}, "tags": [], "security_groups": [], "hints": {},
            "reservation_id": "r-1", "launch_index": 0, "created_at": now, "updated_at": now, "deleted": 0,
            "boot": Boot(), "vcpus": 2, "memory_mb": 512, "flavorid": "1",
        }  # fmt: skip

        def work(tx: Tx) -> None:
            tx.execute(server.insert().values(**row))
            if host is not None:
                self.placement.claim(tx, server_id, project, user, host, {VCPU: 2, MEMORY_MB: 512, DISK_GB: 1})

        self.db.transact(work)
        return server_id

    def _reschedule(self) -> None:
        self.rescheduled += 1

    def _inventory(self, tx: Tx, host: str, inventory: Inventory) -> None:
        totals = {VCPU: inventory.vcpus, MEMORY_MB: inventory.memory_mb, DISK_GB: inventory.disk_gb}
        self.placement.set_inventory(tx, host, totals)
