"""Two image services that listen on loopback: the real application, with faults before it where a test wants them."""

import hashlib
import io
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import glanceclient
import pytest
from cheroot import wsgi
from cheroot.ssl.builtin import BuiltinSSLAdapter
from keystoneauth1.session import Session
from keystoneauth1.token_endpoint import Token

from pileus.image.settings import ImageSettings
from pileus.kernel.db import Database, DatabaseSettings
from pileus.replicator.copier import Liberties
from pileus.replicator.display import Lines
from pileus.replicator.opening import Access, open_place
from pileus.replicator.outcome import Outcome, Report
from pileus.replicator.patience import Patience
from pileus.replicator.places import Selection
from pileus.replicator.records import Rules
from pileus.replicator.runner import Run
from tests.image.conftest import make_api

ADMIN = "ann@p1:admin"
MEMBER = "ann@p1:member"

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Fault = Callable[[Environ, StartResponse, "Side"], Iterable[bytes] | None]


@dataclass
class Side:
    """One image service. `faults` are asked first what to answer; `seen` are the requests that came."""

    app: Any
    faults: list[Fault] = field(default_factory=list)
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    url: str = ""
    token: str = ADMIN

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.seen.append((method, path.rsplit("/v2", 1)[-1], environ.get("HTTP_RANGE", "")))
        for fault in list(self.faults):
            answer = fault(environ, start_response, self)
            if answer is not None:
                return answer
        answered: Iterable[bytes] = self.app(environ, start_response)
        return answered

    def client(self) -> Any:
        """python-glanceclient, logged in."""
        session = Session(Token(self.url, self.token))
        return glanceclient.Client("2", session=session, endpoint_override=self.url)

    def add(self, data: bytes | None = b"some data", **values: Any) -> str:
        """An image with this data; without any if it is None."""
        fields = {"name": "an image", "disk_format": "raw", "container_format": "bare", **values}
        image_id: str = self.client().images.create(**fields)["id"]
        if data is not None:
            self.client().images.upload(image_id, io.BytesIO(data))
        return image_id

    def data(self, image_id: str) -> bytes:
        """An image's data, verified by the client."""
        return b"".join(self.client().images.data(image_id))

    def ids(self) -> set[str]:
        """All images that a list shows."""
        return {image["id"] for image in self.client().images.list()}

    def requests(self, method: str, ending: str) -> int:
        """How many requests of this kind came."""
        return sum(1 for seen in self.seen if seen[0] == method and seen[1].endswith(ending))


def listening(app: Any, tls: BuiltinSSLAdapter | None = None) -> wsgi.Server:
    """A server on a port of its own, ready."""
    server = wsgi.Server(("127.0.0.1", 0), app, numthreads=8, shutdown_timeout=1)
    server.ssl_adapter = tls
    server.prepare()
    threading.Thread(target=server.serve, daemon=True).start()
    return server


@pytest.fixture
def new_side(_sqlite_template: Path, tmp_path: Path) -> Iterator[Callable[..., Side]]:
    """Makes image services; all of them stop after the test."""
    servers: list[wsgi.Server] = []
    databases: list[Database] = []

    def make(settings: ImageSettings | None = None, tls: BuiltinSSLAdapter | None = None) -> Side:
        directory = tmp_path / f"side{len(servers)}"
        directory.mkdir()
        shutil.copyfile(_sqlite_template, directory / "pileus.db")
        databases.append(Database(DatabaseSettings(url=f"sqlite:///{directory}/pileus.db")))
        side = Side(make_api(databases[-1], directory, settings).client.app)
        servers.append(listening(side, tls))
        scheme = "https" if tls else "http"
        side.url = f"{scheme}://127.0.0.1:{servers[-1].bind_addr[1]}/image"
        return side

    yield make
    for server in servers:
        server.stop()
    for database in databases:
        database.close()


@pytest.fixture
def here(new_side: Callable[..., Side]) -> Side:
    """Where images are copied from."""
    return new_side()


@pytest.fixture
def there(new_side: Callable[..., Side]) -> Side:
    """Where they are copied to."""
    return new_side()


def patient(retries: int = 3) -> Patience:
    """Impatient enough for tests."""
    return Patience(retries, first_pause=0.01, settling=5)


def run(
    source: Side | Path,
    target: Side | Path,
    selection: Selection | None = None,
    patience: Patience | None = None,
    jobs: int = 2,
) -> Run:
    """A run between two places, as the command makes it."""
    patience = patience or patient()

    def place(side: Side | Path) -> Any:
        if isinstance(side, Path):
            return open_place(f"dir:{side}", Access(), patience)
        return open_place(side.url, Access(token=side.token, timeout=10, connections=jobs), patience)

    return Run(place(source), place(target), selection or Selection(), patience, Lines(quiet=True), jobs)


def copy(source: Side | Path, target: Side | Path, rules: Rules | None = None, **more: Any) -> Report:
    """Livecopy with these rules, liberties and whatever `run` takes."""
    free = {name: more.pop(name) for name in ("replace", "new_ids", "dry_run") if name in more}
    return run(source, target, **more).copy("livecopy", rules or Rules(), Liberties(**free))


def compare(source: Side | Path, target: Side | Path, rules: Rules | None = None, *, extra: bool = False) -> Report:
    """Compare with these rules."""
    return run(source, target).compare(rules or Rules(), extra=extra)


def results(report: Report) -> dict[str, str]:
    """What became of each image."""
    return {outcome.id: outcome.result for outcome in report.outcomes}


def only(report: Report) -> Outcome:
    """The outcome of the only image."""
    (outcome,) = report.outcomes
    return outcome


def md5(data: bytes) -> str:
    """Its MD5, as image services write it."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
