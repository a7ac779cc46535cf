"""The command as it is typed: its output, its exit codes, and what its connections trust."""

import datetime as dt
import ipaddress
import json
import os
import pty
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pileus.replicator.opening import Access, open_place
from pileus.replicator.patience import Patience
from tests.replicator.conftest import ADMIN, Side

PILEUS = Path(sys.executable).with_name("pileus")
TOKENS = ("--from-token", ADMIN, "--to-token", ADMIN)


def environment(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PILEUS_"))}
    return clean | more


def pileus(*words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PILEUS, "replicate", *words], capture_output=True, text=True, timeout=60, check=False, env=environment(**more)
    )


def test_exit_codes_tell_whether_the_two_agree(here: Side, there: Side) -> None:
    image_id = here.add(b"12345", name="one")
    places = (here.url, there.url, *TOKENS)
    differing = pileus("compare", *places)
    assert (differing.returncode, differing.stderr) == (1, "")
    assert f"missing    {image_id}  one" in differing.stdout
    assert "The two do not agree." in differing.stdout
    planned = pileus("livecopy", "--dry-run", *places)
    assert (planned.returncode, there.ids()) == (1, set())
    assert "would copy" in planned.stdout
    copied = pileus("livecopy", *places)
    assert copied.returncode == 0
    assert "1 copied; 5 B in" in copied.stdout
    assert pileus("compare", "--extra", *places).returncode == 0


def test_json_is_one_document(here: Side, there: Side, tmp_path: Path) -> None:
    image_id = here.add(b"12345", name="one")
    sized = pileus("size", here.url, "--json", FROM_TOKEN=ADMIN)
    assert json.loads(sized.stdout) == {"command": "size", "from": here.url, "images": 1, "bytes": 5}
    assert pileus("size", here.url, FROM_TOKEN=ADMIN).stdout == "1 images, 5 bytes (5 B)\n"
    planned = json.loads(pileus("dump", here.url, tmp_path / "new", "--dry-run", "--json", FROM_TOKEN=ADMIN).stdout)
    assert (planned["counts"], (tmp_path / "new").exists()) == ({"would copy": 1}, False)
    dumped = pileus("dump", here.url, tmp_path / "new", "--json", FROM_TOKEN=ADMIN)
    report = json.loads(dumped.stdout)
    assert (report["agree"], report["counts"], report["bytes"]) == (True, {"copied": 1}, 5)
    assert [each["id"] for each in report["images"]] == [image_id]
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    loaded = json.loads(pileus("load", tmp_path / "new", there.url, "--json", TO_TOKEN=ADMIN).stdout)
    assert loaded["counts"] == {"copied": 1}
    there.client().images.update(image_id, name="two")
    differing = json.loads(pileus("compare", here.url, there.url, *TOKENS, "--json").stdout)
    assert differing["images"][0]["differences"] == [{"kind": "field", "name": "name", "here": "one", "there": "two"}]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("livecopy", "URL", "nowhere", "--from-token", ADMIN), "There is no file"),
        (("size", "URL", "--from-token", "nonsense"), "not logged in: The token is malformed."),
        (("size", "URL"), "not logged in"),
        (("size", "http://127.0.0.1:1", "--retries", "0"), "Connection refused"),
        (("size", "dir:/does/not/exist"), "There is no directory"),
        (("size", "URL", "--cacert", "/does/not/exist"), "There is no file /does/not/exist."),
        (("size", "URL/elsewhere", "--from-token", ADMIN), "404"),
        (("livecopy", "URL"), "Missing argument 'TO'"),
        (("livecopy", "URL", "URL", "--jobs", "0"), "--jobs"),
    ],
)
def test_wrong_calls_and_logins_end_with_2(here: Side, words: tuple[str, ...], said: str) -> None:
    told = pileus(*(word.replace("URL", here.url) for word in words), OS_CLIENT_CONFIG_FILE="/does/not/exist")
    assert told.returncode == 2
    assert said in told.stderr
    assert "Traceback" not in told.stderr


def test_help_is_quick_and_imports_nothing() -> None:
    listed = subprocess.run(
        [sys.executable, "-X", "importtime", PILEUS, "--help"], capture_output=True, text=True, check=True
    )
    assert "replicate" in listed.stdout
    assert "keystoneauth1" not in listed.stderr
    assert "pileus.replicator" not in listed.stderr


