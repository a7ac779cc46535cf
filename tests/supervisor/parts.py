"""Small programs in the places of the real ones, for tests of the supervisor."""

import hashlib
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import falcon

from pileus.kernel.db import DatabaseSettings
from pileus.settings import Settings
from pileus.supervisor.credentials import Credentials
from pileus.supervisor.parts import Parts

PARTS = Parts(
    app="tests.supervisor.parts:make_app",
    conductor="tests.supervisor.parts:make_conductor",
    agent="tests.supervisor.parts:run_agent",
    migrate="tests.supervisor.parts:migrate",
    bootstrap="tests.supervisor.parts:bootstrap",
    teardown="tests.supervisor.parts:teardown",
)


class Who:
    def on_get(self, _request: falcon.Request, response: falcon.Response) -> None:
        response.media = {"pid": os.getpid()}


class Sink:
    """Leaves a mark, reads an upload piece by piece, and answers its digest and size."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def on_put(self, request: falcon.Request, response: falcon.Response) -> None:
        self._mark.touch()
        digest, size = hashlib.blake2b(), 0
        while piece := request.stream.read(65536):
            digest.update(piece)
            size += len(piece)
        response.media = {"digest": digest.hexdigest(), "size": size}


def make_app(settings: Settings) -> Any:
    app: falcon.App[Any, Any] = falcon.App()
    app.add_route("/", Who())
    app.add_route("/sink", Sink(settings.site.state_dir / "reading"))
    return app


class Conductor:
    def __init__(self) -> None:
        self._stopping = threading.Event()

    def run(self) -> None:
        self._stopping.wait()

    def stop(self) -> None:
        self._stopping.set()


def make_conductor(_settings: Settings) -> Conductor:
    return Conductor()


def run_agent(settings: Settings) -> None:
    """Listens until SIGTERM; leaves a mark if it was stopped and not killed."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    path = settings.agent.socket
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        while not stopping.wait(0.05):
            continue
    (settings.site.state_dir / "agent-stopped").touch()


def fail(_settings: Settings) -> None:
    raise RuntimeError("this agent never works")


def migrate(settings: DatabaseSettings) -> None:
    path = settings.url.removeprefix("sqlite:///")
    with open(path, "a") as file:  # noqa: PTH123
        file.write("migrated\n")


def bootstrap(settings: Settings, credentials: Credentials) -> None:
    assert credentials.admin_password
    (settings.site.state_dir / "bootstrapped").touch()


def refuse(_settings: Settings, _credentials: Credentials) -> None:
    raise ValueError("no\nway")


def teardown(settings: Settings) -> None:
    (settings.site.state_dir / "torn-down").touch()
