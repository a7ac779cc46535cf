"""The agent's API: over a real Unix socket with the control plane's own client, and what it refuses."""

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import falcon.testing
import msgspec
import pytest

from pileus.agent import api, errors
from pileus.agent.api import PowerState
from pileus.agent.disks import FakeDisks
from pileus.agent.host import Host
from pileus.agent.main import _serve
from pileus.agent.server import make_agent_app
from pileus.drivers.hypervisor.base import GuestNotFound, GuestRefused, HypervisorUnreachable
from pileus.drivers.network.base import InvalidDescription, NetworkNotFound, PhysicalNetworkUnusable
from pileus.kernel.ids import new_uuid
from pileus.kernel.rpc import HOST_SECRET_HEADER, AgentRefused, Agents, AgentUnreachable
from tests.agent.conftest import METADATA, SERVER, Site

SECRET = "the secret of h1"
NETWORK, PORT, ROUTER, SET = (new_uuid() for _ in range(4))
MAC = "fa:16:3e:00:00:01"
SPECS: dict[str, msgspec.Struct] = {
    f"/networks/{NETWORK}": api.NetworkSpec(id=NETWORK, segment=1, mtu=1450),
    f"/address-sets/{SET}": api.AddressSetSpec(id=SET, ipv4=("10.0.0.7",)),
    f"/ports/{PORT}": api.PortSpec(id=PORT, network_id=NETWORK, mac=MAC, mtu=1450),
    f"/routers/{ROUTER}": api.RouterSpec(id=ROUTER),
    f"/metadata/{SERVER}": METADATA,
    f"/disks/{SERVER}": api.DisksSpec(server_id=SERVER, root_gb=1),
    f"/guests/{SERVER}": api.GuestSpec(
        id=SERVER, name="web", instance_name="instance-00000001", project_id="p", user_id="u", flavor_name="f",
        vcpus=1, memory_mb=64, nics=(api.Nic(port_id=PORT, mac=MAC, mtu=1450),),
    ),
}  # fmt: skip
"""One of each thing, in the order in which they are made."""


@pytest.fixture
def make_host(site: Site) -> Callable[[], Host]:
    def make() -> Host:
        host = site.boot()
        host.disks = FakeDisks(host.journal)
        host.guests = type(host.guests)(host.hypervisor, host.disks, host.journal, host._tap_of)
        return host

    return make


@pytest.fixture
def host(make_host: Callable[[], Host]) -> Host:
    return make_host()


class Client(falcon.testing.TestClient):
    """Knows the secret."""

    def ask(self, method: str, path: str, body: Any = None, secret: str = SECRET) -> falcon.testing.Result:
        data = body if isinstance(body, bytes | None) else msgspec.json.encode(body)
        return self.simulate_request(method, path, body=data, headers={HOST_SECRET_HEADER: secret})

    def refused(self, method: str, path: str, body: Any = None) -> tuple[int, str, str]:
        answer = self.ask(method, path, body)
        error = answer.json["error"]
        return answer.status_code, error["kind"], error["message"]


@pytest.fixture
def client(host: Host) -> Client:
    return Client(make_agent_app(host, SECRET))


@pytest.fixture
def serve(site: Site) -> Iterator[Callable[[Host], Agents]]:
    """Serves a host on its Unix socket, in place of one that was served before."""
    with ExitStack() as stack:
        running: list[Any] = []

        def start(host: Host) -> Agents:
            while running:
                running.pop().stop()
            path = site.directory / "agent.sock"
            running.append(_serve(path, make_agent_app(host, SECRET), 4))
            agents = Agents(lambda _host: f"unix://{path}", lambda _host: SECRET)
            stack.callback(agents.close)
            return agents

        yield start
        for server in running:
            server.stop()


