"""`/agent/v1`: what agents say and fetch.

These routes know no tokens: an agent proves to be its host by the host's secret, derived from the cloud's own key.
"""

import hmac
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from pileus.agent.api import HostReport, PowerReport, ServerPassword
from pileus.hosts.service import Hosts
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Forbidden, PileusError, RangeNotSatisfiable
from pileus.kernel.fields import MALFORMED_JSON
from pileus.kernel.http import Call, Reply, Route, Service
from pileus.kernel.policy import PUBLIC
from pileus.kernel.rpc import HOST_SECRET_HEADER

PREFIX = "/agent/v1"
MAX_REPORT = 64 << 20
_RANGE = re.compile(r"bytes=([0-9]{1,18})-")


class ImageData(Protocol):
    """The stored bytes of one image."""

    @property
    def size(self) -> int:
        """In bytes."""
        ...

    def read(self, start: int = 0) -> Iterator[bytes]:
        """The bytes from `start` on."""
        ...


@dataclass(frozen=True)
class AgentApi:
    """What the routes act on. `open_image` finds an image's data whoever owns it; `secret_of` a host's secret;
    `keep_password(tx, host, server id, password)` keeps what a guest of the host gave."""

    hosts: Hosts
    open_image: Callable[[Tx, str], ImageData]
    secret_of: Callable[[str], str]
    keep_password: Callable[[Tx, str, str, str], None]


def report(call: Call, api: AgentApi) -> None:
    """Take over a host's regular report."""
    host = _authenticated(call, api)
    said = _decode(call, HostReport)
    call.transact(lambda tx: api.hosts.report(tx, host, said))


def power(call: Call, api: AgentApi) -> None:
    """Take over changes of guests' power."""
    host = _authenticated(call, api)
    said = _decode(call, PowerReport)
    call.transact(lambda tx: api.hosts.power(tx, host, said.states))


def password(call: Call, api: AgentApi) -> None:
    """Keep the password that a guest gave its metadata service."""
    host = _authenticated(call, api)
    said = _decode(call, ServerPassword)
    call.transact(lambda tx: api.keep_password(tx, host, call.params["server_id"], said.password))


def image_data(call: Call, api: AgentApi) -> Reply:
    """Send an image's bytes, from the beginning or from where a broken transfer stopped."""
    _authenticated(call, api)
    with call.read() as tx:
        data = api.open_image(tx, call.params["image_id"])
    start = _start(call.header("Range"), data.size)
    return Reply(
        data.read(start),
        status=206 if start else 200,
        headers={"Content-Range": f"bytes {start}-{data.size - 1}/{data.size}"} if start else {},
        content_type="application/octet-stream",
        content_length=data.size - start,
    )


def _authenticated(call: Call, api: AgentApi) -> str:
    host = call.params["host"]
    given = (call.header(HOST_SECRET_HEADER) or "").encode()
    if not hmac.compare_digest(given, api.secret_of(host).encode()):
        raise Forbidden("The host's secret is wrong.")
    return host


def _decode(call: Call, shape: type[Any]) -> Any:
    try:
        return msgspec.json.decode(call.stream.read(MAX_REPORT), type=shape)
    except MALFORMED_JSON as err:
        raise BadRequest(f"The report is malformed: {err}.") from err


def _start(header: str | None, size: int) -> int:
    if header is None:
        return 0
    span = _RANGE.fullmatch(header)
    if span is None:
        raise BadRequest("Only ranges of the form 'bytes=START-' are understood here.")
    start = int(span[1])
    if start and start >= size:
        raise RangeNotSatisfiable(f"The image has only {size} bytes.")
    return start


def _error(error: PileusError, status: int, _accept: str) -> tuple[dict[str, Any], str]:
    return {"error": {"code": status, "message": error.message}}, "application/json"


ROUTES: tuple[Route[AgentApi], ...] = (
    Route("POST", "/hosts/{host}/report", report, PUBLIC, status=204, raw=True),
    Route("POST", "/hosts/{host}/power", power, PUBLIC, status=204, raw=True),
    Route("POST", "/hosts/{host}/servers/{server_id}/password", password, PUBLIC, status=204, raw=True),
    Route("GET", "/hosts/{host}/images/{image_id}/data", image_data, PUBLIC),
)


def make_service(api: AgentApi) -> Service[AgentApi]:
    """The agents' API as a service."""
    return Service("agent", PREFIX, ROUTES, api, _error)
