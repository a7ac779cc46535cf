"""The life of a request: every way through the dispatcher, in a service made for it."""

from typing import Any

import falcon.testing
import pytest
import sqlalchemy as sa

from pileus.kernel.app import MAX_JSON_BODY, Dispatcher, make_app
from pileus.kernel.auth import Actor
from pileus.kernel.db import Database, DatabaseSettings
from pileus.kernel.errors import Conflict, Gone, NotFound, OverLimit, PileusError, Unauthorized
from pileus.kernel.fields import Body, Integer, Param, Text
from pileus.kernel.http import Call, Reply, Route, Service
from pileus.kernel.ids import is_request_id, new_request_id
from pileus.kernel.policy import PUBLIC, Policy, Rule
from pileus.kernel.quota import limits, set_limit
from pileus.kernel.versions import Microversions, Version

PREFIX = "/test/v2"
RULES = (
    Rule("test:use", "role:member", "Use it."),
    Rule("test:own", "project_id:%(project_id)s", "Use what is one's own."),
    Rule("test:admin", "role:admin", "Rule it."),
)


class Names:
    """Authenticates `project:role`."""

    def authenticate(self, token: str) -> Actor:
        project, colon, role = token.partition(":")
        if not colon:
            raise Unauthorized("The token is malformed.")
        return Actor(user_id="u", project_id=project, roles=frozenset({role}), is_admin=role == "admin")


class Impl:
    """What handlers act on: remembers the last call, and fails on demand."""

    def __init__(self) -> None:
        self.trouble: Exception | None = None
        self.call: Call | None = None


def show(call: Call, impl: Impl) -> dict[str, Any]:
    impl.call = call
    if impl.trouble is not None:
        raise impl.trouble
    return {"id": call.params.get("thing_id"), "version": str(call.version), "query": call.query.pairs}


def create(call: Call, impl: Impl) -> dict[str, Any]:
    impl.call = call
    return {"name": call.body.name}


def own(call: Call, _impl: Impl) -> dict[str, Any]:
    call.authorize({"project_id": call.params["project_id"]})
    return {"project": call.params["project_id"]}


def read_stored(call: Call, _impl: Impl) -> dict[str, Any]:
    with call.read() as tx:
        return limits(tx, call.params["project_id"], call.query.get("service") or "s", {"r": 0})


def write_stored(call: Call, _impl: Impl) -> None:
    call.transact(lambda tx: set_limit(tx, call.params["project_id"], "s", call.query.get("name") or "r", 1))


def stream(_call: Call, _impl: Impl) -> Reply:
    return Reply(iter([b"abc", b"def"]), content_type="application/octet-stream", content_length=6)


def receive(call: Call, _impl: Impl) -> Reply:
    return Reply(call.stream.read(1 << 20), status=201, content_type="text/plain", headers={"X-Kind": "raw"})


def acted(name: str) -> Any:
    def act(call: Call, _impl: Impl) -> dict[str, Any]:
        return {"did": name, "with": getattr(call.body, "size", None)}

    return act


NAMED = Body("thing", Param("name", Text(1, 10), required=True))
SIZED = Body("resize", Param("size", Integer(1), required=True))
ROUTES: tuple[Route[Impl], ...] = (
    Route("GET", "/things", show, "test:use"),
    Route("POST", "/things", create, "test:use", status=201, body=NAMED),
    Route("GET", "/things/{thing_id}", show, "test:use"),
    Route("DELETE", "/things/{thing_id}", lambda _call, _impl: None, "test:admin", status=204),
    Route("POST", "/things/{thing_id}/action", acted("start"), "test:use", action="start", status=202),
    Route("POST", "/things/{thing_id}/action", acted("resize"), "test:use", action="resize", body=SIZED),
    Route("POST", "/things/{thing_id}/action", acted("purge"), "test:admin", action="purge"),
    Route("POST", "/things/{thing_id}/action", acted("late"), "test:use", action="late", since="2.5"),
    Route("GET", "/new", show, "test:use", since="2.5"),
    Route("GET", "/old", show, "test:use", until="2.4"),
    Route("GET", "/open", show, PUBLIC),
    Route("GET", "/unknown-rule", show, "test:nobody-wrote-this"),
    Route("GET", "/projects/{project_id}", own, "test:own", targeted=True),
    Route("GET", "/forgot", show, "test:own", targeted=True),
    Route("GET", "/stored/{project_id}", read_stored, "test:use"),
    Route("PUT", "/stored/{project_id}", write_stored, "test:use", status=204),
    Route("GET", "/stream", stream, "test:use"),
    Route("PUT", "/raw", receive, "test:use", raw=True),
)


