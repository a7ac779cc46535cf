"""Building the guest image: from what, in which order, and when not to build at all."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec

from pileus.guest_image import disk, packages
from pileus.guest_image.modules import ModuleTree
from pileus.guest_image.packages import Package, PackageCache
from pileus.guest_image.programs import BuildError
from pileus.guest_image.ramdisk import ramdisk
from pileus.guest_image.rootfs import USER, populate

MIB: Final = 1024 * 1024
ROOT_SIZE: Final = 40 * MIB
OPTIONS: Final = "console=tty0 console=ttyS0,115200n8 quiet cryptomgr.notests nokaslr mitigations=off acpi=noirq"
"""Kernel options for a short start: no self-tests, no second pass over the kernel's code, and interrupts of PCI
from the firmware's table, where ACPI's interpreter takes a quarter of a second per device under emulation."""
MANIFEST: Final = "manifest.json"
FORMATS: Final = {"disk.qcow2": "qcow2", "vmlinuz": "aki", "initrd": "ari", "rootfs.ext4": "ami"}
"""File names of the result and the image service's disk format of each."""


@dataclass(frozen=True)
class GuestImage:
    """A built guest image. `disk` boots alone; `kernel`, `ramdisk` and `root` boot together (root is /dev/vda)."""

    disk: Path
    """Whole disk, qcow2, about 60 MiB virtual."""
    kernel: Path
    ramdisk: Path
    root: Path
    """Raw ext4 without partition table."""
    options: str
    """Kernel options, without root=, with which `kernel` starts fastest; any others work."""
    user: str
    """Login user: key from the metadata, sudo without password."""


def build(output: Path, cache: Path, progress: Callable[[str], None]) -> GuestImage:
    """Make the guest image in the directory `output`, or find that it is there already.

    `cache` keeps downloaded and unpacked packages (about 250 MB) and may be shared. The result is named by its
    inputs in the manifest: with the same packages and the same version of this code nothing is done. Builders in
    other processes are waited for. The manifest is written last, each file by renaming, so that a manifest always
    describes whole files.

    Raises:
        BuildError: a program or package is missing, or one of them failed.
    """
    if os.uname().machine != "x86_64":
        raise BuildError(f"the guest image is for x86_64, this is {os.uname().machine}")
    output.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(output):
        wanted = packages.resolve(cache)
        key = inputs_key(wanted)
        if not is_current(output, key):
            with _locked(cache):
                trees = PackageCache(cache, progress).unpacked(wanted)
            with tempfile.TemporaryDirectory(dir=output, prefix=".building-") as scratch:
                _make(Path(scratch), trees, wanted[0].name, progress)
                _publish(Path(scratch), output, key, wanted)
        else:
            progress("guest image is current")
    return result(output)


def result(output: Path) -> GuestImage:
    """The paths of an image in `output`."""
    paths = {name: (output / name).absolute() for name in FORMATS}
    return GuestImage(
        disk=paths["disk.qcow2"],
        kernel=paths["vmlinuz"],
        ramdisk=paths["initrd"],
        root=paths["rootfs.ext4"],
        options=OPTIONS,
        user=USER,
    )


def inputs_key(wanted: list[Package]) -> str:
    """Digest of everything that the image is made from: packages and every file of this Python package."""
    digest = hashlib.sha256()
    for package in wanted:
        digest.update(f"{package.name} {package.digest}\n".encode())
    here = Path(str(resources.files("pileus.guest_image")))
    for path in sorted(path for pattern in ("*.py", "files/*") for path in here.glob(pattern)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(here)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def is_current(output: Path, key: str) -> bool:
    """Whether `output` holds a whole image of these inputs."""
    try:
        manifest: Mapping[str, Any] = msgspec.json.decode((output / MANIFEST).read_bytes())
        return manifest["inputs"] == key and all(
            (output / name).stat().st_size == manifest["files"][name]["size"] for name in FORMATS
        )
    except (FileNotFoundError, msgspec.DecodeError, KeyError):
        return False


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(work: Path, trees: Mapping[str, Path], kernel: str, progress: Callable[[str], None]) -> None:
    """Put the four files of FORMATS into `work`, which may be left with scratch beside them."""
    root = work / "root"
    root.mkdir(mode=0o755)
    (work / "depmod").mkdir()
    progress("assembling the root tree")
    tree = ModuleTree(trees[kernel], work / "depmod")
    populate(root, trees, tree)
    shutil.copy(trees[kernel] / f"boot/vmlinuz-{tree.version}", work / "vmlinuz")
    (work / "initrd").write_bytes(ramdisk(trees["busybox-static"] / "bin/busybox", tree))
    progress("making the root file system")
    disk.make_ext4(work / "rootfs.ext4", root, ROOT_SIZE)
    progress("making the disk")
    command_line = f"root=LABEL={disk.LABEL} {OPTIONS}"
    disk.make_disk(work / "disk.raw", work / "vmlinuz", work / "initrd", work / "rootfs.ext4", command_line, trees)
    disk.to_qcow2(work / "disk.raw", work / "disk.qcow2")


def _publish(work: Path, output: Path, key: str, wanted: list[Package]) -> None:
    files = {}
    for name, image_format in FORMATS.items():
        path = work / name
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        files[name] = {
            "path": str((output / name).absolute()),
            "format": image_format,
            "size": path.stat().st_size,
            "sha256": sha256,
        }
    manifest = {
        "inputs": key,
        "user": USER,
        "packages": {package.name: package.digest for package in wanted},
        "files": files,
    }
    (output / MANIFEST).unlink(missing_ok=True)
    for name in FORMATS:
        (work / name).replace(output / name)
    (work / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    (work / MANIFEST).replace(output / MANIFEST)
