"""Connections to one LDAP server: a few are kept, each is used by one thread at a time."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ldap
import structlog

from pileus.identity.directories.options import Options
from pileus.kernel.errors import Unavailable

log = structlog.get_logger("pileus.identity")

_DOWN = "The directory of this domain does not answer. Try again later."
_DEREFERENCES = {"never": "DEREF_NEVER", "searching": "DEREF_SEARCHING", "finding": "DEREF_FINDING"}


class Pool:
    """Open connections, ready to be used. Thread-safe.

    `bind`: makes an open connection one that may be used. `size` 0 keeps none.
    """

    def __init__(self, options: Options, bind: Callable[[Any], None], size: int, lifetime: float) -> None:
        self._options = options
        self._bind = bind
        self._size = size
        self._lifetime = lifetime
        self._lock = threading.Lock()
        self._idle: list[tuple[float, Any]] = []

    def run(self, work: Callable[[Any], Any]) -> Any:
        """What `work` answers, given a connection: a second one if a kept one turns out to be broken.

        Unavailable if the server does not answer or refuses us.
        """
        try:
            with self._kept() as connection:
                if connection is not None:
                    return work(connection)
        except (ldap.SERVER_DOWN, ldap.UNAVAILABLE, ldap.BUSY):
            log.debug("a connection to the directory is broken")
        except ldap.LDAPError as err:
            raise _unavailable(err) from err
        try:
            with self._new() as connection:
                return work(connection)
        except ldap.LDAPError as err:
            raise _unavailable(err) from err

    @contextmanager
    def _kept(self) -> Iterator[Any]:
        """A connection that was used before; None if there is none."""
        connection, opened_at = None, 0.0
        with self._lock:
            while self._idle and connection is None:
                opened_at, found = self._idle.pop()
                if time.monotonic() - opened_at < self._lifetime:
                    connection = found
                else:
                    _close(found)
        if connection is None:
            yield None
            return
        with self._given_back(connection, opened_at):
            yield connection

    @contextmanager
    def _new(self) -> Iterator[Any]:
        connection = self._open()
        with self._given_back(connection, time.monotonic()):
            self._bind(connection)
            yield connection

    @contextmanager
    def _given_back(self, connection: Any, opened_at: float) -> Iterator[None]:
        """Keep the connection after use, unless the use failed."""
        try:
            yield
        except BaseException:
            _close(connection)
            raise
        with self._lock:
            if len(self._idle) < self._size:
                self._idle.append((opened_at, connection))
                return
        _close(connection)

    def _open(self) -> Any:
        options = self._options
        connection = ldap.initialize(" ".join(options.urls))
        connection.set_option(ldap.OPT_PROTOCOL_VERSION, ldap.VERSION3)
        connection.set_option(ldap.OPT_REFERRALS, ldap.OPT_OFF)
        connection.set_option(ldap.OPT_NETWORK_TIMEOUT, options.timeout)
        connection.set_option(ldap.OPT_TIMEOUT, options.timeout)
        if options.dereference == "always":
            connection.set_option(ldap.OPT_DEREF, ldap.DEREF_ALWAYS)
        elif options.dereference in _DEREFERENCES:
            connection.set_option(ldap.OPT_DEREF, getattr(ldap, _DEREFERENCES[options.dereference]))
        if options.use_tls or any(url.startswith("ldaps:") for url in options.urls):
            self._secure(connection)
        if options.use_tls:
            connection.start_tls_s()
        return connection

    def _secure(self, connection: Any) -> None:
        options = self._options
        demand = {
            "demand": ldap.OPT_X_TLS_DEMAND, "allow": ldap.OPT_X_TLS_ALLOW, "never": ldap.OPT_X_TLS_NEVER
        }  # fmt: skip
        connection.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, demand[options.require_certificate])
        if options.ca_file:
            connection.set_option(ldap.OPT_X_TLS_CACERTFILE, options.ca_file)
        if options.ca_directory:
            connection.set_option(ldap.OPT_X_TLS_CACERTDIR, options.ca_directory)
        connection.set_option(ldap.OPT_X_TLS_NEWCTX, 0)

    def close(self) -> None:
        """Close the connections that are not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            _close(connection)


def _close(connection: Any) -> None:
    with suppress(ldap.LDAPError):
        connection.unbind_ext_s()


def _unavailable(err: Exception) -> Unavailable:
    """The error for the caller; what the server said goes to the log alone, and holds no password."""
    log.warning("directory not read", reason=type(err).__name__)
    return Unavailable(_DOWN)
