"""Conversion of inspected images, within the limits of `kernel.qemu_img`: they may be hostile all the same."""

from pathlib import Path

from pileus.agent.errors import ImageUnusable, NoSpace
from pileus.agent.image_cache.directory import Format
from pileus.agent.image_cache.space import free_bytes, reserve
from pileus.kernel import qemu_img

LIMITS = qemu_img.Limits()


def convert(
    source: Path,
    disk_format: str,
    target: Path,
    target_format: Format = "raw",
    *,
    lock: int | None = None,
    limits: qemu_img.Limits = LIMITS,
) -> None:
    """Convert an image of a declared format into a new file.

    `lock`: the descriptor of a lock that qemu-img holds too. It dies with its caller; should it live on, the lock stays
    held, and nobody else begins to write to `target`.

    ImageUnusable if qemu-img refuses the image or takes too much; NoSpace if the disk is full, or nearly.
    """

    def check() -> None:
        if free_bytes(target.parent) < reserve(target.parent):
            raise NoSpace(f"converting an image left only {free_bytes(target.parent)} bytes of {target.parent}")

    inherited = () if lock is None else (lock,)
    try:
        qemu_img.convert(source, disk_format, target, target_format, limits, check, inherited)
    except qemu_img.ConversionFailed as err:
        raise ImageUnusable(str(err)) from err
    except OSError as err:
        raise NoSpace(f"no space to convert an image: {err.strerror}") from err


def virtual_size_of(path: Path, disk_format: Format) -> int:
    """The size of the disk in a file that `convert` made in this format, in bytes."""
    if disk_format == "raw":
        return path.stat().st_size
    with path.open("rb") as file:
        return int.from_bytes(file.read(32)[24:32], "big")
