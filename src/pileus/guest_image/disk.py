"""File systems and disks made as plain files: no mount, no loop device, no root right needed but to own the files."""

import os
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pileus.guest_image.programs import BuildError, run

SECTOR: Final = 512
LABEL: Final = "pileus-root"
GRUB_MODULES: Final = ("biosdisk", "part_msdos", "linux16")
_UUID: Final = "0f1e2d3c-5069-4c65-8573-677565737431"
_EPOCH: Final = 1735689600
"""2025-01-01: the guest's files are no younger than its clock, whatever the builder's clock says."""
_ALIGNMENT: Final = 2048
"""Sectors: partitions start on a MiB; the boot loader lives in the first one."""


def settle_times(root: Path) -> None:
    """Give every file of the tree one fixed time."""
    for path in [*root.rglob("*"), root]:
        os.utime(path, (_EPOCH, _EPOCH), follow_symlinks=False)


def make_ext4(image: Path, root: Path, size: int) -> None:
    """Write an ext4 of `size` bytes that holds the tree `root`.

    All files belong to root in it. It has a journal, and room in its group descriptors to grow online to 64 GiB.
    """
    settle_times(root)
    as_root = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
    run(
        [
            *as_root, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-L", LABEL, "-U", _UUID,
            "-O", "^64bit,^metadata_csum", "-J", "size=4", "-i", "8192",
            "-E", f"resize={64 * 1024**3 // 4096},hash_seed={_UUID},root_owner=0:0,nodiscard",
            "-d", root, image, f"{size // 1024}k",
        ],
        environment={"E2FSPROGS_FAKE_TIME": str(_EPOCH)},
    )  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """Where things are on the disk, in sectors. The root comes last, so that it can grow."""

    kernel: int
    ramdisk: int
    root: int

    @property
    def boot_start(self) -> int:
        return _ALIGNMENT

    @property
    def ramdisk_start(self) -> int:
        return self.boot_start + self.kernel

    @property
    def root_start(self) -> int:
        end = self.ramdisk_start + self.ramdisk
        return -(-end // _ALIGNMENT) * _ALIGNMENT

    def master_boot_record(self, boot_code: bytes) -> bytes:
        """Sector 0: GRUB's first stage; partition 1 the root, partition 2 kernel and ramdisk as plain blocks."""

        def entry(flag: int, kind: int, start: int, length: int) -> bytes:
            return struct.pack("<B3sB3sII", flag, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", start, length)

        partitions = entry(0x80, 0x83, self.root_start, self.root) + entry(
            0, 0xDA, self.boot_start, self.root_start - self.boot_start
        )
        return boot_code[:440].ljust(440, b"\0") + b"PLUS\0\0" + partitions.ljust(64, b"\0") + b"\x55\xaa"

    def grub_script(self, command_line: str) -> str:
        """What GRUB does: load both block lists of its own disk's partition 2 and start, without menu or wait.

        Block lists, because GRUB reads files by 32 KiB and every call of the firmware costs milliseconds under
        emulation; the 16-bit protocol, because with the other GRUB moves the kernel's whole memory by bytes, which
        costs seconds there.
        """
        return f"linux16 0+{self.kernel} {command_line}\ninitrd16 {self.kernel}+{self.ramdisk}\nboot\n"


def grub(packages: Mapping[str, Path], scratch: Path, script: str) -> tuple[bytes, bytes]:
    """GRUB's first stage, and a core image that runs `script`."""
    (scratch / "grub.cfg").write_text(script)
    platform = packages["grub-pc-bin"] / "usr/lib/grub/i386-pc"
    core = scratch / "core.img"
    libraries = ":".join(
        str(packages[name] / folder)
        for name in ("libdevmapper1.02.1", "liblzma5")
        for folder in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
    )
    run(
        [
            packages["grub-common"] / "usr/bin/grub-mkimage", "-d", platform, "-O", "i386-pc", "-o", core,
            "-c", scratch / "grub.cfg", "-p", "(,msdos2)/", *GRUB_MODULES,
        ],
        environment={"LD_LIBRARY_PATH": libraries},
    )  # fmt: skip
    return (platform / "boot.img").read_bytes(), core.read_bytes()


def make_disk(
    image: Path, kernel: Path, ramdisk: Path, root: Path, command_line: str, packages: Mapping[str, Path]
) -> None:
    """Write a whole raw disk that boots by BIOS from a kernel, a ramdisk and a root file system."""

    def sectors(path: Path) -> int:
        return -(-path.stat().st_size // SECTOR)

    layout = Layout(sectors(kernel), sectors(ramdisk), sectors(root))
    first_stage, core = grub(packages, image.parent, layout.grub_script(command_line))
    if len(core) > (layout.boot_start - 1) * SECTOR:
        raise BuildError(f"GRUB's core image of {len(core)} bytes does not fit before the first partition")
    with image.open("wb") as disk:
        disk.write(layout.master_boot_record(first_stage))
        disk.write(core)
        for start, part in ((layout.boot_start, kernel), (layout.ramdisk_start, ramdisk), (layout.root_start, root)):
            disk.seek(start * SECTOR)
            with part.open("rb") as source:
                shutil.copyfileobj(source, disk, 1024 * 1024)


def to_qcow2(raw: Path, image: Path) -> None:
    """Convert to a compressed qcow2, in which unused space takes none."""
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", raw, image])
