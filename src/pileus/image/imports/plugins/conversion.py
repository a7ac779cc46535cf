"""Conversion of images to the operator's disk format."""

from collections.abc import Callable
from pathlib import Path

from pileus.image.imports.settings import ImportSettings
from pileus.kernel import qemu_img

CONVERTIBLE = frozenset({"raw", "gpt", "qcow2", "vhd", "vhdx", "vmdk", "vdi", "ploop"})
"""Disks. Not iso: who boots from a CD needs it as it is; nor what belongs to an AMI."""

_SLACK = 64 << 20  # bytes that a file may be larger than the disk in it


def wanted(disk_format: str, declared: str | None, settings: ImportSettings, source_format: str | None) -> str:
    """The disk format that data of `disk_format` shall have in the end.

    `declared`: what the image says. `source_format`: what a task of type import says of the data; it is converted to
    what the image says then.
    """
    if disk_format not in CONVERTIBLE:
        return disk_format
    if settings.convert_to:
        return settings.convert_to
    return declared if source_format is not None and declared in CONVERTIBLE else disk_format


def convert(
    source: Path,
    disk_format: str,
    target: Path,
    to: str,
    settings: ImportSettings,
    largest: int,
    check: Callable[[], None],
) -> None:
    """Convert an inspected file, under limits; what `check` raises ends it. ConversionFailed, OSError (ENOSPC)."""
    limits = qemu_img.Limits(settings.convert_seconds, settings.convert_memory, largest + _SLACK)
    qemu_img.convert(source, disk_format, target, to, limits, check)
