"""The network service behind the real application, without sockets: callers are fake tokens, hosts are a list."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import falcon.testing
import msgspec
import pytest

from pileus.kernel.app import Dispatcher, make_app
from pileus.kernel.auth import Actor
from pileus.kernel.clock import SystemClock
from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import Unauthorized
from pileus.kernel.ids import new_uuid
from pileus.kernel.nudge import Nudges
from pileus.kernel.policy import Policy
from pileus.kernel.rpc import AgentUnreachable
from pileus.network.policy import RULES
from pileus.network.routes import PREFIX, make_service
from pileus.network.service import Networks
from pileus.network.settings import NetworkSettings

MEMBER_ROLES = frozenset({"member", "reader"})
ADMIN_ROLES = frozenset({"admin", "member", "reader"})


def actor(name: str, roles: frozenset[str] = MEMBER_ROLES) -> Actor:
    """A caller whose project is named after it."""
    return Actor(user_id=f"user-{name}", project_id=f"project-{name}", roles=roles, is_admin="admin" in roles)


ACTORS = {
    "alice": actor("alice"),
    "bob": actor("bob"),
    "admin": actor("admin", ADMIN_ROLES),
    "reader": Actor(user_id="user-reader", project_id="project-alice", roles=frozenset({"reader"})),
}


class Tokens:
    """Tokens are callers' names."""

    def authenticate(self, token: str) -> Actor:
        """The caller of that name."""
        if token not in ACTORS:
            raise Unauthorized("The request you have made requires authentication.")
        return ACTORS[token]


@dataclass
class FakeHost:
    """A host as the registry knows it."""

    name: str
    up: bool = True
    enabled: bool = True
    availability_zone: str = "nova"
    created_at: int = 1_700_000_000_000_000
    booted_at: int = 0
    last_seen: int = 1_700_000_060_000_000
    id: str = field(default_factory=new_uuid)


@dataclass
class FakeHosts:
    """The host registry."""

    hosts: list[FakeHost] = field(default_factory=lambda: [FakeHost("host-a")])

    def all(self, _tx: Tx) -> list[FakeHost]:
        """All hosts."""
        return self.hosts


@dataclass
class FakeAgents:
    """Agents that do as they are told and remember what they have; `down` hosts do not answer."""

    has: dict[tuple[str, str], Any] = field(default_factory=dict)
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    down: set[str] = field(default_factory=set)

    def call(
        self, host: str, verb: str, path: str, body: msgspec.Struct | None = None, timeout: float = 30.0
    ) -> dict[str, Any]:
        """Do as an agent would."""
        if host in self.down:
            raise AgentUnreachable(f"The agent of host {host} does not answer.")
        self.calls.append((host, verb, path))
        if verb == "PUT":
            self.has[host, path] = body
        else:
            self.has.pop((host, path), None)
        return {}

    def at(self, host: str, kind: str) -> dict[str, Any]:
        """What a host has of one kind, by id."""
        prefix = f"/{kind}/"
        return {
            path.removeprefix(prefix): body
            for (where, path), body in self.has.items()
            if where == host and path.startswith(prefix)
        }


class Api:
    """One caller's view of the API: every call asserts the status it expects."""

    def __init__(self, client: falcon.testing.TestClient, token: str | None) -> None:
        self._client = client
        self._headers = {} if token is None else {"X-Auth-Token": token}

    def call(self, method: str, path: str, body: Any = None, expected: int | None = None, **query: Any) -> Any:
        """The decoded answer; AssertionError unless the status is the expected one."""
        answer = self._client.simulate_request(
            method,
            PREFIX + path,
            json=body,
            headers=self._headers,
            params=query or None,
            params_csv=False,
        )
        assert expected is None or answer.status_code == expected, (answer.status_code, answer.text)
        return answer.json if answer.content else None

    def get(self, path: str, expected: int = 200, **query: Any) -> Any:
        """GET"""
        return self.call("GET", path, None, expected, **query)

    def put(self, path: str, body: Any = None, expected: int = 200) -> Any:
        """PUT"""
        return self.call("PUT", path, body, expected)

    def delete(self, path: str, expected: int = 204) -> Any:
        """DELETE"""
        return self.call("DELETE", path, None, expected)

    def make(self, single: str, expected: int = 201, **attributes: Any) -> Any:
        """POST one resource: its attributes, or the error with its type where the status is one."""
        collection = single.replace("_", "-") + "s"
        answer = self.call("POST", f"/{collection}", {single: attributes}, expected)
        return answer[single] if expected == 201 else answer["NeutronError"]

    def change(self, path: str, single: str, expected: int = 200, **attributes: Any) -> Any:
        """PUT one resource: its attributes, or the error with its type where the status is one."""
        answer = self.call("PUT", path, {single: attributes}, expected)
        return answer[single] if expected == 200 else answer["NeutronError"]

    def error(self, method: str, path: str, expected: int, body: Any = None, **query: Any) -> str:
        """The error's type."""
        kind: str = self.call(method, path, body, expected, **query)["NeutronError"]["type"]
        return kind

    def subnet(self, network: dict[str, Any], cidr: str, **attributes: Any) -> Any:
        """Make a subnet."""
        version = 6 if ":" in cidr else 4
        return self.make("subnet", network_id=network["id"], cidr=cidr, ip_version=version, **attributes)


@dataclass
class World:
    """A cloud of one service."""

    db: Database
    networks: Networks
    hosts: FakeHosts
    agents: FakeAgents
    client: falcon.testing.TestClient

    def api(self, token: str | None) -> Api:
        """The API as one caller uses it."""
        return Api(self.client, token)

    @property
    def alice(self) -> Api:
        """A member of a project."""
        return self.api("alice")

    @property
    def bob(self) -> Api:
        """A member of another project."""
        return self.api("bob")

    @property
    def admin(self) -> Api:
        """An administrator."""
        return self.api("admin")

    def sync(self) -> None:
        """Bring the hosts up to date."""
        while due := self.networks.pusher.due(1000):
            for host in {key.host for key in due}:
                self.networks.pusher.push_host(self.agents, host, [key for key in due if key.host == host])

    def external(self) -> dict[str, Any]:
        """The external network of a new cloud."""
        network = self.db.transact(lambda tx: self.networks.bootstrap(tx, ACTORS["admin"]))
        shown: dict[str, Any] = self.admin.get(f"/networks/{network.id}")["network"]
        return shown

    def count_marked(self, kind: str) -> int:
        """How many resources of a kind hosts have to be told about."""
        return sum(1 for key in self.networks.pusher.due(1000) if key.kind == kind)

    def count(self, table: Any) -> int:
        """How many rows a table has."""
        with self.db.read() as tx:
            return len(tx.all(table.select()))


def build(db: Database, settings: NetworkSettings | None = None) -> World:
    """The network service on a database."""
    hosts, agents = FakeHosts(), FakeAgents()
    networks = Networks(
        db=db, clock=SystemClock(), settings=settings or NetworkSettings(), hosts=hosts, nudges=Nudges()
    )
    app = make_app(Dispatcher(db, Policy(RULES), Tokens()), [make_service(networks)])
    return World(db, networks, hosts, agents, falcon.testing.TestClient(app))


@pytest.fixture
def world(sqlite: Database) -> Iterator[World]:
    """The network service on SQLite."""
    yield build(sqlite)


@pytest.fixture
def world_of(database: Database) -> Callable[[], World]:
    """The network service on each database."""
    return lambda: build(database)
