"""A whole cloud on one machine: `up` brings it to life, `down` takes it away again."""

import importlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from pileus.kernel import log as logs
from pileus.settings import Settings
from pileus.supervisor import checks, credentials, processes, serving
from pileus.supervisor.children import Program, Ready
from pileus.supervisor.errors import CannotStart, CannotStop
from pileus.supervisor.parts import Parts, resolve
from pileus.supervisor.supervisor import Supervisor, run_apart

log = structlog.get_logger("pileus.supervisor")

_LEFTOVER_TIMEOUT = 5.0  # seconds that processes of a dead supervisor get to end
_ARENAS = 2


@dataclass(frozen=True)
class Machine:
    """The cloud of this machine as its settings describe it."""

    settings: Settings
    parts: Parts = field(default_factory=Parts)

    @property
    def log_file(self) -> Path:
        """Where all processes of a cloud in the background log."""
        return self.settings.site.log_dir / "pileus.log"

    def running(self) -> int | None:
        """The process id of the supervisor, if the cloud runs."""
        return processes.InstanceLock(self.settings.site.run_dir).holder()

    def require(self) -> None:
        """CannotStart with every reason why a cloud would not work on this machine."""
        reasons = [
            f"{check.name}: {verdict.message}" + (f" ({verdict.remedy})" if verdict.remedy else "")
            for check, verdict in checks.verdicts(self.settings, before_start=True)
            if verdict.level is checks.Level.FAILED
        ]
        if reasons:
            raise CannotStart("\n".join(reasons))

    def up(self, on_ready: Callable[[], None], in_child: Callable[[], None] = lambda: None) -> int:
        """Prepare and supervise the cloud in this process until SIGTERM or SIGINT. The exit code.

        `on_ready` is called once everything works; `in_child` first in each process that is forked.
        """
        settings = self.settings
        make_directories(settings)
        lock = processes.InstanceLock(settings.site.run_dir)
        if not lock.acquire():
            raise CannotStart("the cloud is being started or stopped by another process")
        if left := processes.stop_recorded(settings.site.run_dir, _LEFTOVER_TIMEOUT):
            log.warning("ended processes that had lost their supervisor", programs=" ".join(left))
        processes.name_process(f"{settings.site.prefix}-up")
        processes.limit_arenas(_ARENAS)
        listener = _listen(settings)
        for name in (*self.parts.programs(), *serving.MODULES):
            importlib.import_module(name.partition(":")[0])

        def forked(name: str) -> None:
            processes.name_process(f"{settings.site.prefix}-{name}")
            lock.release()
            in_child()

        self._prepare(forked)
        supervisor = Supervisor(
            self._programs(listener),
            settings.site.run_dir,
            stop_timeout=self._patience(),
            on_ready=on_ready,
            in_child=forked,
        )
        return supervisor.run()

    def up_detached(self) -> int:
        """Start the cloud in the background and return once it works: the supervisor's process id.

        CannotStart if it does not come to work; then nothing of it is left running.
        """
        make_directories(self.settings)
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read_end)
            self._daemon(write_end)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            answer = pipe.read().decode(errors="replace")
        if answer == "ready":
            return pid
        os.waitpid(pid, 0)
        raise CannotStart(answer or f"a process did not start; see {self.log_file}")

    def down(self, *, purge: bool) -> list[str]:
        """Stop the cloud and remove what it made on this machine: what was done, one line each.

        Guests end as if their power were cut; their disks, the database and the keys stay for the next start, at
        which these servers are SHUTOFF, unless `purge` removes those too. Safe to repeat, also after a crash.
        """
        site = self.settings.site
        make_directories(self.settings)
        done: list[str] = []
        if (pid := self.running()) is not None:
            self._stop_supervisor(pid)
            done.append(f"stopped the cloud (process {pid})")
        lock = processes.InstanceLock(site.run_dir)
        if not lock.acquire():
            raise CannotStop("the cloud is being started or stopped by another process")
        if left := processes.stop_recorded(site.run_dir, _LEFTOVER_TIMEOUT):
            done.append(f"ended left over processes: {', '.join(left)}")
        resolve(self.parts.teardown)(self.settings)
        done.append("removed guests, networks and mounts from this machine")
        shutil.rmtree(site.run_dir, ignore_errors=True)
        if purge:
            for path in (site.state_dir, site.log_dir):
                shutil.rmtree(path, ignore_errors=True)
            done.append(f"deleted {site.state_dir} and {site.log_dir}")
        lock.release()
        return done

    def _patience(self) -> float:
        """Seconds that processes get to stop: as long as the slowest of them may take, and a little more."""
        return max(self.settings.api.stop_timeout, self.settings.conductor.stop_seconds) + 2

    def _stop_supervisor(self, pid: int) -> None:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + self._patience() + 5
        while processes.start_time(pid) is not None:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def _prepare(self, forked: Callable[[str], None]) -> None:
        """Bring database and first records to the present version, in a process of their own."""
        settings = self.settings
        secrets = credentials.load_or_create(settings.site.state_dir)

        def work() -> None:
            forked("prepare")
            resolve(self.parts.migrate)(settings.database)
            resolve(self.parts.bootstrap)(settings, secrets)

        if reason := run_apart(work):
            raise CannotStart(f"the database cannot be prepared: {reason}")

    def _programs(self, listener: Any) -> list[Program]:
        settings, parts = self.settings, self.parts
        return [
            *serve_programs(settings, parts, listener),
            Program("conductor", partial(run_conductor, settings, parts)),
            Program(
                "agent",
                lambda _ready: run_agent(settings, parts),
                works=partial(processes.accepts, settings.agent.socket),
            ),
        ]

    def _daemon(self, write_end: int) -> None:
        """Leave the terminal and be the supervisor; tell the waiting launcher how it went."""
        code = 1
        launcher = os.fdopen(write_end, "w")

        def on_ready() -> None:
            launcher.write("ready")
            launcher.close()

        def in_child() -> None:
            if not launcher.closed:  # else it was closed before the fork, and the number may be another file's by now
                os.close(write_end)

        try:
            os.setsid()
            _redirect(self.log_file)
            logs.configure(self.settings.log, "up")
            code = self.up(on_ready, in_child)
        except CannotStart as err:
            log.error("cannot start", reason=str(err))  # noqa: TRY400 - expected, and the reason says it all
            launcher.write(str(err))
        except BaseException as err:
            log.exception("the supervisor failed")
            if not launcher.closed:
                launcher.write(f"{type(err).__name__}: {err}")
        finally:
            if not launcher.closed:
                launcher.close()
            os._exit(code)


