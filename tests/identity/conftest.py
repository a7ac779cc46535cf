"""Identity in a process of its own: the real application without sockets, on a clock that tests move."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import falcon
import falcon.testing
import pytest

from pileus.identity.bootstrap import bootstrap, create_keys
from pileus.identity.generation import Generation
from pileus.identity.passwords import Passwords
from pileus.identity.policy import RULES
from pileus.identity.routes import make_service
from pileus.identity.service import Identity
from pileus.identity.settings import IdentitySettings
from pileus.kernel.app import Dispatcher, make_app
from pileus.kernel.clock import FakeClock
from pileus.kernel.db import Database
from pileus.kernel.policy import Policy

PUBLIC_URL = "http://cloud.example"
ADMIN_PASSWORD = "the admin's password"
REGION = "RegionOne"
ENDPOINTS = {
    "identity": "/identity",
    "image": "/image",
    "compute": "/compute/v2.1",
    "network": "/network",
}


class Node:
    """One API process of the cloud: its own Identity, on the machine that `run_dir` stands for."""

    def __init__(self, db: Database, settings: IdentitySettings, run_dir: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.db = db
        self.settings = settings
        self.policy = Policy(RULES)
        self.generation = Generation(run_dir)
        self.passwords = Counting(settings)
        self.identity = Identity(settings, clock, db, self.policy, self.generation, self.passwords, region=REGION)
        self.dispatcher = Dispatcher(db, self.policy, self.identity, PUBLIC_URL)
        self.client = falcon.testing.TestClient(make_app(self.dispatcher, [make_service(self.identity)]))

    def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str
    ) -> falcon.testing.Result:
        """Send a request to a path below /identity/v3."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["X-Auth-Token"] = token
        url, _, query = path.partition("?")
        return self.client.simulate_request(method, f"/identity/v3{url}", query_string=query, json=body, headers=sent)

    def login(self, scope: Any = None, *, status: int = 201, **user: Any) -> falcon.testing.Result:
        """Log in with a password; the user `admin` on the project `admin` if nothing else is said."""
        who = user or {"name": "admin", "domain": {"id": "default"}, "password": ADMIN_PASSWORD}
        if scope is None and not user:
            scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": who}}}
        if scope is not None:
            auth["scope"] = scope
        result = self.call("POST", "/auth/tokens", {"auth": auth})
        assert result.status_code == status, result.text
        return result

    def authenticate(
        self, identity: dict[str, Any], scope: Any = None, *, status: int = 201, **headers: str
    ) -> falcon.testing.Result:
        """Log in by the methods that are the keys of `identity`."""
        auth = {"identity": {"methods": list(identity), **identity}} | ({"scope": scope} if scope is not None else {})
        result = self.call("POST", "/auth/tokens", {"auth": auth}, **headers)
        assert result.status_code == status, result.text
        return result

    def token(self, scope: Any = None, **user: Any) -> str:
        """The token of a login."""
        token: str = self.login(scope, **user).headers["X-Subject-Token"]
        return token


class Counting(Passwords):
    """The real hasher, which also counts how often it verified."""

    def __init__(self, settings: IdentitySettings) -> None:
        super().__init__(settings)
        self.verified = 0

    def verify(self, stored: str | None, password: str) -> bool:
        self.verified += 1
        return super().verify(stored, password)


