"""What a disk image really is. Untrusted images are inspected by reading their headers, never probed by qemu-img.

Used where an image arrives (the image service) and where it is used (the host agent): a guest may change what looked
harmless when it arrived.
"""

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

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


class ImageNotAsDeclaredError(Exception):
    """The content is of another format than declared, damaged, or refers to files outside itself."""


def inspect_file(path: Path, declared: str) -> int:
    """Check an image file against its declared disk format; answer the size of the disk in it, in bytes."""
    with path.open("rb") as source:
        return inspect_stream(source, declared, path.stat().st_size)


def inspect_stream(source: BinaryIO, declared: str, size: int) -> int:
    """The same for an open file of `size` bytes, read from its beginning."""
    # Imported late: 10 MB that a process which never sees an image does not need.
    from oslo_utils.imageutils import format_inspector  # noqa: PLC0415

    wrapper = format_inspector.InspectWrapper(source)
    try:
        while wrapper.read(1 << 16):
            if wrapper.formats and _decided(wrapper.format):
                break
    except format_inspector.ImageFormatError as err:
        raise ImageNotAsDeclaredError(f"The image is damaged: {err}.") from err
    finally:
        wrapper.close()
    return judge(wrapper.format, declared, size)


def judge(inspector: "FileInspector | None", declared: str, size: int) -> int:
    """Judge what an inspector found in `size` bytes against the declared format; answer the disk's size in bytes."""
    from oslo_utils.imageutils import format_inspector  # noqa: PLC0415

    accepted = ACCEPTED.get(declared)
    if accepted is None:
        raise ImageNotAsDeclaredError(f"Images of disk format {declared} cannot be used as disks here.")
    found = "raw" if inspector is None else str(inspector)
    if found not in accepted:
        raise ImageNotAsDeclaredError(f"The image says it is {declared}, but its content is {found}.")
    if inspector is None or found in ("raw", "gpt", "iso"):
        return size
    try:
        inspector.safety_check()
    except format_inspector.SafetyCheckFailed as err:
        reasons = "; ".join(f"{check}: {reason}" for check, reason in err.failures.items())
        raise ImageNotAsDeclaredError(f"The image is not safe to use ({reasons}).") from err
    virtual: int = inspector.virtual_size
    if virtual <= 0:
        raise ImageNotAsDeclaredError(f"The {declared} image is damaged: it holds no disk.")
    return virtual


def _decided(inspector: "FileInspector | None") -> bool:
    """Whether reading more cannot change the verdict."""
    return inspector is not None and str(inspector) not in ("raw", "gpt", "vmdk") and inspector.complete
