"""The agent's HTTP API: PUT ensures that something is as described, DELETE that it is absent.

See `agent.api` for the verbs. Only who knows the host's secret is heard. A refusal carries its kind, and its status
says whether trying again may help (503) or not (4xx, 507).
"""

import errno
import hmac
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import falcon
import msgspec
import structlog

from pileus.agent import api
from pileus.agent.api import RefusalKind, Refused
from pileus.agent.errors import AgentError, Busy, InvalidRequest
from pileus.agent.host import Host
from pileus.drivers.hypervisor.base import HypervisorError
from pileus.drivers.network.base import NetworkDriverError
from pileus.kernel.fields import MALFORMED_JSON
from pileus.kernel.log import bound
from pileus.kernel.rpc import HOST_SECRET_HEADER, REQUEST_ID_HEADER, SERVER_HEADER

log = structlog.get_logger("pileus.agent")

STATUS = {
    RefusalKind.INVALID: 400,
    RefusalKind.NOT_FOUND: 404,
    RefusalKind.CONFLICT: 409,
    RefusalKind.IMAGE_UNUSABLE: 422,
    RefusalKind.NO_SPACE: 507,
    RefusalKind.FAILED: 503,
}

_IDENTIFIER = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,127}")  # a SHA-512 in hex is the longest
PREFETCH_SECONDS = 20.0  # well within the time that callers wait for an answer

P = ParamSpec("P")
T = TypeVar("T")
Verb = Callable[[str, Any, falcon.Request], Mapping[str, Any] | msgspec.Struct | None]


def make_agent_app(host: Host, secret: str) -> falcon.App[Any, Any]:
    """The WSGI application of one host's agent."""
    app: falcon.App[Any, Any] = falcon.App()
    for path, verbs in _verbs(host).items():
        app.add_route(path, _Resource(verbs, secret))
    return app


def _verbs(host: Host) -> dict[str, dict[str, tuple[type | None, Verb]]]:
    """The table: path -> method -> (the body's shape, what to do with (id, body, request))."""

    def pair(
        shape: type, ensure: Callable[[Any], Any], absent: Callable[[str], None]
    ) -> dict[str, tuple[type | None, Verb]]:
        return {
            "PUT": (shape, lambda _key, body, _req: ensure(body)),
            "DELETE": (None, lambda key, _body, _req: absent(key)),
        }

    guests = pair(api.GuestSpec, lambda spec: {"power_state": host.guests.ensure(spec)}, host.guests.ensure_none)
    slow = Places(host.settings.slow_threads)
    disks = pair(api.DisksSpec, slow.taken(lambda spec: {"disks": host.ensure_disks(spec)}), host.ensure_no_disks)
    prefetch = slow.taken(host.prefetch_image)
    verify = slow.taken(host.cache.upkeep.verify)
    guests["GET"] = (None, lambda key, _body, _req: {"power_state": host.guests.state(key)})
    return {
        "/networks/{key}": pair(api.NetworkSpec, host.ensure_network, host.ensure_no_network),
        "/ports/{key}": pair(api.PortSpec, lambda spec: {"tap": host.ensure_port(spec)}, host.ensure_no_port),
        "/address-sets/{key}": pair(api.AddressSetSpec, host.ensure_address_set, host.ensure_no_address_set),
        "/routers/{key}": pair(api.RouterSpec, host.ensure_router, host.ensure_no_router),
        "/disks/{key}": disks,
        "/guests/{key}": guests,
        "/guests/{key}/power": {
            "POST": (api.PowerAction, lambda key, body, _req: {"power_state": host.guests.power(key, body)})
        },
        "/guests/{key}/console": {
            "GET": (None, lambda key, _body, req: {"output": host.guests.console(key, _length(req))})
        },
        "/metadata/{key}": pair(api.MetadataSpec, host.ensure_metadata, host.ensure_no_metadata),
        "/images": {"GET": (None, lambda _key, _body, _req: host.cache.upkeep.images())},
        "/images/{key}": {"PUT": (api.ImageRef, lambda _key, body, req: prefetch(body, _wait(req)))},
        "/images/verify": {"POST": (api.VerifyImages, lambda _key, body, _req: verify(body))},
        "/images/prune": {"POST": (api.PruneImages, lambda _key, body, _req: host.prune_images(body))},
        "/inventory": {"GET": (None, lambda _key, _body, _req: host.inventory())},
        "/state": {"GET": (None, lambda _key, _body, _req: host.state())},
    }