class Cloud(Node):
    """A node with a bootstrapped database, and shortcuts for an administrator."""

    def __init__(self, db: Database, settings: IdentitySettings, run_dir: Path, clock: FakeClock) -> None:
        create_keys(settings)
        super().__init__(db, settings, run_dir, clock)
        self.run_dir = run_dir
        self.nodes: list[Node] = []
        self.bootstrap()
        self.admin = self.token()

    def bootstrap(self, **overrides: Any) -> None:
        """Run the bootstrap, again if need be."""
        given: dict[str, Any] = {
            "admin_password": ADMIN_PASSWORD,
            "region": REGION,
            "endpoints": ENDPOINTS,
            "public_url": PUBLIC_URL,
        }
        with self.db.write() as tx:
            bootstrap(tx, self.identity, **(given | overrides))

    def node(self, run_dir: Path | None = None) -> Node:
        """Another process of the cloud, on the same machine or on one with another run directory."""
        node = Node(self.db, self.settings, run_dir or self.run_dir, self.clock)
        self.nodes.append(node)
        return node

    def ok(self, method: str, path: str, body: Any = None, *, status: int | None = None) -> Any:
        """Call as the administrator; the response's JSON."""
        result = self.call(method, path, body, token=self.admin)
        expected = status or {"POST": 201, "PUT": 204, "DELETE": 204}.get(method, 200)
        assert result.status_code == expected, f"{method} {path}: {result.status_code} {result.text}"
        return result.json if result.content else None

    def make(self, noun: str, **attributes: Any) -> dict[str, Any]:
        """Create a resource."""
        plural = {"policy": "policies"}.get(noun, f"{noun}s")
        made: dict[str, Any] = self.ok("POST", f"/{plural}", {noun: attributes})[noun]
        return made

    def role(self, name: str) -> str:
        """The id of a global role."""
        found: str = self.ok("GET", f"/roles?name={name}")["roles"][0]["id"]
        return found

    def user_with(self, role: str, place: str, **attributes: Any) -> dict[str, Any]:
        """A new user with password "secret" and a role on a place such as `projects/<id>`."""
        user = self.make("user", password="secret", **({"name": f"{role} of {place}"} | attributes))
        self.ok("PUT", f"/{place}/users/{user['id']}/roles/{self.role(role)}")
        return user


class Person:
    """A user with a role on a project of its own, and what it logs in with."""

    def __init__(self, cloud: Cloud, name: str, role: str = "member", project: str | None = None) -> None:
        self.cloud = cloud
        self.project: str = project or cloud.make("project", name=f"{name}'s")["id"]
        self.id: str = cloud.user_with(role, f"projects/{self.project}", name=name)["id"]
        self.password = {"password": {"user": {"id": self.id, "password": "secret"}}}
        self.scope = {"project": {"id": self.project}}

    @property
    def token(self) -> str:
        """A new token for the project."""
        token: str = self.cloud.authenticate(self.password, self.scope).headers["X-Subject-Token"]
        return token

    def call(self, method: str, path: str, body: Any = None, *, status: int, token: str | None = None) -> Any:
        """Call as the user; the response's JSON."""
        result = self.cloud.call(method, path, body, token=token or self.token)
        assert result.status_code == status, f"{method} {path}: {result.status_code} {result.text}"
        return result.json if result.content else None


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def settings(tmp_path: Path) -> IdentitySettings:
    """Cheap hashes, so that tests are quick."""
    return replace(
        IdentitySettings(),
        token_keys=tmp_path / "token-keys",
        receipt_keys=tmp_path / "receipt-keys",
        credential_keys=tmp_path / "credential-keys",
        argon2_memory=1024,
        argon2_passes=1,
    )


@pytest.fixture
def cloud(sqlite: Database, settings: IdentitySettings, tmp_path: Path, clock: FakeClock) -> Iterator[Cloud]:
    yield from cloud_on(sqlite, settings, tmp_path, clock)


@pytest.fixture
def any_cloud(database: Database, settings: IdentitySettings, tmp_path: Path, clock: FakeClock) -> Iterator[Cloud]:
    """A cloud on each kind of database."""
    yield from cloud_on(database, settings, tmp_path, clock)


def cloud_on(db: Database, settings: IdentitySettings, tmp_path: Path, clock: FakeClock) -> Iterator[Cloud]:
    """A bootstrapped cloud, and its end."""
    made = Cloud(db, settings, tmp_path / "run", clock)
    yield made
    for node in (made, *made.nodes):
        node.generation.close()
