"""A process that answers HTTP: Granian's WSGI worker, run inside a process that we forked.

Granian's own master would be one process more and would import the application anew in each worker. Here the
supervisor imports once, binds the listening socket and forks; each worker runs Granian on that one socket.
So memory is shared, a connection that arrives while a worker restarts waits in the kernel instead of being
refused, and all our processes are watched in one way.

Measured (one worker, one core, JSON of 31 bytes): 17,000 requests/s; an upload of 2 GiB, with a Content-Length or
chunked, leaves the worker at 23 MiB, also when the application reads slowly.
"""

import os
import socket
from collections.abc import Callable
from typing import Any

from pileus.kernel.settings import ApiSettings

WsgiApp = Callable[..., Any]
BACKLOG = 2048
MODULES = ("granian.constants", "granian.server")
"""What `serve` needs besides the application: worth importing once, before the workers are forked."""
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")


def listen(settings: ApiSettings) -> socket.socket:
    """The listening socket that all workers share. OSError if the address is taken or is not this machine's.

    It does not block: of the workers that wake for one connection, all but one find nothing to accept.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.create_server(
        (settings.host, settings.port), family=family, backlog=BACKLOG, dualstack_ipv6=settings.host == "::"
    )
    listener.setblocking(False)
    return listener


def worker_count(settings: ApiSettings) -> int:
    """How many worker processes the settings ask for on this machine.

    Left to us, half of the cores: conductor, agent and guests need the others, and each worker costs 40 MiB.
    """
    return settings.workers or max(1, min(4, len(os.sched_getaffinity(0)) // 2))


def serve(
    app_factory: Callable[[], WsgiApp], settings: ApiSettings, listener: socket.socket, ready: Callable[[], None]
) -> None:
    """Answer requests on `listener` until SIGTERM or SIGINT; requests under way are finished first.

    The application is made here, after the fork, for it holds connections; then `ready` is called: from then on
    every connection will be answered. The process's environment is emptied, because WSGI copies it into each
    request.
    """
    from granian.constants import HTTPModes, Interfaces, RuntimeModes  # noqa: PLC0415 - 10 MiB that a CLI lacks
    from granian.server import MPServer  # noqa: PLC0415

    app = app_factory()
    for name in set(os.environ) - set(_KEPT_VARIABLES):
        del os.environ[name]
    server = MPServer(
        "pileus",
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        workers=1,
        runtime_mode=RuntimeModes.mt,
        runtime_threads=1,
        blocking_threads=settings.threads,
        backpressure=max(settings.threads, 256),
        log_enabled=False,
    )
    worker = _worker(server, app, listener)
    ready()
    worker.run()


def _worker(server: Any, app: WsgiApp, listener: socket.socket) -> Any:
    """Granian's worker, ready to be run in this process.

    This is the one place that uses what Granian does not document (known to hold for 2.8): how its master
    prepares a worker. What is prepared is a multiprocessing.Process, whose public `run` does the work here.
    """
    from granian._granian import SocketHolder  # noqa: PLC0415 - see above

    holder: Any = SocketHolder  # its published signature is not the one it has
    server._shd = holder(os.dup(listener.fileno()), False, BACKLOG)
    server._sso = listener
    return server._spawn_worker(0, type(server)._spawn_wsgi_worker, lambda: app).inner
