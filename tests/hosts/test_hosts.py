"""The registry of hosts and what agents say and fetch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import falcon.testing
import msgspec
import pytest
import sqlalchemy as sa

from pileus.agent.api import HostReport, Inventory, PowerReport, PowerState
from pileus.hosts.routes import AgentApi, make_service
from pileus.hosts.service import ADDRESS_SECONDS, HostAddresses, Hosts
from pileus.hosts.settings import HostsSettings
from pileus.kernel.app import Dispatcher, make_app
from pileus.kernel.auth import Actor
from pileus.kernel.clock import FakeClock
from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import NotFound, Unauthorized
from pileus.kernel.policy import Policy
from pileus.kernel.rpc import HOST_SECRET_HEADER

INVENTORY = Inventory(
    host="h1",
    hypervisor_type="fake",
    hypervisor_version=1,
    arch="x86_64",
    cpu_model="fake",
    vcpus=8,
    memory_mb=1024,
    memory_mb_used=0,
    disk_gb=100,
    disk_gb_free=100,
    host_ip="127.0.0.1",
)
REPORT = HostReport(address="unix:///a", inventory=INVENTORY, power={"s1": PowerState.RUNNING}, booted_at=5)


def _keep_no_password(_tx: Tx, _host: str, server_id: str, _password: str) -> None:
    raise NotFound(f"Instance {server_id} could not be found.")


@dataclass
class Registry:
    """Hosts, and everything that they told their listeners."""

    db: Database
    clock: FakeClock = field(default_factory=FakeClock)
    inventories: list[tuple[str, int]] = field(default_factory=list)
    powers: list[tuple[str, dict[str, PowerState], bool]] = field(default_factory=list)
    refuse: bool = False

    def __post_init__(self) -> None:
        self.hosts = Hosts(HostsSettings(down_after=60), self.clock, on_inventory=self._inventory, on_power=self._power)

    def _inventory(self, _tx: Tx, host: str, inventory: Inventory) -> None:
        self.inventories.append((host, inventory.vcpus))

    def _power(self, _tx: Tx, host: str, states: Mapping[str, PowerState], complete: bool) -> None:
        if self.refuse:
            raise RuntimeError("no")
        self.powers.append((host, dict(states), complete))

    def report(self, name: str, **changes: Any) -> None:
        said = msgspec.structs.replace(REPORT, **changes)
        self.db.transact(lambda tx: self.hosts.report(tx, name, said))

    def up(self, name: str) -> bool:
        with self.db.read() as tx:
            return self.hosts.get(tx, name).up


@pytest.fixture
def registry(database: Database) -> Registry:
    return Registry(database)


def test_a_report_registers_a_host(registry: Registry) -> None:
    registry.report("h2")
    registry.report("h1")
    with registry.db.read() as tx:
        first, second = registry.hosts.all(tx)
        assert registry.hosts.get(tx, "h1") == first
    assert (first.name, second.name) == ("h1", "h2")
    assert (first.address, first.inventory, first.booted_at) == ("unix:///a", INVENTORY, 5)
    assert (first.enabled, first.disabled_reason, first.forced_down, first.up) == (True, None, False, True)
    assert first.availability_zone == "nova"
    assert first.id != second.id
    assert registry.powers == [(name, {"s1": PowerState.RUNNING}, True) for name in ("h2", "h1")]


def test_names_are_exact(registry: Registry) -> None:
    registry.report("h1")
    with registry.db.read() as tx:
        for other in ("H1", "h1 ", "h"):
            with pytest.raises(NotFound):
                registry.hosts.get(tx, other)


def test_a_later_report_changes_what_is_known_and_keeps_the_rest(registry: Registry) -> None:
    registry.report("h1")
    with registry.db.read() as tx:
        before = registry.hosts.get(tx, "h1")
    registry.db.transact(lambda tx: registry.hosts.set_enabled(tx, "h1", False, "repair"))
    registry.clock.advance(10)
    registry.report("h1", address="unix:///b", booted_at=6)
    with registry.db.read() as tx:
        after = registry.hosts.get(tx, "h1")
    assert (after.id, after.number, after.created_at) == (before.id, before.number, before.created_at)
    assert (after.address, after.booted_at, after.last_seen) == ("unix:///b", 6, before.last_seen + 10_000_000)
    assert (after.enabled, after.disabled_reason) == (False, "repair")


def test_a_changed_inventory_is_told_once(registry: Registry) -> None:
    for vcpus in (8, 8, 16, 16, 8):
        registry.report("h1", inventory=msgspec.structs.replace(INVENTORY, vcpus=vcpus))
    assert registry.inventories == [("h1", 8), ("h1", 16), ("h1", 8)]


def test_listeners_are_in_the_same_transaction(registry: Registry) -> None:
    registry.refuse = True
    with pytest.raises(RuntimeError):
        registry.report("h1")
    with registry.db.read() as tx:
        assert registry.hosts.all(tx) == []


def test_a_host_that_is_not_heard_is_down(registry: Registry) -> None:
    registry.report("h1")
    registry.clock.advance(60)
    assert registry.up("h1")
    registry.clock.advance(0.001)
    assert not registry.up("h1")
    registry.report("h1")
    assert registry.up("h1")
    registry.db.transact(lambda tx: registry.hosts.set_forced_down(tx, "h1", True))
    registry.report("h1")
    assert not registry.up("h1")
    registry.db.transact(lambda tx: registry.hosts.set_forced_down(tx, "h1", False))
    assert registry.up("h1")


def test_enabling_and_forgetting(registry: Registry) -> None:
    registry.report("h1")
    disabled = registry.db.transact(lambda tx: registry.hosts.set_enabled(tx, "h1", False, "repair"))
    assert (disabled.enabled, disabled.disabled_reason) == (False, "repair")
    enabled = registry.db.transact(lambda tx: registry.hosts.set_enabled(tx, "h1", True, "not kept"))
    assert (enabled.enabled, enabled.disabled_reason) == (True, None)
    for change in (registry.hosts.set_enabled, registry.hosts.set_forced_down):
        with pytest.raises(NotFound):
            registry.db.transact(lambda tx, change=change: change(tx, "h9", True))
    registry.db.transact(lambda tx: registry.hosts.forget(tx, "h1"))
    with registry.db.read() as tx:
        assert registry.hosts.all(tx) == []
    registry.report("h1")
    assert registry.up("h1")


def test_addresses_are_remembered_for_a_while(sqlite: Database) -> None:
    registry = Registry(sqlite)
    addresses = HostAddresses(sqlite, registry.clock)
    asked: list[str] = []
    sa.event.listen(sqlite.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))

    def selects() -> int:
        found = sum("FROM host" in text for text in asked)
        asked.clear()
        return found

    with pytest.raises(NotFound):
        addresses("h1")
    registry.report("h1")
    asked.clear()
    assert [addresses("h1") for _ in range(3)] == ["unix:///a"] * 3
    assert selects() == 1
    registry.report("h1", address="unix:///b")
    asked.clear()
    assert (addresses("h1"), selects()) == ("unix:///a", 0)
    registry.clock.advance(ADDRESS_SECONDS)
    assert (addresses("h1"), selects()) == ("unix:///b", 1)
    registry.report("h2")
    assert addresses("h2") == "unix:///a"


# --- the agents' API ----------------------------------------------------------------------------------------


class Nobody:
    """No token is good."""

    def authenticate(self, _token: str) -> Actor:
        raise Unauthorized("no")


class InThrees:
    """An image's bytes, three at a time."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self._data = data

    def read(self, start: int = 0) -> Iterator[bytes]:
        for position in range(start, self.size, 3):
            yield self._data[position : position + 3]


