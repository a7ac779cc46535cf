"""A client that costs little, so that the server's speed is measured and not its own: raw sockets, kept alive."""

import json
import socket
import time
from collections.abc import Sequence
from typing import Any

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Connection:
    """One kept-alive connection. `send` and `receive` are apart, so that several connections may be under way."""

    def __init__(self, port: int, token: str = "") -> None:
        self._port = port
        self._token = token
        self.reconnect()

    def reconnect(self) -> None:
        """Begin on a new connection."""
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._left = b""

    def message(self, method: str, path: str, body: Any = None, **headers: str) -> bytes:
        """A request's bytes, which may be sent many times. `headers`: with underscores for dashes."""
        payload = b"" if body is None else json.dumps(body).encode()
        head = [
            f"{method} {path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"X-Auth-Token: {self._token}",
            "OpenStack-API-Version: compute 2.1",
            "Content-Type: application/json",
            f"Content-Length: {len(payload)}",
            *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        ]
        return "\r\n".join(head).encode() + _END + payload

    def send(self, message: bytes) -> None:
        """Send a request."""
        self._socket.sendall(message)

    def receive(self) -> tuple[int, bytes]:
        """Status and body of the next answer."""
        data = self._left
        while (end := data.find(_END)) < 0:
            data += self._more()
        head = data[:end].lower()
        start = head.find(_LENGTH)
        length = int(head[start + len(_LENGTH) :].split(b"\r", 1)[0]) if start >= 0 else 0
        total = end + len(_END) + length
        parts, size = [data], len(data)
        while size < total:
            parts.append(self._more())
            size += len(parts[-1])
        data = b"".join(parts)
        self._left = data[total:]
        return int(head[9:12]), data[end + len(_END) : total]

    def download(self, path: str) -> int:
        """Have the body of an answer come, and forget it: its length. The status must be 200."""
        self.send(self.message("GET", path))
        data = b""
        while (end := data.find(_END)) < 0:
            data += self._more()
        if data[9:12] != b"200":
            raise RuntimeError(f"{path}: {data[:300]!r}")
        head = data[:end].lower()
        start = head.find(_LENGTH) + len(_LENGTH)
        length = int(head[start:].split(b"\r", 1)[0])
        left = length - (len(data) - end - len(_END))
        buffer = bytearray(1 << 20)
        while left > 0:
            count = self._socket.recv_into(buffer, min(left, len(buffer)))
            if not count:
                raise ConnectionError("the server closed the connection")
            left -= count
        return length

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and document. The server closes connections that rest for long: then on a new one."""
        message = self.message(method, path, body)
        try:
            self.send(message)
            status, data = self.receive()
        except ConnectionError:
            self.reconnect()
            self.send(message)
            status, data = self.receive()
        return status, json.loads(data) if data else None

    def make(self, path: str, body: Any) -> Any:
        """Create something, which must succeed: its document."""
        status, document = self.ask("POST", path, body)
        if status >= 300:
            raise RuntimeError(f"POST {path}: {status} {document}")
        return document

    def login(self, password: str) -> "Connection":
        """Be the administrator from now on."""
        domain = {"name": "Default"}
        user = {"name": "admin", "domain": domain, "password": password}
        auth = {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": "admin", "domain": domain}},
        }
        self.send(self.message("POST", "/identity/v3/auth/tokens", {"auth": auth}))
        self._token = self._token_of(self._head_of_answer())
        return self

    @property
    def token(self) -> str:
        """The token in use."""
        return self._token

    def _head_of_answer(self) -> bytes:
        while (end := self._left.find(_END)) < 0:
            self._left += self._more()
        head = self._left[:end]
        self.receive()
        return head

    @staticmethod
    def _token_of(head: bytes) -> str:
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"x-subject-token":
                return value.strip().decode()
        raise RuntimeError(f"no token: {head!r}")

    def _more(self) -> bytes:
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data


def rate(connections: Sequence[Connection], path: str, seconds: float) -> tuple[float, list[float]]:
    """Ask for `path` on all connections at once for so long: answers per second, and each answer's milliseconds.

    The answers must all be 200.
    """
    return rate_of(connections, [connection.message("GET", path) for connection in connections], seconds)


def rate_of(
    connections: Sequence[Connection], messages: Sequence[bytes], seconds: float, expected: int = 200
) -> tuple[float, list[float]]:
    """The same with a message of its own for each connection, and another status that all answers must have."""
    sent_at = []
    for connection, message in zip(connections, messages, strict=True):
        connection.send(message)
        sent_at.append(time.perf_counter())
    begun = time.perf_counter()
    latencies: list[float] = []
    while time.perf_counter() - begun < seconds:
        for number, (connection, message) in enumerate(zip(connections, messages, strict=True)):
            status, data = connection.receive()
            if status != expected:
                raise RuntimeError(f"{message[:80]!r}: {status} {data[:300]!r}")
            now = time.perf_counter()
            latencies.append((now - sent_at[number]) * 1000)
            connection.send(message)
            sent_at[number] = now
    elapsed = time.perf_counter() - begun
    for connection in connections:
        connection.receive()
    return len(latencies) / elapsed, latencies