def shape(error: PileusError, status: int, _accept: str) -> tuple[dict[str, Any], str]:
    return {"testError": {"code": status, "message": error.message, "type": error.kind or ""}}, "application/json"


class Api(falcon.testing.TestClient):
    """Calls it, usually as a member."""

    def __init__(self, db: Database) -> None:
        self.impl = Impl()
        versions = Microversions("test", Version(2, 1), Version(2, 9), legacy_header="X-Test-API-Version")
        document = {"/test": lambda base: Reply({"at": base}, status=300)}
        service = Service("test", PREFIX, ROUTES, self.impl, shape, versions, documents=document)
        super().__init__(make_app(Dispatcher(db, Policy(RULES), Names(), "http://cloud/"), [service]))

    def ask(self, method: str, path: str, who: str | None = "p1:member", **more: Any) -> falcon.testing.Result:
        headers = {**({} if who is None else {"X-Auth-Token": who}), **more.pop("headers", {})}
        return self.simulate_request(method, PREFIX + path, headers=headers, **more)

    def refused(self, method: str, path: str, who: str | None = "p1:member", **more: Any) -> tuple[int, str]:
        answer = self.ask(method, path, who, **more)
        error = answer.json["testError"]
        assert error["code"] == answer.status_code
        assert is_request_id(answer.headers["X-Openstack-Request-Id"])
        return answer.status_code, error["message"]


@pytest.fixture
def api(sqlite: Database) -> Api:
    return Api(sqlite)


def test_an_answer(api: Api) -> None:
    answer = api.ask("GET", "/things/t1", query_string="a=1&b=%C3%A9&a=2&c=")
    assert answer.status_code == 200
    assert answer.json["query"] == [["a", "1"], ["b", "é"], ["a", "2"], ["c", ""]]
    assert answer.headers["Content-Type"] == "application/json"
    assert is_request_id(answer.headers["X-Openstack-Request-Id"])
    assert answer.headers["OpenStack-API-Version"] == "test 2.1"
    assert "OpenStack-API-Version" in answer.headers["Vary"]
    assert api.impl.call is not None
    assert (api.impl.call.actor.project_id, api.impl.call.base_url) == ("p1", f"http://cloud{PREFIX}")
    created = api.ask("POST", "/things", json={"thing": {"name": "n"}})
    assert (created.status_code, created.json) == (201, {"name": "n"})
    gone = api.ask("DELETE", "/things/t1", "p1:admin")
    assert (gone.status_code, gone.content) == (204, b"")


def test_paths_and_methods(api: Api) -> None:
    assert api.ask("GET", "/things/").status_code == 200
    assert api.ask("GET", "/nope").json["testError"]["code"] == 404
    assert api.simulate_get("/elsewhere").json["error"]["code"] == 404
    for method in ("PUT", "PATCH", "OPTIONS"):
        answer = api.ask(method, "/things/t1")
        assert (answer.status_code, answer.headers["Allow"]) == (405, "DELETE, GET")
        assert answer.json["testError"]["code"] == 405
    assert api.ask("TRACE", "/things/t1").status_code == 405
    assert api.ask("TRACE", "/things/t1").headers["Allow"]
    assert api.ask("POST", "/open", None).status_code == 405
    assert api.ask("PUT", "/things", None).status_code == 401


def test_head_is_get_without_its_body(api: Api) -> None:
    answer = api.ask("HEAD", "/things/t1")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Length"] == api.ask("GET", "/things/t1").headers["Content-Length"]
    assert api.ask("HEAD", "/stream").headers["Content-Length"] == "6"
    assert api.ask("HEAD", "/things", None).status_code == 401


def test_documents_are_open_to_all(api: Api) -> None:
    answer = api.simulate_get("/test")
    assert (answer.status_code, answer.json) == (300, {"at": "http://cloud"})


def test_who_is_not_logged_in(api: Api) -> None:
    for token in (None, "nonsense", ""):
        answer = api.ask("GET", "/things", token)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Keystone uri="http://cloud/identity"'
        assert answer.json["testError"]["code"] == 401
        assert api.ask("GET", "/open", token).status_code == 200