class Agent:
    """Says things in the name of a host."""

    def __init__(self, registry: Registry, images: dict[str, bytes]) -> None:
        def open_image(_tx: Tx, image_id: str) -> InThrees:
            if image_id not in images:
                raise NotFound(f"No image found with ID {image_id}")
            return InThrees(images[image_id])

        api = AgentApi(registry.hosts, open_image, lambda host: f"secret of {host}", _keep_no_password)
        app = make_app(Dispatcher(registry.db, Policy(()), Nobody()), [make_service(api)])
        self._client = falcon.testing.TestClient(app)

    def call(self, method: str, path: str, proof: str = "secret of h1", **more: Any) -> falcon.testing.Result:
        headers = {HOST_SECRET_HEADER: proof, **more.pop("headers", {})}
        return self._client.simulate_request(method, f"/agent/v1/hosts/{path}", headers=headers, **more)


@pytest.fixture
def heard(sqlite: Database) -> Registry:
    return Registry(sqlite)


@pytest.fixture
def agent(heard: Registry) -> Agent:
    return Agent(heard, {"i1": b"0123456789"})


def test_reports_over_http(agent: Agent, heard: Registry) -> None:
    answer = agent.call("POST", "h1/report", body=msgspec.json.encode(REPORT))
    assert (answer.status_code, answer.content) == (204, b"")
    said = PowerReport(states={"s2": PowerState.SHUTDOWN})
    assert agent.call("POST", "h1/power", body=msgspec.json.encode(said)).status_code == 204
    assert heard.up("h1")
    assert heard.powers == [
        ("h1", {"s1": PowerState.RUNNING}, True),
        ("h1", {"s2": PowerState.SHUTDOWN}, False),
    ]


