"""What the supervisor asks of the kernel: who runs, dying with one's parent, and one supervisor per cloud."""

import ctypes
import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_M_ARENA_MAX = -8


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks after boot; None if it is gone or a zombie.

    A process id with its start time names one process for ever: the kernel uses ids again.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def record(path: Path, pid: int) -> None:
    """Write a process's id and start time, so that `recorded` can find it again."""
    path.write_text(f"{pid} {start_time(pid)}\n")


def recorded(path: Path) -> int | None:
    """The id of the process that `record` noted, if that very process still runs."""
    try:
        pid, started = path.read_text().split()
        return int(pid) if start_time(int(pid)) == int(started) else None
    except (OSError, ValueError):
        return None


def stop_recorded(run_dir: Path, timeout: float) -> list[str]:
    """End all processes that are recorded in `run_dir`: SIGTERM, and SIGKILL after `timeout` seconds. Their names."""
    running = dict(_all_recorded(run_dir))
    for pid in running.values():
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while any(True for _ in _all_recorded(run_dir)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for _, pid in _all_recorded(run_dir):
        _signal(pid, signal.SIGKILL)
    for path in run_dir.glob("*.pid"):
        path.unlink(missing_ok=True)
    return sorted(running)


def _all_recorded(run_dir: Path) -> Iterator[tuple[str, int]]:
    for path in run_dir.glob("*.pid"):
        if (pid := recorded(path)) is not None:
            yield path.stem, pid


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def die_with(parent: int) -> None:
    """Let the kernel end this process when `parent`, which forked it, dies in whatever way."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def name_process(name: str) -> None:
    """The name that ps and top show for this process; at most 15 bytes."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def accepts(path: Path) -> bool:
    """Whether some process accepts connections on a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def limit_arenas(count: int) -> None:
    """Keep glibc from giving each thread a heap of its own: with dozens of threads that is memory for nothing."""
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, count)


def run_until_signalled(run: Callable[[], None], stop: Callable[[], None]) -> None:
    """Call `run` in a thread, and `stop` on SIGTERM or SIGINT; return when `run` has, raising what it raised.

    `stop` runs in the main thread and not in a signal handler, where waiting for a lock could wait for ever.
    """
    wake, alarm = os.pipe()
    os.set_blocking(alarm, False)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            run()
        except BaseException as err:  # noqa: BLE001
            errors.append(err)  # to be raised, and thereby logged, in the main thread
        finally:
            os.write(alarm, b"\0")

    handlers = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    previous = signal.set_wakeup_fd(alarm)
    thread = threading.Thread(target=work, name="main")
    try:
        thread.start()
        os.read(wake, 1)
        stop()
        thread.join()
    finally:
        signal.set_wakeup_fd(previous)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(wake)
        os.close(alarm)
    if errors:
        raise errors[0]


class InstanceLock:
    """Held by the supervisor of a cloud for as long as it lives, and let go by any death."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / "supervisor.lock"
        self._fd: int | None = None

    def acquire(self, timeout: float = 1.0) -> bool:
        """Whether this process is the supervisor now. Run it in the process that stays.

        `timeout` in seconds bridges those who only look (`holder`). The file may be removed by whoever holds the
        lock, so what was locked must still be the file of that name.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                time.sleep(0.02)
                continue
            if self._is_current(fd):
                os.ftruncate(fd, 0)
                os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
                self._fd = fd
                return True
            os.close(fd)
        return False

    def _is_current(self, fd: int) -> bool:
        try:
            return os.fstat(fd).st_ino == self._path.stat().st_ino
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Close the descriptor. A forked child does so at once, or it would keep the lock of its parent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def holder(self) -> int | None:
        """The process id of the supervisor that runs, or None."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(fd, 32, 0).strip()
            return int(text) if text else None
        else:
            return None
        finally:
            os.close(fd)
