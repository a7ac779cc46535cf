"""A cloud's processes: brought up in order, kept running through any death, and taken down without a trace."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from pileus.supervisor import processes
from pileus.supervisor.errors import CannotStart
from pileus.supervisor.machine import Machine
from tests.supervisor.conftest import children_of, wait_until, with_parts

NAMES = {"ts-serve-1", "ts-serve-2", "ts-conductor", "ts-agent"}


def who(machine: Machine) -> int:
    """The id of the process that answers a request."""
    with urllib.request.urlopen(machine.settings.site.public_url, timeout=10) as answer:  # noqa: S310
        pid: int = json.load(answer)["pid"]
        return pid


def test_up_prepares_and_starts_everything(machine: Machine) -> None:
    pid = machine.up_detached()
    state = machine.settings.site.state_dir
    assert machine.running() == pid
    assert (state / "pileus.db").read_text() == "migrated\n"
    assert (state / "bootstrapped").exists()
    assert set(children_of(pid)) == NAMES
    assert who(machine) in children_of(pid).values()


def test_a_second_up_is_refused_while_the_first_runs(machine: Machine) -> None:
    pid = machine.up_detached()
    with pytest.raises(CannotStart, match="another process"):
        machine.up_detached()
    assert machine.running() == pid


def test_down_stops_everything_cleanly_and_keeps_the_state(machine: Machine) -> None:
    pid = machine.up_detached()
    family = [pid, *children_of(pid).values()]
    done = machine.down(purge=False)
    site = machine.settings.site
    assert done[0] == f"stopped the cloud (process {pid})"
    assert all(processes.start_time(one) is None for one in family)
    assert (site.state_dir / "agent-stopped").exists(), "the agent was killed instead of being told to stop"
    assert (site.state_dir / "torn-down").exists()
    assert not site.run_dir.exists()
    assert (site.state_dir / "pileus.db").exists()
    assert machine.running() is None


def test_down_can_be_repeated_and_purge_leaves_nothing(machine: Machine, tmp_path: Path) -> None:
    machine.up_detached()
    machine.down(purge=True)
    machine.down(purge=True)
    assert list(tmp_path.iterdir()) == []


def test_up_after_down_finds_the_same_secrets(machine: Machine) -> None:
    machine.up_detached()
    secret = machine.settings.site.state_dir / "secrets/admin_password"
    before = secret.read_text()
    machine.down(purge=False)
    machine.up_detached()
    assert secret.read_text() == before


@pytest.mark.parametrize("name", sorted(NAMES))
def test_what_dies_is_started_again_at_once(machine: Machine, name: str) -> None:
    pid = machine.up_detached()
    victim = children_of(pid)[name]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: children_of(pid).get(name, victim) != victim and set(children_of(pid)) == NAMES)
    assert who(machine) in children_of(pid).values()


def test_requests_wait_while_all_workers_are_dead(machine: Machine) -> None:
    pid = machine.up_detached()
    for name in ("ts-serve-1", "ts-serve-2"):
        os.kill(children_of(pid)[name], signal.SIGKILL)
    assert who(machine) in children_of(pid).values()


def test_children_do_not_outlive_their_supervisor(machine: Machine) -> None:
    pid = machine.up_detached()
    family = children_of(pid).values()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: all(processes.start_time(one) is None for one in family))
    assert machine.running() is None


def test_up_ends_what_a_dead_supervisor_has_left(machine: Machine) -> None:
    run_dir = machine.settings.site.run_dir
    run_dir.mkdir(parents=True)
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        processes.record(run_dir / "agent.pid", orphan.pid)
        (run_dir / "conductor.pid").write_text(f"{bystander.pid} 1\n")  # the id is in use again by something else
        machine.up_detached()
        assert orphan.wait(timeout=10) == -signal.SIGTERM
        assert bystander.poll() is None
    finally:
        for process in (orphan, bystander):
            process.kill()
            process.wait()


def test_a_program_that_never_works_makes_the_start_fail(machine: Machine) -> None:
    broken = with_parts(machine, agent="fail")
    with pytest.raises(CannotStart, match=r"a process did not start; see .*pileus\.log"):
        broken.up_detached()
    assert broken.running() is None
    assert "this agent never works" in broken.log_file.read_text()
    assert not list(machine.settings.site.run_dir.glob("*.pid"))


def test_a_bootstrap_that_fails_is_told_in_one_line(machine: Machine) -> None:
    with pytest.raises(CannotStart, match="the database cannot be prepared: ValueError: no way"):
        with_parts(machine, bootstrap="refuse").up_detached()
    assert machine.running() is None


def test_a_port_in_use_is_told_before_anything_is_started(machine: Machine) -> None:
    import socket  # noqa: PLC0415

    with socket.create_server(("127.0.0.1", machine.settings.api.port)):
        with pytest.raises(CannotStart, match=r"port: .* cannot be listened on: Address already in use"):
            machine.require()
        with pytest.raises(CannotStart, match="Address already in use"):
            machine.up_detached()
    assert not (machine.settings.site.state_dir / "bootstrapped").exists()


def test_a_directory_that_cannot_be_made_is_told(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in the way")
    with pytest.raises(CannotStart, match=r"directories: .*state cannot be written"):
        machine.require()
    with pytest.raises(CannotStart, match="state cannot be made: File exists"):
        machine.up_detached()


@pytest.mark.parametrize("name", sorted(NAMES))
def test_in_the_background_too_everything_is_restarted(machine: Machine, name: str) -> None:
    pid = machine.up_detached()
    before = children_of(pid)
    os.kill(before[name], signal.SIGKILL)
    wait_until(lambda: children_of(pid).get(name) not in (None, before[name]))
    assert set(children_of(pid)) == NAMES
    assert who(machine) in children_of(pid).values()