def test_every_verb_over_a_real_socket(host: Host, serve: Callable[[Host], Agents]) -> None:
    agents = serve(host)

    def call(verb: str, path: str, body: msgspec.Struct | None = None) -> dict[str, Any]:
        return agents.call("h1", verb, path, body, timeout=20)

    for _ in range(2):
        answers = {path: call("PUT", path, spec) for path, spec in SPECS.items()}
    assert answers[f"/ports/{PORT}"] == {"tap": f"plt{PORT.replace('-', '')[:11]}"}
    assert [disk["role"] for disk in answers[f"/disks/{SERVER}"]["disks"]] == ["root"]
    assert answers[f"/guests/{SERVER}"] == {"power_state": "running"}
    assert answers[f"/networks/{NETWORK}"] == answers[f"/metadata/{SERVER}"] == {}
    assert call("GET", f"/guests/{SERVER}") == {"power_state": "running"}
    assert "login:" in call("GET", f"/guests/{SERVER}/console")["output"]
    assert len(call("GET", f"/guests/{SERVER}/console?length=1")["output"].splitlines()) == 1
    for action, state in (("stop", "shutdown"), ("start", "running"), ("soft-reboot", "running"), ("stop", "shutdown")):
        asked = api.PowerAction(action=action, timeout=1)  # type: ignore[arg-type]
        assert call("POST", f"/guests/{SERVER}/power", asked) == {"power_state": state}
    state = msgspec.convert(call("GET", "/state"), api.HostState)
    assert state.guests == {SERVER: PowerState.SHUTDOWN}
    assert (state.taps, state.networks, state.routers) == ((PORT,), (NETWORK,), (ROUTER,))
    assert (state.address_sets, state.metadata, state.strays) == ((SET,), (SERVER,), ())
    inventory = msgspec.convert(call("GET", "/inventory"), api.Inventory)
    assert (inventory.host, inventory.hypervisor_type, inventory.host_ip) == ("h1", "fake", "127.0.0.1")
    for _ in range(2):
        for path in reversed(SPECS):
            assert call("DELETE", path) == {}
    assert msgspec.convert(call("GET", "/state"), api.HostState) == api.HostState()


def test_a_restarted_agent_goes_on(make_host: Callable[[], Host], serve: Callable[[Host], Agents], site: Site) -> None:
    agents = serve(make_host())
    for path, spec in SPECS.items():
        agents.call("h1", "PUT", path, spec)
    agents.call("h1", "POST", f"/guests/{SERVER}/power", api.PowerAction(action="stop", timeout=0))
    agents = serve(make_host())
    assert agents.call("h1", "GET", f"/guests/{SERVER}") == {"power_state": "shutdown"}
    started = agents.call("h1", "POST", f"/guests/{SERVER}/power", api.PowerAction(action="start"))
    assert started == {"power_state": "running"}
    assert site.boot().metadata.of(SERVER) == METADATA


def test_a_guest_that_the_hypervisor_lost_is_made_again(host: Host, client: Client) -> None:
    for path, spec in SPECS.items():
        client.ask("PUT", path, spec)
    for action, state in (("stop", "shutdown"), ("hard-reboot", "running"), ("start", "running")):
        host.hypervisor.ensure_no_guest(SERVER)
        answer = client.ask("POST", f"/guests/{SERVER}/power", {"action": action})
        assert (answer.status_code, answer.json) == (200, {"power_state": state})


def test_a_guest_made_switched_off_is_started_when_asked(client: Client) -> None:
    for path, spec in SPECS.items():
        described = msgspec.structs.replace(spec, running=False) if isinstance(spec, api.GuestSpec) else spec
        answer = client.ask("PUT", path, described)
    assert answer.json == {"power_state": "shutdown"}
    answer = client.ask("POST", f"/guests/{SERVER}/power", {"action": "start"})
    assert answer.json == {"power_state": "running"}


@pytest.mark.parametrize("secret", ["", "wrong", SECRET + "x", SECRET[:-1], "\xff\xfe"])
def test_only_who_knows_the_secret_is_heard(client: Client, host: Host, secret: str) -> None:
    path = f"/metadata/{SERVER}"
    answer = client.simulate_put(path, body=msgspec.json.encode(METADATA), headers={HOST_SECRET_HEADER: secret})
    assert answer.status_code == client.simulate_put(path).status_code == 403
    assert host.metadata.servers() == ()


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("PUT", f"/guests/{new_uuid()}", SPECS[f"/guests/{SERVER}"], "the path names"),
        ("PUT", f"/disks/{new_uuid()}", SPECS[f"/disks/{SERVER}"], "the path names"),
        ("PUT", f"/metadata/{new_uuid()}", METADATA, "the path names"),
        ("PUT", f"/disks/{SERVER}", {"server_id": SERVER, "colour": "red"}, "unknown field `colour`"),
        ("PUT", f"/disks/{SERVER}", {"server_id": SERVER, "root_gb": "1"}, "root_gb"),
        ("PUT", f"/disks/{SERVER}", b"", "truncated"),
        ("PUT", f"/disks/{SERVER}", b"[" * 100_000, "array"),
        ("PUT", f"/metadata/{SERVER}", b'{"network_data": {"a": ' + b"[" * 100_000, "recursion"),
        ("PUT", f"/disks/{SERVER}", b'{"server_id": "\xff"}', "utf-8"),
        ("PUT", "/disks/..", {"server_id": ".."}, "not an identifier"),
        ("DELETE", "/disks/..", None, "not an identifier"),
        ("DELETE", "/metadata/a.b", None, "not an identifier"),
        ("DELETE", "/disks/" + "a" * 300, None, "not an identifier"),
        ("POST", f"/guests/{SERVER}/power", {"action": "explode"}, "explode"),
        ("GET", f"/guests/{SERVER}/console?length=many", None, "length"),
        ("GET", f"/guests/{SERVER}/console?length=-1", None, "length"),
    ],
)
def test_what_makes_no_sense_is_invalid(
    client: Client, site: Site, method: str, path: str, body: Any, says: str
) -> None:
    status, kind, message = client.refused(method, path, body)
    assert (status, kind) == (400, "invalid")
    assert says in message
    assert list((site.directory / "instances").iterdir()) == []


