"""Fetching for users: what is refused, where connections really go, and what limits hold. The servers are real."""

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pileus.kernel.config import SettingsError
from pileus.kernel.errors import BadRequest, NotFound, TooLarge, Unavailable
from pileus.kernel.fetch import Fetcher, FetchSettings

DATA = bytes(range(256)) * 4096
LAB = FetchSettings(
    allowed_ports=(), allowed_networks=("127.0.0.0/8",), connect_timeout=2, answer_timeout=2, silence_timeout=2
)


class Site(BaseHTTPRequestHandler):
    """A small site: /data with ranges, /plain without them, /to?URL redirects, and servers that misbehave."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        if self.path.startswith("/nohead"):
            self._answer(405, b"")
        else:
            self._route()

    def do_GET(self) -> None:
        self._route()

    def _route(self) -> None:
        self.server.seen.append((self.command, self.path, self.headers.get("Host"), self.headers.get("Range")))  # type: ignore[attr-defined]
        path, _, query = self.path.partition("?")
        if path == "/to":
            self._answer(302, b"", Location=query)
        elif path == "/loop":
            self._answer(307, b"", Location="/loop")
        elif path in ("/data", "/nohead"):
            self._ranged()
        elif path == "/plain":
            self._answer(200, DATA)
        elif path == "/chunked":
            self._chunked()
        elif path == "/short":
            self._answer(200, DATA[:1000], Content_Length=str(len(DATA)))
            self.close_connection = True
        elif path == "/hang":
            self.server.release.wait(20)  # type: ignore[attr-defined]
        elif path == "/drip":
            self._drip(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000)
        elif path == "/dripbody":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            self._drip(b"x" * 1000)
        else:
            self._answer(int(path[1:]) if path[1:].isdigit() else 404, b"")

    def _ranged(self) -> None:
        wanted = self.headers.get("Range")
        if wanted is None:
            self._answer(200, DATA, Accept_Ranges="bytes", Content_Type="application/x-disk")
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        piece = DATA[int(first) : int(last) + 1 if last else None]
        self._answer(206, piece, Content_Range=f"bytes {first}-{int(first) + len(piece) - 1}/{len(DATA)}")

    def _chunked(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(DATA), 100_000):
            piece = DATA[start : start + 100_000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def _drip(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            for byte in data:
                self.wfile.write(bytes([byte]))
                if self.server.release.wait(0.1):  # type: ignore[attr-defined]
                    return

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """The site on a loopback address."""

    daemon_threads = True

    def __init__(self, address: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__((address, port), Site)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.seen: list[tuple[str, str, str | None, str | None]] = []
        self.release = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that break off are part of the tests."""

    def stop(self) -> None:
        self.release.set()
        self.shutdown()
        self.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


