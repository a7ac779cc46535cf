"""The metadata service: 169.254.169.254 inside each network's and router's namespace.

A guest is known by the namespace it is heard in and the address it asks from, which its port's filters make true;
nothing that it sends is trusted. One thread accepts for all namespaces, a few answer. The descriptions are on this
host, so guests are answered when the control plane is away.
"""

import io
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from typing import Any

import structlog

from pileus.agent.api import MetadataSpec
from pileus.agent.errors import ControlPlaneSilent
from pileus.agent.journal import Journal
from pileus.agent.metadata import answer, is_password
from pileus.drivers.network.base import MetadataEndpoint

log = structlog.get_logger("pileus.agent.metadata")

ADDRESS = "169.254.169.254"
PORT = 80
ANSWER_SECONDS = 10
ANSWERERS = 32
MOST_FOR_ONE = 4  # requests of one guest that are answered at a time: more would take others' turns
MAX_HEAD = 16 << 10

MAX_PASSWORD = 1020  # bytes, as in Nova

Listen = Callable[[str, str, int], socket.socket]
KeepPassword = Callable[[str, str], int]


class MetadataStore:
    """The metadata of this host's servers, and who asks from where."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._specs: dict[str, MetadataSpec] = {}
        self._by_address: dict[tuple[str, str], str] = {}
        for server_id in journal.keys("metadata"):
            spec = journal.get("metadata", server_id, MetadataSpec)
            if spec is not None:
                self._index(spec)

    def put(self, spec: MetadataSpec) -> None:
        """Take over a server's metadata."""
        self._journal.put("metadata", spec.server_id, spec)
        with self._lock:
            self._drop(spec.server_id)
            self._index(spec)

    def forget(self, server_id: str) -> None:
        """Forget a server; it need not be known."""
        with self._lock:
            self._drop(server_id)
        self._journal.forget("metadata", server_id)

    def of(self, server_id: str) -> MetadataSpec | None:
        """The metadata of a server."""
        return self._specs.get(server_id)

    def servers(self) -> tuple[str, ...]:
        """The servers with metadata here."""
        return tuple(sorted(self._specs))

    def asked_from(self, networks: Iterable[str], address: str) -> MetadataSpec | None:
        """The server that has `address` on one of the networks."""
        with self._lock:
            for network in networks:
                server_id = self._by_address.get((network, address))
                if server_id is not None:
                    return self._specs[server_id]
        return None

    def _index(self, spec: MetadataSpec) -> None:
        self._specs[spec.server_id] = spec
        for address in spec.addresses:
            for ip in address.ips:
                self._by_address[address.network_id, ip] = spec.server_id

    def _drop(self, server_id: str) -> None:
        spec = self._specs.pop(server_id, None)
        if spec is None:
            return
        for address in spec.addresses:
            for ip in address.ips:
                if self._by_address.get((address.network_id, ip)) == server_id:
                    del self._by_address[address.network_id, ip]


