"""Guests' console logs: QEMU appends to a file, which is read from its end and cut when it grows large.

What is cut off is kept once, in a file beside it, so that a log that was just cut still has a past to show.
"""

import os
from pathlib import Path

from pileus.drivers.hypervisor.base import CONSOLE_BYTES, tail


def read(path: Path, lines: int | None) -> str:
    """The end of a log, of at most CONSOLE_BYTES; empty if there is none yet. Bytes that are no UTF-8 are replaced."""
    recent = _end_of(path, CONSOLE_BYTES)
    if len(recent) < CONSOLE_BYTES:
        recent = _end_of(_past(path), CONSOLE_BYTES - len(recent)) + recent
    return tail(recent.decode(errors="replace"), lines)


def shorten(path: Path, limit: int) -> None:
    """Move the end of a log that is larger than `limit` bytes aside and empty the log.

    QEMU has it open for appending, so it writes on at the new end. What is written in the moment between copying
    and emptying is lost.
    """
    try:
        if path.stat().st_size <= limit:
            return
    except FileNotFoundError:
        return
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(_end_of(path, CONSOLE_BYTES))
    partial.replace(_past(path))
    os.truncate(path, 0)


def _past(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _end_of(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - size))
            return log.read(size)
    except FileNotFoundError:
        return b""