def names(**known: Sequence[str]) -> Callable[[str, int], Sequence[str]]:
    """A resolver that knows these names (dots as underscores), and addresses."""

    def resolve(host: str, _port: int) -> Sequence[str]:
        key = host.replace(".", "_")
        if key in known:
            return known[key]
        with contextlib.suppress(ValueError):
            return [str(ipaddress.ip_address(host))]
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    return resolve


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "10.1.2.3", "172.16.0.1", "192.168.1.1", "127.0.0.1", "127.9.9.9", "169.254.169.254", "0.1.2.3", "::0",
        "224.0.0.1", "239.255.255.250", "255.255.255.255", "240.0.0.1", "100.64.0.1", "100.100.100.200", "192.0.2.1",
        "198.18.0.1", "168.63.129.16",
        "::1", "::", "fe80::1", "fe80::1%eth0", "fec0::1", "fd00:ec2::254", "fc00::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1",
        "2002:7f00:1::1", "2002:a9fe:a9fe::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2", "100::1", "nonsense",
    ],
)  # fmt: skip
def test_addresses_that_are_not_of_the_public_internet_are_refused(address: str) -> None:
    fetcher = Fetcher(FetchSettings(), names(a_test=[address], mixed_test=["93.184.215.14", address]))
    for host in ("a.test", "mixed.test"):
        with pytest.raises(BadRequest, match="does not pass filtering"):
            fetcher.check(f"http://{host}/disk")
        with pytest.raises(BadRequest, match="does not pass filtering"):
            fetcher.open(f"http://{host}/disk")


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "2002:101:101::1"]
)
def test_public_addresses_pass(address: str) -> None:
    seen: list[tuple[str, int]] = []

    def resolve(host: str, port: int) -> list[str]:
        seen.append((host, port))
        return [address]

    Fetcher(FetchSettings(), resolve).check("https://a.test./disk")
    assert seen == [("a.test", 443)]


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "[::1]", "0"])
def test_loopback_in_disguise_is_refused(host: str) -> None:
    with pytest.raises(BadRequest):
        Fetcher(FetchSettings()).check(f"http://{host}/")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://a.test/x", "gopher://a.test", "http:///x", "http:a.test", "a.test/x", "",
        "http://user@a.test/", "http://user:secret@a.test/", "http://a.test:99999/", "http://a.test:x/",
        "http://a.test/\r\nX: y", "http://a.test/a b", "http://a.test\\@b.test/", "http://[::1/", "http://ä.test/",
        "http://a.test:22/", "http://a.test:8080/", "http://a.test/" + "x" * 3000, "http://unknown.test/", "http://./",
    ],
)  # fmt: skip
def test_urls_that_are_refused(url: str) -> None:
    fetcher = Fetcher(FetchSettings(), names(a_test=["1.1.1.1"]))
    with pytest.raises(BadRequest) as caught:
        fetcher.open(url)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("settings", "passes", "fails"),
    [
        (FetchSettings(allowed_schemes=("https",)), "https://a.test/", "http://a.test/"),
        (FetchSettings(allowed_schemes=(), disallowed_schemes=("http",)), "https://a.test/", "http://a.test/"),
        (FetchSettings(allowed_schemes=("file",)), None, "file:///etc/passwd"),
        (FetchSettings(allowed_hosts=("a.test",)), "http://a.test/", "http://b.test/"),
        (FetchSettings(disallowed_hosts=("b.test",)), "http://a.test/", "http://B.test./"),
        (FetchSettings(allowed_hosts=("b.test",), disallowed_hosts=("b.test",)), "http://b.test/", "http://a.test/"),
        (FetchSettings(allowed_ports=(8080,)), "http://a.test:8080/", "http://a.test/"),
        (FetchSettings(allowed_ports=(), disallowed_ports=(22,)), "http://a.test:8080/", "http://a.test:22/"),
        (FetchSettings(disallowed_networks=("1.1.1.0/24",)), "http://b.test/", "http://a.test/"),
        (FetchSettings(allowed_networks=("10.0.0.0/8",)), "http://private.test/", "http://loop.test/"),
        (FetchSettings(allowed_networks=("10.0.0.0/8",)), "http://mapped.test/", "http://loop.test/"),
    ],
)
def test_the_operators_lists(settings: FetchSettings, passes: str | None, fails: str) -> None:
    resolver = names(
        a_test=["1.1.1.1"], b_test=["8.8.8.8"], private_test=["10.9.9.9"], mapped_test=["::ffff:10.0.0.1"],
        loop_test=["127.0.0.1"],
    )  # fmt: skip
    fetcher = Fetcher(settings, resolver)
    if passes is not None:
        fetcher.check(passes)
    with pytest.raises(BadRequest, match="does not pass filtering"):
        fetcher.check(fails)


def test_a_network_that_is_none_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(SettingsError, match=r"10\.0\.0\.1/8"):
        Fetcher(FetchSettings(allowed_networks=("10.0.0.1/8",)))


