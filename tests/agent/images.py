"""Image files made by qemu-img, and a source that hands them out as the control plane does."""

import hashlib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from pileus.agent.api import ImageRef

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
    """Hands out images by id and counts. `hold` makes fetches wait in the middle until `go_on` is set."""

    def __init__(self, **images: bytes) -> None:
        self.images = images
        self.fetches: list[str] = []
        self.hold = False
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.trouble: Exception | None = None

    def __call__(self, image_id: str) -> Iterator[bytes]:
        data = self.images[image_id]
        self.fetches.append(image_id)
        for start in range(0, len(data), CHUNK):
            yield data[start : start + CHUNK]
            self.begun.set()
            if self.trouble is not None:
                raise self.trouble
            if self.hold:
                assert self.go_on.wait(20)
