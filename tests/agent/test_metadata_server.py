"""The metadata service on loopback sockets: who asks is told by where and whence, and by nothing that is said."""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import msgspec
import pytest

from pileus.agent import metadata_server
from pileus.agent.api import MetadataAddress, MetadataSpec, NetworkSpec
from pileus.agent.errors import ControlPlaneSilent
from pileus.agent.host import Host
from pileus.agent.journal import Journal
from pileus.agent.metadata_server import MetadataServer, MetadataStore
from pileus.drivers.network.base import MetadataEndpoint
from pileus.drivers.network.fake import FakeNetwork
from pileus.kernel.ids import new_uuid
from tests.agent.conftest import METADATA


def spec_of(server_id: str, network: str, ip: str) -> MetadataSpec:
    address = MetadataAddress(network_id=network, port_id="p", mac="m", mtu=1450, ips=(ip,))
    return msgspec.structs.replace(METADATA, server_id=server_id, hostname=server_id, addresses=(address,))


def endpoint(network: str, *more: str, kind: str = "network") -> MetadataEndpoint:
    return MetadataEndpoint(kind, network, f"ns-{network}", (network, *more))  # type: ignore[arg-type]


class Namespaces:
    """Loopback stands for every namespace: each has a port of its own, on which it always listens again."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self.broken = False

    def listen(self, namespace: str, _address: str, _port: int) -> socket.socket:
        if self.broken:
            raise OSError("no such namespace")
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.ports.get(namespace, 0)))
        listener.listen(64)
        self.ports[namespace] = listener.getsockname()[1]
        return listener

    def connect(self, network: str, source: str) -> socket.socket:
        where = ("127.0.0.1", self.ports[f"ns-{network}"])
        return socket.create_connection(where, timeout=10, source_address=(source, 0))

    def ask(self, network: str, source: str, path: str = "/latest/meta-data/hostname", **headers: str) -> HTTPResponse:
        connection = HTTPConnection("127.0.0.1", self.ports[f"ns-{network}"], 10, source_address=(source, 0))
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return connection.getresponse()


@pytest.fixture
def namespaces() -> Namespaces:
    return Namespaces()


@pytest.fixture
def store(tmp_path: Path) -> MetadataStore:
    store = MetadataStore(Journal(tmp_path / "journal"))
    store.put(spec_of("one", "n1", "127.0.0.11"))
    store.put(spec_of("two", "n1", "127.0.0.12"))
    store.put(spec_of("three", "n2", "127.0.0.11"))
    return store


class Kept:
    """The control plane, as far as it keeps passwords."""

    def __init__(self) -> None:
        self.passwords: dict[str, str] = {}
        self.silent = False

    def __call__(self, server_id: str, password: str) -> int:
        if self.silent:
            raise ControlPlaneSilent("nobody there")
        if server_id in self.passwords:
            return 409
        self.passwords[server_id] = password
        return 204


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def server(store: MetadataStore, namespaces: Namespaces, kept: Kept) -> Iterator[MetadataServer]:
    server = MetadataServer(store, namespaces.listen, kept)
    server.start()
    server.attend([endpoint("n1"), endpoint("n2")])
    yield server
    server.stop()


@pytest.mark.usefixtures("server")
def test_a_guest_is_known_by_network_and_address_only(namespaces: Namespaces) -> None:
    for network, source, name in (
        ("n1", "127.0.0.11", "one"),
        ("n1", "127.0.0.12", "two"),
        ("n2", "127.0.0.11", "three"),
    ):
        assert namespaces.ask(network, source).read() == name.encode()
    lies = {"X_Forwarded_For": "127.0.0.12", "X_Instance_ID": "two", "X_Tenant_ID": "p1", "Host": "two"}
    assert namespaces.ask("n1", "127.0.0.11", **lies).read() == b"one"
    for network, source in (("n2", "127.0.0.12"), ("n1", "127.0.0.13")):
        assert namespaces.ask(network, source, **lies).status == 404


@pytest.mark.usefixtures("server")
def test_answers(namespaces: Namespaces) -> None:
    found = namespaces.ask("n1", "127.0.0.11", "/openstack/latest/meta_data.json")
    assert (found.status, found.getheader("Content-Type")) == (200, "application/json")
    assert int(found.getheader("Content-Length") or 0) == len(found.read())
    assert namespaces.ask("n1", "127.0.0.11", "/nope").status == 404


@pytest.mark.usefixtures("server")
def test_many_ask_at_once(namespaces: Namespaces, store: MetadataStore) -> None:
    for number in range(20, 60):
        store.put(spec_of(f"s{number}", "n1", f"127.0.0.{number}"))
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda n: namespaces.ask("n1", f"127.0.0.{n}").read().decode(), range(20, 60)))
    assert answers == [f"s{number}" for number in range(20, 60)]


def test_listening_follows_the_endpoints(server: MetadataServer, namespaces: Namespaces) -> None:
    server.attend([endpoint("n1")])
    with pytest.raises(ConnectionRefusedError):
        namespaces.ask("n2", "127.0.0.11")
    assert namespaces.ask("n1", "127.0.0.11").read() == b"one"
    server.attend([endpoint("r1", "n1", "n2", kind="router"), endpoint("n2")])
    assert namespaces.ask("r1", "127.0.0.12").read() == b"two"
    assert namespaces.ask("n2", "127.0.0.11").read() == b"three"
    server.attend([endpoint("r1", "n2", kind="router")])
    assert namespaces.ask("r1", "127.0.0.12").status == 404
    server.attend([])
    with pytest.raises(ConnectionRefusedError):
        namespaces.ask("r1", "127.0.0.12")


def test_a_namespace_that_is_not_there_is_tried_again(server: MetadataServer, namespaces: Namespaces) -> None:
    namespaces.broken = True
    server.attend([endpoint("n1"), endpoint("n3")])
    assert namespaces.ask("n1", "127.0.0.11").read() == b"one"
    namespaces.broken = False
    server.attend([endpoint("n1"), endpoint("n3")])
    assert namespaces.ask("n3", "127.0.0.11").status == 404


@pytest.mark.usefixtures("server")
def test_slow_and_many_requests_of_one_guest_do_not_block_others(namespaces: Namespaces) -> None:
    slow = [namespaces.connect("n1", "127.0.0.12") for _ in range(metadata_server.ANSWERERS + 8)]
    try:
        for connection in slow[: metadata_server.MOST_FOR_ONE]:
            connection.sendall(b"GET /latest/meta-data/host")
        begun = time.monotonic()
        assert namespaces.ask("n1", "127.0.0.11").read() == b"one"
        assert time.monotonic() - begun < metadata_server.ANSWER_SECONDS / 2
        assert slow[-1].recv(1) == b""
        slow[0].sendall(b"name HTTP/1.0\r\n\r\n")
        assert slow[0].recv(4096).startswith(b"HTTP/1.0 200")
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.usefixtures("server")
def test_a_request_that_trickles_in_is_ended(namespaces: Namespaces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_server, "ANSWER_SECONDS", 0.5)
    with namespaces.connect("n1", "127.0.0.11") as connection:
        deadline = time.monotonic() + 10
        with pytest.raises(OSError):
            while time.monotonic() < deadline:
                connection.sendall(b"G")
                time.sleep(0.05)
    assert namespaces.ask("n1", "127.0.0.11").read() == b"one"


@pytest.mark.usefixtures("server")
def test_nonsense_is_answered_or_dropped(namespaces: Namespaces) -> None:
    for said in (b"\r\n\r\n", b"\xff\xfe\x00\r\n\r\n", b"GET\r\n\r\n", b"A" * 20000, b"GET /%zz\x00 HTTP/1.0\r\n\r\n"):
        with namespaces.connect("n1", "127.0.0.11") as connection:
            connection.sendall(said)
            received = b""
            with suppress(OSError):  # it may be gone already
                connection.shutdown(socket.SHUT_WR)
                received = connection.recv(64)
            assert b"200" not in received.split(b"\n", 1)[0]
    assert namespaces.ask("n1", "127.0.0.11").read() == b"one"


def test_forgotten_and_moved_servers(server: MetadataServer, store: MetadataStore, namespaces: Namespaces) -> None:
    store.put(spec_of("one", "n1", "127.0.0.99"))
    assert namespaces.ask("n1", "127.0.0.11").status == 404
    assert namespaces.ask("n1", "127.0.0.99").read() == b"one"
    store.put(spec_of("heir", "n1", "127.0.0.99"))
    for _ in range(2):
        store.forget("one")
    assert namespaces.ask("n1", "127.0.0.99").read() == b"heir"
    assert store.servers() == ("heir", "three", "two")
    assert (store.of("one"), server.attend([])) == (None, None)


def test_the_store_outlives_the_agent(store: MetadataStore, tmp_path: Path) -> None:
    again = MetadataStore(Journal(tmp_path / "journal"))
    assert again.servers() == store.servers()
    assert again.asked_from(("n2",), "127.0.0.11") == store.of("three")


class Attended(MetadataServer):
    """Remembers where it should listen."""

    def __init__(self) -> None:
        self.networks: set[str] = set()

    def attend(self, endpoints: Iterable[MetadataEndpoint]) -> None:
        self.networks = {endpoint.id for endpoint in endpoints}


class SlowLook(FakeNetwork):
    """The first time that endpoints are asked for, the answer is old before it arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.go_on = threading.Event(), threading.Event()

    def metadata_endpoints(self) -> tuple[MetadataEndpoint, ...]:
        found = super().metadata_endpoints()
        if not self.seen.is_set():
            self.seen.set()
            assert self.go_on.wait(10)
        return found


