"""What a disk image really is. Untrusted images are inspected by reading their headers, never probed by qemu-img.

Used where an image arrives (the image service) and where it is used (the host agent): a guest may change what looked
harmless when it arrived.
"""

import struct
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
    "ploop": frozenset({"ploop"}),
    "gpt": frozenset({"gpt"}),
}
"""What the content may be for each disk format that an image can declare."""

PLAIN = frozenset({"raw", "gpt", "iso", "ami", "ari", "aki"})
"""Disk formats whose bytes are the disk's own: nothing is to be converted before a guest can use them."""

AMAZON = frozenset({"ami", "ari", "aki"})
HEAD = 512
"""How many bytes from a file's beginning `check_container` needs."""
MAX_VIRTUAL_SIZE = (1 << 63) - 1  # bytes: what a database and a file system can count


class ImageNotAsDeclaredError(Exception):
    """The content is of another format than declared, damaged, or refers to files outside itself."""


def is_disk(disk_format: str | None, container_format: str | None) -> bool:
    """Whether an image's bytes are a disk (or kernel) themselves, and not something around one."""
    return container_format == "bare" or disk_format in AMAZON


class Inspection:
    """Inspects bytes as they pass: iterate over it instead of over `source`, then ask for the verdict."""

    def __init__(self, source: Iterator[bytes]) -> None:
        # Imported late: 10 MB that a process which never sees an image does not need.
        from oslo_utils.imageutils import format_inspector  # noqa: PLC0415

        self._wrapper = format_inspector.InspectWrapper(self._seen(source))  # type: ignore[arg-type]  # iterates only
        self._finished = False
        self._head = b""

    def __iter__(self) -> Iterator[bytes]:
        yield from self._wrapper
        self._finished = True

    def _seen(self, source: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in source:
            if len(self._head) < _DESCRIPTOR_END:
                self._head += chunk[: _DESCRIPTOR_END - len(self._head)]
            yield chunk

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
        ploop = _ploop_size(self._head)
        if ploop is not None:
            found = found - {"raw"} | {"ploop"}
        if not found <= accepted or (declared not in AMAZON and declared not in found | {"raw"}):
            raise ImageNotAsDeclaredError(
                f"The image says it is {declared}, but its content is {' and '.join(sorted(found))}."
            )
        if ploop is not None:
            return _possible(ploop, declared)
        if declared == "vmdk" and _PARENT in self._head.lower():
            raise ImageNotAsDeclaredError("The image is not safe to use: it is based on another file.")
        return max((_disk_size(inspector, declared, size) for inspector in formats), default=size)


# Where QEMU looks for the file that a vmdk is based on, whatever its header says of the descriptor: in the 20 sectors
# at the beginning, or after the first (block/vmdk.c, vmdk_parent_open).
_DESCRIPTOR_END = 512 + 20 * 512
_PARENT = b"parentfilenamehint"

_PLOOP = struct.Struct("<16s5IQ")  # magic, version, heads, cylinders, tracks, entries, sectors
_PLOOP_MAGIC = {b"WithoutFreeSpace": 0xFFFFFFFF, b"WithouFreSpacExt": MAX_VIRTUAL_SIZE}  # and what bits sectors have


def _ploop_size(head: bytes) -> int | None:
    """The size of the disk in a ploop (Parallels) image; None if this is none. QEMU's docs/interop/parallels.txt."""
    mask = _PLOOP_MAGIC.get(head[:16])
    if mask is None:
        return None
    return (_PLOOP.unpack_from(head)[6] & mask) * 512 if len(head) >= _PLOOP.size else 0


def _possible(virtual: int, declared: str) -> int:
    if not 0 < virtual <= MAX_VIRTUAL_SIZE:
        raise ImageNotAsDeclaredError(f"The {declared} image is damaged: it holds no disk of a possible size.")
    return virtual


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
    try:
        virtual: int = inspector.virtual_size
    except (KeyError, struct.error) as err:  # a descriptor without the header that has the size
        raise ImageNotAsDeclaredError(f"The {declared} image does not say how large its disk is.") from err
    return _possible(virtual, declared)


def inspect_file(path: Path, declared: str) -> int:
    """Check an image file against its declared disk format, reading no more of it than that takes."""
    with path.open("rb") as source:
        inspection = Inspection(iter(lambda: source.read(1 << 20), b""))
        for _ in inspection:
            if inspection.decided:
                break
        return inspection.verdict(declared, path.stat().st_size)


_TAR = b"ustar"  # at offset 257
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c")


def check_container(container_format: str, head: bytes) -> None:
    """ImageNotAsDeclaredError if a file that begins like this cannot be of the container format.

    ova and docker are archives of tar; what is compressed begins as gzip, bzip2, xz, zip, zstd or 7z do, or has the
    mark of LHA. ovf has no form that could be told by its beginning.
    """
    if container_format in ("ova", "docker"):
        good = head[257:262] == _TAR
    elif container_format == "compressed":
        good = head.startswith(_COMPRESSED) or (head[2:5] == b"-lh" and head[6:7] == b"-")
    else:
        return
    if not good:
        raise ImageNotAsDeclaredError(f"The image says its container is {container_format}, but its content is not.")
