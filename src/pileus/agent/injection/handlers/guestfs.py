"""Disks of any format and file systems of any kind, opened by the small guest of libguestfs, through guestfish."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pileus.agent.injection.handlers.base import Disk, Means, root_among
from pileus.agent.injection.partitions import INSPECT, Partition
from pileus.agent.injection.programs import CannotOpenError, text_of
from pileus.agent.injection.tree import DIRECTORY_MODE, FILE_MODE, FileSystem, InjectionRefusedError, Kind, Node

SECONDS = 90.0  # its guest takes half a minute to boot where there is no KVM
_SERVER = re.compile(r"GUESTFISH_PID=(\d+)")
_NUMBER = re.compile(r"^/dev/\D+(\d*)$")
_KINDS = {0o100000: Kind.FILE, 0o040000: Kind.DIRECTORY, 0o120000: Kind.LINK}


class Guestfish:
    """A guestfish that listens for commands, each given by a process of its own. It ends at the first that fails."""

    def __init__(self, disk: Disk, scratch: Path) -> None:
        self._said = scratch / "guestfish"
        with self._said.open("wb") as output:  # no pipe: what listens keeps it open
            _run(["guestfish", "--listen", "--rw", f"--format={disk.format}", "-a", str(disk.path)], output)
        match = _SERVER.search(self._said.read_text(errors="replace"))
        if match is None:
            raise CannotOpenError(f"guestfish does not listen: {text_of(self._said.read_bytes())}")
        self._pid = int(match[1])
        self._greeting = self._said.stat().st_size
        self._ended = False

    def ask(self, *words: str) -> bytes:
        """What a command prints. InjectionRefusedError if it fails, or one before it has."""
        if not self._ended:
            done = _run(["guestfish", f"--remote={self._pid}", "--", *words])
            if done.returncode == 0:
                return done.stdout
            self._ended = True
        raise InjectionRefusedError(f"guestfish {words[0]}: {text_of(self._said.read_bytes()[self._greeting :])}")

    def start(self) -> None:
        """Boot its guest. CannotOpenError if that fails."""
        try:
            self.ask("run")
        except InjectionRefusedError as err:
            raise CannotOpenError(str(err)) from err

    def unmount(self) -> None:
        """Unmount what is mounted, unless it has ended: then it has done that itself."""
        if not self._ended:
            self.ask("umount", "/")

    def close(self) -> None:
        """Wait until its guest has written everything and is gone. InjectionRefusedError if it says that it has not."""
        if not self._ended:
            self.ask("shutdown")
            self.ask("exit")
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)  # an orphan, so a child of this namespace's first process, which this one is


class GuestfsFiles:
    """The file system that a Guestfish has mounted."""

    def __init__(self, fish: Guestfish, content: Path) -> None:
        self._fish = fish
        self._content = content

    def look(self, path: str) -> Node | None:
        if self._fish.ask("exists", path).strip() != b"true" and self._fish.ask("is-symlink", path).strip() != b"true":
            return None
        lines = self._fish.ask("lstatns", path).decode(errors="replace").splitlines()
        facts = dict(line.partition(": ")[::2] for line in lines)
        mode = int(facts["st_mode"])
        return Node(_KINDS.get(mode & 0o170000, Kind.OTHER), mode & 0o7777, int(facts["st_size"]))

    def link_target(self, path: str) -> str:
        return self._fish.ask("readlink", path).decode(errors="surrogateescape").removesuffix("\n")

    def read(self, path: str) -> bytes:
        self._fish.ask("download", path, str(self._content))
        return self._content.read_bytes()

    def write(self, path: str, content: bytes) -> None:
        new = self.look(path) is None
        self._content.write_bytes(content)
        self._fish.ask("upload", str(self._content), path)
        if new:
            self._fish.ask("chown", "0", "0", path)
            self.set_mode(path, FILE_MODE)

    def make_directory(self, path: str) -> None:
        self._fish.ask("mkdir-mode", path, f"0{DIRECTORY_MODE:o}")
        self.set_mode(path, DIRECTORY_MODE)

    def set_mode(self, path: str, mode: int) -> None:
        self._fish.ask("chmod", f"0{mode:o}", path)


class GuestfsHandler:
    """The safest way for hostile images: their file systems are opened by the kernel of a guest. It is slow."""

    name = "guestfs"

    def __init__(self, means: Means) -> None:
        self._means = means

    def unfit(self, disk: Disk) -> str | None:
        return None if shutil.which("guestfish") else "libguestfs is not installed: there is no guestfish"

    @contextmanager
    def opened(self, disk: Disk) -> Iterator[FileSystem]:
        fish = Guestfish(disk, self._means.scratch)
        try:
            fish.start()
            candidates = self._candidates(fish)
            with root_among(list(candidates), lambda one: self._mounted(fish, candidates[one])) as files:
                yield files
        finally:
            fish.close()

    def _candidates(self, fish: Guestfish) -> dict[Partition, str]:
        """The disk's file systems, each with its device in libguestfs's guest."""
        found = {}
        for line in fish.ask("list-filesystems").decode(errors="replace").splitlines():
            device, _, kind = line.partition(": ")
            number = _NUMBER.match(device)
            if number is None or kind in ("swap", "unknown"):
                continue
            partition = Partition(int(number[1] or 0), 0, 0, kind)
            if self._means.partition in (INSPECT, str(partition.number)):
                found[partition] = device
        if not found:
            raise CannotOpenError(f"no file system in partition {self._means.partition!r}", of_image=True)
        return found

    @contextmanager
    def _mounted(self, fish: Guestfish, device: str) -> Iterator[FileSystem]:
        try:
            fish.ask("mount-options", "nosuid,nodev,noexec", device, "/")
        except InjectionRefusedError as err:
            raise CannotOpenError(str(err), of_image=True) from err
        yield GuestfsFiles(fish, self._means.scratch / "content")
        fish.unmount()


def _run(command: Sequence[str], output: BinaryIO | None = None) -> subprocess.CompletedProcess[bytes]:
    stdout, stderr = (subprocess.PIPE, subprocess.PIPE) if output is None else (output, subprocess.STDOUT)
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, check=False, timeout=SECONDS
        )
    except subprocess.TimeoutExpired as err:
        raise CannotOpenError(f"{command[0]} took more than {SECONDS:.0f} s") from err