@pytest.mark.parametrize("secret", ["", "secret of h2", "secret of h1x", "\xff"])
@pytest.mark.parametrize(("method", "path"), [("POST", "report"), ("POST", "power"), ("GET", "images/i1/data")])
def test_a_wrong_secret(agent: Agent, heard: Registry, secret: str, method: str, path: str) -> None:
    answer = agent.call(method, f"h1/{path}", secret, body=msgspec.json.encode(REPORT))
    assert answer.status_code == 403
    assert answer.json == {"error": {"code": 403, "message": "The host's secret is wrong."}}
    assert agent.call(method, f"h2/{path}", "secret of h1").status_code == 403
    with heard.db.read() as tx:
        assert heard.hosts.all(tx) == []


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'{"address": 1}', b"\xff", b'{"address": "\xff"}', b"[" * 100_000,
        b'{"address":' + b'{"a":' * 100_000, msgspec.json.encode({"states": {"s": "dancing"}}),
        msgspec.json.encode(msgspec.to_builtins(REPORT) | {"colour": "red"}),
    ],
)  # fmt: skip
def test_a_malformed_report(agent: Agent, heard: Registry, body: bytes) -> None:
    for path in ("report", "power"):
        answer = agent.call("POST", f"h1/{path}", body=body)
        assert answer.status_code == 400
        assert answer.json["error"]["message"].startswith("The report is malformed")
    assert heard.powers == []


def test_image_data(agent: Agent) -> None:
    whole = agent.call("GET", "h1/images/i1/data")
    assert (whole.status_code, whole.content) == (200, b"0123456789")
    assert whole.headers["Content-Length"] == "10"
    assert whole.headers["Content-Type"] == "application/octet-stream"
    rest = agent.call("GET", "h1/images/i1/data", headers={"Range": "bytes=4-"})
    assert (rest.status_code, rest.content) == (206, b"456789")
    assert (rest.headers["Content-Length"], rest.headers["Content-Range"]) == ("6", "bytes 4-9/10")
    assert agent.call("GET", "h1/images/i1/data", headers={"Range": "bytes=0-"}).content == whole.content
    assert agent.call("GET", "h1/images/i9/data").status_code == 404


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ("bytes=10-", 416), ("bytes=999999999999-", 416), ("bytes=-5", 400), ("bytes=1-5", 400), ("lines=1-", 400),
        ("bytes=\xb2-", 400), ("bytes=", 400), ("4", 400), ("bytes=" + "9" * 5000 + "-", 400), ("bytes=1-,3-", 400),
    ],
)  # fmt: skip
def test_ranges_that_are_not_served(agent: Agent, wanted: str, status: int) -> None:
    assert agent.call("GET", "h1/images/i1/data", headers={"Range": wanted}).status_code == status


def test_other_methods_and_paths(agent: Agent) -> None:
    answer = agent.call("GET", "h1/report")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert agent.call("POST", "h1/nope").status_code == 404
