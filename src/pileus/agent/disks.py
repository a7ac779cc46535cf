"""The disks of this host's guests: one directory for each server.

Root disks are copy-on-write overlays on cached images, or full copies of them; ephemeral and swap disks are made fresh;
the config drive is an ISO 9660 image. A disk that is there already is left as it is: it may hold a user's data.
"""

import os
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol

import msgspec
import structlog

from pileus.agent.api import DiskFile, DisksSpec, ImageRef, MetadataSpec
from pileus.agent.config_drive import write_config_drive
from pileus.agent.disk_files import base_of, make_copy, make_fresh, make_overlay
from pileus.agent.errors import AgentError, InvalidRequest
from pileus.agent.image_cache import Base, ImageCache
from pileus.agent.image_cache.directory import Format, format_of, image_of
from pileus.agent.injection.injector import Injector
from pileus.agent.journal import Journal
from pileus.agent.locks import KeyedLocks

log = structlog.get_logger("pileus.agent.disks")

GIB = 1 << 30
MIB = 1 << 20
CONSOLE_LOG = "console.log"
OVERLAY = "root.qcow2"
COPY = "root.raw"

MAKE_CONTENT = {"swap": ["mkswap", "-q"], "ephemeral": ["mke2fs", "-q", "-t", "ext4", "-L", "ephemeral0"]}

