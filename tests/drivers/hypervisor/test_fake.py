"""The fake hypervisor behaves like the real ones, and fast."""

from pathlib import Path

import pytest

from pileus.agent.api import PowerState
from pileus.drivers.hypervisor.base import Hypervisor
from pileus.drivers.hypervisor.fake import FakeHypervisor
from pileus.kernel.clock import FakeClock, SystemClock
from tests.drivers.hypervisor.conformance import Conformance, OpenDriver
from tests.drivers.hypervisor.guests import plan_of
from tests.real_things import require


@pytest.fixture
def host_dir(tmp_path: Path) -> Path:
    require("qemu-img")
    return tmp_path


class TestFake(Conformance):
    @pytest.fixture
    def open_driver(self, tmp_path: Path) -> OpenDriver:
        def make() -> Hypervisor:
            return FakeHypervisor(SystemClock(), directory=tmp_path / "fake")

        return make


def test_a_deaf_guest_takes_all_of_the_timeout(host_dir: Path) -> None:
    clock = FakeClock()
    driver = FakeHypervisor(clock, latency=0.5)
    plan = plan_of(host_dir)
    driver.ensure_guest(plan)
    driver.deafen(plan.spec.id)
    before = clock.monotonic()
    driver.stop(plan.spec.id, 60)
    assert clock.monotonic() - before == 60
    driver.start(plan.spec.id)
    assert driver.boots_of(plan.spec.id) == 2


def test_the_console_shows_each_boot(host_dir: Path) -> None:
    driver = FakeHypervisor(FakeClock())
    plan = plan_of(host_dir, name="web")
    driver.ensure_guest(plan)
    driver.reboot(plan.spec.id, "hard", 0)
    assert driver.console_log(plan.spec.id, 1) == "web login: \n"
    assert driver.console_log(plan.spec.id, None).count("Linux version") == 2


def test_a_guest_may_end_by_itself(host_dir: Path) -> None:
    driver = FakeHypervisor(FakeClock())
    heard: list[tuple[str, PowerState]] = []
    plan = plan_of(host_dir)
    driver.ensure_guest(plan)
    driver.watch(lambda guest, state: heard.append((guest, state)))
    driver.end(plan.spec.id, PowerState.CRASHED)
    assert heard == [(plan.spec.id, PowerState.CRASHED)]
    assert driver.list_guests() == {plan.spec.id: PowerState.CRASHED}
