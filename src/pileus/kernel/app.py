"""From route tables to a WSGI application.

`Dispatcher.handle` is the whole life of a request, readable in one place.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import falcon
import msgspec
import sqlalchemy as sa
import structlog

from pileus.kernel.auth import Actor, Authenticator
from pileus.kernel.db import Database, is_retryable, is_unavailable, is_unstorable
from pileus.kernel.errors import (
    BadRequest,
    Conflict,
    MethodNotAllowed,
    NotFound,
    PileusError,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from pileus.kernel.fields import MALFORMED_JSON
from pileus.kernel.http import Call, ErrorShape, Query, Reply, Route, Service
from pileus.kernel.ids import is_request_id, new_request_id
from pileus.kernel.log import bound
from pileus.kernel.policy import PUBLIC, Policy
from pileus.kernel.versions import Version

log = structlog.get_logger("pileus.http")

MAX_JSON_BODY = 1 << 20
JSON = "application/json"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

Document = Callable[[str], Reply]


@dataclass(frozen=True)
class _Resource:
    """All routes of one path of one service, by method."""

    service: Service[Any]
    routes: Mapping[str, tuple[Route[Any], ...]]

    def choose(self, method: str, version: Version | None) -> tuple[Route[Any], ...]:
        """The routes of a method in a version: several only where they are actions of one path."""
        routes = self.routes.get(method) or (self.routes.get("GET") if method == "HEAD" else None)
        if not routes:
            allowed = ", ".join(sorted(self.routes))
            raise MethodNotAllowed("The method is not allowed for this resource.", allow=allowed)
        here = tuple(route for route in routes if route.window.holds(version))
        if not here:
            raise NotFound("The resource could not be found.")
        return here


class Dispatcher:
    """Runs requests: identify, authenticate, negotiate the version, decode, authorise, handle, render."""

    def __init__(
        self, db: Database, policy: Policy, authenticator: Authenticator, public_url: str | None = None
    ) -> None:
        self.db = db
        self.policy = policy
        self.authenticator = authenticator
        self.public_url = public_url.rstrip("/") if public_url else None

    def handle(self, resource: _Resource, req: falcon.Request, resp: falcon.Response, params: dict[str, str]) -> None:
        """Answer one request to a path that exists."""
        service = resource.service
        request_id = new_request_id()
        global_id = req.get_header("X-OpenStack-Request-ID")
        context = {"request_id": request_id}
        if global_id and is_request_id(global_id):
            context["global_request_id"] = global_id
        version: Version | None = None
        with bound(**context):
            try:
                _require_exact(service, req)
                caller = self._caller(resource, req)
                if service.microversions is not None:
                    version = service.microversions.negotiate(req.get_header)
                route, data = self._route(resource, req, version)
                call = self._call(service, route, req, params, request_id, version, caller)
                self._authorise(route, call)
                if route.body is not None:
                    call.body = route.body.decode(data, version)
                answer = route.handler(call, service.impl)
                _require_authorized(route, call)
                reply = answer if isinstance(answer, Reply) else Reply(answer)
                write(resp, reply, route.status)
            except Exception as err:  # noqa: BLE001 - the HTTP kernel is where every error becomes an answer
                self._fail(service.error_shape, req, resp, err)
        for header in service.request_id_headers:
            resp.set_header(header, request_id)
        if service.microversions is not None:
            resp.set_headers(dict(service.microversions.response_headers(version or service.microversions.minimum)))

    def base(self, req: falcon.Request) -> str:
        """The cloud's address as the caller reaches it."""
        return self.public_url or req.forwarded_prefix.rstrip("/")

    def _caller(self, resource: _Resource, req: falcon.Request) -> Actor | None:
        token = req.get_header("X-Auth-Token")
        if token:
            try:
                return _allowed(self.authenticator.authenticate(token), resource.service, req)
            except Unauthorized:
                if not self._all_public(resource, req.method):
                    raise
                return None
        if not self._all_public(resource, req.method):
            raise Unauthorized("The request you have made requires authentication.")
        return None

    @staticmethod
    def _all_public(resource: _Resource, method: str) -> bool:
        routes = resource.routes.get(method) or resource.routes.get("GET" if method == "HEAD" else method)
        if routes is None:  # a method that is not there is nobody's secret where all that are there are public
            routes = tuple(route for others in resource.routes.values() for route in others)
        return all(route.rule == PUBLIC for route in routes)

    def _route(self, resource: _Resource, req: falcon.Request, version: Version | None) -> tuple[Route[Any], bytes]:
        candidates = resource.choose(req.method, version)
        first = candidates[0]
        if first.raw or (first.body is None and first.action is None):
            return first, b""
        data = _json_body(req)
        if first.action is None:
            return first, data
        key = _action(data)
        for route in candidates:
            if route.action == key:
                return route, data
        raise BadRequest(f"There is no such action: {key}")

    def _call(
        self,
        service: Service[Any],
        route: Route[Any],
        req: falcon.Request,
        params: dict[str, str],
        request_id: str,
        version: Version | None,
        caller: Actor | None,
    ) -> Call:
        return Call(
            method=req.method,
            path=req.path,
            params=params,
            query=Query(req.query_string),
            header=req.get_header,
            stream=req.env["wsgi.input"],
            content_length=req.content_length,
            base_url=self.base(req) + service.prefix,
            request_id=request_id,
            version=version,
            db=self.db,
            policy=self.policy,
            caller=caller,
            peer=(req.env.get("REMOTE_ADDR", ""), int(req.env["SERVER_PORT"])),
            rule=route.rule,
        )

    def _authorise(self, route: Route[Any], call: Call) -> None:
        if route.rule == PUBLIC:
            call.authorized = True
            return
        if call.caller is None:
            raise Unauthorized("The request you have made requires authentication.")
        if not route.targeted:
            self.policy.enforce(route.rule, call.caller)
            call.authorized = True

    def _fail(self, shape: ErrorShape, req: falcon.Request, resp: falcon.Response, err: Exception) -> None:
        error = known_error(err)
        if error is None:
            log.error("request failed", method=req.method, path=req.path, exc_info=err)
            error = PileusError("Unexpected API Error. Look for the request id in the cloud's log.")
        elif error.status >= 500:
            log.warning("request not served", method=req.method, path=req.path, reason=error.message)
        document, content_type = shape(error, error.status, req.accept)
        write(resp, Reply(document, content_type=content_type), error.status)
        if error.status == 401:
            resp.set_header("WWW-Authenticate", f'Keystone uri="{self.base(req)}/identity"')
        elif error.status == 405 and error.details.get("allow"):
            resp.set_header("Allow", error.details["allow"])


