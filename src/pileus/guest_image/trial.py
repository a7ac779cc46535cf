"""Booting the guest image under plain QEMU, without Pileus: for its tests and for comparing times.

User-mode network, SSH forwarded from a loopback port, the image below a throw-away overlay.
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pileus.guest_image.builder import GuestImage
from pileus.guest_image.programs import BuildError, run

POLL: Final = 0.02
PLAIN_OPTIONS: Final = "console=tty0 console=ttyS0"
"""What a compute service passes to a kernel of which it knows nothing."""

DEVICES: Final = {"virtio": "virtio-blk-pci", "ide": "ide-hd"}
ROOTS: Final = {"virtio": "/dev/vda", "ide": "/dev/sda"}


def config_drive(
    path: Path, meta_data: Mapping[str, Any], user_data: str | None = None, contents: Mapping[str, bytes] | None = None
) -> Path:
    """Make an iso9660 configuration drive at `path`; `contents` are the files of openstack/content, by name."""
    tree = path.with_suffix(".d")
    latest = tree / "openstack/latest"
    latest.mkdir(parents=True)
    (latest / "meta_data.json").write_text(json.dumps(meta_data))
    if user_data is not None:
        (latest / "user_data").write_text(user_data)
    for name, content in (contents or {}).items():
        (tree / "openstack/content").mkdir(exist_ok=True)
        (tree / "openstack/content" / name).write_bytes(content)
    run(["genisoimage", "-quiet", "-J", "-r", "-V", "config-2", "-o", path, tree])
    return path


def free_port() -> int:
    """A loopback TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Trial:
    """One guest of one image. A context manager: the process is gone when the block ends."""

    image: GuestImage
    directory: Path
    """Scratch for overlay, console log and sockets; the next trial in it boots the same disk again."""
    whole_disk: bool = True
    """Boot the disk by its own boot loader, or kernel, ramdisk and root."""
    drive: Path | None = None
    options: str = PLAIN_OPTIONS
    """The kernel's, if not `whole_disk`."""
    memory: int = 128
    """MiB."""
    disk_size: int = 1024
    """MiB."""
    disk_bus: str = "virtio"
    """`virtio` or `ide`; the configuration drive on IDE is a CD."""
    drive_bus: str = "ide"
    machine: str = "pc"
    network: str = ""
    """More options of QEMU's user network, such as guestfwd."""
    extra: Sequence[str] = ()
    port: int = field(default_factory=free_port)
    started: float = 0.0

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.console.unlink(missing_ok=True)
        self._log = (self.directory / "qemu.log").open("wb")
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def command(self) -> list[str]:
        """QEMU's arguments; makes the overlay if this guest has none yet."""
        overlay = self.directory / "disk.qcow2"
        base, base_format = (self.image.disk, "qcow2") if self.whole_disk else (self.image.root, "raw")
        if not overlay.exists():
            run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", base_format, overlay,
                 f"{self.disk_size}M"])  # fmt: skip
        arguments = [
            "qemu-system-x86_64", "-machine", f"{self.machine},accel=tcg,usb=off", "-cpu", "qemu64",
            "-m", str(self.memory), "-smp", "1", "-nodefaults", "-no-user-config", "-display", "none", "-vga", "std",
            "-serial", f"file:{self.console}",
            "-qmp", f"unix:{self.directory / 'qmp'},server=on,wait=off",
            "-drive", f"file={overlay},if=none,id=root,format=qcow2,cache=unsafe",
            "-device", f"{DEVICES[self.disk_bus]},drive=root,bootindex=1",
            "-netdev", f"user,id=n0,hostfwd=tcp:127.0.0.1:{self.port}-:22{self.network}",
            "-device", "virtio-net-pci,netdev=n0",
            *self.extra,
        ]  # fmt: skip
        if not self.whole_disk:
            arguments += ["-kernel", str(self.image.kernel), "-initrd", str(self.image.ramdisk)]
            arguments += ["-append", f"root={ROOTS[self.disk_bus]} {self.options}"]
        if self.drive is not None:
            device = "ide-cd" if self.drive_bus == "ide" else DEVICES[self.drive_bus]
            arguments += ["-drive", f"file={self.drive},if=none,id=config,format=raw,readonly=on"]
            arguments += ["-device", f"{device},drive=config"]
        return arguments

    @property
    def console(self) -> Path:
        """The guest's serial console, as a growing file."""
        return self.directory / "console.log"

    def console_text(self) -> str:
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def wait_for_banner(self, timeout: float = 60.0) -> float:
        """Seconds from the start of QEMU to the first bytes of an SSH server.

        Raises:
            BuildError: none came in `timeout` seconds.
        """
        deadline = self.started + timeout
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.5) as connection:
                # QEMU accepts before the guest does; what the guest missed is not sent again soon, so ask anew.
                connection.settimeout(0.5)
                if connection.recv(4) == b"SSH-":
                    return time.monotonic() - self.started
            time.sleep(POLL)
        raise BuildError(f"no SSH banner in {timeout} s; console: {self.console_text()[-3000:]}")

    def wait_for_console(self, text: str, timeout: float = 60.0, count: int = 1) -> None:
        """Wait until the console has shown `text` `count` times.

        Raises:
            BuildError: it did not in `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while self.console_text().count(text) < count:
            if time.monotonic() > deadline:
                raise BuildError(f"{text!r} not on the console in {timeout} s: {self.console_text()[-3000:]}")
            time.sleep(POLL)

    def ssh(self, command: str, *options: str | Path, environment: Mapping[str, str] | None = None) -> str:
        """Run a command in the guest by OpenSSH's client as the image's user; what it printed.

        `options` say how to log in, such as `-i`, key.
        """
        return run(
            [
                "ssh", "-q", "-F", "none", "-p", str(self.port), "-o", "StrictHostKeyChecking=no",
                "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=20", *options,
                f"{self.image.user}@127.0.0.1", command,
            ],
            environment=environment,
        )  # fmt: skip

    def monitor(self, command: str, **arguments: Any) -> None:
        """Give QEMU a command of its machine protocol (QMP).

        Raises:
            BuildError: QEMU refused it.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.fspath(self.directory / "qmp"))
            stream = connection.makefile("rwb")
            stream.readline()
            for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                stream.write(json.dumps(request).encode() + b"\n")
                stream.flush()
                answer = json.loads(stream.readline())
                while "event" in answer:
                    answer = json.loads(stream.readline())
                if "error" in answer:
                    raise BuildError(f"QEMU refused {command}: {answer['error']['desc']}")

    def wait_for_end(self, timeout: float) -> float:
        """Seconds until QEMU ended by itself.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        before = time.monotonic()
        self._process.wait(timeout)
        return time.monotonic() - before
