"""One shared connection to libvirtd that comes back after libvirtd was away.

libvirt's objects may be used by many threads at once; a blocking call releases the interpreter. Events arrive on
one thread for the whole process, because libvirt has one event loop per process. From that thread libvirt must
not be called, or it would wait for itself.
"""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import libvirt
import structlog

from pileus.drivers.hypervisor.base import HypervisorError, HypervisorUnreachable
from pileus.kernel.clock import Clock

log = structlog.get_logger("pileus.hypervisor")

T = TypeVar("T")
LifecycleHandler = Callable[[str, str, int], None]
"""Called with a domain's UUID, its name and one of libvirt.VIR_DOMAIN_EVENT_*."""

_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT = 5, 4
_LOST_DOMAINS = (libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE, libvirt.VIR_FROM_STREAMS)
_LOST_CODES = (
    libvirt.VIR_ERR_INVALID_CONN,
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_INTERNAL_ERROR,
    libvirt.VIR_ERR_SYSTEM_ERROR,
)
_loop_lock = threading.Lock()
_loop: threading.Thread | None = None


def _ensure_event_loop() -> None:
    global _loop  # noqa: PLW0603 - libvirt's event loop is global
    with _loop_lock:
        if _loop is not None and _loop.is_alive():
            return
        libvirt.virEventRegisterDefaultImpl()
        libvirt.registerErrorHandler(lambda _context, _error: None, None)  # errors are raised; none go to stderr
        _loop = threading.Thread(target=_run_events, name="libvirt-events", daemon=True)
        _loop.start()


def _run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


class Connection:
    """Runs work on a live connection.

    `revive` is called when libvirtd cannot be reached, and may start it. `lifecycle` is told of all domains' changes.
    """

    def __init__(
        self,
        uri: str,
        clock: Clock,
        timeout: float,
        lifecycle: LifecycleHandler,
        revive: Callable[[], object] | None = None,
    ) -> None:
        self._uri = uri
        self._clock = clock
        self._timeout = timeout
        self._lifecycle = lifecycle
        self._revive = revive
        self._lock = threading.Lock()
        self._open: libvirt.virConnect | None = None

    def run(self, work: Callable[[libvirt.virConnect], T]) -> T:
        """The result of `work(connection)`, which is repeated if libvirtd goes away in its midst.

        So `work` must be safe to repeat. HypervisorUnreachable if libvirtd stays away; libvirt's own errors pass.
        """
        deadline = self._clock.monotonic() + self._timeout
        delay = 0.02
        while True:
            connection = None
            try:
                connection = self._connected()
                return work(connection)
            except libvirt.libvirtError as err:
                if connection is not None and not _lost(connection, err):
                    raise
                self._drop(connection)
                if self._clock.monotonic() > deadline:
                    raise HypervisorUnreachable(f"libvirtd at {self._uri} does not answer: {err}") from err
                log.info("libvirtd does not answer", reason=str(err))
            self._clock.sleep(delay)
            delay = min(delay * 2, 1.0)
            self._try_to_revive(deadline)

    def close(self) -> None:
        """Let go of libvirtd."""
        with self._lock:
            connection, self._open = self._open, None
        if connection is not None:
            _close(connection)

    def _connected(self) -> libvirt.virConnect:
        with self._lock:
            if self._open is None:
                _ensure_event_loop()
                connection = libvirt.open(self._uri)
                connection.setKeepAlive(_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT)
                connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._changed, None)
                self._open = connection
            return self._open

    def _drop(self, connection: libvirt.virConnect | None) -> None:
        with self._lock:
            if connection is None or self._open is not connection:
                return
            self._open = None
        _close(connection)

    def _try_to_revive(self, deadline: float) -> None:
        if self._revive is None:
            return
        try:
            self._revive()
        except HypervisorError:
            if self._clock.monotonic() > deadline:
                raise

    def _changed(self, _connection: Any, domain: Any, event: int, _detail: int, _opaque: Any) -> None:
        self._lifecycle(domain.UUIDString(), domain.name(), event)


def _lost(connection: libvirt.virConnect, err: libvirt.libvirtError) -> bool:
    if err.get_error_domain() in _LOST_DOMAINS and err.get_error_code() in _LOST_CODES:
        return True
    try:
        return not connection.isAlive()
    except libvirt.libvirtError:
        return True


def _close(connection: libvirt.virConnect) -> None:
    try:
        connection.close()
    except libvirt.libvirtError as err:
        log.debug("a connection that was lost could not be closed", reason=str(err))