def _require_exact(service: Service[Any], req: falcon.Request) -> None:
    if service.exact_paths and req.env["PATH_INFO"].endswith("/"):  # Falcon has taken the slash off req.path
        raise NotFound("The resource could not be found.")


def _allowed(caller: Actor, service: Service[Any], req: falcon.Request) -> Actor:
    """The caller. Unauthorized, as from OpenStack, if it has access rules and none of them is for this request."""
    if caller.access_rules is None:
        return caller
    path = "/" + req.path.removeprefix("/").partition("/")[2]  # as the service has it: without "/compute"
    if any(rule.allows(service.types, req.method, path) for rule in caller.access_rules):
        return caller
    raise Unauthorized("The token's access rules do not allow this request.")


def _require_authorized(route: Route[Any], call: Call) -> None:
    if not call.authorized:
        raise RuntimeError(f"{route.method} {route.path} answered without having checked {route.rule}")


def known_error(err: Exception) -> PileusError | None:
    """The error as callers may see it, or None if it is a defect of ours."""
    if isinstance(err, PileusError):
        return err
    if isinstance(err, sa.exc.IntegrityError):
        # What the row refers to went, or its twin came, between our look and our write: no service caught it.
        return Conflict("Another request changed this at the same time. Try again.")
    if isinstance(err, sa.exc.TimeoutError):
        return Unavailable("All database connections are busy. Try again.")
    if isinstance(err, sa.exc.DBAPIError) and (is_retryable(err) or is_unavailable(err)):
        return Unavailable("The database does not answer. Try again.")
    if isinstance(err, sa.exc.DBAPIError) and is_unstorable(err):
        return BadRequest("A value is too long, or holds a character that cannot be stored.")
    if isinstance(err, falcon.HTTPError):
        return _from_falcon(err)
    return None


def write(resp: falcon.Response, reply: Reply, status: int) -> None:
    """Put a reply into Falcon's response."""
    resp.status = reply.status or status
    for name, value in reply.headers.items():
        if name == "Set-Cookie":  # Falcon wants such headers appended
            resp.append_header(name, value)
        else:
            resp.set_header(name, value)
    body = reply.body
    if body is None:
        if reply.content_type:
            resp.content_type = reply.content_type
        return
    resp.content_type = reply.content_type or JSON
    if isinstance(body, bytes):
        resp.data = body
    elif isinstance(body, str):
        resp.data = body.encode()
    elif isinstance(body, dict | list | msgspec.Struct):
        resp.data = msgspec.json.encode(body)
    else:
        resp.stream = body
        if reply.content_length is not None:
            resp.content_length = reply.content_length


