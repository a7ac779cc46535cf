"""A machine of its own for each test: directories, a port and small programs."""

import dataclasses
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pileus.settings import Settings, load_settings
from pileus.supervisor.machine import Machine
from tests.supervisor.parts import PARTS


def wait_until(true: Callable[[], object], seconds: float = 10.0) -> None:
    """Return once `true` is; fail if it is not in time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def children_of(pid: int) -> dict[str, int]:
    """The names and ids of the processes that a process has forked."""
    ids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {Path(f"/proc/{child}/comm").read_text().strip(): int(child) for child in ids}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    return load_settings(
        None,
        {
            "PILEUS_SITE_PREFIX": "ts",
            "PILEUS_SITE_STATE_DIR": str(tmp_path / "state"),
            "PILEUS_SITE_RUN_DIR": str(tmp_path / "run"),
            "PILEUS_SITE_LOG_DIR": str(tmp_path / "log"),
            "PILEUS_API_PORT": str(port),
            "PILEUS_API_WORKERS": "2",
            "PILEUS_API_STOP_TIMEOUT": "3",
            "PILEUS_CONDUCTOR_STOP_SECONDS": "3",
            "PILEUS_AGENT_HYPERVISOR": "fake",
            "PILEUS_AGENT_NETWORK": "fake",
        },
    ).settings


@pytest.fixture
def machine(settings: Settings) -> Iterator[Machine]:
    """Not started. Whatever a test leaves running on it is ended."""
    here = Machine(settings, PARTS)
    yield here
    if (pid := here.running()) is not None:
        family = [pid, *children_of(pid).values()]
        for one in family:
            os.kill(one, signal.SIGKILL)


def with_parts(machine: Machine, **parts: str) -> Machine:
    """The same machine with other programs, named by their functions in `tests.supervisor.parts`."""
    named = {part: f"tests.supervisor.parts:{name}" for part, name in parts.items()}
    return dataclasses.replace(machine, parts=dataclasses.replace(machine.parts, **named))
