"""What every hypervisor driver must do. A test module subclasses `Conformance` and provides the fixtures.

`open_driver` makes a new driver object for a site on the same host; drivers made by it see the same guests.
`host_dir` is a directory that the hypervisor may read. The guests have nothing to boot, so they run until they
are stopped and never heed a request to shut down.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pileus.agent.api import PowerState
from pileus.drivers.hypervisor.base import Capability, GuestNotFound, GuestRefused, Hypervisor
from pileus.kernel.ids import new_uuid
from tests.drivers.hypervisor.guests import plan_of

OpenDriver = Callable[..., Hypervisor]
DEADLINE = 20.0


def wait_for(condition: Callable[[], bool], seconds: float = DEADLINE) -> None:
    """Return once `condition` is true; fail if it is not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not true within {seconds} s"
        time.sleep(0.01)


class Conformance:
    @pytest.fixture
    def driver(self, open_driver: OpenDriver) -> Hypervisor:
        return open_driver()

    def test_facts_describe_the_host(self, driver: Hypervisor) -> None:
        facts = driver.facts()
        assert facts.hypervisor_type
        assert facts.arch
        assert facts.hypervisor_version > 0
        assert facts.vcpus > 0
        assert 0 <= facts.memory_mb_used < facts.memory_mb
        assert facts.acceleration in ("kvm", "none")
        assert facts.acceleration_reason

    def test_a_guest_runs_once_it_is_ensured(self, driver: Hypervisor, host_dir: Path) -> None:
        plan = plan_of(host_dir)
        driver.ensure_guest(plan)
        assert driver.power_state(plan.spec.id) is PowerState.RUNNING
        assert driver.list_guests()[plan.spec.id] is PowerState.RUNNING

    def test_a_guest_may_be_made_without_running(self, driver: Hypervisor, host_dir: Path) -> None:
        plan = plan_of(host_dir, running=False)
        driver.ensure_guest(plan)
        assert driver.power_state(plan.spec.id) is PowerState.SHUTDOWN
        driver.start(plan.spec.id)
        assert driver.power_state(plan.spec.id) is PowerState.RUNNING

    def test_ensuring_again_does_not_disturb_a_running_guest(self, driver: Hypervisor, host_dir: Path) -> None:
        plan = plan_of(host_dir)
        seen: list[PowerState] = []
        driver.watch(lambda _guest, state: seen.append(state))
        driver.ensure_guest(plan)
        driver.ensure_guest(plan)
        driver.ensure_guest(plan_of(host_dir, plan.spec.id, memory_mb=48))
        driver.ensure_guest(plan_of(host_dir, plan.spec.id, running=False))
        assert driver.power_state(plan.spec.id) is PowerState.RUNNING
        assert PowerState.SHUTDOWN not in seen

    def test_a_stopped_guest_takes_a_changed_plan(self, driver: Hypervisor, host_dir: Path) -> None:
        plan = plan_of(host_dir)
        driver.ensure_guest(plan)
        driver.stop(plan.spec.id, 0)
        driver.ensure_guest(plan_of(host_dir, plan.spec.id, memory_mb=64))
        assert driver.power_state(plan.spec.id) is PowerState.RUNNING
        assert list(driver.list_guests()) == [plan.spec.id]

    def test_starting_a_running_guest_changes_nothing(self, driver: Hypervisor, host_dir: Path) -> None:
        plan = plan_of(host_dir)
        driver.ensure_guest(plan)
        driver.start(plan.spec.id)
        assert driver.power_state(plan.spec.id) is PowerState.RUNNING

    def test_stopping_cuts_the_power_of_a_guest_that_does_not_shut_down(
        self, driver: Hypervisor, host_dir: Path
    ) -> None:
        plan = plan_of(host_dir)
        driver.ensure_guest(plan)
        driver.stop(plan.spec.id, 0.3)
        assert driver.power_state(plan.spec.id) is PowerState.SHUTDOWN
        driver.stop(plan.spec.id, 0.3)
        assert driver.power_state(plan.spec.id) is PowerState.SHUTDOWN

    def test_a_cut_ends_a_stop_that_waits(self, driver: Hypervisor, host_dir: Path) -> None:
        plan = plan_of(host_dir)
        driver.ensure_guest(plan)
        began = time.monotonic()
        waiting = threading.Thread(target=driver.stop, args=(plan.spec.id, 60.0), daemon=True)
        waiting.start()
        driver.stop(plan.spec.id, 0)
        waiting.join(DEADLINE)
        assert not waiting.is_alive()
        assert time.monotonic() - began < DEADLINE
        assert driver.power_state(plan.spec.id) is PowerState.SHUTDOWN

    @pytest.mark.parametrize("kind", ["soft", "hard"])
    def test_a_reboot_ends_running(self, driver: Hypervisor, host_dir: Path, kind: str) -> None:
        plan = plan_of(host_dir)
        driver.ensure_guest(plan)
        seen: list[PowerState] = []
        driver.watch(lambda _guest, state: seen.append(state))
        driver.reboot(plan.spec.id, kind, 0.3)  # type: ignore[arg-type]
        assert driver.power_state(plan.spec.id) is PowerState.RUNNING
        if Capability.LIFECYCLE_EVENTS in driver.capabilities:
            wait_for(lambda: seen[-2:] == [PowerState.SHUTDOWN, PowerState.RUNNING])

    def test_a_reboot_starts_a_stopped_guest(self, driver: Hypervisor, host_dir: Path) -> None:
        plan = plan_of(host_dir, running=False)
        driver.ensure_guest(plan)
        driver.reboot(plan.spec.id, "hard", 0)
        assert driver.power_state(plan.spec.id) is PowerState.RUNNING

    def test_removing_ends_a_running_guest_and_leaves_its_disk(self, driver: Hypervisor, host_dir: Path) -> None:
        plan = plan_of(host_dir)
        driver.ensure_guest(plan)
        driver.ensure_no_guest(plan.spec.id)
        assert driver.power_state(plan.spec.id) is None
        assert plan.spec.id not in driver.list_guests()
        assert Path(plan.disks[0].path).exists()

    def test_removing_is_safe_to_repeat_and_accepts_what_never_was(self, driver: Hypervisor, host_dir: Path) -> None:
        plan = plan_of(host_dir, running=False)
        driver.ensure_guest(plan)
        driver.ensure_no_guest(plan.spec.id)
        driver.ensure_no_guest(plan.spec.id)
        driver.ensure_no_guest(new_uuid())
        assert driver.list_guests() == {}

    def test_unknown_guests_are_named_as_such(self, driver: Hypervisor) -> None:
        guest = new_uuid()
        assert driver.power_state(guest) is None
        for verb in (
            lambda: driver.start(guest),
            lambda: driver.stop(guest, 0),
            lambda: driver.reboot(guest, "hard", 0),
            lambda: driver.console_log(guest, None),
        ):
            with pytest.raises(GuestNotFound, match=guest):
                verb()

    def test_what_cannot_be_made_is_refused_and_leaves_nothing(self, driver: Hypervisor, host_dir: Path) -> None:
        plan = plan_of(host_dir, machine_properties={"hw_disk_bus": "punched-cards"})
        with pytest.raises(GuestRefused, match="punched-cards"):
            driver.ensure_guest(plan)
        assert driver.power_state(plan.spec.id) is None

    def test_text_that_xml_cannot_hold_is_no_problem(self, driver: Hypervisor, host_dir: Path) -> None:
        plan = plan_of(host_dir, running=False, name="<\x00&\x1b ]]> \N{SNOWMAN}", flavor_name='"&lt;')
        driver.ensure_guest(plan)
        assert driver.power_state(plan.spec.id) is PowerState.SHUTDOWN

    def test_watchers_hear_of_starts_and_stops(self, driver: Hypervisor, host_dir: Path) -> None:
        if Capability.LIFECYCLE_EVENTS not in driver.capabilities:
            pytest.skip("this driver reports no events")
        heard: list[tuple[str, PowerState]] = []
        driver.watch(lambda guest, state: heard.append((guest, state)))
        plan = plan_of(host_dir)
        driver.ensure_guest(plan)
        driver.stop(plan.spec.id, 0)
        wait_for(lambda: heard == [(plan.spec.id, PowerState.RUNNING), (plan.spec.id, PowerState.SHUTDOWN)])

    def test_a_new_driver_finds_the_guests_of_the_old_one(self, open_driver: OpenDriver, host_dir: Path) -> None:
        running, stopped = plan_of(host_dir), plan_of(host_dir, running=False)
        old = open_driver()
        old.ensure_guest(running)
        old.ensure_guest(stopped)
        old.close()
        new = open_driver()
        states = {running.spec.id: PowerState.RUNNING, stopped.spec.id: PowerState.SHUTDOWN}
        assert new.list_guests() == states
        new.ensure_guest(running)
        assert new.list_guests() == states

    def test_guests_can_be_changed_from_many_threads(self, driver: Hypervisor, host_dir: Path) -> None:
        plans = [plan_of(host_dir, vcpus=1) for _ in range(4)]
        failures: list[BaseException] = []

        def cycle(number: int) -> None:
            guest = plans[number].spec.id
            try:
                driver.ensure_guest(plans[number])
                driver.stop(guest, 0)
                driver.start(guest)
                driver.ensure_no_guest(guest)
            except BaseException as err:
                failures.append(err)
                raise

        threads = [threading.Thread(target=cycle, args=(number,)) for number in range(len(plans))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE * 2)
        assert failures == []
        assert driver.list_guests() == {}
