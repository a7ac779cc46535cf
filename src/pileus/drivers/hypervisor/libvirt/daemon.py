"""A libvirtd of our own, for machines on which none runs.

It serves one cloud alone: its configuration, state, log and socket are in the cloud's directories (see `enclosure`).
It is nobody's child, so that it and its guests survive the end of every Pileus process, until `stop`.

QEMU runs as libvirt-qemu. Where the distribution's package that makes this user is not installed, it exists
in the enclosure only, under the number that Debian has set aside for it.
"""

import fcntl
import grp
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from pileus.drivers.hypervisor.base import HypervisorUnreachable
from pileus.drivers.hypervisor.libvirt import kvm
from pileus.kernel.clock import Clock

log = structlog.get_logger("pileus.hypervisor")

QEMU_USER = "libvirt-qemu"
_QEMU_UID = 64055
_PATH = "/usr/local/sbin:/usr/sbin:/sbin:" + os.environ.get("PATH", os.defpath)
_ENCLOSURE = Path(__file__).with_name("enclosure.py")
SYSTEM_SOCKET = Path("/run/libvirt/libvirt-sock")
_START_TIMEOUT = 30.0  # the first start probes QEMU, which takes seconds on a busy machine
_END_TIMEOUT = 5.0
_LONGEST_SOCKET = 107  # bytes that the kernel allows