class MetadataServer:
    """Listens in all namespaces that the network driver names."""

    def __init__(self, store: MetadataStore, listen: Listen, keep_password: KeepPassword) -> None:
        """`listen(namespace, address, port)` opens a listening socket inside a namespace. `keep_password(server id,
        password)` has it kept and gives the status to answer."""
        self._store = store
        self._keep_password = keep_password
        self._listen = listen
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._listening: dict[tuple[str, str], tuple[MetadataEndpoint, socket.socket]] = {}
        self._asking: Counter[tuple[str, str, str]] = Counter()
        self._answerers = ThreadPoolExecutor(ANSWERERS, thread_name_prefix="metadata")
        self._wake_receive, self._wake_send = socket.socketpair()
        self._selector.register(self._wake_receive, selectors.EVENT_READ, None)
        self._stopping = False
        self._thread = threading.Thread(target=self._accept_all, name="metadata-accept", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and close all sockets."""
        self._stopping = True
        self._wake_send.send(b"x")
        self._thread.join(5)
        self._answerers.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            for key in tuple(self._listening):
                self._close(key)
        self._selector.close()
        self._wake_receive.close()
        self._wake_send.close()

    def attend(self, endpoints: Iterable[MetadataEndpoint]) -> None:
        """Listen exactly at these endpoints from now on."""
        wanted = {(endpoint.kind, endpoint.id): endpoint for endpoint in endpoints}
        with self._lock:
            for key in [key for key in self._listening if key not in wanted]:
                self._close(key)
            for key, endpoint in wanted.items():
                present = self._listening.get(key)
                if present is not None and present[0] == endpoint:
                    continue
                if present is not None:
                    self._close(key)
                self._open(key, endpoint)

    def _open(self, key: tuple[str, str], endpoint: MetadataEndpoint) -> None:
        try:
            listener = self._listen(endpoint.namespace, ADDRESS, PORT)
        except OSError as err:
            log.warning("no metadata service in a namespace", kind=key[0], id=key[1], reason=str(err))
            return
        listener.setblocking(False)
        self._listening[key] = (endpoint, listener)
        self._selector.register(listener, selectors.EVENT_READ, key)
        self._wake_send.send(b"x")

    def _close(self, key: tuple[str, str]) -> None:
        _, listener = self._listening.pop(key)
        self._selector.unregister(listener)
        listener.close()

    def _accept_all(self) -> None:
        while not self._stopping:
            for ready, _ in self._selector.select():
                if ready.fileobj is self._wake_receive:
                    self._wake_receive.recv(64)
                else:
                    self._accept(ready.data)

    def _accept(self, key: tuple[str, str]) -> None:
        with self._lock:
            present = self._listening.get(key)
            if present is None:
                return
            endpoint, listener = present
            try:
                connection, address = listener.accept()
            except OSError:
                return  # the guest changed its mind
            source = str(address[0]).removeprefix("::ffff:")
            guest = (*key, source)
            if self._asking[guest] >= MOST_FOR_ONE:
                connection.close()
                return
            self._asking[guest] += 1
        self._answerers.submit(self._answer, endpoint.networks, connection, guest)

    def _answer(self, networks: tuple[str, ...], connection: socket.socket, guest: tuple[str, str, str]) -> None:
        source = guest[-1]
        try:
            with connection:
                spec = self._store.asked_from(networks, source)
                _Handler(connection, _head(connection), source, spec, self._keep_password)
        except OSError as err:
            log.debug("a guest broke off its request", source=source, reason=str(err))
        except Exception:
            log.exception("a metadata request failed", source=source)
        finally:
            with self._lock:
                self._asking[guest] -= 1
                if not self._asking[guest]:
                    del self._asking[guest]


def _head(connection: socket.socket) -> bytes:
    """The request up to its empty line. TimeoutError if that takes too long, however it trickles in."""
    deadline = time.monotonic() + ANSWER_SECONDS
    head = b""
    while b"\r\n\r\n" not in head and b"\n\n" not in head and len(head) < MAX_HEAD:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request does not end")
        connection.settimeout(left)
        received = connection.recv(4096)
        if not received:
            break
        head += received
    connection.settimeout(ANSWER_SECONDS)
    return head


class _Handler(BaseHTTPRequestHandler):
    """One request of one guest."""

    server_version = "Pileus"
    sys_version = ""

    def __init__(
        self,
        connection: socket.socket,
        head: bytes,
        source: str,
        spec: MetadataSpec | None,
        keep_password: KeepPassword,
    ) -> None:
        self._keep_password = keep_password
        self._head = head
        self._source = source
        self._spec = spec
        super().__init__(connection, (source, 0), None)  # type: ignore[arg-type]  # there is no socketserver here

    def setup(self) -> None:
        """Read from what has arrived already."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BytesIO(self._head)

    def do_GET(self) -> None:
        """Answer from the tree of the server that asks."""
        found = None if self._spec is None else answer(self._spec, self.path)
        if found is None:
            self.send_error(404)
            return
        content, kind = found
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        """Keep the password of the server that asks: nothing else can be written."""
        if self._spec is None or not is_password(self.path):
            self.send_error(404)
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_PASSWORD:
            self.send_error(400)
            return
        try:
            status = self._keep_password(self._spec.server_id, self._body(int(length)).decode("ascii"))
        except UnicodeDecodeError:
            status = 400
        except ControlPlaneSilent as err:
            log.warning("a password could not be kept", server=self._spec.server_id, reason=str(err))
            status = 503
        if status >= 300:
            self.send_error(status)
            return
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _body(self, length: int) -> bytes:
        """As much of the body as came with the head, and the rest. TimeoutError if that does not come."""
        body = self.rfile.read(length)
        deadline = time.monotonic() + ANSWER_SECONDS
        while len(body) < length and time.monotonic() < deadline:
            received = self.connection.recv(length - len(body))
            if not received:
                break
            body += received
        if len(body) < length:
            raise TimeoutError("the request does not end")
        return body

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Requests are logged with the server that made them, at DEBUG."""
        server = None if self._spec is None else self._spec.server_id
        log.debug("metadata request", source=self._source, server=server, line=format % args)
