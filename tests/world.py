"""The whole cloud in one process: the real services, sagas, loops and agents, on fake drivers.

Nothing is replaced but what the drivers and the wires are: requests go through the public WSGI application with tokens
from the real identity service, calls to hosts through each agent's own WSGI application, so that both speak JSON. What
hosts hold is on disk, as real hosts' things outlive their agents: an agent may be restarted, and a whole world copied.

Sagas and loops run when `run` is called, in the calling thread; or, with `threads=True`, on the conductor's own.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import falcon.testing
import msgspec
import urllib3

from pileus import audit
from pileus.agent.api import DiskFile, DisksSpec
from pileus.agent.disks import Disks, FakeDisks, FileDisks
from pileus.agent.host import Host
from pileus.agent.image_cache import ImageCache
from pileus.agent.journal import Journal
from pileus.agent.metadata_server import MetadataStore
from pileus.agent.server import make_agent_app
from pileus.api import make_api
from pileus.bootstrap import bootstrap
from pileus.drivers.hypervisor.fake import FakeHypervisor
from pileus.drivers.network.fake import FakeNetwork
from pileus.kernel.clock import Clock, FakeClock
from pileus.kernel.config import variable_of, with_values
from pileus.kernel.db import Database, DatabaseSettings
from pileus.kernel.errors import NotFound
from pileus.kernel.loops import LoopCtx, LoopRunner
from pileus.kernel.rpc import HOST_SECRET_HEADER, Agents, host_secret
from pileus.kernel.saga import Conductor, Engine, drain
from pileus.migrations.tables import all_tables
from pileus.settings import Settings, load_settings
from pileus.supervisor.credentials import load_or_create
from pileus.wiring import Cloud, build, loops

PUBLIC_URL = "http://cloud.example"
CHEAP = {"identity.argon2_memory": 1024, "identity.argon2_passes": 1}
"""Settings that cost tests time for nothing."""


class TroubledDisks(FakeDisks):
    """Fake disks that may be told to refuse."""

    trouble: Exception | None = None

    def ensure(self, spec: DisksSpec) -> tuple[DiskFile, ...]:
        if self.trouble is not None:
            raise self.trouble
        return super().ensure(spec)


class Machine:
    """A host: its real agent on fake drivers."""

    def __init__(self, name: str, settings: Settings, clock: Clock, secret: str, fetch: Any, *, files: bool) -> None:
        directory = settings.site.state_dir / "hosts" / name
        self.name = name
        self.is_new = not directory.exists()
        self.silent: float = 0  # so many further calls are not answered; inf: it is unplugged
        self.before: Callable[[str], None] = lambda _call: None  # told of each call that arrives, before it is done
        self.secret = secret
        self.calls: list[str] = []  # "PUT /guests" of every call that arrived
        self._settings = with_values(
            settings,
            {
                "agent.host": name,
                "agent.journal_dir": directory / "journal",
                "agent.instances_dir": directory / "instances",
                "agent.image_cache_dir": directory / "cache",
            },
        )
        self._directory = directory
        self._clock = clock
        self._fetch = fetch
        self._files = files
        self.boot()

    def boot(self) -> None:
        """Start the agent anew: it finds what its host holds, and what its journal remembers."""
        agent = self._settings.agent
        journal = Journal(agent.journal_dir)
        metadata = MetadataStore(journal)
        cache = ImageCache(agent.image_cache_dir, self._fetch, host=self.name)
        self.hypervisor = FakeHypervisor(self._clock, directory=self._directory / "guests")
        self.network = FakeNetwork(self._directory / "network")
        self.disks = TroubledDisks(journal)
        disks: Disks = FileDisks(agent.instances_dir, cache, journal, metadata.of) if self._files else self.disks
        self.host = Host(
            agent,
            hypervisor=self.hypervisor,
            network=self.network,
            cache=cache,
            disks=disks,
            metadata=metadata,
            journal=journal,
            address="127.0.0.1",
        )
        self.host.tidy()
        self._client = falcon.testing.TestClient(make_agent_app(self.host, self.secret))

    @property
    def directory(self) -> Path:
        """Where everything of this host is."""
        return self._directory

    def answer(self, verb: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> falcon.testing.Result:
        """What the agent answers to a request."""
        call = f"{verb} /{path.split('/')[1]}"
        self.calls.append(call)
        self.before(call)
        path, _, query = path.partition("?")
        return self._client.simulate_request(verb, path, query_string=query, body=body, headers=dict(headers))


class _Wire:
    """Stands where `kernel.rpc` has a connection pool to an agent."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def urlopen(self, verb: str, path: str, *, body: bytes | None, headers: dict[str, str], **_more: Any) -> Any:
        if self._machine.silent > 0:
            self._machine.silent -= 1
            raise ConnectionRefusedError(self._machine.name)
        answer = self._machine.answer(verb, path, body, headers)
        return urllib3.HTTPResponse(answer.content, status=answer.status_code)


