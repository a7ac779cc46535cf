"""A web server on loopback that serves bytes by path, and can break off."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Web:
    """`files`: path -> bytes. `breaks`: after how many bytes the next answers break off. `seen`: what was asked.

    While `hold` is cleared, answers stop in their middle.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.breaks: list[int] = []
        self.hold = threading.Event()
        self.hold.set()
        self.seen: list[tuple[str, str | None, str | None]] = []  # path, Range, X-Auth-Token


@contextmanager
def serving() -> Iterator[Web]:
    """A server while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.seen.append((self.path, self.headers["Range"], self.headers["X-Auth-Token"]))
            data = web.files.get(self.path)
            if data is None:
                self.send_error(404)
                return
            start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").partition("-")[0])
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            end = start + web.breaks.pop(0) if web.breaks else len(data)
            with suppress(ConnectionError):
                self.wfile.write(data[start : (start + end) // 2])
                self.wfile.flush()
                web.hold.wait()
                self.wfile.write(data[(start + end) // 2 : end])

        def log_message(self, *_: object) -> None:
            """Tests tell by what was served."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web = Web(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
