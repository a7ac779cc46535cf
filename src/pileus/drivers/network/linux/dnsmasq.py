"""One dnsmasq process: it outlives the agent and is found again by its pid file, or by its arguments."""

import contextlib
import os
import pwd
import signal
import subprocess
from pathlib import Path

import structlog

from pileus.drivers.network.base import HostCommandFailed
from pileus.drivers.network.linux import namespaces
from pileus.drivers.network.linux.journal import write_atomically
from pileus.kernel.clock import Clock

log = structlog.get_logger("pileus.network")
_STOP_SECONDS = 5.0


class Dnsmasq:
    """The process whose files are in `directory`. Its owner writes the configuration there."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.directory = directory
        self.configuration = directory / "dnsmasq.conf"
        self.pid_file = directory / "pid"
        self.leases = directory / "leases"
        self._argument = f"--conf-file={self.configuration}".encode()
        self._clock = clock

    def pid(self) -> int | None:
        """The process id, if it is alive and truly ours: pids are used again."""
        try:
            pid = int(self.pid_file.read_text())
        except (OSError, ValueError):
            return None
        return pid if self._is_ours(pid) else None

    def runs_in(self, namespace: str) -> bool:
        pid = self.pid()
        return pid is not None and namespaces.holds(namespace, pid)

    def start(self, namespace: str) -> None:
        """Start it; it listens when this returns. Raises HostCommandFailed."""
        command = ["dnsmasq", f"--conf-file={self.configuration}"]
        done = namespaces.run_in(
            namespace, lambda: subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        )
        if done.returncode != 0:
            raise HostCommandFailed(f"dnsmasq: {done.stderr.strip()[:2000]}")
        log.info("dnsmasq started", directory=str(self.directory))

    def reload(self) -> None:
        """Have it read its lists of hosts again."""
        pid = self.pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)

    def stop(self) -> None:
        """End it, also if its pid file was lost. It is gone when this returns."""
        self._signal(signal.SIGTERM)
        deadline = self._clock.monotonic() + _STOP_SECONDS
        while self._processes():
            if self._clock.monotonic() > deadline:
                self._signal(signal.SIGKILL)
            self._clock.sleep(0.005)
        self.pid_file.unlink(missing_ok=True)

    def remove(self) -> None:
        """End it and forget its files."""
        if not self.directory.is_dir():
            return
        self.stop()
        for path in self.directory.iterdir():
            path.unlink()
        self.directory.rmdir()

    def _is_ours(self, pid: int) -> bool:
        try:
            return self._argument in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False

    def _processes(self) -> list[int]:
        return [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and self._is_ours(int(entry.name))
        ]

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def rewrite(path: Path, text: str) -> bool:
    """Have the file hold `text`; answer whether it did not before."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_text() == text:
            return False
    write_atomically(path, text.encode())
    return True


def unprivileged_user(name: str, directory: Path) -> str:
    """`name` if it exists and may enter `directory`, else root."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        log.warning("dnsmasq runs as root: there is no such user", user=name)
        return "root"
    for path in (directory, *directory.parents):
        status = path.stat()
        bit = 0o100 if status.st_uid == entry.pw_uid else 0o010 if status.st_gid == entry.pw_gid else 0o001
        if not status.st_mode & bit:
            log.warning("dnsmasq runs as root: its user may not enter the directory", user=name, directory=str(path))
            return "root"
    return name
