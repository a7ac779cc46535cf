"""Uploads in chunks whose sender goes away, on the real server: they must not look complete."""

import contextlib
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pileus.kernel.arrivals import Arrivals

APP = """
import sys
from pathlib import Path
from pileus.kernel.arrivals import Arrivals

def app(environ, start):
    arrivals, size = Arrivals((environ["REMOTE_ADDR"], int(environ["SERVER_PORT"]))), 0
    while chunk := environ["wsgi.input"].read(65536):
        size += len(chunk)
    told = f"{environ['PATH_INFO'][1:]} {size} {arrivals.cut_off(size)}\\n"
    with Path("told").open("a") as out:
        out.write(told)
    start("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


class Server:
    """Granian with an application that tells what it thinks of each body."""

    def __init__(self, directory: Path) -> None:
        self.told = directory / "told"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def begin(self, name: str, data: bytes) -> socket.socket:
        one = self.connect()
        one.sendall(f"PUT /{name} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{len(data):x}\r\n".encode())
        one.sendall(data + b"\r\n")
        return one

    def verdict(self, name: str) -> str:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.told.exists():
                for line in self.told.read_text().splitlines():
                    if line.startswith(f"{name} "):
                        return line.split()[2]
            time.sleep(0.01)
        raise TimeoutError(name)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("granian")
    (directory / "told_app.py").write_text(APP)
    made = Server(directory)
    granian = Path(sys.executable).with_name("granian")
    command = [
        granian,
        "--interface",
        "wsgi",
        "--host",
        "127.0.0.1",
        "--port",
        str(made.port),
        "--blocking-threads",
        "4",
    ]
    process = subprocess.Popen([*command, "told_app:app"], cwd=directory, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                made.connect().close()
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield made
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("size", [5, 3_000_000])
def test_a_body_that_ends(server: Server, size: int) -> None:
    with server.begin(f"whole{size}", bytes(size)) as one:
        one.sendall(b"0\r\n\r\n")
        assert server.verdict(f"whole{size}") == "False"


@pytest.mark.parametrize("size", [5, 3_000_000])
@pytest.mark.parametrize("how", ["closed", "reset"])
def test_a_sender_that_goes_away(server: Server, how: str, size: int) -> None:
    name = f"{how}{size}"
    one = server.begin(name, bytes(size))
    time.sleep(0.2)  # so that the application waits for more when it happens
    if how == "reset":
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()
    assert server.verdict(name) == "True"


def test_others_that_are_at_work_do_not_hide_it(server: Server) -> None:
    with server.begin("other", bytes(2_000_000)) as other, server.begin("idle", b"x"):
        one = server.begin("gone", bytes(1_000_000))
        time.sleep(0.2)
        one.close()
        assert server.verdict("gone") == "True"
        other.sendall(b"0\r\n\r\n")
        assert server.verdict("other") == "False"


def test_a_connection_of_another_process_is_not_judged() -> None:
    assert not Arrivals(("192.0.2.1", 80)).cut_off(10)
