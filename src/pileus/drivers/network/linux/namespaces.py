"""Network namespaces with names, as iproute2 keeps them, and doing things inside one.

The kernel binds a *thread* to a namespace. Work inside runs in a thread made for it that ends afterwards, so no
thread can ever be left in the wrong place; sockets and processes opened there stay in the namespace.
"""

import ctypes
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pileus.drivers.network.base import HostCommandFailed

T = TypeVar("T")
DIRECTORY = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED, _MNT_DETACH = 4096, 16384, 1 << 20, 2
_directory_lock = threading.Lock()
_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: bytes | int | None) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def in_thread(work: Callable[[], T]) -> T:
    """The result (or the exception) of `work`, run in a thread of its own."""
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as err:  # noqa: BLE001 - carried over to the caller's thread, whatever it is
            failures.append(err)

    thread = threading.Thread(target=run, name="namespace")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def run_in(namespace: str | None, work: Callable[[], T]) -> T:
    """`work()` with the calling thread's network being that of `namespace` (a name or path); None: as it is."""
    if namespace is None:
        return work()
    path = DIRECTORY / namespace  # an absolute path wins over the directory

    def inside() -> T:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call("setns", descriptor, _CLONE_NEWNET)
        finally:
            os.close(descriptor)
        return work()

    return in_thread(inside)


def listen_in(namespace: str, address: str, port: int, backlog: int = 64) -> socket.socket:
    """A listening TCP socket at `address`:`port` inside `namespace` (a name or path), for use from anywhere.

    Raises OSError: the namespace is not there, or has not the address.
    """

    def listen() -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((address, port))
            server.listen(backlog)
            return server.dup()

    return run_in(namespace, listen)


def exists(name: str) -> bool:
    """Whether the name leads to a namespace; a file without one is what a killed process left."""
    try:
        return (DIRECTORY / name).stat().st_dev == Path("/proc/self/ns/net").stat().st_dev
    except FileNotFoundError:
        return False


def holds(name: str, pid: int) -> bool:
    """Whether the process is in the namespace."""
    try:
        return (DIRECTORY / name).stat().st_ino == Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return False


def ensure(name: str) -> bool:
    """Make the namespace with its loopback interface down; answer whether it was made now."""
    if exists(name):
        return False
    ensure_no(name)
    with _directory_lock:
        _prepare_directory()
    path = DIRECTORY / name
    path.touch(mode=0o444)

    def unshare() -> None:
        _call("unshare", _CLONE_NEWNET)
        own = f"/proc/self/task/{threading.get_native_id()}/ns/net"
        _call("mount", own.encode(), str(path).encode(), None, _MS_BIND, None)

    try:
        in_thread(unshare)
    except OSError as err:
        ensure_no(name)
        raise HostCommandFailed(f"cannot make the namespace {name}: {err}") from err
    return True


def ensure_no(name: str) -> None:
    """Remove the name; the namespace goes with the last process and mount that hold it."""
    path = DIRECTORY / name
    if not path.exists():
        return
    if exists(name):
        _call("umount2", str(path).encode(), _MNT_DETACH)
    path.unlink(missing_ok=True)


def names() -> list[str]:
    """All names, also those that lead nowhere."""
    return sorted(path.name for path in DIRECTORY.iterdir()) if DIRECTORY.is_dir() else []


def _prepare_directory() -> None:
    """Make the directory a shared mount, so that namespaces appear and go in all mount namespaces."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    try:
        _call("mount", b"", str(DIRECTORY).encode(), b"none", _MS_SHARED | _MS_REC, None)
    except OSError:  # not a mount point yet
        _call("mount", str(DIRECTORY).encode(), str(DIRECTORY).encode(), b"none", _MS_BIND | _MS_REC, None)
        _call("mount", b"", str(DIRECTORY).encode(), b"none", _MS_SHARED | _MS_REC, None)


def write_sysctl(values: dict[str, str]) -> None:
    """Set kernel parameters (with slashes: `net/ipv4/ip_forward`) of the calling thread's namespace.

    Parameters that this kernel does not have are passed over: an IPv6 switch where there is no IPv6.
    """
    for name, value in values.items():
        path = Path("/proc/sys") / name
        if path.exists():
            path.write_text(value)
