"""qemu-img on images that nobody vouches for: under limits of time, processor, memory and file size.

An image is inspected (`kernel.image_format`) before qemu-img sees it, and qemu-img is told its format, never asked.
"""

import errno
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

QEMU_NAMES = {"vhd": "vpc", "ploop": "parallels", "gpt": "raw", "ami": "raw", "ari": "raw", "aki": "raw", "iso": "raw"}
"""What qemu-img calls those disk formats that it knows under other names than the image service."""

# qemu-img has up to 64 threads; at the usual 8 MiB of stack and 64 MiB of malloc arena each, they would need more
# address space than the limit gives, and now and then one could not be made.
STACK = 2 << 20
ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}
_LOOK = 0.2  # seconds between looks whether to go on


@dataclass(frozen=True)
class Limits:
    """What one run of qemu-img may take. Beyond it, it is killed. `file_size` 0: any."""

    seconds: int = 3600
    address_space: int = 2 << 30  # bytes
    file_size: int = 0  # bytes of the file that it writes


DEFAULT_LIMITS = Limits()


class ConversionFailed(Exception):
    """qemu-img refused the image, or took more than it may. The message is for whoever brought the image."""


def convert(
    source: Path,
    disk_format: str,
    target: Path,
    to: str = "raw",
    limits: Limits = DEFAULT_LIMITS,
    check: Callable[[], None] = lambda: None,
    inherited: Sequence[int] = (),
) -> None:
    """Convert an inspected image of `disk_format` into a new file.

    `check` is called a few times a second; what it raises ends the conversion. `inherited`: descriptors that stay open
    as long as qemu-img lives, a lock's for instance. ConversionFailed if qemu-img fails or is killed by a limit;
    OSError (ENOSPC) if there is no space. The target may then hold a part: it is the caller's to remove.
    """
    command = [
        "qemu-img", "convert", "-t", "none", "-T", "none", "-f", QEMU_NAMES.get(disk_format, disk_format),
        "-O", QEMU_NAMES.get(to, to), str(source), str(target),
    ]  # fmt: skip
    code, text = run(command, limits, check, inherited)
    if code and "O_DIRECT" in text:
        code, text = run([word for word in command if word not in ("-t", "-T", "none")], limits, check, inherited)
    if not code:
        return
    if "No space left" in text or "quota exceeded" in text:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
    raise ConversionFailed(f"The {disk_format} image cannot be converted: {text or _death(code)}.")


def run(
    command: Sequence[str],
    limits: Limits,
    check: Callable[[], None] = lambda: None,
    inherited: Sequence[int] = (),
) -> tuple[int, str]:
    """Run a command under the limits; its exit code, and what it wrote to standard error.

    It dies with this process. ConversionFailed after `limits.seconds`.
    """
    caps = [f"--as={limits.address_space}", f"--cpu={limits.seconds}", f"--stack={STACK}", "--core=0"]
    if limits.file_size:
        caps.append(f"--fsize={limits.file_size}")
    with subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "prlimit", *caps, "--", *command],
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=inherited,
    ) as process:
        try:
            text = _wait(process, limits.seconds, check)
        except BaseException:
            process.kill()
            raise
    return process.returncode, text.decode(errors="replace").strip()


def _wait(process: subprocess.Popen[bytes], seconds: int, check: Callable[[], None]) -> bytes:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return process.communicate(timeout=_LOOK)[1]
        except subprocess.TimeoutExpired as err:
            check()
            if time.monotonic() >= deadline:
                raise ConversionFailed(f"Converting the image took more than {seconds} s.") from err


def _death(code: int) -> str:
    return f"qemu-img was killed by signal {-code}" if code < 0 else f"qemu-img ended with {code}"