def test_two_changes_at_once_both_count(boot: Callable[[], Host]) -> None:
    """What the first change saw before the second was made must not be applied after it."""
    host, network, attended = boot(), SlowLook(), Attended()
    host.network, host.metadata_server = network, attended
    first, second = (
        NetworkSpec(id=new_uuid(), segment=number, mtu=1450, dhcp_mac="fa:16:3e:00:00:01") for number in (1, 2)
    )
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(host.ensure_network, first)
        assert network.seen.wait(10)
        quick = pool.submit(host.ensure_network, second)
        wait([quick], timeout=0.3)  # the second either waits for the first, or is done by now
        network.go_on.set()
        slow.result(10)
        quick.result(10)
    assert attended.networks == {first.id, second.id}


_PASSWORD = "/openstack/2013-10-17/password"


def _post(namespaces: Namespaces, source: str, body: bytes, path: str = _PASSWORD) -> int:
    connection = HTTPConnection("127.0.0.1", namespaces.ports["ns-n1"], 10, source_address=(source, 0))
    connection.request("POST", path, body)
    return connection.getresponse().status


@pytest.mark.usefixtures("server")
def test_a_guest_gives_its_password_to_keep_once(namespaces: Namespaces, kept: Kept) -> None:
    assert _post(namespaces, "127.0.0.11", b"x" * 1020) == 200
    assert _post(namespaces, "127.0.0.11", b"another") == 409
    assert kept.passwords == {"one": "x" * 1020}


