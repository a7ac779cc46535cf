"""Servers that stores are tested on: a web server with files, and OpenStack Swift with its S3 API."""

import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

PYTHON = "/usr/bin/python3"  # the system's, for which Debian packages Swift


class WebServer(ThreadingHTTPServer):
    """Serves what is put into it, with ranges, on a loopback address."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.files: dict[str, bytes] = {}
        self.fails_after: int | None = None  # bytes of a body
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def put(self, name: str, data: bytes) -> str:
        """The URL of the data."""
        self.files[f"/{name}"] = data
        return self.url(name)

    def stop(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that break off are part of the tests."""


class _Handler(SimpleHTTPRequestHandler):
    server: WebServer

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        data = self.server.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        wanted = self.headers.get("Range")
        first, _, last = (wanted or "bytes=0-").removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last) + 1 if last else len(data), len(data))
        if wanted is not None and start >= len(data):
            self.send_error(416)
            return
        self.send_response(200 if wanted is None else 206)
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        if wanted is not None:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.end_headers()
        if with_body:
            self.wfile.write(data[start:end][: self.server.fails_after])

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


class Swift:
    """A running Swift. `endpoint` is that of its S3 API."""

    access_key, secret_key = "test:tester", "testing"

    def __init__(self, directory: Path) -> None:
        script = Path(__file__).with_name("swift_server.py")
        self._process = subprocess.Popen(
            [PYTHON, script, directory], stdout=subprocess.PIPE, stderr=(directory / "log").open("wb"), text=True
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        assert port, (directory / "log").read_text()
        self.endpoint = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def start_swift(directory: Path) -> Iterator[Swift]:
    """A Swift for as long as the fixture lives; without the package, the tests are skipped and say so."""
    if subprocess.run([PYTHON, "-c", "import swift, eventlet"], capture_output=True, check=False).returncode != 0:
        reason = "NOT TESTED: this machine lacks Debian's python3-swift"
        if os.environ.get("PILEUS_REQUIRE_REAL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    swift = Swift(directory)
    yield swift
    swift.stop()
