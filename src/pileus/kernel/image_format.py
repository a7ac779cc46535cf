"""What a disk image really is. Untrusted images are inspected by reading their headers, never probed by qemu-img.

Used where an image arrives (the image service) and where it is used (the host agent): a guest may change what looked
harmless when it arrived.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oslo_utils.imageutils.format_inspector import FileInspector

ACCEPTED: dict[str, frozenset[str]] = {
    # A raw image may hold anything that is not a format with pointers to elsewhere: a partition table is fine.
    "raw": frozenset({"raw", "gpt"}),
    "ami": frozenset({"raw", "gpt"}),
    "aki": frozenset({"raw"}),
    "ari": frozenset({"raw"}),
    "iso": frozenset({"iso", "gpt"}),  # hybrid images carry a partition table too
    "qcow2": frozenset({"qcow2"}),
    "vmdk": frozenset({"vmdk"}),
    "vhd": frozenset({"vhd"}),
    "vhdx": frozenset({"vhdx"}),
    "vdi": frozenset({"vdi"}),
}
"""What the content may be for each disk format that an image can declare."""

MAX_VIRTUAL_SIZE = (1 << 63) - 1  # bytes: what a database and a file system can count


class ImageNotAsDeclaredError(Exception):
    """The content is of another format than declared, damaged, or refers to files outside itself."""


class Inspection:
    """Inspects bytes as they pass: iterate over it instead of over `source`, then ask for the verdict."""

    def __init__(self, source: Iterator[bytes]) -> None:
        # Imported late: 10 MB that a process which never sees an image does not need.
        from oslo_utils.imageutils import format_inspector  # noqa: PLC0415

        self._wrapper = format_inspector.InspectWrapper(source)  # type: ignore[arg-type]  # iterates only
        self._finished = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self._wrapper
        self._finished = True

    @property
    def decided(self) -> bool:
        """Whether further bytes cannot change what the content is."""
        return self._wrapper.formats is not None

    def verdict(self, declared: str, size: int) -> int:
        """Judge content of `size` bytes against the declared disk format; answer the size of the disk in it.

        ImageNotAsDeclaredError says what is wrong.
        """
        if not self._finished:
            self._wrapper.close()
        accepted = ACCEPTED.get(declared)
        if accepted is None:
            raise ImageNotAsDeclaredError(f"Images of disk format {declared} cannot be used as disks here.")
        formats = self._wrapper.formats or []
        found = {str(inspector) for inspector in formats} or {"raw"}
        if not found <= accepted or (declared not in ("ami", "aki", "ari") and declared not in found | {"raw"}):
            raise ImageNotAsDeclaredError(
                f"The image says it is {declared}, but its content is {' and '.join(sorted(found))}."
            )
        return max((_disk_size(inspector, declared, size) for inspector in formats), default=size)


def _disk_size(inspector: "FileInspector", declared: str, size: int) -> int:
    from oslo_utils.imageutils import format_inspector  # noqa: PLC0415

    if str(inspector) in ("raw", "gpt", "iso"):
        return size
    try:
        inspector.safety_check()
    except format_inspector.SafetyCheckFailed as err:
        reasons = "; ".join(f"{check}: {reason}" for check, reason in err.failures.items())
        raise ImageNotAsDeclaredError(f"The image is not safe to use ({reasons}).") from err
    except format_inspector.ImageFormatError as err:
        raise ImageNotAsDeclaredError(f"The {declared} image is damaged or cut off: {err}.") from err
    virtual: int = inspector.virtual_size
    if not 0 < virtual <= MAX_VIRTUAL_SIZE:
        raise ImageNotAsDeclaredError(f"The {declared} image is damaged: it holds no disk of a possible size.")
    return virtual


def inspect_file(path: Path, declared: str) -> int:
    """Check an image file against its declared disk format, reading no more of it than that takes."""
    with path.open("rb") as source:
        inspection = Inspection(iter(lambda: source.read(1 << 20), b""))
        for _ in inspection:
            if inspection.decided:
                break
        return inspection.verdict(declared, path.stat().st_size)
