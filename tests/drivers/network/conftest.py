"""Drivers for the conformance suite, and the real driver under a prefix that only these tests use."""

import os
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
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("network")
    for path in (directory, *directory.parents):
        if path.owner() == "root" and path.is_relative_to("/tmp/"):  # noqa: S108 - where pytest puts it
            path.chmod(path.stat().st_mode | 0o011)
    return directory


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