def _length(req: falcon.Request) -> int | None:
    try:
        return req.get_param_as_int("length", min_value=0)
    except falcon.HTTPInvalidParam as err:
        raise InvalidRequest(str(err.description)) from err


def _wait(req: falcon.Request) -> float:
    try:
        return req.get_param_as_float("wait", min_value=0, default=PREFETCH_SECONDS)
    except falcon.HTTPInvalidParam as err:
        raise InvalidRequest(str(err.description)) from err


class Places:
    """A number of places for requests that may wait long, for images above all.

    The server has as many threads as it has places, and others. So those who wait never keep from their thread the
    requests that are done at once, deletions among them. Who finds no place is told to come back.
    """

    def __init__(self, number: int) -> None:
        self._free = threading.BoundedSemaphore(number)

    def taken(self, act: Callable[P, T]) -> Callable[P, T]:
        """`act`, in a place. Busy if none is free."""

        def act_in_place(*args: P.args, **kwargs: P.kwargs) -> T:
            if not self._free.acquire(blocking=False):
                raise Busy("too many requests wait for images already")
            try:
                return act(*args, **kwargs)
            finally:
                self._free.release()

        return act_in_place


class _Resource:
    def __init__(self, verbs: dict[str, tuple[type | None, Verb]], secret: str) -> None:
        self._verbs = verbs
        self._secret = secret.encode()

    def on_get(self, req: falcon.Request, resp: falcon.Response, key: str = "") -> None:
        self._answer(req, resp, key)

    on_put = on_post = on_delete = on_get

    def _answer(self, req: falcon.Request, resp: falcon.Response, key: str) -> None:
        given = (req.get_header(HOST_SECRET_HEADER) or "").encode()
        if not hmac.compare_digest(given, self._secret):
            raise falcon.HTTPForbidden(description="the host's secret is wrong")
        verb = self._verbs.get(req.method)
        if verb is None:
            raise falcon.HTTPMethodNotAllowed(list(self._verbs))
        context = {"request_id": req.get_header(REQUEST_ID_HEADER), "server": req.get_header(SERVER_HEADER)}
        with bound(**context):
            try:
                done = self._do(verb, req, key)
            except Exception as err:  # noqa: BLE001 - the agent's HTTP kernel: every error becomes an answer
                refused = _refusal(err)
                resp.status = STATUS[RefusalKind(refused.kind)]
                resp.data = msgspec.json.encode({"error": refused})
            else:
                resp.data = msgspec.json.encode({} if done is None else done)
        resp.content_type = "application/json"

    @staticmethod
    def _do(verb: tuple[type | None, Verb], req: falcon.Request, key: str) -> Any:
        shape, act = verb
        body: Any = None
        if key and not _IDENTIFIER.fullmatch(key):
            raise InvalidRequest(f"{key!r} is not an identifier")
        if shape is not None:
            try:
                body = msgspec.json.decode(req.bounded_stream.read(), type=shape)
            except MALFORMED_JSON as err:
                raise InvalidRequest(str(err)) from err
            described = _described(body, key)
            if described != key:
                raise InvalidRequest(f"the description is of {described}, the path names {key}")
        return act(key, body, req)


def _described(body: Any, key: str) -> str:
    """What a description is of, as the path names it."""
    names = ("checksum",) if isinstance(body, api.ImageRef) else ("id", "server_id")
    return next((str(getattr(body, name)) for name in names if hasattr(body, name)), key)


def _refusal(err: Exception) -> Refused:
    if isinstance(err, AgentError | NetworkDriverError | HypervisorError):
        log.warning("refused", kind=err.kind, reason=str(err))
        return Refused(kind=err.kind, message=str(err))
    if isinstance(err, OSError) and err.errno in (errno.ENOSPC, errno.EDQUOT):
        log.warning("refused: the disk is full", reason=str(err))
        return Refused(kind=RefusalKind.NO_SPACE, message="The host's disk is full.")
    log.error("failed", exc_info=err)
    return Refused(kind=RefusalKind.FAILED, message=f"The host failed ({type(err).__name__}); its log says more.")
