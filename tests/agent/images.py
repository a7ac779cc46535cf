"""Image files made by qemu-img, and a source that hands them out as the control plane does."""

import hashlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pileus.agent.api import ImageRef
from pileus.agent.errors import ControlPlaneSilent
from pileus.agent.image_cache import ImageCache
from pileus.kernel.clock import Clock

CHUNK = 64 << 10


def pattern(size: int, seed: int = 1) -> bytes:
    """Bytes that are no disk image of any kind and differ everywhere."""
    block = hashlib.shake_256(bytes([seed])).digest(1 << 16)
    return b"".join(bytes([i % 251]) + block[1:] for i in range(size // len(block) + 1))[:size]


def make_image(directory: Path, disk_format: str, content: bytes, *more: str) -> bytes:
    """The bytes of an image file that holds `content`."""
    raw, made = directory / "content.raw", directory / f"content.{disk_format}"
    raw.write_bytes(content)
    command = ["qemu-img", "convert", "-f", "raw", "-O", disk_format, *more, raw, made]
    subprocess.run(command, check=True, capture_output=True)
    return made.read_bytes()


def reference(data: bytes, disk_format: str = "raw", image_id: str = "i1") -> ImageRef:
    """The reference to an image of these bytes."""
    digest = hashlib.sha512(data).hexdigest()
    return ImageRef(id=image_id, checksum=digest, hash_algo="sha512", size=len(data), disk_format=disk_format)


class Source:
    """Hands out images by id and counts. `hold` makes fetches wait in the middle until `go_on` is set; `breaks` are the
    numbers of bytes after which coming transfers break off, one after the other."""

    def __init__(self, **images: bytes) -> None:
        self.images = images
        self.fetches: list[str] = []
        self.starts: list[int] = []
        self.breaks: list[int] = []
        self.hold = False
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.trouble: Exception | None = None

    def __call__(self, image_id: str, start: int = 0) -> Iterator[bytes]:
        data = self.images[image_id]
        self.fetches.append(image_id)
        self.starts.append(start)
        end = start + self.breaks.pop(0) if self.breaks else len(data)
        for position in range(start, min(end, len(data)), CHUNK):
            yield data[position : min(position + CHUNK, end)]
            self.begun.set()
            if self.trouble is not None:
                raise self.trouble
            if self.hold:
                assert self.go_on.wait(20)
        if end < len(data):
            raise ControlPlaneSilent("the line was cut")


MIB = 1 << 20
CONTENT = pattern(3 * MIB + 512)
RAW = reference(CONTENT)


def cache_of(directory: Path, data: bytes = CONTENT, clock: Clock | None = None) -> tuple[ImageCache, Source]:
    """A cache whose source has one image, `i1`."""
    source = Source(i1=data)
    return ImageCache(directory, source, clock=clock), source


def files(directory: Path) -> list[str]:
    """What the cache's directory holds besides locks and records."""
    return sorted(path.name for path in (directory / "base").iterdir() if path.suffix not in (".lock", ".json"))


def waiting_for(directory: Path, checksum: str) -> int:
    """How many wait for the lock of an image, as the kernel knows it."""
    lock = directory / "base" / f".{checksum}.lock"
    if not lock.exists():
        return 0
    inode = lock.stat().st_ino
    lines = Path("/proc/locks").read_text().splitlines()
    return sum("-> FLOCK" in line and f":{inode} " in line for line in lines)


def wait_until(look: Callable[[], Any], seconds: float = 20.0) -> None:
    """Return as soon as `look` answers something true; AssertionError if that takes too long."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.005)