def test_on_a_terminal_there_are_bars_besides_the_lines(here: Side, there: Side) -> None:
    image_id = here.add(bytes(2_000_000), name="one\x1b[2J")
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [PILEUS, "replicate", "livecopy", here.url, there.url, *TOKENS],
        stdout=subprocess.PIPE, stderr=theirs, text=True, timeout=60, check=False, env=environment(TERM="xterm"),
    )  # fmt: skip
    os.close(theirs)
    drawn = os.read(ours, 65536).decode(errors="replace")
    os.close(ours)
    assert done.returncode == 0
    assert f"copied     {image_id}  one?[2J" in done.stdout
    assert "\x1b[" in drawn
    assert "\x1b[2J" not in drawn


def test_interrupted_it_leaves_no_active_image(here: Side, there: Side) -> None:
    image_id = here.add(bytes(8_000_000))

    def slow(environ: dict[str, Any], start_response: Any, side: Side) -> Any:
        if not environ["PATH_INFO"].endswith("/file"):
            return None

        def trickle() -> Any:
            for chunk in side.app(environ, start_response):
                yield chunk
                time.sleep(0.3)

        return trickle()

    here.faults.append(slow)
    with subprocess.Popen(
        [PILEUS, "replicate", "livecopy", here.url, there.url, *TOKENS], stdout=subprocess.PIPE, text=True,
        env=environment(),
    ) as running:  # fmt: skip
        deadline = time.monotonic() + 30
        while not there.requests("PUT", "/file") and time.monotonic() < deadline:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "the next run completes them" in said
    assert there.client().images.get(image_id)["status"] == "queued"
    here.faults.clear()
    completed = pileus("livecopy", here.url, there.url, *TOKENS)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "1 completed" in completed.stdout


class Authority:
    """A certificate authority of this test's own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the test's authority")])
        self.path = directory / "ca.pem"
        self._write(self.path, self._signed(self._name, self._key.public_key(), authority=True))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key for something on 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        cert_path, key_path = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        self._write(cert_path, self._signed(subject, key.public_key(), authority=False))
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return cert_path, key_path

    def _signed(self, subject: x509.Name, key: Any, *, authority: bool) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(address, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _write(self, path: Path, certificate: x509.Certificate) -> None:
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def test_tls_is_verified_both_ways(new_side: Callable[..., Side], tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server_cert, server_key = authority.issue("server")
    client_cert, client_key = authority.issue("client")
    adapter = BuiltinSSLAdapter(str(server_cert), str(server_key), str(authority.path))
    strict = BuiltinSSLAdapter(str(server_cert), str(server_key), str(authority.path))
    strict.context.verify_mode = ssl.CERT_REQUIRED
    strict.context.load_verify_locations(authority.path)
    here, there = new_side(), new_side(tls=adapter)
    places = (here.url, there.url, *TOKENS)
    image_id = here.add(bytes(3_000_000))
    distrusted = pileus("livecopy", *places)
    assert distrusted.returncode == 2
    assert "no trusted connection" in distrusted.stderr
    assert pileus("livecopy", *places, "--cacert", authority.path).returncode == 0
    unverified = pileus("compare", *places, "--insecure")
    assert (unverified.returncode, unverified.stderr) == (0, "")
    closed = new_side(tls=strict)
    places = (here.url, closed.url, *TOKENS, "--cacert", str(authority.path))
    assert pileus("livecopy", *places, "--retries", "0").returncode == 2
    assert pileus("livecopy", *places, "--cert", client_cert, "--key", client_key).returncode == 0
    kept = tmp_path / "kept"
    assert pileus("dump", closed.url, kept, "--from-token", ADMIN, "--cacert", authority.path, "--cert", client_cert,
                  "--key", client_key).returncode == 0  # fmt: skip
    assert (kept / image_id).stat().st_size == 3_000_000


def test_a_server_that_says_nothing_is_given_up(new_side: Callable[..., Side]) -> None:
    def silent(_environ: dict[str, Any], _start_response: Any, _side: Side) -> Any:
        time.sleep(3)
        return None

    side = new_side()
    side.faults.append(silent)
    began = time.monotonic()
    with pytest.raises(Exception, match="no connection"):
        open_place(side.url, Access(token=ADMIN, timeout=0.3), Patience(retries=1, first_pause=0.01))
    assert time.monotonic() - began < 2.5
