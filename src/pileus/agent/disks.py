"""The disks of this host's guests: one directory for each server.

Root disks are copy-on-write overlays on cached images; ephemeral and swap disks are made fresh; the config drive is an
ISO 9660 image. A disk that is there already is left as it is: it may hold a user's data.
"""

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog

from pileus.agent.api import DiskFile, DisksSpec, ImageRef, MetadataSpec
from pileus.agent.config_drive import write_config_drive
from pileus.agent.errors import AgentError, InvalidRequest, NoSpace
from pileus.agent.image_cache import ImageCache
from pileus.agent.injection.injector import Injector
from pileus.agent.journal import Journal
from pileus.agent.locks import KeyedLocks

log = structlog.get_logger("pileus.agent.disks")

GIB = 1 << 30
MIB = 1 << 20
CONSOLE_LOG = "console.log"
ROOT = "root.qcow2"

MetadataOf = Callable[[str], MetadataSpec | None]


class Disks(Protocol):
    """Makes and removes servers' disks."""

    def ensure(self, spec: DisksSpec) -> tuple[DiskFile, ...]:
        """Make all disks of a server; answer them in the order in which the guest gets them."""
        ...

    def ensure_none(self, server_id: str) -> None:
        """Remove all disks of a server, and its console log."""
        ...

    def of(self, server_id: str) -> tuple[DiskFile, ...]:
        """The disks of a server as they are described in the journal."""
        ...

    def servers(self) -> tuple[str, ...]:
        """The servers that have disks here, found by looking."""
        ...

    def console_log(self, server_id: str) -> Path:
        """Where the guest's serial console is written to."""
        ...


class FileDisks:
    """Disks as files in a directory of the host."""

    def __init__(
        self,
        directory: Path,
        cache: ImageCache,
        journal: Journal,
        metadata_of: MetadataOf,
        injector: Injector | None = None,
    ) -> None:
        self._directory = directory
        self._injector = injector
        self._cache = cache
        self._journal = journal
        self._metadata_of = metadata_of
        self._locks = KeyedLocks()
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o711)  # the hypervisor's unprivileged user passes through to its own files

    def ensure(self, spec: DisksSpec) -> tuple[DiskFile, ...]:
        with self._locks.held(spec.server_id):
            directory = self._directory / spec.server_id
            directory.mkdir(mode=0o711, exist_ok=True)
            self._journal.put("disks", spec.server_id, spec)
            disks = list(self._from_images(spec, directory))
            if spec.ephemeral_gb:
                disks.append(self._fresh("ephemeral", directory, spec.ephemeral_gb * GIB))
            if spec.swap_mb:
                disks.append(self._fresh("swap", directory, spec.swap_mb * MIB))
            if spec.config_drive:
                disks.append(self._config_drive(spec.server_id, directory))
            return tuple(disks)

    def ensure_none(self, server_id: str) -> None:
        with self._locks.held(server_id):
            directory = self._directory / server_id
            if directory.exists():
                # Renamed first: whoever looks meanwhile sees either all disks or none.
                doomed = self._directory / f".{server_id}.{os.getpid()}.{threading.get_ident()}"
                directory.rename(doomed)
                shutil.rmtree(doomed)
            self._journal.forget("disks", server_id)

    def of(self, server_id: str) -> tuple[DiskFile, ...]:
        spec = self._journal.get("disks", server_id, DisksSpec)
        if spec is None or not (self._directory / server_id).is_dir():
            return ()
        return self.ensure(spec)

    def servers(self) -> tuple[str, ...]:
        return tuple(sorted(path.name for path in self._directory.iterdir() if not path.name.startswith(".")))

    def console_log(self, server_id: str) -> Path:
        return self._directory / server_id / CONSOLE_LOG

    def remove_partial(self) -> None:
        """Finish removals that were cut off."""
        for path in self._directory.glob(".*"):
            with self._locks.held(path.name[1:].split(".", 1)[0]):
                shutil.rmtree(path, ignore_errors=True)

    def bases_in_use(self) -> set[Path]:
        """The cached images that some server's disks are based on, or are to be: by the journal and by the disks."""
        bases: set[Path] = set()
        for server_id in self.servers():
            spec = self._journal.get("disks", server_id, DisksSpec)
            images = (spec.image, spec.kernel, spec.ramdisk) if spec else ()
            bases.update(self._cache.path_of(image) for image in images if image is not None)
            base = _base_of(self._directory / server_id / ROOT)
            if base is not None:
                bases.add(base)
        return bases

    def _from_images(self, spec: DisksSpec, directory: Path) -> tuple[DiskFile, ...]:
        disks = []
        if spec.image is not None:
            disks.append(self._root(spec, spec.image, directory))
        if spec.kernel is not None:
            disks.append(self._boot_file("kernel", spec.kernel))
        if spec.ramdisk is not None:
            disks.append(self._boot_file("ramdisk", spec.ramdisk))
        return tuple(disks)

    def _root(self, spec: DisksSpec, image: ImageRef, directory: Path) -> DiskFile:
        base = self._cache.ensure(image, spec.root_gb * GIB or None)
        size = spec.root_gb * GIB or base.stat().st_size
        path = directory / ROOT
        if not path.exists():
            command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(base)]
            _make(path, command, size, lambda fresh: self._inject(spec, fresh))
        return DiskFile(role="root", path=str(path), format="qcow2", size=size)

    def _inject(self, spec: DisksSpec, disk: Path) -> None:
        """Write into the root disk what the server is to have in it, before it counts as made."""
        if spec.inject is not None and self._injector is not None:
            self._injector.inject(spec.server_id, disk, "qcow2", spec.inject)

    def _boot_file(self, role: str, image: ImageRef) -> DiskFile:
        path = self._cache.ensure(image)
        if role == "kernel":
            return DiskFile(role="kernel", path=str(path), format="raw", size=path.stat().st_size)
        return DiskFile(role="ramdisk", path=str(path), format="raw", size=path.stat().st_size)

    @staticmethod
    def _fresh(role: str, directory: Path, size: int) -> DiskFile:
        path = directory / f"{role}.raw"
        if not path.exists():
            fresh = directory / f".{role}.raw"
            with fresh.open("wb") as out:
                out.truncate(size)
            if role == "swap":
                _run(["mkswap", "-q", str(fresh)])
            else:
                _run(["mke2fs", "-q", "-t", "ext4", "-L", "ephemeral0", str(fresh)])
            fresh.rename(path)
        if role == "swap":
            return DiskFile(role="swap", path=str(path), format="raw", size=size)
        return DiskFile(role="ephemeral", path=str(path), format="raw", size=size)

    def _config_drive(self, server_id: str, directory: Path) -> DiskFile:
        path = directory / "config.iso"
        if not path.exists():
            metadata = self._metadata_of(server_id)
            if metadata is None:
                raise InvalidRequest(f"the config drive of {server_id} needs its metadata first")
            write_config_drive(metadata, path)
        return DiskFile(role="config", path=str(path), format="raw", size=path.stat().st_size)


