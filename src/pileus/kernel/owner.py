"""Who holds a lease: `host:pid:start:n`, precise enough to tell on the same machine that the holder is dead."""

import itertools
import os
import socket
from collections.abc import Iterable
from functools import cache
from pathlib import Path

_count = itertools.count(1)


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip().partition("-")[0]


def _started(pid: int) -> str | None:
    """The instant of a process' start, unlike that of any other process that ever had its pid; None if none runs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name in parentheses may hold anything
    return None if fields[0] in "ZX" else f"{_boot()}.{fields[19]}"


def this_host() -> str:
    """The host's part of an owner. It holds no colon and must be the host's own among the conductors."""
    return socket.gethostname().replace(":", "-")[:64]


def new_owner() -> str:
    """An owner for one engine of this process. Ask after forking."""
    return f"{this_host()}:{os.getpid()}:{_started(os.getpid())}:{next(_count)}"


def host_of(owner: str) -> str:
    """The host on which an owner runs."""
    return owner.partition(":")[0]


def dead_here(owners: Iterable[str]) -> list[str]:
    """Those `owners` that were processes of this host and are no more. Others may be anything."""
    dead = []
    for owner in owners:
        parts = owner.split(":")
        if len(parts) == 4 and parts[0] == this_host() and parts[1].isdigit() and _started(int(parts[1])) != parts[2]:
            dead.append(owner)
    return dead
