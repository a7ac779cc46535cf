"""Keeps a set of forked processes running until it is told to stop.

One thread and no signal handlers: the signals are blocked and fetched when the loop is ready for them, so nothing
can interrupt it halfway and it may fork at any time.
"""

import gc
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from pileus.kernel.clock import Clock, SystemClock
from pileus.supervisor import processes
from pileus.supervisor.children import Child, Program

log = structlog.get_logger("pileus.supervisor")

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_FETCHED = {*STOPPING, signal.SIGCHLD}
_COLLECT_AFTER = (10_000, 20, 20)
"""When children look for garbage in cycles. Python's own (700, 10, 10) took a third of the time of a long list."""
ATTEMPTS = 3  # how often a program may fail before it ever worked, until the start is given up


class Supervisor:
    """Runs `programs`, one process each. Call `run` in the main thread of a process without other threads."""

    def __init__(
        self,
        programs: Sequence[Program],
        run_dir: Path,
        *,
        stop_timeout: float,
        on_ready: Callable[[], None],
        in_child: Callable[[str], None] = lambda _name: None,
        clock: Clock | None = None,
    ) -> None:
        """`on_ready` is called once, when all programs work for the first time; `in_child` first in each child,
        with its program's name."""
        self._clock = clock if clock is not None else SystemClock()
        self._children = [Child(program, run_dir, self._clock, in_child) for program in programs]
        self._stop_timeout = stop_timeout
        self._on_ready = on_ready
        self._announced = False

    def run(self) -> int:
        """Start everything, restart what dies, and stop everything on SIGTERM, SIGINT or SIGHUP.

        The exit code: 0 after a signal, 1 if a program failed ATTEMPTS times without ever having worked.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _FETCHED)
        gc.collect()
        gc.freeze()  # so that no collection touches, and thereby copies, what the children share with us
        gc.set_threshold(*_COLLECT_AFTER)
        try:
            for child in self._children:
                child.start()
            return self._watch()
        finally:
            self._stop()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _watch(self) -> int:
        while True:
            fetched = signal.sigtimedwait(_FETCHED, self._patience())
            if fetched is not None and fetched.si_signo in STOPPING:
                log.info("stopping", signal=signal.Signals(fetched.si_signo).name)
                return 0
            self._reap()
            self._announce()
            if not self._announced and any(child.quick_deaths >= ATTEMPTS for child in self._children):
                log.error("a program does not start; giving up")
                return 1
            for child in self._children:
                if child.pid is None and child.due <= self._clock.monotonic():
                    child.start()

    def _patience(self) -> float:
        if not self._announced:
            return 0.01
        now = self._clock.monotonic()
        return min([5.0, *(max(0.0, child.due - now) for child in self._children if child.pid is None)])

    def _reap(self) -> None:
        for child in self._children:
            if child.pid is not None:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    child.ended(status)

    def _announce(self) -> None:
        for child in self._children:
            child.look()
        if not self._announced and all(child.ready for child in self._children):
            self._announced = True
            self._on_ready()

    def _stop(self) -> None:
        """Tell every child to end, and end by force what is still there after the stop timeout.

        They are told again every second: Granian's worker misses a signal in the first milliseconds of its life.
        """
        now = told = self._clock.monotonic()
        deadline = now + self._stop_timeout
        self._send_all(signal.SIGTERM)
        while any(child.pid is not None for child in self._children):
            signal.sigtimedwait([signal.SIGCHLD], 0.2)
            now = self._clock.monotonic()
            if now > deadline:
                self._send_all(signal.SIGKILL)
            elif now > told + 1:
                self._send_all(signal.SIGTERM)
                told = now
            for child in self._children:
                if child.pid is not None and os.waitpid(child.pid, os.WNOHANG)[0]:
                    child.stopped()
        log.info("stopped", programs=" ".join(child.program.name for child in self._children))

    def _send_all(self, number: signal.Signals) -> None:
        for child in self._children:
            child.send(number)


def run_apart(work: Callable[[], None]) -> str | None:
    """Run `work` in a forked process; None if it went well, else what was wrong, in one line.

    For work that would leave traces which must not be inherited by later children: connections, threads, modules.
    """
    read_end, write_end = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            processes.die_with(parent)
            work()
            code = 0
        except BaseException as err:
            log.exception("preparation failed")
            os.write(write_end, f"{type(err).__name__}: {err}".encode()[:4000])
        finally:
            os._exit(code)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        message = pipe.read().decode(errors="replace").replace("\n", " ")
    _, status = os.waitpid(pid, 0)
    if status == 0:
        return None
    return message or f"the process ended with {os.waitstatus_to_exitcode(status)}"
