"""One forked process of ours: started warm, named, tied to its parent, restarted with growing pauses."""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from pileus.kernel.clock import Clock
from pileus.supervisor import processes

log = structlog.get_logger("pileus.supervisor")

Ready = Callable[[], None]
QUICK = 10.0  # seconds: who lives shorter has failed to work
LONGEST_PAUSE = 30.0


@dataclass(frozen=True)
class Program:
    """What a child runs: `run` gets a function to call once it is at work, and returns after SIGTERM.

    A program that cannot tell when it is at work has `works`, which looks from outside.
    """

    name: str
    run: Callable[[Ready], None]
    works: Callable[[], bool] | None = None


def pause_after(quick_deaths: int) -> float:
    """Seconds to wait before the next start: none after the first death, then 0.5, 1, 2, ... up to LONGEST_PAUSE."""
    return 0.0 if quick_deaths < 2 else float(min(LONGEST_PAUSE, 0.25 * 2 ** (quick_deaths - 1)))


class Child:
    """A program's process over all its restarts."""

    def __init__(self, program: Program, run_dir: Path, clock: Clock, in_child: Callable[[str], None]) -> None:
        self.program = program
        self.pid: int | None = None
        self.ready = False
        self.quick_deaths = 0
        self.due = 0.0  # when to start it, on the clock's monotonic time; only while it does not run
        self._record = run_dir / f"{program.name}.pid"
        self._clock = clock
        self._in_child = in_child
        self._started = 0.0
        self._pipe = -1

    def start(self) -> None:
        """Fork. The child never returns from here."""
        read_end, write_end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(read_end)
            self._become(parent, write_end)
        os.close(write_end)
        os.set_blocking(read_end, False)
        self.pid, self._pipe, self._started, self.ready = pid, read_end, self._clock.monotonic(), False
        processes.record(self._record, pid)

    def look(self) -> None:
        """Learn whether the child has reported that it is at work."""
        if self.ready or self.pid is None:
            return
        if self.program.works is not None:
            self.ready = self.program.works()
            return
        try:
            self.ready = os.read(self._pipe, 1) == b"1"
        except BlockingIOError:
            return

    def ended(self, status: int) -> None:
        """The process is gone (`status` as waitpid gives it): settle when to start it again."""
        self.look()
        lived = self._clock.monotonic() - self._started
        os.close(self._pipe)
        self._record.unlink(missing_ok=True)
        self.pid = None
        self.quick_deaths = self.quick_deaths + 1 if lived < QUICK else 1
        pause = pause_after(self.quick_deaths)
        self.due = self._clock.monotonic() + pause
        log.warning(
            "process died", program=self.program.name, how=_how(status), lived=round(lived, 1), restart_in=pause
        )

    def stopped(self) -> None:
        """The process is gone because it was told to stop."""
        os.close(self._pipe)
        self._record.unlink(missing_ok=True)
        self.pid = None

    def send(self, number: signal.Signals) -> None:
        """Signal the process, if it runs. It cannot be another one: until we wait for it, its id stays taken."""
        if self.pid is not None:
            os.kill(self.pid, number)

    def _become(self, parent: int, write_end: int) -> None:
        """Be the child from here on: nothing of the supervisor's stack may run in it again."""
        code = 1
        try:
            processes.die_with(parent)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            self._in_child(self.program.name)

            def ready() -> None:
                os.write(write_end, b"1")

            self.program.run(ready)
            code = 0
        except BaseException:
            log.exception("process failed", program=self.program.name)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit {code}" if code >= 0 else signal.Signals(-code).name
