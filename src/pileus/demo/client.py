"""A client for the few calls of the first server. Everything else should be done with the official clients."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import urllib3

from pileus.kernel.errors import PileusError


class CallFailed(PileusError):
    """The API refused, or did not answer."""


class Client:
    """Logged in as one user with one project; addresses come from the catalog."""

    def __init__(self, auth_url: str, user: str, password: str, project: str) -> None:
        self._http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=5.0, read=120.0), retries=False)
        domain = {"name": "Default"}
        document = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"name": user, "domain": domain, "password": password}},
                },
                "scope": {"project": {"name": project, "domain": domain}},
            }
        }
        response = self._request("POST", f"{auth_url}/auth/tokens", document, {})
        token = msgspec.json.decode(response.data)["token"]
        self.project_id: str = token["project"]["id"]
        self._headers = {"X-Auth-Token": response.headers["X-Subject-Token"]}
        self._endpoints = {
            service["type"]: endpoint["url"].rstrip("/")
            for service in token["catalog"]
            for endpoint in service["endpoints"]
            if endpoint["interface"] == "public"
        }

    def get(self, service: str, path: str) -> Any:
        """The document at a path of a service."""
        return self._call("GET", service, path)

    def post(self, service: str, path: str, document: dict[str, Any]) -> Any:
        """Create something, or act on it."""
        return self._call("POST", service, path, document)

    def put(self, service: str, path: str, document: dict[str, Any]) -> Any:
        """Change something."""
        return self._call("PUT", service, path, document)

    def upload(self, service: str, path: str, file: Path) -> None:
        """Send a file's bytes."""
        with file.open("rb") as source:
            self._request(
                "PUT", self._endpoints[service] + path, _chunks(source),
                {**self._headers, "Content-Type": "application/octet-stream"},
            )  # fmt: skip

    def _call(self, method: str, service: str, path: str, document: dict[str, Any] | None = None) -> Any:
        response = self._request(method, self._endpoints[service] + path, document, self._headers)
        return msgspec.json.decode(response.data) if response.data else None

    def _request(self, method: str, url: str, body: Any, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        if isinstance(body, dict):
            body, headers = msgspec.json.encode(body), {**headers, "Content-Type": "application/json"}
        try:
            response = self._http.request(method, url, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as err:
            raise CallFailed(f"{method} {url}: {err}") from err
        if response.status >= 400:
            raise CallFailed(f"{method} {url} answered {response.status}: {response.data.decode(errors='replace')}")
        return response


def _chunks(source: BinaryIO) -> Iterator[bytes]:
    while chunk := source.read(1 << 20):
        yield chunk


def wait_for(what: str, look: Callable[[], Any], seconds: float, pause: float = 0.1) -> Any:
    """What `look` answers as soon as that is true. CallFailed after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() >= deadline:
            raise CallFailed(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)
    return seen