def _json_body(req: falcon.Request) -> bytes:
    content_type = (req.content_type or JSON).split(";", 1)[0].strip().lower()
    if content_type not in (JSON, "text/plain", "application/x-www-form-urlencoded") and "json" not in content_type:
        raise UnsupportedMediaType(f"Unsupported Content-Type: {content_type}. Send application/json.")
    stream = req.env["wsgi.input"]
    data: bytes = stream.read(MAX_JSON_BODY + 1)
    if len(data) > MAX_JSON_BODY:
        raise TooLarge(f"The request body is larger than {MAX_JSON_BODY} bytes.")
    return data


def _action(data: bytes) -> str:
    try:
        document = msgspec.json.decode(data)
    except MALFORMED_JSON as err:
        raise BadRequest("The request body is not valid JSON.") from err
    if not isinstance(document, dict) or len(document) != 1:
        raise BadRequest("The request body must be an object with one key: the action.")
    return str(next(iter(document)))


def _from_falcon(err: falcon.HTTPError) -> PileusError:
    error = PileusError(err.description or err.title or "The request was refused.")
    error.status = err.status_code  # type: ignore[misc]  # this one instance carries Falcon's own code
    return error


# --- composing the application ------------------------------------------------------------------------------


def make_app(dispatcher: Dispatcher, services: Iterable[Service[Any]]) -> falcon.App[Any, Any]:
    """The WSGI application of all services.

    Paths of different services never overlap; within one service, parameters at one position have one name.
    """
    app: falcon.App[Any, Any] = falcon.App()
    app.req_options.strip_url_path_trailing_slash = True
    app.req_options.auto_parse_form_urlencoded = False
    listed = tuple(services)
    for service in listed:
        for path, routes in _by_path(service).items():
            app.add_route(service.prefix + path, _falcon_resource(dispatcher, _Resource(service, routes)))
        for path, document in service.documents.items():
            app.add_route(path, _DocumentResource(dispatcher, document))
    app.add_sink(_NotThere(listed), "/")
    app.add_error_handler(falcon.HTTPError, _falcon_error)
    return app


def _by_path(service: Service[Any]) -> dict[str, dict[str, tuple[Route[Any], ...]]]:
    paths: dict[str, dict[str, tuple[Route[Any], ...]]] = {}
    for route in service.routes:
        methods = paths.setdefault(route.path, {})
        methods[route.method] = (*methods.get(route.method, ()), route)
    return paths


def _falcon_resource(dispatcher: Dispatcher, resource: _Resource) -> object:
    def responder(_self: object, req: falcon.Request, resp: falcon.Response, **params: str) -> None:
        dispatcher.handle(resource, req, resp, params)

    responders = {f"on_{method.lower()}": responder for method in METHODS}
    return type("Resource", (), responders)()


class _DocumentResource:
    """A document that anybody may read: version discovery."""

    def __init__(self, dispatcher: Dispatcher, document: Document) -> None:
        self._dispatcher = dispatcher
        self._document = document

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        write(resp, self._document(self._dispatcher.base(req)), 200)


class _NotThere:
    """Answers for paths that no service has, in the shape of the service they are under."""

    def __init__(self, services: tuple[Service[Any], ...]) -> None:
        self._services = services

    def __call__(self, req: falcon.Request, resp: falcon.Response, **_groups: str) -> None:
        error = NotFound("The resource could not be found.")
        for service in self._services:
            if req.path.startswith(service.prefix.rsplit("/", 1)[0] + "/"):
                document, content_type = service.error_shape(error, 404, req.accept)
                write(resp, Reply(document, content_type=content_type), 404)
                return
        write(resp, Reply({"error": {"code": 404, "title": "Not Found", "message": error.message}}), 404)


def _falcon_error(_req: falcon.Request, resp: falcon.Response, err: falcon.HTTPError, _params: Any) -> None:
    write(
        resp,
        Reply(
            {"error": {"code": err.status_code, "title": err.title, "message": err.description}},
            headers=dict(err.headers or {}),
        ),
        err.status_code,
    )
