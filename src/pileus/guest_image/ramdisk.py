"""The initial ramdisk: busybox, storage drivers and one script, in a cpio archive of the "newc" form.

Written uncompressed: an emulated CPU spends longer on decompression than the firmware on the larger read.
Format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
"""

import io
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from pileus.guest_image import modules
from pileus.guest_image.modules import ModuleTree, module_name

APPLETS: Final = ("blockdev", "cat", "dd", "findfs", "insmod", "mount", "sh", "switch_root", "usleep")
"""What the script calls and the shell has not built in."""


@dataclass(frozen=True)
class Entry:
    """One file of the archive, owned by root."""

    mode: int
    content: bytes = b""


def directory() -> Entry:
    return Entry(stat.S_IFDIR | 0o755)


def program(content: bytes) -> Entry:
    return Entry(stat.S_IFREG | 0o755, content)


def link(target: str) -> Entry:
    return Entry(stat.S_IFLNK | 0o777, target.encode())


def archive(entries: Mapping[str, Entry]) -> bytes:
    """A newc archive of entries by path; parents come before children, times are zero so that bytes repeat."""
    out = io.BytesIO()

    def put(number: int, name: str, entry: Entry) -> None:
        label = name.encode() + b"\0"
        fields = (number, entry.mode, 0, 0, 1, 0, len(entry.content), 0, 0, 0, 0, len(label), 0)
        out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + label)
        out.write(b"\0" * (-out.tell() % 4))
        out.write(entry.content)
        out.write(b"\0" * (-out.tell() % 4))

    for number, name in enumerate(sorted(entries), start=1):
        put(number, name, entries[name])
    put(0, "TRAILER!!!", Entry(0))
    return out.getvalue()


def init_script(tree: ModuleTree) -> bytes:
    """The ramdisk's first process, with the drivers to load for each kind of disk written into it."""
    text = resources.files("pileus.guest_image").joinpath("files/initramfs-init").read_text()

    def names(wanted: tuple[str, ...]) -> str:
        return " ".join(module_name(path) for path in tree.closure(wanted))

    for mark, words in (
        ("@VIRTIO_LOAD@", f"load {names(modules.VIRTIO)}"),
        ("@VIRTIO_BLK@", names(modules.VIRTIO_BLK)),
        ("@VIRTIO_SCSI@", names(modules.VIRTIO_SCSI)),
        ("@VIRTIO_RNG@", names(modules.VIRTIO_RNG)),
        ("@IDE@", names(modules.IDE)),
    ):
        text = text.replace(mark, words)
    return text.encode()


def ramdisk(busybox: Path, tree: ModuleTree) -> bytes:
    """The whole ramdisk, as GRUB and QEMU take it."""
    entries = {name: directory() for name in ("bin", "dev", "lib", "lib/modules", "newroot", "proc", "sys")}
    entries["init"] = program(init_script(tree))
    entries["bin/busybox"] = program(busybox.read_bytes())
    for applet in APPLETS:
        entries[f"bin/{applet}"] = link("busybox")
    for path in tree.closure(modules.BOOT_MODULES):
        entries[f"lib/modules/{module_name(path)}.ko"] = program(tree.read(path))
    return archive(entries)