def test_policy(api: Api) -> None:
    assert api.refused("DELETE", "/things/t1")[0] == 403
    assert "test:admin" in api.refused("DELETE", "/things/t1")[1]
    assert api.refused("GET", "/unknown-rule", "p1:admin")[0] == 403
    assert api.ask("GET", "/projects/p1").json == {"project": "p1"}
    assert api.refused("GET", "/projects/p2")[0] == 403


def test_a_targeted_route_that_checks_nothing_answers_nothing(api: Api) -> None:
    answer = api.ask("GET", "/forgot")
    assert answer.status_code == 500
    assert "version" not in answer.text


@pytest.mark.parametrize("header", ["OpenStack-API-Version", "X-Test-API-Version"])
def test_microversions(api: Api, header: str) -> None:
    word = "test " if header.startswith("OpenStack") else ""

    def ask(version: str, path: str = "/things") -> falcon.testing.Result:
        return api.ask("GET", path, headers={header: word + version})

    assert ask("2.9").json["version"] == "2.9"
    assert ask("latest").headers["OpenStack-API-Version"] == "test 2.9"
    assert ask("2.9").headers["X-Test-API-Version"] == "2.9"
    for nonsense in ("2", "2.x", "2.01", "two", ""):
        assert ask(nonsense).status_code == 400, nonsense
    for outside in ("2.0", "2.10", "3.1"):
        assert ask(outside).status_code == 406
        assert "Minimum is 2.1 and maximum is 2.9" in ask(outside).text
    assert (ask("2.4", "/new").status_code, ask("2.5", "/new").status_code) == (404, 200)
    assert (ask("2.4", "/old").status_code, ask("2.5", "/old").status_code) == (200, 404)


def test_the_header_for_another_service_says_nothing_here(api: Api) -> None:
    answer = api.ask("GET", "/things", headers={"OpenStack-API-Version": "volume 3.9, test 2.3"})
    assert answer.json["version"] == "2.3"
    assert api.ask("GET", "/things", headers={"OpenStack-API-Version": "volume 3.9"}).json["version"] == "2.1"


def test_actions(api: Api) -> None:
    def act(body: Any, who: str = "p1:member", **more: Any) -> falcon.testing.Result:
        content = {"body": body} if isinstance(body, bytes) else {"json": body}
        return api.ask("POST", "/things/t1/action", who, **content, **more)

    assert (act({"start": None}).status_code, act({"start": None}).json["did"]) == (202, "start")
    assert act({"resize": {"size": 3}}).json == {"did": "resize", "with": 3}
    for wrong in ({"resize": {"size": 0}}, {"resize": {}}, {"resize": {"size": 1, "colour": "red"}}, {"resize": None}):
        assert act(wrong).status_code == 400, wrong
    for wrong in ({}, {"nope": None}, {"start": None, "resize": {"size": 1}}, [], "start", None, b"", b"{", b"\xff"):
        assert act(wrong).status_code == 400, wrong
    assert act(b"[" * 100_000).status_code == act(b'{"start":' * 100_000).status_code == 400
    assert act({"purge": None}).status_code == 403
    assert act({"purge": None}, "p1:admin").status_code == 200
    assert act({"late": None}).status_code == 400
    assert act({"late": None}, headers={"OpenStack-API-Version": "test 2.5"}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'{"thing": null}', b'{"thing": {"name": 1}}', b'{"thing": {}}', b"\xff\xfe",
        b'{"thing": {"name": "\xff"}}', b'{"thing": {"name": "x", "extra": 1}}', b'{"thing": {"name": "12345678901"}}',
        b'{"other": {}}', b'{"thing": {"name": "\\ud800"}}', b"[" * 100_000, b'{"thing":' * 100_000,
        b'{"thing": {"name": "x", "deep": ' + b"[" * 100_000,
    ],
)  # fmt: skip
def test_bodies_that_are_wrong(api: Api, body: bytes) -> None:
    assert api.refused("POST", "/things", body=body)[0] == 400


def test_bodies_that_are_too_large_or_of_another_type(api: Api) -> None:
    large = b'{"thing": {"name": "' + b"x" * MAX_JSON_BODY
    assert api.refused("POST", "/things", body=large)[0] == 413
    xml = {"Content-Type": "application/xml"}
    assert api.refused("POST", "/things", body=b"<x/>", headers=xml)[0] == 415
    for fine in ("application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.x+json"):
        answer = api.ask("POST", "/things", body=b'{"thing": {"name": "x"}}', headers={"Content-Type": fine})
        assert answer.status_code == 201


