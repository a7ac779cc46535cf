"""The supervisor's parts, one by one."""

import os
import signal
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from pileus.kernel.clock import FakeClock
from pileus.settings import Settings
from pileus.supervisor import checks, credentials, processes
from pileus.supervisor.checks import Level
from pileus.supervisor.children import LONGEST_PAUSE, QUICK, Child, Program, pause_after
from pileus.supervisor.processes import InstanceLock
from pileus.supervisor.supervisor import run_apart


def test_pauses_grow_up_to_a_limit() -> None:
    assert [pause_after(deaths) for deaths in (1, 2, 3, 4)] == [0.0, 0.5, 1.0, 2.0]
    assert pause_after(40) == LONGEST_PAUSE


def test_a_child_that_lived_long_is_started_at_once_again(tmp_path: Path) -> None:
    clock = FakeClock()
    child = Child(Program("x", lambda ready: ready()), tmp_path, clock, lambda _name: None)
    pauses = []
    for lived in (1.0, 1.0, 1.0, QUICK + 1, 1.0):
        child.start()
        assert child.pid is not None
        _, status = os.waitpid(child.pid, 0)
        clock.advance(lived)
        child.ended(status)
        assert child.ready
        pauses.append(child.due - clock.monotonic())
    assert pauses == [0.0, 0.5, 1.0, 0.0, 0.5]
    assert not list(tmp_path.iterdir())


def test_a_process_is_known_by_its_start_time(tmp_path: Path) -> None:
    path = tmp_path / "x.pid"
    process = subprocess.Popen(["/bin/sleep", "600"])
    processes.record(path, process.pid)
    assert processes.recorded(path) == process.pid
    process.kill()
    wait = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert wait is not None
    assert processes.recorded(path) is None, "a zombie does not run"
    process.wait()
    assert processes.recorded(path) is None
    path.write_text("rubbish")
    assert processes.recorded(path) is None
    path.write_text(f"{os.getpid()} 1")
    assert processes.recorded(path) is None, "another process has the id now"


def test_only_one_holds_the_lock_and_death_frees_it(tmp_path: Path) -> None:
    first, second = InstanceLock(tmp_path), InstanceLock(tmp_path)
    assert first.holder() is None
    assert first.acquire()
    assert not second.acquire(timeout=0.1)
    assert second.holder() == os.getpid()
    first.release()
    assert second.holder() is None
    assert second.acquire()
    second.release()


def test_a_lock_on_a_file_that_was_removed_counts_for_nothing(tmp_path: Path) -> None:
    old = InstanceLock(tmp_path)
    assert old.acquire()
    (tmp_path / "supervisor.lock").unlink()
    new = InstanceLock(tmp_path)
    assert new.acquire()
    old.release()
    assert InstanceLock(tmp_path).holder() == os.getpid()
    new.release()


def test_work_apart_leaves_no_trace_here_and_tells_what_failed() -> None:
    seen: list[int] = []
    assert run_apart(lambda: seen.append(1)) is None
    assert seen == []
    assert run_apart(seen.clear) is None
    assert run_apart(lambda: seen.remove(2)) == "ValueError: list.remove(x): x not in list"
    assert run_apart(lambda: os.kill(os.getpid(), signal.SIGKILL)) == "the process ended with -9"


def test_a_signal_stops_what_runs_and_its_error_is_raised() -> None:
    stopping = threading.Event()

    def run() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping.wait(10)
        raise LookupError("told")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(LookupError, match="told"):
        processes.run_until_signalled(run, stopping.set)
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_ends_by_itself_needs_no_signal() -> None:
    done: list[str] = []
    processes.run_until_signalled(lambda: done.append("run"), lambda: done.append("stop"))
    assert done == ["run", "stop"]


def test_secrets_are_made_once_private_and_different(tmp_path: Path) -> None:
    first = credentials.load_or_create(tmp_path)
    assert credentials.load_or_create(tmp_path) == first
    assert credentials.load_or_create(tmp_path / "other") != first
    assert len(first.admin_password) >= 20
    assert first.admin_password != first.host_secret
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    for path in (tmp_path / "secrets").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first.admin_password not in repr(first)


def test_a_draft_of_a_secret_left_by_a_crash_is_not_used(tmp_path: Path) -> None:
    home = tmp_path / "secrets"
    home.mkdir()
    (home / "admin_password.new").write_text("half")
    assert credentials.load_or_create(tmp_path).admin_password != "half"
    assert not (home / "admin_password.new").exists()


def test_checks_before_a_start_pass_on_a_machine_without_anything(settings: Settings) -> None:
    found = {check.name: verdict for check, verdict in checks.verdicts(settings, before_start=True)}
    assert {"privileges", "programs", "directories", "port"} <= set(found)
    assert {verdict.level for verdict in found.values()} == {Level.OK}


def test_doctor_says_that_nothing_runs(settings: Settings) -> None:
    found = {check.name: verdict for check, verdict in checks.verdicts(settings)}
    assert found["processes"].level is Level.WARNING
    assert found["processes"].remedy == "pileus up"
    assert found["api"].level is Level.WARNING
