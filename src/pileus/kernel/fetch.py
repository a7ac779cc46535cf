"""Fetching what users point at, without being made to reach what only we can reach.

A URL is judged by the operator's lists of schemes, hosts and ports, and by every address that its host has: none may
be private, loopback, link-local or otherwise not of the public internet, unless the operator allows that network. The
connection then goes to an address that was judged, so that a name which changes its mind between check and use gains
nothing. Each redirect is judged like a URL that the user gave.
"""

import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import NoReturn
from urllib.parse import SplitResult, urljoin, urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from pileus.kernel.config import SettingsError, setting
from pileus.kernel.errors import BadRequest, NotFound, PileusError, TooLarge, Unavailable

CHUNK = 1 << 20
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LONGEST_URL = 2048
_CONTENT_RANGE = re.compile("bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_LENGTH = re.compile("[0-9]{1,18}")

Resolver = Callable[[str, int], Sequence[str]]
"""The addresses of a host: (name, port) -> texts. OSError (socket.gaierror) if there are none."""


@dataclass(frozen=True)
class FetchSettings:
    """`[image.fetch]`: what may be fetched for users from the network. Of a pair of lists, the first wins if not empty.

    As Glance's `import_filtering_opts`, and beyond it: addresses are judged too.
    """

    allowed_schemes: tuple[str, ...] = setting(("http", "https"), "schemes of URLs that may be fetched")
    disallowed_schemes: tuple[str, ...] = setting((), "schemes that may not, if none are listed as allowed")
    allowed_hosts: tuple[str, ...] = setting((), "hosts that may be fetched from; empty: all others than disallowed")
    disallowed_hosts: tuple[str, ...] = setting((), "hosts that may not, if none are listed as allowed")
    allowed_ports: tuple[int, ...] = setting((80, 443), "ports that may be fetched from")
    disallowed_ports: tuple[int, ...] = setting((), "ports that may not, if none are listed as allowed")
    allowed_networks: tuple[str, ...] = setting(
        (), "networks (CIDR) that may be fetched from although they are not of the public internet"
    )
    disallowed_networks: tuple[str, ...] = setting(
        ("168.63.129.16/32",), "networks (CIDR) that may not although they look public (services of a host's provider)"
    )
    ca_file: Path = setting(Path(), "certificates (PEM) that servers are verified with; empty: the system's")
    redirects: int = setting(5, "redirects that are followed", minimum=0)
    connect_timeout: float = setting(10.0, "how long a connection may take", unit="seconds", minimum=0.1)
    answer_timeout: float = setting(30.0, "how long a server may take to begin its answer", unit="seconds", minimum=0.1)
    silence_timeout: float = setting(60.0, "how long a server may pause in its answer", unit="seconds", minimum=0.1)
    total_timeout: float = setting(21600.0, "how long one answer may take in all", unit="seconds", minimum=0.1)
    size_limit: int = setting(1 << 40, "how large one answer may be", unit="bytes", minimum=1)


@dataclass(frozen=True)
class Described:
    """What a server says of what is behind a URL. `size` in bytes, None if it does not say."""

    size: int | None
    content_type: str
    accepts_ranges: bool


@dataclass(frozen=True)
class Fetched(Described):
    """An answer. `chunks` are the bytes from the wanted start on; `size` is that of the whole thing all the same."""

    chunks: Iterator[bytes]


class Fetcher:
    """Fetches URLs that users give. Has no state: any number of threads may use it.

    Errors: BadRequest if the URL is refused or makes no sense (the message says "does not pass filtering" where
    the operator's rules are the reason), NotFound if there is nothing there, TooLarge, and Unavailable where trying
    again may help.
    """

    def __init__(self, settings: FetchSettings, resolver: Resolver | None = None) -> None:
        """`resolver`: how names become addresses, if not by the system's means. SettingsError if a network is none."""
        self._settings = settings
        self._resolver = resolver or _system_resolver
        try:
            self._allowed = [ipaddress.ip_network(text) for text in settings.allowed_networks]
            self._disallowed = [ipaddress.ip_network(text) for text in settings.disallowed_networks]
        except ValueError as err:
            raise SettingsError([f"image.fetch: {err}"]) from err

    def check(self, url: str) -> None:
        """BadRequest unless the URL may be fetched as far as can be told without a connection; its name is resolved."""
        self._addresses(self._parse(url))

    def head(self, url: str) -> Described:
        """What is there, without its bytes."""
        deadline = time.monotonic() + self._settings.total_timeout
        try:
            connection, response = self._follow("HEAD", url, {}, deadline)
        except _MethodRefused:
            connection, response = self._follow("GET", url, {"Range": "bytes=0-0"}, deadline)
        connection.close()
        return _described(response)

    def open(self, url: str, start: int = 0, length: int | None = None) -> Fetched:
        """The bytes from `start` on, `length` of them at most; the connection is let go when they end.

        Where the server knows no ranges, what comes before `start` is read and thrown away. Iterating raises
        Unavailable if the server breaks off before all came, TooLarge past the limit.
        """
        if length is not None and length <= 0:
            return Fetched(None, "", accepts_ranges=False, chunks=iter(()))
        headers = {}
        if start or length is not None:
            headers["Range"] = f"bytes={start}-" + ("" if length is None else str(start + length - 1))
        deadline = time.monotonic() + self._settings.total_timeout
        connection, response = self._follow("GET", url, headers, deadline)
        described = _described(response)
        position = _first_byte(response)
        if position > start or (described.size or 0) > self._settings.size_limit:
            connection.close()
            if position > start:
                raise Unavailable(f"The server of {_shown(url)} answers another range than was asked for.")
            raise TooLarge(f"What is at {_shown(url)} is larger than {self._settings.size_limit} bytes.")
        chunks = self._chunks(connection, response, url, deadline)
        wanted = _cut(chunks, start - position, length)
        return Fetched(described.size, described.content_type, described.accepts_ranges, wanted)

    # --- judging --------------------------------------------------------------------------------------------

    def _parse(self, url: str) -> SplitResult:
        if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
            raise BadRequest("A URL must be printable ASCII text without blanks.")
        try:
            parts = urlsplit(url)
            port, host = parts.port, _host(parts)
        except ValueError as err:
            raise BadRequest(f"'{url}' is not a URL: {err}.") from err
        if parts.username is not None or parts.password is not None:
            raise BadRequest("A URL must not contain a user or a password.")
        settings = self._settings
        if parts.scheme not in _PORTS or not _listed(
            parts.scheme, settings.allowed_schemes, settings.disallowed_schemes
        ):
            _filtered(url, f"scheme '{parts.scheme}'")
        if not host:
            raise BadRequest(f"'{url}' names no host.")
        if not _listed(host, settings.allowed_hosts, settings.disallowed_hosts):
            _filtered(url, f"host '{host}'")
        port = port if port is not None else _PORTS[parts.scheme]
        if not _listed(port, settings.allowed_ports, settings.disallowed_ports):
            _filtered(url, f"port {port}")
        return parts

    def _addresses(self, parts: SplitResult) -> list[str]:
        """All addresses of a URL's host, each judged."""
        host = _host(parts)
        try:
            found = list(dict.fromkeys(self._resolver(host, _port(parts))))
        except socket.gaierror as err:
            if err.errno == socket.EAI_AGAIN:
                raise Unavailable(f"The name {host} could not be resolved.") from err
            raise BadRequest(f"There is no host {host}.") from err
        except (OSError, UnicodeError) as err:
            raise BadRequest(f"There is no host {host}.") from err
        if not found or not all(self._permits(address) for address in found):
            _filtered(parts.geturl(), f"address of '{host}'")
        return found

    def _permits(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        for real in _meant(address):
            if any(real in network for network in self._allowed if network.version == real.version):
                continue
            if any(real in network for network in self._disallowed if network.version == real.version):
                return False
            if not _public(real):
                return False
        return True

    # --- asking ---------------------------------------------------------------------------------------------

    def _follow(
        self, method: str, url: str, headers: dict[str, str], deadline: float
    ) -> tuple[HTTPConnection, BaseHTTPResponse]:
        """The first answer that is no redirect, if it is a success."""
        for _ in range(self._settings.redirects + 1):
            parts = self._parse(url)
            connection, response = self._ask(method, parts, self._addresses(parts), headers, deadline)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or location is None:
                if response.status not in (200, 206):
                    connection.close()
                    _refuse_status(method, url, response.status)
                return connection, response
            connection.close()
            url = urljoin(url, location)
        raise BadRequest(f"There are more than {self._settings.redirects} redirects.")

    def _ask(
        self, method: str, parts: SplitResult, addresses: Sequence[str], headers: dict[str, str], deadline: float
    ) -> tuple[HTTPConnection, BaseHTTPResponse]:
        url = parts.geturl()
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {"Host": parts.netloc, "Accept-Encoding": "identity", "User-Agent": "Pileus", **headers}
        connection = self._connect(parts, addresses, deadline)
        seconds = max(0.0, min(self._settings.answer_timeout, deadline - time.monotonic()))
        try:
            with _within(connection, seconds):
                connection.request(method, target, headers=sent, preload_content=False, decode_content=False)
                response = connection.getresponse()
        except (HTTPError, HTTPException, OSError) as err:
            connection.close()
            raise Unavailable(f"The server of {_shown(url)} does not answer as it should.") from err
        except BaseException:
            connection.close()
            raise
        return connection, response

    def _connect(self, parts: SplitResult, addresses: Sequence[str], deadline: float) -> HTTPConnection:
        """A connection to the first of the addresses that takes one."""
        cause: Exception | None = None
        for address in addresses:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            connection = self._connection(parts, address, min(self._settings.connect_timeout, left))
            try:
                with _within(connection, min(self._settings.answer_timeout, left)):
                    connection.connect()
            except (HTTPError, HTTPException, OSError) as err:
                connection.close()
                cause = err
                if _is_certificate_error(err):
                    raise BadRequest(
                        f"The server of {_shown(parts.geturl())} has no certificate for its name."
                    ) from err
                continue
            if connection.sock is not None:
                connection.sock.settimeout(self._settings.silence_timeout)
            return connection
        raise Unavailable(f"The server of {_shown(parts.geturl())} takes no connection.") from cause

    def _connection(self, parts: SplitResult, address: str, timeout: float) -> HTTPConnection:
        port = _port(parts)
        if parts.scheme == "http":
            return HTTPConnection(address, port, timeout=timeout)
        ca_file = self._settings.ca_file
        context = ssl.create_default_context(cafile=None if ca_file == Path() else str(ca_file))
        return HTTPSConnection(
            address,
            port,
            timeout=timeout,
            ssl_context=context,
            cert_reqs="CERT_REQUIRED",
            server_hostname=_host(parts),
        )

    def _chunks(
        self, connection: HTTPConnection, response: BaseHTTPResponse, url: str, deadline: float
    ) -> Iterator[bytes]:
        """The answer's bytes in pieces, as they come: a server that drips does not keep us past the deadline."""
        received = 0
        try:
            while chunk := _read(response, url):
                received += len(chunk)
                if received > self._settings.size_limit:
                    raise TooLarge(f"What is at {_shown(url)} is larger than {self._settings.size_limit} bytes.")
                if time.monotonic() > deadline:
                    raise Unavailable(f"The server of {_shown(url)} takes too long.")
                yield chunk
        finally:
            connection.close()


class _MethodRefused(PileusError):
    """The server does not know the method HEAD."""


def _read(response: BaseHTTPResponse, url: str) -> bytes:
    try:
        return response.read1(CHUNK, decode_content=False)
    except (HTTPError, HTTPException, OSError) as err:
        raise Unavailable(f"The server of {_shown(url)} broke off.") from err


def _cut(chunks: Iterator[bytes], skip: int, length: int | None) -> Iterator[bytes]:
    """The bytes after the first `skip`, `length` of them at most."""
    left = length
    try:
        for whole in chunks:
            chunk = whole[skip:]
            skip -= len(whole) - len(chunk)
            if left is not None:
                chunk = chunk[:left]
                left -= len(chunk)
            if chunk:
                yield chunk
            if left == 0:
                return
    finally:
        chunks.close()  # type: ignore[attr-defined]  # a generator


@contextmanager
def _within(connection: HTTPConnection, seconds: float) -> Iterator[None]:
    """Break the connection off if the body of the `with` takes longer, however slowly bytes drip in."""

    def give_up() -> None:
        if connection.sock is not None:
            with suppress(OSError):  # it ended meanwhile
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _listed(value: str | int, allowed: Sequence[str | int], disallowed: Sequence[str | int]) -> bool:
    return value in allowed if allowed else value not in disallowed


def _meant(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The addresses that packets to this one may come to: IPv6 has forms that carry an IPv4 address."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address in _NAT64:
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    return [address]


def _public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and (
        address not in ipaddress.IPv6Network("2000::/3") or address.teredo is not None
    ):
        return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback
    )


def _system_resolver(host: str, port: int) -> Sequence[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _host(parts: SplitResult) -> str:
    return (parts.hostname or "").rstrip(".")


def _port(parts: SplitResult) -> int:
    return parts.port if parts.port is not None else _PORTS[parts.scheme]


def _shown(url: str) -> str:
    """A URL as messages and logs may have it: queries often hold a key."""
    return url.partition("?")[0]


def _filtered(url: str, what: str) -> NoReturn:
    raise BadRequest(f"The URL {_shown(url)} does not pass filtering: its {what} is not allowed.")


def _refuse_status(method: str, url: str, status: int) -> NoReturn:
    if method == "HEAD" and status in (400, 403, 405, 501):  # 403: of a URL that is signed for GET alone
        raise _MethodRefused("HEAD is refused")
    if status in (404, 410):
        raise NotFound(f"There is nothing at {_shown(url)}.")
    if status in (408, 425, 429) or status >= 500:
        raise Unavailable(f"The server of {_shown(url)} answers {status}.")
    raise BadRequest(f"The server of {_shown(url)} answers {status}.")


def _is_certificate_error(err: BaseException | None) -> bool:
    while err is not None:
        if isinstance(err, ssl.SSLCertVerificationError | ssl.CertificateError):
            return True
        err = err.__cause__ or err.__context__ or next((arg for arg in err.args if isinstance(arg, Exception)), None)
    return False


def _described(response: BaseHTTPResponse) -> Described:
    ranged = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "")) if response.status == 206 else None
    length = response.headers.get("Content-Length", "")
    told = ranged[3] if ranged else length if response.status != 206 else ""
    accepts = response.status == 206 or response.headers.get("Accept-Ranges", "").strip().lower() == "bytes"
    return Described(int(told) if _LENGTH.fullmatch(told) else None, response.headers.get("Content-Type", ""), accepts)


def _first_byte(response: BaseHTTPResponse) -> int:
    if response.status != 206:
        return 0
    ranged = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    return int(ranged[1]) if ranged else 0
