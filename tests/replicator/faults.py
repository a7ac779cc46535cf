"""What goes wrong between clouds, as something that stands before an image service."""

import threading
from collections.abc import Callable, Iterable, Iterator

from tests.replicator.conftest import Environ, Fault, Side, StartResponse


def _is(environ: Environ, method: str, ending: str) -> bool:
    return environ["REQUEST_METHOD"] == method and environ["PATH_INFO"].endswith(ending)


def counted(times: int, fault: Fault) -> Fault:
    """The fault happens only so many times."""
    left = threading.Semaphore(times)

    def limited(environ: Environ, start_response: StartResponse, side: Side) -> Iterable[bytes] | None:
        if not left.acquire(blocking=False):
            return None
        answer = fault(environ, start_response, side)
        if answer is None:
            left.release()
        return answer

    return limited


def answers(method: str, ending: str, status: str, text: str = "no", **headers: str) -> Fault:
    """Requests of this kind get this answer, and nothing of them is read."""

    def fault(environ: Environ, start_response: StartResponse, _side: Side) -> Iterable[bytes] | None:
        if not _is(environ, method, ending):
            return None
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        start_response(status, [("Content-Type", "text/html"), ("Content-Length", str(len(text))), *named])
        return [text.encode()]

    return fault


def downloads(change: Callable[[Iterator[bytes]], Iterator[bytes]], *, ranges: bool = True) -> Fault:
    """Downloads are changed on their way; without `ranges`, by a server that knows none."""

    def fault(environ: Environ, start_response: StartResponse, side: Side) -> Iterable[bytes] | None:
        if not _is(environ, "GET", "/file"):
            return None
        if not ranges:
            environ.pop("HTTP_RANGE", None)
        return change(iter(side.app(environ, start_response)))

    return fault


def cut(after: int) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    """The connection breaks after so many bytes."""

    def change(chunks: Iterator[bytes]) -> Iterator[bytes]:
        left = after
        for chunk in chunks:
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                raise ConnectionResetError("cut by the test")

    return change


def spoil(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The first byte is another one."""
    first = next(chunks)
    yield bytes([first[0] ^ 1]) + first[1:]
    yield from chunks


def after_answer(method: str, ending: str, act: Callable[[], None]) -> Fault:
    """The request is answered as ever, and then something happens before the client hears of it."""

    def fault(environ: Environ, start_response: StartResponse, side: Side) -> Iterable[bytes] | None:
        if not _is(environ, method, ending):
            return None
        answer = list(side.app(environ, start_response))
        act()
        return answer

    return fault


def loses_answers(method: str, ending: str) -> Fault:
    """What is asked for is done, and the connection breaks in the middle of the answer."""

    def broken() -> Iterator[bytes]:
        yield b"{"
        raise ConnectionResetError("cut by the test")

    def fault(environ: Environ, start_response: StartResponse, side: Side) -> Iterable[bytes] | None:
        if not _is(environ, method, ending):
            return None
        list(side.app(environ, lambda *_: None))
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "100")])
        return broken()

    return fault
