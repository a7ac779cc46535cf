"""Running the host's programs for the build, with errors that name the program and what it said."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from pileus.kernel.errors import PileusError


class BuildError(PileusError):
    """The guest image cannot be built; the message says what to do about it."""


def run(
    arguments: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> str:
    """Run one program by its argument list and return what it wrote to standard output.

    Messages are in the C locale, because some are parsed.

    Raises:
        BuildError: the program is not installed, or ended with another code than 0.
    """
    command = [str(argument) for argument in arguments]
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
            input=stdin,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as err:
        raise BuildError(f"{command[0]} is not installed (see scripts/packages-host.txt)") from err
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise BuildError(f"{' '.join(command)} ended with {done.returncode}: {said[-2000:]}")
    return done.stdout.decode(errors="replace")
