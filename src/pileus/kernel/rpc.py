"""Calls from the control plane to host agents: one function, HTTP behind it.

A call asks an agent to make something so; it may be repeated at will. On one machine it goes over a Unix socket.
Another transport would replace this module and nothing else.
"""

import hashlib
import hmac
import socket
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
import urllib3
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from pileus.kernel.errors import PileusError
from pileus.kernel.fields import MALFORMED_JSON

HOST_SECRET_HEADER = "X-Pileus-Host-Secret"  # noqa: S105 - the header's name
REQUEST_ID_HEADER = "X-Openstack-Request-Id"
SERVER_HEADER = "X-Pileus-Server"  # lets the agent's log lines carry the server's UUID

log = structlog.get_logger("pileus.rpc")


def host_secret(cloud_secret: str, host: str) -> str:
    """The secret of one host, derived from the cloud's own: the control plane stores none, and one host's secret says
    nothing about another's."""
    return hmac.new(cloud_secret.encode(), f"host:{host}".encode(), hashlib.sha256).hexdigest()


class AgentUnreachable(PileusError):
    """The agent did not answer. What was asked may or may not have happened."""

    status = 503
    transient = True


class AgentRefused(PileusError):
    """The agent answered that it could not. `refusal` is one of agent.api.RefusalKind's values."""

    def __init__(self, refusal: str, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.refusal = refusal
        self.transient = transient  # type: ignore[misc]  # an instance may know better than its class


class Agents:
    """Reaches the agents of all hosts. Thread-safe; connections are kept open and reused."""

    def __init__(self, endpoint: Callable[[str], str], secret: Callable[[str], str]) -> None:
        """`endpoint` gives a host's address: `unix:///path/to/socket` or `https://host:port`; `secret` its secret."""
        self._endpoint = endpoint
        self._secret = secret
        self._pools: dict[str, HTTPConnectionPool] = {}

    def call(
        self, host: str, verb: str, path: str, body: msgspec.Struct | None = None, timeout: float = 30.0
    ) -> dict[str, Any]:
        """Ask `host` and give its answer.

        `timeout`: seconds without a byte of the answer. AgentUnreachable if none came, AgentRefused if
        it was a refusal.
        """
        headers = {HOST_SECRET_HEADER: self._secret(host), "Content-Type": "application/json"}
        context = structlog.contextvars.get_contextvars()
        if request_id := context.get("request_id"):
            headers[REQUEST_ID_HEADER] = request_id
        if server := context.get("server"):
            headers[SERVER_HEADER] = server
        try:
            response = self._pool(self._endpoint(host)).urlopen(
                verb,
                path,
                body=None if body is None else msgspec.json.encode(body),
                headers=headers,
                timeout=urllib3.Timeout(connect=5.0, read=timeout),
                retries=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as err:
            raise AgentUnreachable(f"The agent of host {host} does not answer ({type(err).__name__}).") from err
        return _answer(host, response.status, response.data)

    def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            pool.close()

    def _pool(self, endpoint: str) -> HTTPConnectionPool:
        pool = self._pools.get(endpoint)
        if pool is None:
            if endpoint.startswith("unix://"):
                pool = _UnixPool(endpoint.removeprefix("unix://"))
            else:
                pool = urllib3.connection_from_url(endpoint, maxsize=32)
            self._pools[endpoint] = pool
        return pool


def _answer(host: str, status: int, data: bytes) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(data) if data or status == 200 else {}  # a whole answer is never empty
    except MALFORMED_JSON as err:
        raise AgentUnreachable(f"The agent of host {host} answered something that is not JSON.") from err
    if status >= 400:
        error = decoded.get("error") if isinstance(decoded, dict) else None
        said = error if isinstance(error, dict) else {}
        raise AgentRefused(
            str(said.get("kind", "failed")),
            str(said.get("message", f"The agent of host {host} answered {status}.")),
            transient=status in (500, 502, 503, 504),
        )
    if not isinstance(decoded, dict):
        raise AgentUnreachable(f"The agent of host {host} answered something that is not an object.")
    return decoded


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str, timeout: Any = None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def _new_conn(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(5.0)
        try:
            connection.connect(self._path)
        except BaseException:
            connection.close()
            raise
        return connection


class _UnixPool(HTTPConnectionPool):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", maxsize=32)
        self._path = path

    def _new_conn(self) -> HTTPConnection:
        return _UnixConnection(self._path)
