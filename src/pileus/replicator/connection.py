"""HTTP to one image service: logging in, trying again, streaming both ways.

keystoneauth keeps the token fresh; one that expires meanwhile is asked for anew.
"""

import html
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import requests
import urllib3
from keystoneauth1 import exceptions as failures
from keystoneauth1 import loading
from keystoneauth1.plugin import BaseAuthPlugin
from keystoneauth1.session import Session, TCPKeepAliveAdapter

from pileus.replicator.errors import LoginFailed, Refused, ReplicationError, Unreachable, UsageError
from pileus.replicator.logins import NO_AUTH, Login
from pileus.replicator.patience import Patience
from pileus.replicator.places import Data

BUSY = frozenset({429, 502, 503, 504})
"""Statuses of a service, or of something before it, that may well answer a moment later."""
_SPARE_CONNECTIONS = 2
_LONGEST_MESSAGE = 300


class Connection:
    """Authenticated requests to an image service, from several threads at once.

    Errors are LoginFailed, Refused and Unreachable; the latter has been tried again by `call` and not by the others.
    """

    def __init__(self, label: str, session: Session, endpoint: str, patience: Patience) -> None:
        self.label = label
        self._session = session
        self._root = _versioned(endpoint)
        self._patience = patience

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON document that is answered, or None."""
        url = f"{path}?{urlencode(query)}" if query else path
        return self._patience.persist(lambda: self._call(method, url, json, headers))

    def _call(self, method: str, path: str, json: Any, headers: Mapping[str, str] | None) -> Any:
        answer = self._send(method, path, json=json, headers={"Accept": "application/json", **(headers or {})})
        self._expect_success(answer)
        if not answer.content:
            return None
        try:
            return answer.json()
        except requests.JSONDecodeError as err:
            raise LoginFailed(f"{self.label}: {self._root}{path} does not answer with JSON.") from err

    @contextmanager
    def download(self, path: str, start: int) -> Iterator[urllib3.BaseHTTPResponse]:
        """The response to a GET, to be read as it comes: status 200, 204, or 206 if `start` is not 0."""
        headers = {"Accept": "application/octet-stream", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        answer = self._send("GET", path, headers=headers, stream=True)
        try:
            self._expect_success(answer)
            yield answer.raw
        except (urllib3.exceptions.HTTPError, OSError) as err:
            raise Unreachable(f"{self.label}: the download broke off: {_reason(err)}") from err
        finally:
            answer.close()

    def upload(self, path: str, data: Data) -> None:
        """PUT the data as it comes."""
        size = str(len(data))
        headers = {"Content-Type": "application/octet-stream", "x-openstack-image-size": size}
        # What was sent of a stream cannot be sent again: neither to another address nor with another token.
        answer = self._send("PUT", path, headers=headers, data=data, redirect=False, allow_reauth=False)
        if answer.status_code == 401 and self._session.invalidate():
            raise Unreachable(f"{self.label}: the token expired.")
        self._expect_success(answer)

    def _send(self, method: str, path: str, **more: Any) -> requests.Response:
        try:
            return self._session.request(
                f"{self._root}{path}", method, raise_exc=False, log=False, connect_retries=0, **more
            )
        except failures.ClientException as err:
            raise explained(self.label, err) from err

    def _expect_success(self, answer: requests.Response) -> None:
        status = answer.status_code
        if 200 <= status < 300:
            return
        message = f"{self.label}: {status} {_message(answer)}"
        if status in BUSY:
            raise Unreachable(message, _retry_after(answer))
        if status == 401:
            raise LoginFailed(f"{self.label}: not logged in: {_message(answer)}")
        raise Refused(message, status)


def connect(login: Login, patience: Patience, timeout: float, connections: int) -> Connection:
    """Log in and find the image service. UsageError, LoginFailed.

    `timeout`: seconds without a sign of life. `connections`: how many are used at a time.
    """
    if login.tls.verify is False:
        warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
    http = requests.Session()
    for scheme in ("http://", "https://"):
        http.mount(scheme, TCPKeepAliveAdapter(pool_maxsize=connections + _SPARE_CONNECTIONS))
    session = Session(
        _plugin(login), session=http, verify=login.tls.verify, cert=login.tls.cert, timeout=timeout,
        user_agent="pileus-replicate",
    )  # fmt: skip
    try:
        if login.auth_type != NO_AUTH:
            session.get_token()
        endpoint = login.endpoint or session.get_endpoint(
            service_type="image", interface=login.interface, region_name=login.region
        )
    except (failures.ClientException, OSError) as err:
        raise LoginFailed(f"{login.label}: cannot log in: {_reason(err)}") from err
    if not endpoint:
        where = f" in region {login.region}" if login.region else ""
        raise LoginFailed(f"{login.label}: its catalog has no {login.interface} endpoint of an image service{where}.")
    return Connection(login.label, session, endpoint, patience)


def _plugin(login: Login) -> BaseAuthPlugin:
    """keystoneauth's plugin, given those options that it knows."""
    try:
        loader: loading.BaseLoader[BaseAuthPlugin] = loading.get_plugin_loader(login.auth_type)
        options: dict[str, Any] = {}
        for option in loader.get_options():
            names = [option.dest, *(old.dest for old in option.deprecated)]
            value = next((login.auth[name] for name in names if login.auth.get(name) is not None), None)
            if value is not None:
                options[option.dest] = str(value)
        return loader.load_from_options(**options)
    except failures.ClientException as err:
        raise UsageError(f"{login.label}: {err}") from err


def _versioned(endpoint: str) -> str:
    """The address under which version 2 answers: catalogs give it with or without the version."""
    root = re.sub(r"/v2(\.\d+)?$", "", endpoint.rstrip("/"))
    return f"{root}/v2"


def explained(label: str, err: failures.ClientException) -> ReplicationError:
    """What a failure of keystoneauth's means."""
    if isinstance(err, failures.SSLError):
        return LoginFailed(f"{label}: no trusted connection: {_reason(err)}")
    if isinstance(err, failures.ConnectionError):
        return Unreachable(f"{label}: no connection: {_reason(err)}")
    if isinstance(err, failures.HttpError) and err.http_status in BUSY:
        return Unreachable(f"{label}: the identity service does not answer: {err}")
    return LoginFailed(f"{label}: not logged in: {_reason(err)}")


def _reason(err: BaseException) -> str:
    """What lies at the bottom of a stack of wrapped errors; the upper ones repeat it at length."""
    while (inner := err.__cause__ or err.__context__) is not None:
        err = inner
    return str(err) or type(err).__name__


def _retry_after(answer: requests.Response) -> float | None:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else None


def _message(answer: requests.Response) -> str:
    """A service's own words: Glance explains itself in HTML, others in JSON or plain text."""
    try:
        document = answer.json()
    except (requests.RequestException, ValueError):
        document = None
    if isinstance(document, dict):
        inner = document.get("error")
        said = inner.get("message") if isinstance(inner, dict) else document.get("message")
        if isinstance(said, str):
            return _clean(said)
    body = re.sub(r"(?s)<(head|style|script)\b.*?</\1>|<[^>]*>", " ", answer.text)
    return _clean(html.unescape(body)) or answer.reason or ""


def _clean(text: str) -> str:
    """One line that cannot do anything to a terminal."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())[:_LONGEST_MESSAGE]