@pytest.mark.usefixtures("server")
def test_a_password_that_comes_in_pieces(namespaces: Namespaces, kept: Kept) -> None:
    with namespaces.connect("n1", "127.0.0.12") as connection:
        connection.sendall(f"POST {_PASSWORD} HTTP/1.0\r\nContent-Length: 6\r\n\r\nabc".encode())
        connection.sendall(b"def")
        assert b" 200 " in connection.recv(64)
    assert kept.passwords == {"two": "abcdef"}


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("source", "path", "body", "status"),
    [
        ("127.0.0.11", _PASSWORD, b"x" * 1021, 400),
        ("127.0.0.11", _PASSWORD, "\xfc".encode(), 400),
        ("127.0.0.11", "/openstack/latest/meta_data.json", b"x", 404),
        ("127.0.0.11", "/openstack/1999-01-01/password", b"x", 404),
        ("127.0.0.99", _PASSWORD, b"x", 404),
    ],
)
def test_nothing_else_can_be_written(
    namespaces: Namespaces, kept: Kept, source: str, path: str, body: bytes, status: int
) -> None:
    assert _post(namespaces, source, body, path) == status
    assert kept.passwords == {}


@pytest.mark.usefixtures("server")
def test_a_password_that_cannot_be_kept_now(namespaces: Namespaces, kept: Kept) -> None:
    kept.silent = True
    assert _post(namespaces, "127.0.0.11", b"x") == 503


@pytest.mark.usefixtures("server")
def test_a_guest_reads_the_password_it_gave(namespaces: Namespaces, store: MetadataStore) -> None:
    assert namespaces.ask("n1", "127.0.0.11", _PASSWORD).read() == b""
    store.put(msgspec.structs.replace(spec_of("one", "n1", "127.0.0.11"), password="secret"))
    assert namespaces.ask("n1", "127.0.0.11", _PASSWORD).read() == b"secret"