DiskMode = Literal["overlay", "copy"]
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
        *,
        mode: DiskMode = "overlay",
        preallocate: bool = False,
    ) -> None:
        """`mode` and `preallocate` are for disks that are made from now on."""
        self._directory = directory
        self._cache = cache
        self._journal = journal
        self._metadata_of = metadata_of
        self._injector = injector
        self._mode = mode
        self._preallocate = preallocate
        self._locks = KeyedLocks()
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o711)  # the hypervisor's unprivileged user passes through to its own files

    def ensure(self, spec: DisksSpec) -> tuple[DiskFile, ...]:
        directory = self._directory / spec.server_id
        with self._locks.held(spec.server_id):
            directory.mkdir(mode=0o711, exist_ok=True)
            self._journal.put("disks", spec.server_id, spec)
            for checksum in self._needed(spec.server_id):
                self._cache.usage.enter(checksum, spec.server_id)
        # A fetch may take long. Whoever deletes the server meanwhile does not wait for it, and is heard below.
        bases = self._bases(spec, directory)
        with self._locks.held(spec.server_id):
            if not directory.is_dir() or not self._is_wanted(spec):
                raise AgentError(f"the disks of {spec.server_id} were deleted, or described anew, while they were made")
            disks = self._from_images(spec, bases, directory)
            if spec.ephemeral_gb:
                disks.append(self._fresh("ephemeral", directory, spec.ephemeral_gb * GIB))
            if spec.swap_mb:
                disks.append(self._fresh("swap", directory, spec.swap_mb * MIB))
            if spec.config_drive:
                disks.append(self._config_drive(spec.server_id, directory))
            if (directory / COPY).exists():
                self._settle(spec.server_id)
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
            self._settle(server_id)

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

    def settle_usage(self) -> None:
        """Make the cache's entries of who needs what agree with the disks that are here."""
        for server_id in {*self.servers(), *self._cache.usage.servers()}:
            with self._locks.held(server_id):
                self._settle(server_id)

    def _settle(self, server_id: str) -> None:
        needed, entered = self._needed(server_id), self._cache.usage.images_of(server_id)
        for checksum in needed - entered:
            self._cache.usage.enter(checksum, server_id)
        for checksum in entered - needed:
            self._cache.usage.leave(checksum, server_id)

    def _needed(self, server_id: str) -> set[str]:
        """The images that a server's disks are based on, or are to be: by the journal and by the disks."""
        directory = self._directory / server_id
        if not directory.is_dir():
            return set()
        spec = self._journal.get("disks", server_id, DisksSpec)
        images = [spec.kernel, spec.ramdisk] if spec else []
        if spec and not (directory / COPY).exists():
            images.append(spec.image)
        base = base_of(directory / OVERLAY)
        named = [image.checksum for image in images if image is not None] + ([image_of(base.name)] if base else [])
        return {checksum for checksum in named if checksum.isalnum()}

    def _is_wanted(self, spec: DisksSpec) -> bool:
        now = self._journal.get("disks", spec.server_id, DisksSpec)
        return now is not None and msgspec.json.encode(now) == msgspec.json.encode(spec)

    def _bases(self, spec: DisksSpec, directory: Path) -> dict[str, Base]:
        """What the disks are made from, or based on, by their role."""
        bases = {}
        if spec.image is not None and not (directory / COPY).exists():
            bases["root"] = self._root_base(spec.image, spec.root_gb * GIB, directory)
        for role, image in (("kernel", spec.kernel), ("ramdisk", spec.ramdisk)):
            if image is not None:
                bases[role] = self._cache.ensure(image, disk_format="raw")
        return bases

    def _root_base(self, image: ImageRef, size: int, directory: Path) -> Base:
        based_on = base_of(directory / OVERLAY)
        if based_on is not None:
            return self._cache.ensure(image, disk_format=format_of(based_on.name))
        if self._mode == "overlay":
            return self._cache.ensure(image, size or None)
        return self._cache.resized(image, size or self._cache.ensure(image).virtual_size)

    def _from_images(self, spec: DisksSpec, bases: Mapping[str, Base], directory: Path) -> list[DiskFile]:
        disks = []
        if spec.image is not None:
            disks.append(self._root(spec, bases.get("root"), directory))
        if spec.kernel is not None:
            disks.append(_boot_file("kernel", bases["kernel"]))
        if spec.ramdisk is not None:
            disks.append(_boot_file("ramdisk", bases["ramdisk"]))
        return disks

    def _root(self, spec: DisksSpec, base: Base | None, directory: Path) -> DiskFile:
        overlay, copy = directory / OVERLAY, directory / COPY
        size = spec.root_gb * GIB or (base.virtual_size if base else 0)
        if base is None or copy.exists():
            return DiskFile(role="root", path=str(copy), format="raw", size=copy.stat().st_size)
        if self._mode == "overlay" or overlay.exists():
            if not overlay.exists():
                make_overlay(overlay, base, size, preallocate=self._preallocate, finish=self._injected(spec, "qcow2"))
            return DiskFile(role="root", path=str(overlay), format="qcow2", size=size)
        make_copy(copy, base.path, size, preallocate=self._preallocate, finish=self._injected(spec, "raw"))
        return DiskFile(role="root", path=str(copy), format="raw", size=size)

    def _injected(self, spec: DisksSpec, disk_format: Format) -> Callable[[Path], None]:
        """Writes into a root disk what the server is to have in it."""

        def inject(disk: Path) -> None:
            if spec.inject is not None:
                if self._injector is None:
                    raise InvalidRequest(f"nothing writes into the disk of {spec.server_id} here")
                self._injector.inject(spec.server_id, disk, disk_format, spec.inject)

        return inject

    def _fresh(self, role: Literal["ephemeral", "swap"], directory: Path, size: int) -> DiskFile:
        path = directory / f"{role}.raw"
        if not path.exists():
            make_fresh(path, size, MAKE_CONTENT[role], preallocate=self._preallocate)
        return DiskFile(role=role, path=str(path), format="raw", size=size)

    def _config_drive(self, server_id: str, directory: Path) -> DiskFile:
        path = directory / "config.iso"
        if not path.exists():
            metadata = self._metadata_of(server_id)
            if metadata is None:
                raise InvalidRequest(f"the config drive of {server_id} needs its metadata first")
            write_config_drive(metadata, path)
        return DiskFile(role="config", path=str(path), format="raw", size=path.stat().st_size)


def _boot_file(role: Literal["kernel", "ramdisk"], base: Base) -> DiskFile:
    return DiskFile(role=role, path=str(base.path), format="raw", size=base.virtual_size)


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