# dynamic_ownership would give QEMU's user the base images that guests share, and with them the right to change
# them. The driver gives it the guest's own files instead.
_DAEMON_CONF = """\
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_ro_perms = "0700"
unix_sock_rw_perms = "0700"
host_uuid = "{host_uuid}"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
_QEMU_CONF = """\
stdio_handler = "file"
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
dynamic_ownership = 0
max_core = 0
"""


class OwnLibvirtd:
    """The libvirtd of one cloud: `state_dir` must survive a reboot, `run_dir` must not."""

    def __init__(self, state_dir: Path, run_dir: Path, use_kvm: bool, clock: Clock) -> None:
        self._state = state_dir / "libvirt"
        self._run = run_dir / "libvirt"
        self._use_kvm = use_kvm
        self._clock = clock
        self.socket = self._run / "libvirt-sock"
        self.uri = f"qemu+unix:///system?socket={self.socket}"
        self._pid_file = self._run / "libvirtd.pid"

    @property
    def qemu_owner(self) -> tuple[int, int]:
        """User and group id that QEMU runs as: what a guest's own files must belong to."""
        try:
            return pwd.getpwnam(QEMU_USER).pw_uid, grp.getgrnam(QEMU_USER).gr_gid
        except KeyError:
            return _QEMU_UID, _QEMU_UID

    def running(self) -> bool:
        """Whether it runs and listens."""
        return self._pid() is not None and _listens(self.socket)

    def exists(self) -> bool:
        """Whether it was started since the machine's start and not stopped; it may have died."""
        return self._pid_file.parent.exists()

    def ensure_running(self) -> str:
        """Start it unless it runs; its URI. HypervisorUnreachable with the reason if it cannot be started."""
        if self.running():
            return self.uri
        with self._locked():
            if not self.running():
                self._start()
        return self.uri

    def stop(self) -> None:
        """End it and its guests, whose power is cut. Their definitions remain in the state directory."""
        with self._locked():
            self._end_process(self._pid(), signal.SIGTERM)
            for pid in self._guest_pids():
                self._signal(pid, signal.SIGTERM)
            for pid in self._guest_pids():
                self._end_process(pid, signal.SIGTERM)
            shutil.rmtree(self._run, ignore_errors=True)

    # --- starting -------------------------------------------------------------------------------------------

    def _start(self) -> None:
        program = shutil.which("libvirtd", path=_PATH)
        if program is None:
            raise HypervisorUnreachable("libvirtd is not installed (apt-get install libvirt-daemon)")
        if len(os.fsencode(self.socket)) > _LONGEST_SOCKET:
            raise HypervisorUnreachable(f"the path {self.socket} is too long for a socket; choose a shorter run_dir")
        self._end_process(self._pid(), signal.SIGKILL)
        self._pid_file.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)
        description = {
            "binds": [[str(source), target] for source, target in self._layout()],
            "open_devices": self._open_devices(),
            "command": [program, "--config", "/etc/libvirt/libvirtd.conf", "--pid-file", str(self._pid_file)],
        }
        output = self._state / "libvirtd.out"
        with output.open("wb") as out:
            started = subprocess.run(
                [sys.executable, "-I", "-S", str(_ENCLOSURE), json.dumps(description)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd="/",
                start_new_session=True,
                check=False,
            )
        if started.returncode != 0:
            raise HypervisorUnreachable(f"libvirtd cannot be enclosed: {_last_line(output)}")
        deadline = self._clock.monotonic() + _START_TIMEOUT
        while not self.running():
            if self._clock.monotonic() > deadline:
                raise HypervisorUnreachable(f"libvirtd does not start: {_last_line(output)}; see also {self._log}")
            self._clock.sleep(0.01)
        log.info("started libvirtd", socket=str(self.socket))

    @property
    def _log(self) -> Path:
        return self._state / "log" / "libvirtd.log"

    def _layout(self) -> Iterator[tuple[Path, str]]:
        """Make what the enclosure is made from; yield each part and where libvirtd expects it."""
        self._state.mkdir(parents=True, exist_ok=True)
        places = (
            (self._state / "etc", "/etc/libvirt"),
            (self._state / "lib", "/var/lib/libvirt"),
            (self._state / "cache", "/var/cache/libvirt"),
            (self._state / "log", "/var/log/libvirt"),
            (self._run, "/run/libvirt"),
        )
        for source, target in places:
            source.mkdir(mode=0o755, exist_ok=True)
            yield source, target
        host_uuid = uuid.uuid5(uuid.NAMESPACE_URL, f"file://{os.uname().nodename}{self._state}")
        (self._state / "etc" / "libvirtd.conf").write_text(_DAEMON_CONF.format(host_uuid=host_uuid))
        (self._state / "etc" / "qemu.conf").write_text(_QEMU_CONF)
        try:
            pwd.getpwnam(QEMU_USER)
            grp.getgrnam(QEMU_USER)
        except KeyError:
            user = f"{QEMU_USER}:x:{_QEMU_UID}:{_QEMU_UID}:QEMU:/var/lib/libvirt:/usr/sbin/nologin\n"
            yield self._extended("/etc/passwd", user), "/etc/passwd"
            yield self._extended("/etc/group", f"{QEMU_USER}:x:{_QEMU_UID}:\n"), "/etc/group"
        if not self._use_kvm and kvm.DEVICE.exists():
            # A /dev/kvm that QEMU cannot use makes libvirt probe QEMU anew at each start of a guest.
            hidden = self._state / "no-kvm"
            hidden.touch(mode=0o000)
            yield hidden, str(kvm.DEVICE)

    def _extended(self, original: str, line: str) -> Path:
        """A copy of a database of names with one more line. An entry of that name would be found first."""
        copy = self._state / "etc" / Path(original).name
        text = Path(original).read_text()
        copy.write_text(text + ("" if text.endswith("\n") else "\n") + line)
        return copy

    def _open_devices(self) -> list[list[str]]:
        """/dev/kvm, if only root may open it: QEMU is not root."""
        if not self._use_kvm or kvm.DEVICE.stat().st_mode & stat.S_IRWXO == stat.S_IROTH | stat.S_IWOTH:
            return []
        directory = self._run / "dev"
        directory.mkdir(exist_ok=True)
        return [[str(directory), str(kvm.DEVICE)]]

    # --- processes ------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._run.parent.mkdir(parents=True, exist_ok=True)
        with (self._run.parent / "libvirtd.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _pid(self) -> int | None:
        """The process id of libvirtd if it is alive."""
        pid = _number_in(self._pid_file)
        return pid if pid is not None and str(self._pid_file) in _command_line(pid) else None

    def _guest_pids(self) -> list[int]:
        """The processes of all guests that are alive."""
        found = []
        for path in (self._run / "qemu").glob("*.pid"):
            pid = _number_in(path)
            if pid is not None and any(f"guest={path.stem}," in word for word in _command_line(pid)):
                found.append(pid)
        return found

    def _end_process(self, pid: int | None, first: signal.Signals) -> None:
        """Signal a process and return when it has ended; it is killed if it takes long."""
        if pid is None:
            return
        self._signal(pid, first)
        deadline = self._clock.monotonic() + _END_TIMEOUT
        while _command_line(pid):
            if self._clock.monotonic() > deadline:
                self._signal(pid, signal.SIGKILL)
            self._clock.sleep(0.01)

    @staticmethod
    def _signal(pid: int, number: signal.Signals) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            log.debug("a process had ended before it was told to", pid=pid)


def _number_in(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _command_line(pid: int) -> list[str]:
    """The words that a process was started with; none if it has ended, be it reaped or not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it says nothing"


def system_libvirtd_answers() -> bool:
    """Whether the machine has a libvirtd of its own that runs."""
    return _listens(SYSTEM_SOCKET)