def test_a_resolver_that_does_not_answer_is_worth_another_try() -> None:
    def resolve(_host: str, _port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    with pytest.raises(Unavailable):
        Fetcher(FetchSettings(), resolve).open("http://a.test/")


# --- where connections go -----------------------------------------------------------------------------------


def test_a_name_that_changes_between_check_and_use_gains_nothing(server: Server) -> None:
    inside = Server("127.0.0.2", server.port)
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    fetcher = Fetcher(replace(LAB, allowed_networks=("127.0.0.1/32",)), lambda _host, _port: answers.pop(0))
    got = b"".join(fetcher.open(f"http://rebind.test:{server.port}/data").chunks)
    assert got == DATA
    with pytest.raises(BadRequest, match="does not pass filtering"):
        fetcher.open(f"http://rebind.test:{server.port}/data")
    inside.stop()
    assert inside.seen == []
    assert server.seen == [("GET", "/data", f"rebind.test:{server.port}", None)]


def test_redirects_are_followed_and_each_is_judged(server: Server) -> None:
    inside = Server("127.0.0.2", server.port)
    resolver = names(a_test=["127.0.0.1"], b_test=["127.0.0.1"], inside_test=["127.0.0.2"])
    fetcher = Fetcher(replace(LAB, allowed_networks=("127.0.0.1/32",)), resolver)
    base = f"http://a.test:{server.port}"
    assert b"".join(fetcher.open(f"{base}/to?http://b.test:{server.port}/data").chunks) == DATA
    assert b"".join(fetcher.open(f"{base}/to?/data").chunks) == DATA
    for target in (
        f"http://127.0.0.2:{server.port}/data", f"http://inside.test:{server.port}/data", "file:///etc/passwd",
        f"http://user:pw@b.test:{server.port}/data", f"/to?/to?http://127.0.0.2:{server.port}/", "//127.0.0.2/x",
    ):  # fmt: skip
        for ask in (fetcher.open, fetcher.head):
            with pytest.raises(BadRequest):
                ask(f"{base}/to?{target}")
    with pytest.raises(BadRequest, match="more than 5 redirects"):
        fetcher.open(f"{base}/loop")
    inside.stop()
    assert inside.seen == []


def test_the_next_address_is_tried(server: Server) -> None:
    fetcher = Fetcher(LAB, names(a_test=["127.0.0.9", "127.0.0.1"]))
    assert fetcher.head(f"http://a.test:{server.port}/data").size == len(DATA)
    with pytest.raises(Unavailable):
        Fetcher(LAB, names(a_test=["127.0.0.9"])).head(f"http://a.test:{server.port}/data")


# --- answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["data", "plain", "chunked"])
def test_bytes_from_anywhere(server: Server, path: str) -> None:
    fetcher = Fetcher(LAB)
    url = f"http://127.0.0.1:{server.port}/{path}?key=secret#part"
    whole = fetcher.open(url)
    assert whole.size == (None if path == "chunked" else len(DATA))
    assert b"".join(whole.chunks) == DATA
    assert b"".join(fetcher.open(url, 300_000).chunks) == DATA[300_000:]
    assert b"".join(fetcher.open(url, 300_000, 70_000).chunks) == DATA[300_000:370_000]
    assert b"".join(fetcher.open(url, 0, 1).chunks) == DATA[:1]
    assert b"".join(fetcher.open(url, 5, 0).chunks) == b""
    assert fetcher.open(url, 10).accepts_ranges == (path == "data")


@pytest.mark.parametrize("path", ["data", "nohead"])
def test_head(server: Server, path: str) -> None:
    found = Fetcher(LAB).head(f"http://127.0.0.1:{server.port}/{path}")
    assert (found.size, found.accepts_ranges) == (len(DATA), True)


@pytest.mark.parametrize(
    ("path", "error"),
    [("404", NotFound), ("410", NotFound), ("401", BadRequest), ("500", Unavailable), ("503", Unavailable),
     ("429", Unavailable), ("418", BadRequest)],
)  # fmt: skip
def test_answers_that_are_no_success(server: Server, path: str, error: type[Exception]) -> None:
    for ask in (Fetcher(LAB).open, Fetcher(LAB).head):
        with pytest.raises(error) as caught:
            ask(f"http://127.0.0.1:{server.port}/{path}?key=secret")
        assert "secret" not in str(caught.value)


# --- limits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["data", "chunked"])
def test_too_many_bytes(server: Server, path: str) -> None:
    fetcher = Fetcher(replace(LAB, size_limit=1000))
    with pytest.raises(TooLarge):
        list(fetcher.open(f"http://127.0.0.1:{server.port}/{path}").chunks)


def test_an_answer_that_breaks_off(server: Server) -> None:
    with pytest.raises(Unavailable, match="broke off"):
        list(Fetcher(LAB).open(f"http://127.0.0.1:{server.port}/short").chunks)


@pytest.mark.parametrize("path", ["hang", "drip"])
def test_servers_that_do_not_answer_in_time(server: Server, path: str) -> None:
    with pytest.raises(Unavailable):
        Fetcher(replace(LAB, answer_timeout=0.5)).open(f"http://127.0.0.1:{server.port}/{path}")


def test_a_body_that_drips_ends_at_the_deadline(server: Server) -> None:
    fetched = Fetcher(replace(LAB, total_timeout=0.7)).open(f"http://127.0.0.1:{server.port}/dripbody")
    with pytest.raises(Unavailable, match="too long"):
        list(fetched.chunks)


# --- TLS ----------------------------------------------------------------------------------------------------


def certificate(directory: Path, name: str) -> Path:
    """A self-signed certificate with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{name}.pem"
    plain = serialization.NoEncryption()
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def test_certificates_are_verified_for_the_name_of_the_url(tmp_path: Path) -> None:
    pem = certificate(tmp_path, "good.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    server = Server(tls=context)
    resolver = names(good_test=["127.0.0.1"], other_test=["127.0.0.1"])
    trusting = Fetcher(replace(LAB, ca_file=pem), resolver)
    assert b"".join(trusting.open(f"https://good.test:{server.port}/data").chunks) == DATA
    with pytest.raises(BadRequest, match="certificate"):
        trusting.open(f"https://other.test:{server.port}/data")
    with pytest.raises(BadRequest, match="certificate"):
        Fetcher(LAB, resolver).open(f"https://good.test:{server.port}/data")
    server.stop()
    assert asked == ["good.test", "other.test", "good.test"]
    assert len(server.seen) == 1