REFUSALS = [
    (errors.InvalidRequest("no"), 400, "invalid"),
    (errors.NotHere("no"), 404, "not-found"),
    (errors.ImageUnusable("no"), 422, "image-unusable"),
    (errors.NoSpace("no"), 507, "no-space"),
    (errors.ControlPlaneSilent("no"), 503, "failed"),
    (GuestNotFound("no"), 404, "not-found"),
    (GuestRefused("no"), 400, "invalid"),
    (HypervisorUnreachable("no"), 503, "failed"),
    (InvalidDescription("no"), 400, "invalid"),
    (NetworkNotFound("no"), 404, "not-found"),
    (PhysicalNetworkUnusable("no"), 409, "conflict"),
    (OSError(errno.ENOSPC, "no"), 507, "no-space"),
    (OSError(errno.EDQUOT, "no"), 507, "no-space"),
]


class Troubled(FakeDisks):
    """Disks that raise."""

    def __init__(self, trouble: Exception) -> None:
        self._trouble = trouble

    def ensure(self, spec: api.DisksSpec) -> tuple[api.DiskFile, ...]:
        raise self._trouble


@pytest.mark.parametrize(("trouble", "status", "kind"), REFUSALS, ids=lambda value: type(value).__name__)
def test_every_refusal_has_its_status(host: Host, client: Client, trouble: Exception, status: int, kind: str) -> None:
    host.disks = Troubled(trouble)
    assert client.refused("PUT", f"/disks/{SERVER}", api.DisksSpec(server_id=SERVER))[:2] == (status, kind)


def test_refusals_cross_the_socket(host: Host, serve: Callable[[Host], Agents]) -> None:
    agents = serve(host)
    for trouble, status, kind in REFUSALS:
        host.disks = Troubled(trouble)
        with pytest.raises(AgentRefused) as caught:
            agents.call("h1", "PUT", f"/disks/{SERVER}", api.DisksSpec(server_id=SERVER))
        assert (caught.value.refusal, caught.value.transient) == (kind, status == 503)


def test_an_unexpected_error_is_logged_and_not_shown(
    host: Host, client: Client, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    host.disks = Troubled(RuntimeError("/secret/path"))
    status, kind, message = client.refused("PUT", f"/disks/{SERVER}", api.DisksSpec(server_id=SERVER))
    assert (status, kind) == (503, "failed")
    assert "/secret/path" not in message
    assert any("/secret/path" in str(record.exc_info or record.msg) for record in caplog.records)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("POST", f"/guests/{SERVER}", 405),
        ("PATCH", f"/guests/{SERVER}", 405),
        ("DELETE", "/state", 405),
        ("GET", f"/guests/{SERVER}", 404),
        ("GET", f"/guests/{SERVER}/console", 404),
    ],
)
def test_what_is_not_there(client: Client, method: str, path: str, status: int) -> None:
    assert client.ask(method, path).status_code == status


def test_a_guest_needs_its_disks_and_ports(client: Client) -> None:
    path = f"/guests/{SERVER}"
    assert client.refused("PUT", path, SPECS[path])[1:] == (
        "invalid", f"guest {SERVER} has no disks on this host; make them first",
    )  # fmt: skip
    client.ask("PUT", f"/disks/{SERVER}", SPECS[f"/disks/{SERVER}"])
    assert "make it first" in client.refused("PUT", path, SPECS[path])[2]


def test_the_journal_keeps_secrets_to_itself(host: Host, site: Site) -> None:
    host.ensure_metadata(METADATA)
    directory: Path = site.directory / "journal" / "metadata"
    assert (directory / f"{SERVER}.json").stat().st_mode & 0o777 == 0o600
    (directory / f".{SERVER}.json.1.2").touch()
    host.tidy()
    assert [path.name for path in directory.iterdir()] == [f"{SERVER}.json"]


def test_an_agent_that_is_away(site: Site) -> None:
    agents = Agents(lambda _host: f"unix://{site.directory}/agent.sock", lambda _host: SECRET)
    with pytest.raises(AgentUnreachable):
        agents.call("h1", "GET", "/state")
