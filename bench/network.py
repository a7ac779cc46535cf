"""How fast networks and ports are shown and listed, and ports made: `python bench/network.py [--ports 500]`.

In one process, on SQLite, through the WSGI application with policy; the token is verified by a dictionary, so that
the figures are the network service's own. Rates are for a second of CPU time: what one core gives.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from pileus.kernel.app import Dispatcher, make_app
from pileus.kernel.auth import Actor
from pileus.kernel.clock import SystemClock
from pileus.kernel.db import Database, DatabaseSettings, Tx, metadata
from pileus.kernel.nudge import Nudges
from pileus.kernel.policy import Policy
from pileus.network.policy import RULES
from pileus.network.routes import PREFIX, make_service
from pileus.network.service import Networks
from pileus.network.settings import NetworkSettings

ACTOR = Actor(user_id="u", project_id="p", roles=frozenset({"member", "reader"}))


class _Tokens:
    def authenticate(self, token: str) -> Actor:
        return {"t": ACTOR}[token]


class _NoHosts:
    def all(self, _tx: Tx) -> list[Any]:
        return []


def application(db: Database) -> Any:
    """The WSGI application of the network service."""
    settings = NetworkSettings(quota_port=-1)
    networks = Networks(db=db, clock=SystemClock(), settings=settings, hosts=_NoHosts(), nudges=Nudges())
    return make_app(Dispatcher(db, Policy(RULES), _Tokens()), [make_service(networks)])


def call(app: Any, method: str, path: str, body: Any = None) -> Any:
    """One request, as a server would make it."""
    data = msgspec.json.encode(body) if body is not None else b""
    path, _, query = path.partition("?")
    status: list[str] = []
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": PREFIX + path,
        "SCRIPT_NAME": "",
        "QUERY_STRING": query,
        "SERVER_NAME": "bench",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "bench",
        "HTTP_X_AUTH_TOKEN": "t",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(data)),
        "wsgi.input": io.BytesIO(data),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
    }
    answer = b"".join(app(environ, lambda line, _headers: status.append(line)))
    assert status[0][0] == "2", (status, answer)
    return msgspec.json.decode(answer) if answer else None


def rate(work: Callable[[], Any], seconds: float) -> float:
    """How often `work` can be done in a second of one core: by CPU time, so that neighbours do not count."""
    for _ in range(20):
        work()
    count, start = 0, time.process_time()
    while (spent := time.process_time() - start) < seconds:
        work()
        count += 1
    return count / spent


def main() -> None:
    """Fill a database and print the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ports", type=int, default=500, help="ports to make")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each figure is measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        db = Database(DatabaseSettings(url=f"sqlite:///{Path(directory) / 'bench.db'}"))
        with db.write() as tx:
            metadata.create_all(tx.connection)
        app = application(db)
        nets = [call(app, "POST", "/networks", {"network": {"name": f"n{n}"}})["network"] for n in range(10)]
        subnet = {"network_id": nets[0]["id"], "ip_version": 4, "cidr": "10.0.0.0/16"}
        call(app, "POST", "/subnets", {"subnet": subnet})
        body = {"port": {"network_id": nets[0]["id"]}}
        start = time.process_time()
        ports = [call(app, "POST", "/ports", body)["port"] for _ in range(options.ports)]
        print(f"{'POST /ports':34}{options.ports / (time.process_time() - start):8.0f} /s")
        for name, path in (
            ("GET /networks/{id}", f"/networks/{nets[0]['id']}"),
            ("GET /networks, 10 of them", "/networks"),
            ("GET /networks?name=", "/networks?name=n3"),
            ("GET /ports/{id}", f"/ports/{ports[0]['id']}"),
            ("GET /ports?limit=10", "/ports?limit=10"),
            ("GET /ports?device_id=", "/ports?device_id=nothing"),
        ):
            print(f"{name:34}{rate(lambda path=path: call(app, 'GET', path), options.seconds):8.0f} /s")
        start = time.process_time()
        call(app, "GET", "/ports")
        print(f"GET /ports, all {options.ports + 1}: {(time.process_time() - start) * 1000:.1f} ms")
        db.close()


if __name__ == "__main__":
    main()
