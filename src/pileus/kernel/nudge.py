"""Nudges: "look now" between the processes of one machine, so that work begins in a fraction of a millisecond.

A nudge is only a hint. Whoever waits for one also polls the database, so a nudge lost, doubled or sent to a dead
process does no harm, and between machines there are none.

Listeners in the same process are called directly; other processes are reached by a datagram to every
`conductor-<pid>.sock` in the run directory.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

SAGA = "saga"  # a saga was started
CANCEL = "cancel"  # a saga was asked to stop
LOOP = "loop:"  # and the loop's name: what it watches has changed

_PATTERN = "conductor-*.sock"
_MAX_TOPIC = 512
_STOP = b"\0"

Listener = Callable[[str], None]
log = structlog.get_logger("pileus.nudge")


class Nudges:
    """Sends nudges, and after `serve` receives them too. One for a process.

    `run_dir` is the directory shared by the machine's processes; None: only within this process. A directory whose
    path is too long for a Unix socket's address, or that cannot be written, costs speed and nothing else.
    """

    def __init__(self, run_dir: Path | None = None) -> None:
        self._run_dir = run_dir
        self._listeners: tuple[Listener, ...] = ()
        self._lock = threading.Lock()
        self._sender: socket.socket | None = None
        self._receiver: socket.socket | None = None
        self._own: Path | None = None
        self._thread: threading.Thread | None = None

    def send(self, topic: str) -> None:
        """Nudge every listener on this machine about `topic`. Never fails, never waits."""
        for listener in self._listeners:
            listener(topic)
        if self._run_dir is None:
            return
        payload = topic.encode()
        for path in self._run_dir.glob(_PATTERN):
            if path != self._own:
                self._post(path, payload)

    def _post(self, path: Path, payload: bytes) -> None:
        if self._sender is None:
            with self._lock:
                if self._sender is None:
                    self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                    self._sender.setblocking(False)
        try:
            self._sender.sendto(payload, str(path))
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):  # left by a process that died
                path.unlink()
        except OSError:
            return  # a full queue means that the receiver has been nudged already

    def listen(self, listener: Listener) -> None:
        """Call `listener(topic)` for every nudge, on whatever thread it arrives: it must be quick and not raise."""
        with self._lock:
            self._listeners = (*self._listeners, listener)

    def forget(self, listener: Listener) -> None:
        """Stop calling `listener`."""
        with self._lock:
            self._listeners = tuple(known for known in self._listeners if known != listener)

    def serve(self) -> None:
        """Receive the nudges of other processes. Call it after forking; `close` ends it."""
        if self._run_dir is None or self._thread is not None:
            return
        path = self._run_dir / f"conductor-{os.getpid()}.sock"
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            path.unlink(missing_ok=True)
            receiver.bind(str(path))
            path.chmod(0o600)
        except OSError as err:
            receiver.close()
            log.warning(
                "no nudges from other processes: work may wait for the next poll", path=str(path), error=str(err)
            )
            return
        self._receiver, self._own = receiver, path
        self._thread = threading.Thread(target=self._receive, args=(receiver,), name="nudges", daemon=True)
        self._thread.start()

    def _receive(self, receiver: socket.socket) -> None:
        while (payload := receiver.recv(_MAX_TOPIC)) != _STOP:
            topic = payload.decode(errors="replace")
            for listener in self._listeners:
                listener(topic)

    def close(self) -> None:
        """Stop receiving and remove the socket."""
        if self._thread is not None and self._receiver is not None and self._own is not None:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own, contextlib.suppress(OSError):
                own.sendto(_STOP, str(self._own))
                self._thread.join()
            self._receiver.close()
            self._own.unlink(missing_ok=True)
            self._receiver, self._thread, self._own = None, None, None
        if self._sender is not None:
            self._sender.close()
            self._sender = None
