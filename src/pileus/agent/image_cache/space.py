"""Free space on the cache's file system, which guests' disks and much else may share."""

import os
from pathlib import Path

RESERVE = 256 << 20


def free_bytes(directory: Path) -> int:
    """What can still be written."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def reserve(directory: Path) -> int:
    """What no image may take, so that guests which are running can go on: 256 MiB, on small disks a tenth."""
    found = os.statvfs(directory)
    return min(RESERVE, found.f_blocks * found.f_frsize // 10)


def taken_by(path: Path) -> int:
    """What a file takes of the disk; holes take nothing. 0 if there is no such file."""
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0
