"""Programs that read or change what a tenant made: without privileges, within limits of memory and time."""

import os
import subprocess
from collections.abc import Sequence

SECONDS = 60.0


class CannotOpenError(Exception):
    """A handler cannot open a disk. `of_image`: the disk's content is why, so that no other host can either."""

    def __init__(self, reason: str, *, of_image: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.of_image = of_image


def confined(command: Sequence[str], memory: int, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a program without any capability, with `memory` MiB of address space. It may fail."""
    return _run(
        [
            "setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--",
            "prlimit", f"--as={memory << 20}", f"--cpu={int(SECONDS)}", "--core=0", "--", *command,
        ],
        data,
    )  # fmt: skip


def trusted(command: Sequence[str]) -> None:
    """Run a program that changes the host. CannotOpenError if it fails."""
    done = _run(command, b"")
    if done.returncode:
        raise CannotOpenError(f"{command[0]}: {text_of(done.stderr)}")


def text_of(output: bytes) -> str:
    """What a program said, as one short line."""
    return " ".join(output.decode(errors="replace").split())[:500]


def _run(command: Sequence[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    try:
        return subprocess.run(command, input=data, env=environment, capture_output=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired as err:
        raise CannotOpenError(f"{command[0]} took more than {SECONDS:.0f} s") from err
    except FileNotFoundError as err:
        raise CannotOpenError(f"this host has no program {command[0]}") from err