class InProcessAgents(Agents):
    """`kernel.rpc.Agents` whose agents are in this process."""

    def __init__(self, machines: Mapping[str, Machine], secret: Callable[[str], str]) -> None:
        super().__init__(lambda host: host, secret)
        self._machines = machines

    def _pool(self, endpoint: str) -> Any:
        if endpoint not in self._machines:
            raise NotFound(f"Compute host {endpoint} could not be found.")
        return _Wire(self._machines[endpoint])

    def close(self) -> None:
        """There are no connections."""


class Api:
    """The public API as one user of one project uses it. Paths are complete: `/compute/v2.1/servers`."""

    def __init__(self, client: falcon.testing.TestClient, token: str, user_id: str, project_id: str) -> None:
        self._client = client
        self.token = token
        self.user_id = user_id
        self.project_id = project_id

    def call(
        self, method: str, path: str, body: Any = None, *, version: str | None = None, **headers: str
    ) -> falcon.testing.Result:
        """Send a request; `version` is the compute API's microversion."""
        sent = {"X-Auth-Token": self.token, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if version is not None:
            sent["OpenStack-API-Version"] = f"compute {version}"
        path, _, query = path.partition("?")
        content: dict[str, Any] = {"body": body} if isinstance(body, bytes) else {"json": body}
        return self._client.simulate_request(method, path, query_string=query, headers=sent, **content)

    def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The decoded answer to a request that must succeed."""
        answer = self.call(method, path, body, **more)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json if answer.content else None

    def refused(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, str]:
        """Status and message of a request that must be refused, from whichever shape the service has."""
        answer = self.call(method, path, body, **more)
        assert 400 <= answer.status_code < 500, f"{method} {path}: {answer.status_code} {answer.text}"
        ((_, error),) = answer.json.items()
        return answer.status_code, str(error["message"])

    # --- things -------------------------------------------------------------------------------------------------

    def network(self, name: str = "net", cidr: str | None = "10.0.0.0/24", **attributes: Any) -> dict[str, Any]:
        """Make a network with a subnet (none if `cidr` is None)."""
        made = self.make("network", name=name, **attributes)
        if cidr is not None:
            made["subnet"] = self.make("subnet", network_id=made["id"], cidr=cidr, ip_version=4)
        return made

    def make(self, kind: str, **attributes: Any) -> dict[str, Any]:
        """Make something of the network service."""
        path = f"/network/v2.0/{kind.replace('_', '-')}s"
        made: dict[str, Any] = self.ok("POST", path, {kind: attributes})[kind]
        return made

    def router(self, subnet_id: str) -> dict[str, Any]:
        """Make a router between a subnet and the external network."""
        public = self.ok("GET", "/network/v2.0/networks?router:external=true")["networks"][0]
        router = self.make("router", name="r", external_gateway_info={"network_id": public["id"]})
        self.ok("PUT", f"/network/v2.0/routers/{router['id']}/add_router_interface", {"subnet_id": subnet_id})
        return {**router, "public": public["id"]}

    def image(self, data: bytes = b"\0" * 4096, disk_format: str = "raw", **values: Any) -> str:
        """Make an image with data."""
        body = {"name": "img", "disk_format": disk_format, "container_format": "bare", **values}
        image_id: str = self.ok("POST", "/image/v2/images", body)["id"]
        self.ok("PUT", f"/image/v2/images/{image_id}/file", data, Content_Type="application/octet-stream")
        return image_id

    def flavor(self, name: str = "tiny", **values: Any) -> str:
        """Make a flavor (administrators only)."""
        body = {"flavor": {"name": name, "vcpus": 1, "ram": 64, "disk": 1, **values}}
        flavor_id: str = self.ok("POST", "/compute/v2.1/flavors", body)["flavor"]["id"]
        return flavor_id

    def request_server(self, **fields: Any) -> falcon.testing.Result:
        """Ask for a server. `version` is the microversion."""
        version = fields.pop("version", None)
        return self.call("POST", "/compute/v2.1/servers", {"server": {"name": "vm", **fields}}, version=version)

    def create(self, **fields: Any) -> str:
        """Ask for a server, which must be accepted: its id."""
        answer = self.request_server(**fields)
        assert answer.status_code == 202, answer.text
        return str(answer.json["server"]["id"])

    def server(self, server_id: str) -> dict[str, Any]:
        """A server as this user sees it."""
        shown: dict[str, Any] = self.ok("GET", f"/compute/v2.1/servers/{server_id}")["server"]
        return shown

    def servers(self) -> list[dict[str, Any]]:
        """All servers of the project."""
        listed: list[dict[str, Any]] = self.ok("GET", "/compute/v2.1/servers/detail")["servers"]
        return listed

    def act(self, server_id: str, action: str, arguments: Any = None) -> None:
        """An action on a server, which must be accepted."""
        self.ok("POST", f"/compute/v2.1/servers/{server_id}/action", {action: arguments})

    def delete(self, server_id: str) -> None:
        """Delete a server."""
        self.ok("DELETE", f"/compute/v2.1/servers/{server_id}")

    def gone(self, server_id: str) -> bool:
        """Whether there is no such server any more."""
        return self.call("GET", f"/compute/v2.1/servers/{server_id}").status_code == 404

    def ports(self, server_id: str | None = None) -> list[dict[str, Any]]:
        """The ports of a server, or all that servers have."""
        query = "" if server_id is None else f"?device_id={server_id}"
        listed = self.ok("GET", f"/network/v2.0/ports{query}")["ports"]
        return [port for port in listed if port["device_owner"].startswith("compute:")]


@dataclass
class World:
    """A cloud of so many hosts in a directory. What a directory holds from an earlier world is taken over.

    `url` names an empty database that has all tables; without it the world makes itself one in SQLite. `settings` are
    further settings as "section.key": value; `configuration` is text for the configuration file. `files`: hosts make
    real disk files and fetch images.
    """

    directory: Path
    hosts: Sequence[str] = ("h1",)
    clock: Clock = field(default_factory=FakeClock)
    url: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    configuration: str = ""
    files: bool = False
    threads: bool = False

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.cloud_settings = _settings(self.directory, self.url, self.configuration, {**CHEAP, **self.settings})
        site = self.cloud_settings.site
        for path in (site.state_dir, site.run_dir):
            path.mkdir(parents=True, exist_ok=True)
        self._credentials = load_or_create(site.state_dir)
        if not (site.state_dir / "ready").exists():
            if self.url is None:
                _make_tables(self.cloud_settings.database)
            bootstrap(self.cloud_settings, self._credentials)
            (site.state_dir / "ready").touch()
        self.machines: dict[str, Machine] = {}
        self.cloud: Cloud = build(
            self.cloud_settings,
            self._credentials.host_secret,
            self.clock,
            InProcessAgents(self.machines, self._secret),
        )
        self.db = self.cloud.db
        self.services = self.cloud
        for name in self.hosts:
            self.add_host(name)
        self._conductor: Conductor | None = None
        self._runner: LoopRunner | None = None
        if self.threads:
            self.start_conductor()

    @cached_property
    def client(self) -> falcon.testing.TestClient:
        """The public WSGI application."""
        return falcon.testing.TestClient(make_api(self.cloud, self._credentials.host_secret))

    @cached_property
    def admin(self) -> Api:
        """The first administrator."""
        return self.login("admin", self._credentials.admin_password, "admin")

    # --- who is there -------------------------------------------------------------------------------------------

    def add_host(self, name: str) -> Machine:
        """A further host. One that is new to the cloud reports at once."""
        machine = Machine(
            name, self.cloud_settings, self.clock, self._secret(name), self._fetch_for(name), files=self.files
        )
        self.machines[name] = machine
        if machine.is_new:
            self.report(name)
        return machine

    @property
    def machine(self) -> Machine:
        """The first host."""
        return self.machines[self.hosts[0]]

    def report(self, *names: str) -> None:
        """Let hosts (all, if none is named) report what they have."""
        for name in names or tuple(self.machines):
            machine = self.machines[name]
            self._to_control_plane("POST", name, "report", machine.host.report(booted_at=0))

    def login(self, user: str, password: str, project: str) -> Api:
        """Log in with a password."""
        domain = {"id": "default"}
        body = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"name": user, "domain": domain, "password": password}},
                },
                "scope": {"project": {"name": project, "domain": domain}},
            }
        }
        answer = self.client.simulate_post("/identity/v3/auth/tokens", json=body)
        assert answer.status_code == 201, answer.text
        token = answer.json["token"]
        return Api(self.client, answer.headers["X-Subject-Token"], token["user"]["id"], token["project"]["id"])

    def member(self, name: str) -> Api:
        """A new user, with a project of the same name and the role `member` in it."""
        admin, password = self.admin, f"password of {name}"
        project = admin.ok("POST", "/identity/v3/projects", {"project": {"name": name}})["project"]["id"]
        user = admin.ok("POST", "/identity/v3/users", {"user": {"name": name, "password": password}})["user"]["id"]
        role = admin.ok("GET", "/identity/v3/roles?name=member")["roles"][0]["id"]
        admin.ok("PUT", f"/identity/v3/projects/{project}/users/{user}/roles/{role}")
        return self.login(name, password, name)

    # --- time ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Let all sagas and loops do what is to be done, in this thread."""
        context = LoopCtx(self.db, self.cloud, self.clock, lambda: False)
        drain(Engine(self.db, self.cloud.sagas, self.cloud, self.clock))
        for loop in loops(self.cloud):
            loop.run(context)
        drain(Engine(self.db, self.cloud.sagas, self.cloud, self.clock))

    def start_conductor(self) -> None:
        """Run sagas and loops on threads from now on."""
        settings = self.cloud_settings.conductor
        self._conductor = Conductor(self.db, self.cloud.sagas, self.cloud, self.clock, self.cloud.nudges, settings)
        self._conductor.start()
        self._runner = LoopRunner(self.db, loops(self.cloud), self.cloud, self.clock, self.cloud.nudges)
        self._runner.start()

    def stop_conductor(self) -> None:
        """End those threads."""
        if self._runner is not None:
            self._runner.stop()
        if self._conductor is not None:
            self._conductor.stop()
        self._runner = self._conductor = None

    def audit(self) -> list[str]:
        """Where database and hosts differ, now."""
        return audit.differences(self.cloud)

    def close(self) -> None:
        """Let go of everything. What is in the directory stays."""
        self.stop_conductor()
        self.cloud.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _err: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    # --- wires --------------------------------------------------------------------------------------------------

    def _secret(self, host: str) -> str:
        return host_secret(self._credentials.host_secret, host)

    def _to_control_plane(
        self, method: str, host: str, path: str, body: Any = None, **headers: str
    ) -> falcon.testing.Result:
        """A request of an agent. Structs become JSON."""
        answer = self.client.simulate_request(
            method,
            f"/agent/v1/hosts/{host}/{path}",
            body=None if body is None else msgspec.json.encode(body),
            headers={HOST_SECRET_HEADER: self._secret(host), **headers},
        )
        assert answer.status_code < 300, answer.text
        return answer

    def give_password(self, host: str, server_id: str, password: str) -> int:
        """Let a guest give its metadata service a password to keep; the status of the answer."""
        return self.client.simulate_post(
            f"/agent/v1/hosts/{host}/servers/{server_id}/password",
            json={"password": password},
            headers={HOST_SECRET_HEADER: self._secret(host)},
        ).status_code

    def _fetch_for(self, host: str) -> Callable[[str, int], Iterator[bytes]]:
        def fetch(image_id: str, start: int) -> Iterator[bytes]:
            missing = {"Range": f"bytes={start}-"} if start else {}
            yield self._to_control_plane("GET", host, f"images/{image_id}/data", **missing).content

        return fetch


def copy_of(world: World, directory: Path, **changes: Any) -> World:
    """A second world that begins with everything the first one has (which must be closed, on a SQLite of its own)."""
    shutil.copytree(world.directory, directory)
    return World(
        directory,
        **{
            "hosts": world.hosts,
            "settings": world.settings,
            "configuration": world.configuration,
            "files": world.files,
            **changes,
        },
    )


def wait_until(look: Callable[[], Any], seconds: float = 20.0, pause: float = 0.005) -> Any:
    """What `look` answers as soon as that is true; AssertionError after `seconds`. For worlds with threads."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(pause)
    return seen


def _settings(directory: Path, url: str | None, configuration: str, more: Mapping[str, Any]) -> Settings:
    values = {
        "site.state_dir": directory / "state",
        "site.run_dir": directory / "run",
        "site.log_dir": directory / "log",
        "site.public_url": PUBLIC_URL,
        "agent.hypervisor": "fake",
        "agent.network": "fake",
        **({} if url is None else {"database.url": url}),
        **more,
    }
    file = directory / "pileus.toml"
    file.write_text(configuration)
    return load_settings(file, {variable_of(name): str(value) for name, value in values.items()}).settings


def _make_tables(settings: DatabaseSettings) -> None:
    db = Database(settings)
    with db.write() as tx:
        all_tables().create_all(tx.connection)
    db.close()
