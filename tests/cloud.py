"""A real cloud of its own for a test: real processes, real guests, everything under one directory and one prefix.

It can stand beside other clouds on the machine. When it ends, nothing of it may be left; `traces` looks.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import openstack
import urllib3

from pileus.kernel.config import variable_of

PILEUS = Path(sys.executable).with_name("pileus")


class Cloud:
    """A cloud of one machine, started with `pileus up`.

    `settings` are further settings as `section.key`: value.
    """

    def __init__(self, prefix: str = "qc", settings: Mapping[str, object] | None = None) -> None:
        self.prefix = prefix
        # Short, because the paths of Unix sockets are; not under a directory that unprivileged users cannot enter.
        self.directory = Path(tempfile.mkdtemp(prefix=f"pileus-{prefix}-", dir="/var/tmp"))
        self.directory.chmod(0o755)
        self.port = _free_port()
        self.config = self.directory / "pileus.toml"
        self._write_config(dict(settings or {}))

    @property
    def url(self) -> str:
        """The cloud's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_password(self) -> str:
        """The password that was generated for the first administrator."""
        return (self.directory / "state/secrets/admin_password").read_text().strip()

    def environment(self, **more: str) -> dict[str, str]:
        """The environment in which the official clients are logged in as the administrator."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PILEUS_"))}
        return clean | {
            "PILEUS_CONFIG": str(self.config),
            "PATH": f"{PILEUS.parent}:{os.environ['PATH']}",
            "OS_AUTH_URL": f"{self.url}/identity/v3",
            "OS_USERNAME": "admin",
            "OS_PASSWORD": self.admin_password,
            "OS_PROJECT_NAME": "admin",
            "OS_USER_DOMAIN_NAME": "Default",
            "OS_PROJECT_DOMAIN_NAME": "Default",
            "OS_REGION_NAME": "RegionOne",
            **more,
        }

    def pileus(self, *words: str, timeout: float = 120) -> str:
        """Run a `pileus` command on this cloud; what it printed. RuntimeError with its output if it fails."""
        done = subprocess.run(
            [PILEUS, *words],
            env=dict(os.environ) | {"PILEUS_CONFIG": str(self.config)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"pileus {' '.join(words)} failed ({done.returncode}):\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def connect(self, **more: str) -> openstack.connection.Connection:
        """The administrator's openstacksdk connection."""
        login = {
            "auth_url": f"{self.url}/identity/v3",
            "username": "admin",
            "password": self.admin_password,
            "project_name": "admin",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
            "region_name": "RegionOne",
            **more,
        }
        return openstack.connect(**login)

    def up(self) -> None:
        """Start it and wait until it answers."""
        self.pileus("up", "--detach")

    def down(self) -> None:
        """Stop it and remove every trace of it."""
        self.pileus("down", "--purge")

    @contextmanager
    def another_node(self, settings: Mapping[str, object]) -> Iterator[str]:
        """A second machine's API and conductor, as far as one machine can play two: the address of that API.

        They share this cloud's database, directories and agent. `settings`: what is different there.
        """
        port = _free_port()
        own = {
            "api.port": port,
            "image.cache.node": "another",
            "image.cache.directory": self.directory / "state" / "another-image-cache",
            **settings,
        }
        environment = self.environment(**{variable_of(name): str(value) for name, value in own.items()})
        with ExitStack() as running:
            for part in ("serve", "conductor"):
                log = running.enter_context((self.directory / "log" / f"another-{part}.log").open("w"))
                process = subprocess.Popen([PILEUS, part], env=environment, stdout=log, stderr=log)
                running.callback(process.wait)
                running.callback(process.terminate)
            url = f"http://127.0.0.1:{port}"
            _wait_for_answer(f"{url}/image/versions")
            yield url

    def logs(self) -> str:
        """Everything that its processes logged."""
        return "\n".join(path.read_text(errors="replace") for path in sorted((self.directory / "log").glob("*.log")))

    def __enter__(self) -> Self:
        try:
            self.up()
        except BaseException:
            print(self.logs()[-20000:])
            self.down()
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if err is not None:
            print(self.logs()[-20000:])
        self.down()
        left = traces(self.prefix, self.directory)
        shutil.rmtree(self.directory, ignore_errors=True)
        if err is None and left:
            raise AssertionError(f"pileus down left: {left}")

    def _write_config(self, settings: dict[str, object]) -> None:
        values: dict[str, object] = {
            "site.prefix": self.prefix,
            "site.state_dir": f"{self.directory}/state",
            "site.run_dir": f"{self.directory}/run",
            "site.log_dir": f"{self.directory}/log",
            "api.port": self.port,
            **settings,
        }
        sections: dict[str, list[str]] = {}
        for name, value in values.items():
            section, key = name.rsplit(".", 1)
            sections.setdefault(section, []).append(f"{key} = {_toml(value)}")
        text = "\n".join(f"[{section}]\n" + "\n".join(lines) for section, lines in sections.items())
        self.config.write_text(f"{text}\n")


def traces(prefix: str, directory: Path) -> list[str]:
    """What is left on this machine of a cloud: processes, namespaces, interfaces, rules, mounts."""
    found = [f"process {line}" for line in _lines("pgrep", "-af", f"{directory}/") if "pytest" not in line]
    found += [f"namespace {line}" for line in _lines("ip", "netns", "list") if line.startswith(f"{prefix}-")]
    links = (line.split(": ")[1] for line in _lines("ip", "-o", "link") if ": " in line)
    found += [f"interface {name}" for name in links if re.match(f"{prefix}[btdru][0-9a-f]{{11}}", name)]
    found += [f"rules {line}" for line in _lines("nft", "list", "tables") if f" {prefix}" in line]
    found += [f"mount {line}" for line in Path("/proc/mounts").read_text().splitlines() if str(directory) in line]
    return found


@contextmanager
def cloud(prefix: str = "qc", settings: Mapping[str, object] | None = None) -> Iterator[Cloud]:
    """A running cloud for the length of a block."""
    with Cloud(prefix, settings) as running:
        yield running


def _lines(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


def _wait_for_answer(url: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib3.request("GET", url, retries=False)
        except urllib3.exceptions.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return str(value) if isinstance(value, int | float) else f'"{value}"'
