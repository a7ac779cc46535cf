"""A disk of any format as a raw file, for programs that know no other."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pileus.agent.injection.handlers.base import Disk
from pileus.agent.injection.programs import CannotOpenError, trusted

FUSE = Path("/dev/fuse")


@contextmanager
def raw_file(disk: Disk, scratch: Path, *, fuse: bool = True) -> Iterator[Path]:
    """The disk as a raw file; what is written into it is in the disk when the context is left.

    With FUSE it is a view of the disk. Without, it is a copy, which replaces the disk: an overlay then is on its own.
    """
    if disk.format == "raw":
        yield disk.path
    elif fuse and FUSE.exists():
        with _viewed(disk, scratch) as path:
            yield path
    else:
        with _copied(disk) as path:
            yield path


@contextmanager
def _viewed(disk: Disk, scratch: Path) -> Iterator[Path]:
    view, pid_file = scratch / "disk.raw", scratch / "export.pid"
    view.touch()
    node = f"driver={disk.format},node-name=disk,file.driver=file,file.filename={_escaped(disk.path)}"
    export = f"type=fuse,id=view,node-name=disk,mountpoint={_escaped(view)},writable=on,growable=off,allow-other=off"
    trusted(["qemu-storage-daemon", "--blockdev", node, "--export", export, "--pidfile", str(pid_file), "--daemonize"])
    pid = int(pid_file.read_text())
    try:
        yield view
    finally:
        os.kill(pid, signal.SIGTERM)
        _, status = os.waitpid(pid, 0)  # ours, as orphans of this process's namespace are
        if os.waitstatus_to_exitcode(status):
            raise CannotOpenError(f"qemu-storage-daemon ended with {os.waitstatus_to_exitcode(status)}")


@contextmanager
def _copied(disk: Disk) -> Iterator[Path]:
    raw = disk.path.with_name(f"{disk.path.name}.flat")
    again = disk.path.with_name(f"{disk.path.name}.again")
    try:
        trusted(["qemu-img", "convert", "-f", disk.format, "-O", "raw", str(disk.path), str(raw)])
        yield raw
        trusted(["qemu-img", "convert", "-f", "raw", "-O", disk.format, str(raw), str(again)])
        again.rename(disk.path)
    finally:
        raw.unlink(missing_ok=True)
        again.unlink(missing_ok=True)


def _escaped(path: Path) -> str:
    """A path within QEMU's comma-separated options."""
    return str(path).replace(",", ",,")
