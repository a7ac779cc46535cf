"""Which shared libraries a program needs, read from its ELF headers.

The loader itself is not asked, since it would answer for the host's libraries and not for the packages'.
Layouts: System V ABI (ELF-64, little-endian), AMD64.
"""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_PT_LOAD: Final = 1
_PT_DYNAMIC: Final = 2
_PT_INTERP: Final = 3
_DT_NEEDED: Final = 1
_DT_STRTAB: Final = 5


def _segments(image: bytes) -> Iterable[tuple[int, int, int, int]]:
    """(type, file offset, virtual address, size in file) of each program header."""
    offset = struct.unpack_from("<Q", image, 32)[0]
    size, count = struct.unpack_from("<HH", image, 54)
    for index in range(count):
        kind, _flags, start, address, _physical, length = struct.unpack_from("<IIQQQQ", image, offset + index * size)
        yield kind, start, address, length


def _text(image: bytes, offset: int) -> str:
    return image[offset : image.index(b"\0", offset)].decode()


def needed(path: Path) -> list[str]:
    """Names of the libraries and of the interpreter that `path` names; none for a static program or a script."""
    image = path.read_bytes()
    if image[:6] != b"\x7fELF\x02\x01":
        return []
    segments = list(_segments(image))
    names = [Path(_text(image, start)).name for kind, start, _, _ in segments if kind == _PT_INTERP]
    dynamic = next(((start, length) for kind, start, _, length in segments if kind == _PT_DYNAMIC), None)
    if dynamic is None:
        return names
    start, length = dynamic
    entries = [struct.unpack_from("<QQ", image, start + at) for at in range(0, length, 16)]
    table = next(value for tag, value in entries if tag == _DT_STRTAB)
    strings = next(
        offset + table - address
        for kind, offset, address, size in segments
        if kind == _PT_LOAD and address <= table < address + size
    )
    return names + [_text(image, strings + value) for tag, value in entries if tag == _DT_NEEDED]
