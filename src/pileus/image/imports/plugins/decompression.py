"""Unpacking of compressed images, in constant memory and up to a limit: a few kilobytes may unpack to terabytes."""

import bz2
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Protocol

from pileus.kernel.errors import BadRequest, TooLarge

CHUNK = 1 << 20
_PIECE = 1 << 16  # of packed bytes: what is left of one is copied for each of the streams in it
_XZ_MEMORY = 256 << 20  # bytes; what `xz -9` needs to unpack is a quarter of it
_ZIP = b"PK\x03\x04"
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of others, zipfile unpacks any amount at once


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def feed(self, data: bytes) -> bytes:
        """At most CHUNK unpacked bytes; called again with none as long as there are more."""
        ...


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def feed(self, data: bytes) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, CHUNK)


class _Other:
    """bz2 and lzma, whose decompressors keep what they have not unpacked yet."""

    def __init__(self, inner: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._inner = inner

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def feed(self, data: bytes) -> bytes:
        return self._inner.decompress(data, CHUNK)


_STREAMS: dict[bytes, Callable[[], _Decompressor]] = {
    b"\x1f\x8b": _Gzip,
    b"BZh": lambda: _Other(bz2.BZ2Decompressor()),
    b"\xfd7zXZ\x00": lambda: _Other(lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)),
}


def is_compressed(head: bytes) -> bool:
    """Whether a file that begins like this is one that `decompressed` unpacks."""
    return head.startswith((_ZIP, *_STREAMS))


def decompressed(path: Path, limit: int) -> Iterator[bytes]:
    """The unpacked bytes, in pieces of which many may be empty: the caller is to stop when it has waited too long.

    BadRequest if the file is damaged, TooLarge past `limit` bytes.
    """
    with path.open("rb") as source:
        head = source.read(8)
    unpack = _unzip(path) if head.startswith(_ZIP) else _unpack(path, head)
    size = 0
    try:
        for chunk in unpack:
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"The compressed image unpacks to more than {limit} bytes.")
            yield chunk
    except (zlib.error, lzma.LZMAError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as err:
        raise BadRequest(f"The compressed image is damaged: {err}.") from err
    except OSError as err:
        if err.errno is None:  # how bz2 says that its data is invalid
            raise BadRequest(f"The compressed image is damaged: {err}.") from err
        raise


def _unpack(path: Path, head: bytes) -> Iterator[bytes]:
    """All streams of a file, one after another."""
    make = next(make for magic, make in _STREAMS.items() if head.startswith(magic))
    stream = make()
    with path.open("rb") as source:
        data = source.read(_PIECE)
        while True:
            if stream.eof:
                data = stream.unused_data or source.read(_PIECE)
                if not data.lstrip(b"\0"):  # padding after the last stream
                    return
                stream = make()
            chunk = stream.feed(data)
            yield chunk
            if chunk:
                data = b""
            elif not stream.eof:
                data = source.read(_PIECE)
                if not data:
                    raise EOFError("it ends too early")


class _Bounded(FileIO):
    """A file of which nobody reads much at once: zipfile would read a list of millions of files into memory."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > CHUNK:
            raise zipfile.BadZipFile("its list of files is too long")
        return super().read(size)


def _unzip(path: Path) -> Iterator[bytes]:
    with _Bounded(path) as source, zipfile.ZipFile(source) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1:
            raise zipfile.BadZipFile(f"a zip archive must hold one file, this one has {len(members)}")
        if members[0].compress_type not in _ZIP_METHODS:
            raise zipfile.BadZipFile(f"it is packed by method {members[0].compress_type}, which is not unpacked here")
        with archive.open(members[0]) as unpacked:
            while chunk := unpacked.read(CHUNK):
                yield chunk
