"""Compute with its sagas, on fakes: requests go in at one end, and hosts that remember are at the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import falcon.testing

from pileus.compute.metadata_sync.loops import metadata_loop
from pileus.compute.metadata_sync.service import MetadataSync
from pileus.compute.policy import BASE
from pileus.compute.quotas.service import Quotas
from pileus.compute.routes import bound, make_service
from pileus.compute.servers.audit import Discrepancy, Have, Want, compare, wanted_host
from pileus.compute.servers.injection import NO_INJECTION, InjectionChoice
from pileus.compute.servers.policy import RULES
from pileus.compute.servers.routes import ROUTES
from pileus.compute.servers.sagas import SAGAS
from pileus.compute.servers.service import Neighbours
from pileus.compute.servers.store import Selection, matching
from pileus.compute.service import Compute
from pileus.compute.settings import ComputeSettings
from pileus.kernel.app import Dispatcher, make_app
from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock, FakeClock
from pileus.kernel.db import Database
from pileus.kernel.errors import Unauthorized
from pileus.kernel.loops import LoopCtx
from pileus.kernel.nudge import Nudges
from pileus.kernel.policy import Policy
from pileus.kernel.saga import Engine, Saga, Sagas, drain, listing
from pileus.kernel.seal import Seal
from pileus.placement.service import Placement
from pileus.placement.settings import PlacementSettings
from pileus.scheduler.service import Scheduler
from pileus.scheduler.settings import SchedulerSettings
from tests.compute.fakes import (
    FakeFlavors,
    FakeHost,
    FakeHosts,
    FakeImages,
    FakeKeypairs,
    FakeNetworks,
    FakeProjects,
    tables,
)

PROJECT = "a" * 32
OTHER_PROJECT = "b" * 32
ACTORS = {
    "member": Actor(user_id="u1", project_id=PROJECT, roles=frozenset({"member", "reader"})),
    "reader": Actor(user_id="u2", project_id=PROJECT, roles=frozenset({"reader"})),
    "stranger": Actor(user_id="u3", project_id=OTHER_PROJECT, roles=frozenset({"member", "reader"})),
    "admin": Actor(
        user_id="u4", project_id="c" * 32, roles=frozenset({"admin", "manager", "member", "reader"}), is_admin=True
    ),
}


class Names:
    """Tokens are the actors' names."""

    def authenticate(self, token: str) -> Actor:
        if token not in ACTORS:
            raise Unauthorized("Who?")
        return ACTORS[token]


@dataclass
class Services:
    """What sagas find."""

    compute: Compute


class World:
    """Everything of compute. `run` lets the sagas come to their ends."""

    def __init__(
        self,
        db: Database,
        *,
        settings: ComputeSettings | None = None,
        scheduling: SchedulerSettings | None = None,
        hosts: Sequence[FakeHost] = (),
        clock: Clock | None = None,
        injection: InjectionChoice = NO_INJECTION,
    ) -> None:
        settings = settings or ComputeSettings()
        self.db = db
        self.clock = clock or FakeClock()
        self.hosts = FakeHosts(*(hosts or (FakeHost("h1"),)))
        self.networks = FakeNetworks()
        self.networks.db = db
        self.images = FakeImages()
        self.flavors = FakeFlavors()
        self.quotas = Quotas(settings, FakeProjects())
        self.placement = Placement(PlacementSettings())
        self.sagas = Sagas(self.clock, Nudges(), SAGAS)
        scheduler = Scheduler(scheduling or SchedulerSettings(), self.hosts, self.placement, self.clock)
        neighbours = Neighbours(
            images=self.images,
            flavors=self.flavors,
            keypairs=FakeKeypairs(),
            quotas=self.quotas,
            networks=self.networks,
            hosts=self.hosts,
            placement=self.placement,
            scheduler=scheduler,
            agents=self.hosts,
        )
        metadata_sync = MetadataSync(lambda _tx: None)
        self.compute = Compute.build(
            settings, neighbours, self.sagas, self.clock, metadata_sync, Seal("a secret", "server-create"), injection
        )
        self.services = Services(self.compute)
        with db.write() as tx:
            tables.create_all(tx.connection)
            for host in self.hosts.by_name.values():
                self.compute.observe_inventory(tx, host.name, host.inventory)
        service = make_service(bound(ROUTES, self.compute.servers))
        dispatcher = Dispatcher(db, Policy([*BASE, *RULES]), Names(), "http://cloud")
        self.client = falcon.testing.TestClient(make_app(dispatcher, [service]))

    def request(
        self, method: str, path: str, body: Any = None, *, as_: str = "member", version: str = "2.1"
    ) -> falcon.testing.Result:
        """Call the API; the paths are below /compute/v2.1."""
        headers = {"X-Auth-Token": as_, "OpenStack-API-Version": f"compute {version}"}
        path, _, query = path.partition("?")
        return self.client.simulate_request(
            method, f"/compute/v2.1{path}", json=body, headers=headers, query_string=query
        )

    def create(self, **fields: Any) -> str:
        """Ask for a server, and answer its id."""
        version = fields.pop("version", "2.1")
        as_ = fields.pop("as_", "member")
        body = {"server": {"name": "vm", "imageRef": next(iter(self.images.by_id)), "flavorRef": "1", **fields}}
        answer = self.request("POST", "/servers", body, version=version, as_=as_)
        assert answer.status_code == 202, answer.text
        return str(answer.json["server"]["id"])

    def active(self, **fields: Any) -> str:
        """A server that runs."""
        server_id = self.create(**fields)
        self.run()
        assert self.show(server_id)["status"] == "ACTIVE"
        return server_id

    def show(self, server_id: str, *, as_: str = "admin", version: str = "2.1") -> dict[str, Any]:
        """A server as an administrator sees it."""
        answer = self.request("GET", f"/servers/{server_id}", as_=as_, version=version)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json["server"]
        return document

    def act(self, server_id: str, action: str, arguments: Any = None, **how: str) -> falcon.testing.Result:
        """POST an action."""
        return self.request("POST", f"/servers/{server_id}/action", {action: arguments}, **how)

    def run(self) -> None:
        """Let all sagas come to their ends, and hosts hear of what guests may learn."""
        drain(Engine(self.db, self.sagas, self.services, self.clock))
        metadata_loop(self.compute.servers).run(LoopCtx(self.db, self.services, self.clock, lambda: False))

    def audit(self) -> list[Discrepancy]:
        """What does not match."""
        with self.db.read() as tx:
            servers = matching(tx, Selection())
            ports = self.networks.server_ports(tx, [server.id for server in servers])
            live = frozenset(one.resource for one in listing(tx))
            have = Have(
                hosts={name: host.state() for name, host in self.hosts.by_name.items()},
                allocations=self.placement.allocations(tx),
                miscounted=self.placement.miscounted(tx),
            )
        port_ids = {server_id: [port.id for port in listed] for server_id, listed in ports.items()}
        wanted = {
            name: wanted_host([server for server in servers if server.host == name], port_ids)
            for name in self.hosts.by_name
        }
        return compare(Want(servers=servers, live=live, hosts=wanted), have)


SAGA_BY_NAME: dict[str, Saga] = {saga.name: saga for saga in SAGAS}