def _base_of(overlay: Path) -> Path | None:
    """What an overlay is based on, by its own header: bytes 8 to 15 say where the path is, 16 to 19 how long it is."""
    try:
        with overlay.open("rb") as file:
            header = file.read(20)
            file.seek(int.from_bytes(header[8:16], "big"))
            return Path(os.fsdecode(file.read(int.from_bytes(header[16:20], "big"))))
    except FileNotFoundError:
        return None


def _make(path: Path, command: list[str], size: int, finish: Callable[[Path], None]) -> None:
    """Make a disk under another name and rename it, so that a half-made one is never taken for a disk."""
    fresh = path.with_name(f".{path.name}")
    fresh.unlink(missing_ok=True)  # the one of an agent that was killed may still be written to
    _run([*command, str(fresh), str(size)])
    finish(fresh)
    fresh.rename(path)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, check=False, timeout=300)
    if done.returncode:
        text = done.stderr.decode(errors="replace").strip()
        if "No space left" in text:
            raise NoSpace(f"{command[0]}: {text}")
        raise AgentError(f"{command[0]} failed: {text}")


class FakeDisks:
    """Disks that are only remembered, for the fake hypervisor."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def ensure(self, spec: DisksSpec) -> tuple[DiskFile, ...]:
        self._journal.put("disks", spec.server_id, spec)
        return self._described(spec)

    def ensure_none(self, server_id: str) -> None:
        self._journal.forget("disks", server_id)

    def of(self, server_id: str) -> tuple[DiskFile, ...]:
        spec = self._journal.get("disks", server_id, DisksSpec)
        return () if spec is None else self._described(spec)

    def servers(self) -> tuple[str, ...]:
        return self._journal.keys("disks")

    def console_log(self, server_id: str) -> Path:
        return Path("/dev/null")

    @staticmethod
    def _described(spec: DisksSpec) -> tuple[DiskFile, ...]:
        return (DiskFile(role="root", path=f"fake:{spec.server_id}", format="raw", size=spec.root_gb * GIB),)
