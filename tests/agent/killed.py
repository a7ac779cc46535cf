"""Processes that are killed, by SIGKILL, before each thing in turn that they do to a directory."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = {
    "open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.utime", "os.chmod", "fcntl.flock",
    "subprocess.Popen",
}  # fmt: skip
"""What the interpreter says before it does it, as far as it may change files."""


def run_killed(act: Callable[[], object], directory: Path, after: int) -> bool:
    """Run `act` in a process that is killed before it does the thing number `after` to `directory`, or starts it as a
    program there; whether it was. AssertionError if it failed by itself."""
    child = os.fork()
    if child == 0:
        _run(act, str(directory), after)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def _run(act: Callable[[], object], directory: str, after: int) -> None:
    left = after

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in CHANGES and (event == "fcntl.flock" or directory in repr(arguments)):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(hook)
    try:
        act()
    except BaseException:  # noqa: BLE001 - this process has nobody above it who would say so
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
