"""Granian's worker in a process of ours: uploads stream, connections are kept, a stop lets requests finish."""

import hashlib
import http.client
import json
import os
import signal
from collections.abc import Iterator

import pytest

from pileus.settings import Settings
from pileus.supervisor import serving
from tests.supervisor.conftest import wait_until
from tests.supervisor.parts import make_app

PIECE = os.urandom(1 << 20)
PIECES = 96
ALLOWANCE = 24 << 20  # bytes of memory that an upload of 96 MiB may take


@pytest.fixture
def worker(settings: Settings) -> Iterator[int]:
    """The id of a process that serves."""
    settings.site.state_dir.mkdir()
    listener = serving.listen(settings.api)
    pid = os.fork()
    if pid == 0:
        try:
            serving.serve(lambda: make_app(settings), settings.api, listener, lambda: None)
        finally:
            os._exit(0)
    listener.close()
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def memory(pid: int) -> int:
    """The most memory that a process has ever had, in bytes."""
    with open(f"/proc/{pid}/status") as file:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def connect(settings: Settings) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", settings.api.port, timeout=30)


def test_a_connection_serves_many_requests(settings: Settings, worker: int) -> None:
    connection = connect(settings)
    local = set()
    for _ in range(3):
        connection.request("GET", "/")
        assert json.load(connection.getresponse()) == {"pid": worker}
        local.add(connection.sock.getsockname())
    assert len(local) == 1


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_does_not_pile_up_in_memory(settings: Settings, worker: int, chunked: bool) -> None:
    connection = connect(settings)
    connection.request("PUT", "/sink", body=b"warm")
    assert json.load(connection.getresponse())["size"] == 4
    before = memory(worker)
    headers = {} if chunked else {"Content-Length": str(len(PIECE) * PIECES)}
    connection.request("PUT", "/sink", body=(PIECE for _ in range(PIECES)), headers=headers, encode_chunked=chunked)
    answer = json.load(connection.getresponse())
    digest = hashlib.blake2b()
    for _ in range(PIECES):
        digest.update(PIECE)
    assert answer == {"digest": digest.hexdigest(), "size": len(PIECE) * PIECES}
    assert memory(worker) - before < ALLOWANCE


def test_a_stop_lets_a_request_finish(settings: Settings, worker: int) -> None:
    connection = connect(settings)
    connection.putrequest("PUT", "/sink")
    connection.putheader("Content-Length", "8")
    connection.endheaders(b"half")
    wait_until((settings.site.state_dir / "reading").exists)

    def told_and_silent() -> bool:
        os.kill(worker, signal.SIGTERM)
        return not answers(settings)

    wait_until(told_and_silent)
    connection.send(b"rest")
    assert json.load(connection.getresponse())["size"] == 8
    wait_until(lambda: os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None)


def answers(settings: Settings) -> bool:
    """Whether a new connection is served. (It is always made: the listening socket outlives the worker.)"""
    connection = http.client.HTTPConnection("127.0.0.1", settings.api.port, timeout=0.5)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except OSError:
        return False
    finally:
        connection.close()
    return True


def test_the_environment_does_not_reach_requests(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", "hunter2")
    listener = serving.listen(settings.api)
    pid = os.fork()
    if pid == 0:

        def app(environ: dict[str, str], start_response: serving.WsgiApp) -> list[bytes]:
            start_response("200 OK", [])
            return [b"yes" if "SOME_SECRET" in environ else b"no"]

        try:
            serving.serve(lambda: app, settings.api, listener, lambda: None)
        finally:
            os._exit(0)
    listener.close()
    try:
        connection = connect(settings)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"no"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