def serve_programs(settings: Settings, parts: Parts, listener: Any) -> list[Program]:
    """One program for each process that answers the API, all on `listener`."""

    def serve(ready: Ready, *, name: str) -> None:
        logs.configure(settings.log, name)
        serving.serve(lambda: resolve(parts.app)(settings), settings.api, listener, ready)

    count = serving.worker_count(settings.api)
    return [Program(f"serve-{number}", partial(serve, name=f"serve-{number}")) for number in range(1, count + 1)]


def run_serve(settings: Settings, parts: Parts) -> int:
    """`pileus serve`: only the API's processes, supervised, until SIGTERM. The exit code."""
    make_directories(settings)
    listener = _listen(settings)
    for name in (parts.app, *serving.MODULES):
        importlib.import_module(name.partition(":")[0])
    run_dir = settings.site.run_dir / "serve"
    run_dir.mkdir(exist_ok=True)
    supervisor = Supervisor(
        serve_programs(settings, parts, listener),
        run_dir,
        stop_timeout=settings.api.stop_timeout,
        on_ready=lambda: log.info("the API answers", url=settings.site.public_url),
    )
    return supervisor.run()


def run_conductor(settings: Settings, parts: Parts, ready: Ready = lambda: None) -> None:
    """`pileus conductor`: run operations and loops until SIGTERM or SIGINT."""
    logs.configure(settings.log, "conductor")
    conductor = resolve(parts.conductor)(settings)
    ready()
    processes.run_until_signalled(conductor.run, conductor.stop)


def run_agent(settings: Settings, parts: Parts) -> None:
    """`pileus agent`: serve this host until SIGTERM or SIGINT, which the agent handles itself."""
    logs.configure(settings.log, "agent")
    resolve(parts.agent)(settings)


def make_directories(settings: Settings) -> None:
    """Make the cloud's directories. The state directory may be passed through by guests' processes, not listed."""
    site = settings.site
    for path, mode in ((site.state_dir, 0o711), (site.run_dir, 0o755), (site.log_dir, 0o750)):
        try:
            path.mkdir(mode=mode, parents=True, exist_ok=True)
        except OSError as err:
            raise CannotStart(f"{path} cannot be made: {err.strerror}") from err


def _listen(settings: Settings) -> Any:
    try:
        return serving.listen(settings.api)
    except OSError as err:
        place = f"{settings.api.host}:{settings.api.port}"
        raise CannotStart(f"{place} cannot be listened on: {err.strerror}") from err


def _redirect(path: Path) -> None:
    """Standard output and error to the log file, standard input from nothing."""
    sys.stdout.flush()
    sys.stderr.flush()
    nothing = os.open(os.devnull, os.O_RDONLY)
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    for source, target in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(out)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)  # they may have been made for something else
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
