"""Talking to an OpenID Connect provider: only where the operator's issuer points, never along redirects."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
import urllib3
from urllib3.exceptions import HTTPError

from pileus.identity.federation.oidc.settings import OidcSettings
from pileus.kernel.errors import PileusError, Unavailable
from pileus.kernel.fields import MALFORMED_JSON

_LONGEST = 1 << 20
_CHUNK = 1 << 16


class Refused(PileusError):
    """The provider answers that it will not. `code`: its status."""

    def __init__(self, code: int) -> None:
        super().__init__(f"The identity provider refuses ({code}).")
        self.code = code


class Web:
    """Requests to one provider; connections are kept. Thread-safe.

    Unavailable if the provider does not answer, or answers what is no JSON object; Refused if it says no.
    """

    def __init__(self, settings: OidcSettings) -> None:
        self._pool = urllib3.PoolManager(
            num_pools=4,
            maxsize=8,
            timeout=urllib3.Timeout(total=settings.timeout),
            retries=False,
            cert_reqs="CERT_REQUIRED",
            ca_certs=None if settings.ca_file == Path() else str(settings.ca_file),
        )

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """A JSON object, or the claims of a JWT as `{"jwt": text}` (userinfo may be signed)."""
        return self._ask("GET", url, headers=headers or {})

    def post(self, url: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, Any]:
        """Send a form."""
        return self._ask("POST", url, headers=headers, fields=fields)

    def _ask(
        self, method: str, url: str, *, headers: Mapping[str, str], fields: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        require_safe(url)
        form = None
        if fields is not None:
            form = urlencode(fields)
            headers = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
        try:
            answer = self._pool.request(
                method,
                url,
                headers={"Accept": "application/json", **headers},
                body=form,
                redirect=False,
                preload_content=False,
            )
            try:
                data = _body(answer)
            finally:
                answer.release_conn()
        except HTTPError as err:
            raise Unavailable("The identity provider does not answer.") from err
        if 400 <= answer.status < 500:
            raise Refused(answer.status)
        if answer.status != 200:
            raise Unavailable(f"The identity provider answers {answer.status}.")
        if answer.headers.get("Content-Type", "").split(";")[0].strip() == "application/jwt":
            return {"jwt": data.decode("ascii", "replace")}
        try:
            return msgspec.json.decode(data, type=dict[str, Any])
        except MALFORMED_JSON as err:
            raise Unavailable("The identity provider answers what is not JSON.") from err


def _body(answer: urllib3.BaseHTTPResponse) -> bytes:
    data = bytearray()
    for chunk in answer.stream(_CHUNK):
        data += chunk
        if len(data) > _LONGEST:
            answer.close()
            raise Unavailable("The identity provider answers too much.")
    return bytes(data)


def require_safe(url: str) -> None:
    """Unavailable unless the address is one of https, or of this machine itself."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and is_loopback(parts.hostname or ""):
        return
    raise Unavailable("The identity provider gives an address that is not of https.")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
