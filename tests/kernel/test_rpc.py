"""Calls to agents over a real Unix socket: answers, refusals, silence and nonsense."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from pileus.agent.api import AddressSetSpec
from pileus.kernel.log import bound
from pileus.kernel.rpc import AgentRefused, Agents, AgentUnreachable, host_secret


def http(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Peer:
    """Listens on a Unix socket and says, for each request, what the test wants it to; it remembers what it heard."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.says: Callable[[socket.socket], None] = lambda connection: connection.sendall(http(200, b"{}"))
        self.connections = 0
        self.requests: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while (request := self._request(connection)) is not None:
                self.requests.append(request)
                self.says(connection)

    @staticmethod
    def _request(connection: socket.socket) -> bytes | None:
        request = b""
        while b"\r\n\r\n" not in request:
            received = connection.recv(65536)
            if not received:
                return None
            request += received
        head, _, body = request.partition(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
        )
        while len(body) < length:
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body

    def end(self) -> None:
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self.path.unlink(missing_ok=True)


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    peer = Peer(tmp_path / "agent.sock")
    yield peer
    peer.end()


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Agents]:
    agents = Agents(lambda _host: f"unix://{tmp_path}/agent.sock", lambda host: f"secret of {host}")
    yield agents
    agents.close()


def test_a_call(peer: Peer, agents: Agents) -> None:
    peer.says = lambda connection: connection.sendall(http(200, b'{"tap": "plt1"}'))
    with bound(request_id="req-1", server="s1"):
        assert agents.call("h1", "PUT", "/address-sets/a", AddressSetSpec(id="a")) == {"tap": "plt1"}
    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    lines = {line.lower() for line in head.decode().split("\r\n")}
    assert "put /address-sets/a http/1.1" in lines
    assert {"x-pileus-host-secret: secret of h1", "x-openstack-request-id: req-1", "x-pileus-server: s1"} <= lines
    assert msgspec.json.decode(body, type=AddressSetSpec) == AddressSetSpec(id="a")


def test_an_empty_answer_is_an_empty_object(peer: Peer, agents: Agents) -> None:
    peer.says = lambda connection: connection.sendall(http(204, b""))
    assert agents.call("h1", "DELETE", "/networks/n") == {}


def test_connections_are_used_again(peer: Peer, agents: Agents) -> None:
    for timeout in (0.5, 20, 0.5):
        agents.call("h1", "GET", "/state", timeout=timeout)
    assert (peer.connections, len(peer.requests)) == (1, 3)


def test_many_at_once(peer: Peer, agents: Agents) -> None:
    threads = [threading.Thread(target=agents.call, args=("h1", "GET", "/state")) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(peer.requests) == 20


def test_a_restarted_agent_is_reached_again(peer: Peer, agents: Agents, tmp_path: Path) -> None:
    agents.call("h1", "GET", "/state")
    peer.end()
    with pytest.raises(AgentUnreachable):
        agents.call("h1", "GET", "/state")
    again = Peer(tmp_path / "agent.sock")
    try:
        assert agents.call("h1", "GET", "/state") == {}
    finally:
        again.end()


def test_a_refusal(peer: Peer, agents: Agents) -> None:
    for status, transient in ((400, False), (404, False), (422, False), (507, False), (503, True), (500, True)):
        body = msgspec.json.encode({"error": {"kind": "no-space", "message": "full"}})
        peer.says = lambda connection, s=status, b=body: connection.sendall(http(s, b))  # type: ignore[misc]
        with pytest.raises(AgentRefused, match="full") as caught:
            agents.call("h1", "GET", "/state")
        assert (caught.value.refusal, caught.value.transient) == ("no-space", transient)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"error": "text"}', b'{"error": null}', b'{"title": "405"}'])
def test_a_refusal_without_a_reason(peer: Peer, agents: Agents, body: bytes) -> None:
    peer.says = lambda connection: connection.sendall(http(405, body))
    with pytest.raises(AgentRefused, match="agent of host h1 answered 405") as caught:
        agents.call("h1", "GET", "/state")
    assert (caught.value.refusal, caught.value.transient) == ("failed", False)


@pytest.mark.parametrize(
    "said",
    [
        b"", b"garbage\r\n\r\n", b"HTTP/1.1 200", http(200, b"{"), http(200, b"[1]"), http(200, b'"\xff"'),
        http(200, b"[" * 100_000), http(200, b"{}")[:-1], b"\x00" * 70_000,
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)  # fmt: skip
def test_nonsense_is_no_answer(peer: Peer, agents: Agents, said: bytes) -> None:
    def say(connection: socket.socket) -> None:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_RDWR)

    peer.says = say
    with pytest.raises(AgentUnreachable, match="h1") as caught:
        agents.call("h1", "GET", "/state", timeout=5)
    assert caught.value.transient
    peer.says = lambda connection: connection.sendall(http(200, b"{}"))
    try:
        answer = agents.call("h1", "GET", "/state")
    except AgentUnreachable:  # on the connection that the peer was closing behind its whole answer
        answer = agents.call("h1", "GET", "/state")
    assert answer == {}


def test_nobody_answers_in_time(peer: Peer, agents: Agents) -> None:
    go_on = threading.Event()
    peer.says = lambda _connection: go_on.wait(20) and None
    begun = time.monotonic()
    with pytest.raises(AgentUnreachable, match="h1"):
        agents.call("h1", "GET", "/state", timeout=0.2)
    assert time.monotonic() - begun < 5
    go_on.set()
    peer.says = lambda connection: connection.sendall(http(200, b"{}"))
    assert agents.call("h1", "GET", "/state") == {}


def test_nobody_listens(agents: Agents, tmp_path: Path) -> None:
    with pytest.raises(AgentUnreachable):
        agents.call("h1", "GET", "/state")
    (tmp_path / "agent.sock").touch()
    with pytest.raises(AgentUnreachable):
        agents.call("h1", "GET", "/state")
    network = Agents(lambda _host: "http://127.0.0.1:1", lambda _host: "s")
    with pytest.raises(AgentUnreachable):
        network.call("h1", "GET", "/state")
    network.close()


def test_secrets_of_hosts_differ() -> None:
    secrets = {host_secret(cloud, host) for cloud in ("a", "b") for host in ("h1", "h2", "h1 ")}
    assert len(secrets) == 6
    assert host_secret("a", "h1") in secrets
    assert all(len(secret) == 64 for secret in secrets)
