"""Drivers for the conformance suite, and the real driver under a prefix that only these tests use."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pileus.drivers.network.base import NetworkDriver
from pileus.drivers.network.fake import FakeNetwork
from pileus.drivers.network.linux.driver import LinuxNetwork
from pileus.drivers.network.linux.settings import LinuxNetworkSettings
from pileus.kernel.clock import SystemClock
from tests.real_things import require

PREFIX = "q7"


def make_linux(state_dir: Path) -> LinuxNetwork:
    return LinuxNetwork(LinuxNetworkSettings(), PREFIX, state_dir, SystemClock())


@pytest.fixture(scope="module")
def state_dir() -> Iterator[Path]:
    """A directory that dnsmasq's own user may enter, which pytest's are not."""
    with tempfile.TemporaryDirectory(prefix="pileus-network-") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


@pytest.fixture(scope="module")
def linux(state_dir: Path) -> Iterator[LinuxNetwork]:
    """The real driver, alone with its prefix; everything is removed before and after."""
    require("nft", "dnsmasq", "ip", "ping", "busybox")
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root may make networks")
    driver = make_linux(state_dir)
    driver.remove_everything()
    yield driver
    driver.remove_everything()


@pytest.fixture(params=["fake", pytest.param("linux", marks=pytest.mark.real)])
def driver(request: pytest.FixtureRequest) -> Iterator[NetworkDriver]:
    """Each driver, with nothing on its host."""
    if request.param == "fake":
        yield FakeNetwork(prefix=PREFIX)
        return
    real = request.getfixturevalue("linux")
    real.remove_everything()
    yield real
    real.remove_everything()