def test_errors_have_the_services_shape(api: Api) -> None:
    for error, status in (
        (NotFound("a"), 404),
        (Conflict("b", kind="InUse"), 409),
        (OverLimit("c"), 403),
        (Gone("d"), 410),
    ):
        api.impl.trouble = error
        answer = api.ask("GET", "/things")
        assert answer.json == {"testError": {"code": status, "message": str(error), "type": error.kind or ""}}
        assert answer.status_code == status


def test_a_defect_of_ours_is_logged_and_not_shown(api: Api, capsys: pytest.CaptureFixture[str], caplog: Any) -> None:
    api.impl.trouble = RuntimeError("password=hunter2")
    status, message = api.refused("GET", "/things")
    assert status == 500
    assert "hunter2" not in message
    assert "RuntimeError" not in api.ask("GET", "/things").text
    (record, *_) = [record for record in caplog.records if record.levelname == "ERROR"]
    shown = str(record.msg)
    assert "hunter2" in shown
    assert "req-" in shown


def test_request_ids(api: Api, caplog: Any) -> None:
    given = new_request_id()
    api.impl.trouble = RuntimeError("x")
    answer = api.ask("GET", "/things", headers={"X-OpenStack-Request-ID": given})
    assert answer.headers["X-Openstack-Request-Id"] != given
    assert given in caplog.text
    caplog.clear()
    api.ask("GET", "/things", headers={"X-OpenStack-Request-ID": "req-\nforged"})
    assert "forged" not in caplog.text


def test_streams(api: Api) -> None:
    answer = api.ask("GET", "/stream")
    assert (answer.content, answer.headers["Content-Length"]) == (b"abcdef", "6")
    sent = api.ask("PUT", "/raw", body=b"\xff\x00raw", headers={"Content-Type": "application/octet-stream"})
    assert (sent.status_code, sent.content, sent.headers["X-Kind"]) == (201, b"\xff\x00raw", "raw")


def _raw(api: Api, path: bytes, query: str) -> list[int]:
    """The statuses of GET and PUT for a path as bytes, as a server gives it to WSGI."""
    environ = falcon.testing.create_environ("/", query_string=query, headers={"X-Auth-Token": "p1:member"})
    statuses: list[str] = []
    for method in ("GET", "PUT"):
        environ |= {"REQUEST_METHOD": method, "PATH_INFO": (PREFIX.encode() + path).decode("latin-1")}
        list(api.app(dict(environ), lambda status, _headers, _exc=None: statuses.append(status)))
    return [int(status.split()[0]) for status in statuses]


@pytest.mark.parametrize("path", [b"p\x00", b"\xff\xfe", b"\xc3\xa9", b"\xf0\x9f\x92\xa9", b"%zz", b"a" * 300, b"%00"])
def test_strange_paths_are_the_callers_mistake(database: Database, path: bytes) -> None:
    api = Api(database)
    for status in (*_raw(api, b"/stored/" + path, ""), *_raw(api, b"/things/" + path, "")):
        assert 200 <= status < 500


@pytest.mark.parametrize(
    "query", ["service=%00&name=%00", "service=%FF&name=%FF", "service=%zz&name=%", "&&==&;", "name=" + "a" * 300,
              "service=%F0%9F%92%A9&name=%F0%9F%92%A9", "%00=%00", "name=%ED%A0%80"]
)  # fmt: skip
def test_strange_queries_are_the_callers_mistake(database: Database, query: str) -> None:
    for status in _raw(Api(database), b"/stored/p1", query):
        assert status < 500


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////nonexistent/directory/pileus.db",
        "postgresql+psycopg://x@/y?host=/nonexistent",
        "mysql+pymysql://root@localhost/p?unix_socket=/nonexistent",
    ],
)
def test_a_database_that_is_away(url: str) -> None:
    try:
        db = Database(DatabaseSettings(url=url))
    except FileNotFoundError:
        pytest.skip("refused at once")
    assert Api(db).refused("GET", "/stored/p1")[0] == 503
    db.close()


def test_a_connection_that_broke(api: Api) -> None:
    for cause in (sa.exc.TimeoutError("busy"), sa.exc.OperationalError("x", {}, Exception("database is locked"))):
        api.impl.trouble = cause
        assert api.refused("GET", "/things")[0] == 503
    api.impl.trouble = sa.exc.OperationalError("x", {}, Exception("no such table: t"))
    assert api.refused("GET", "/things")[0] == 500
