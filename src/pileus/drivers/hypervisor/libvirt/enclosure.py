"""Runs libvirtd in a mount namespace of its own. A program, not a module: `python enclosure.py DESCRIPTION`.

libvirtd as root has fixed places (/etc/libvirt, /run/libvirt, ...). In its own namespace those are directories of
one cloud, so that several clouds share a machine, and the machine's own libvirt, if it is installed later, is
not disturbed. The namespace follows what the host mounts and vanishes with the last process in it.

The process that remains is the parent of libvirtd and adopts its guests, which libvirtd starts as daemons. It only
waits for them: libvirtd takes a guest for alive until its process is reaped, and not every process 1 reaps at
once. It ends when nobody is left. If it is killed, guests and libvirtd go on.

It imports nothing of Pileus, so that it stays small.
"""

import ctypes
import json
import os
import stat
import sys

CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000
MS_NOSUID, MS_NOEXEC = 0x2, 0x8
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    arguments = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    _check(_libc.mount(*arguments, flags, None if data is None else data.encode()), f"mount {source} on {target}")


def enclose(binds: list[list[str]], open_devices: list[list[str]]) -> None:
    """Enter a new mount namespace, with `binds` ([source, target]) in place.

    Each of `open_devices` ([directory, device]) is replaced by a node of the same device that everyone in the
    namespace may open; `directory` is a place to keep that node in.
    """
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    _mount(None, "/", None, MS_REC | MS_SLAVE)
    for source, target in binds:
        if os.path.isdir(source):  # noqa: PTH112 - pathlib would be imported for this alone
            os.makedirs(target, exist_ok=True)  # noqa: PTH103
        _mount(source, target, None, MS_BIND)
    for directory, device in open_devices:
        _mount("tmpfs", directory, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755")
        node = f"{directory}/{os.path.basename(device)}"  # noqa: PTH119
        os.mknod(node, stat.S_IFCHR, os.stat(device).st_rdev)  # noqa: PTH116
        os.chmod(node, 0o666)  # noqa: PTH101, S103 - as udev makes it
        _mount(node, device, None, MS_BIND)


def keep(command: list[str]) -> None:
    """Run `command` and reap it and all that it leaves behind. Returns when nobody is left."""
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")
    if os.fork() == 0:
        os.execv(command[0], command)  # noqa: S606
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def main() -> None:
    """Set up the namespace, then leave `keep` running in the background."""
    description = json.loads(sys.argv[1])
    enclose(description["binds"], description["open_devices"])
    if os.fork() == 0:
        keep(description["command"])


if __name__ == "__main__":
    main()
