"""Downloads of images: resumed where they break off, also by the next process, and never kept if damaged."""

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import structlog

from pileus.agent.api import ImageRef
from pileus.agent.errors import AgentError, ControlPlaneSilent, ImageUnusable, NoSpace
from pileus.agent.image_cache.space import free_bytes, reserve
from pileus.kernel.clock import Clock

log = structlog.get_logger("pileus.agent.image_cache")

FRUITLESS = 4  # attempts in a row that brought not a byte: who asked must try again later
FIRST_PAUSE = 0.25  # seconds; doubled with each fruitless attempt
CHUNK = 1 << 20


class Fetch(Protocol):
    """Where images come from."""

    def __call__(self, image_id: str, start: int) -> Iterator[bytes]:
        """The image's bytes from `start` on, as they arrive. ControlPlaneSilent if they do not."""
        ...


def download(fetch: Fetch, clock: Clock, image: ImageRef, part: Path) -> None:
    """Have all bytes of an image in `part`, with what is there already; on return its digest is as recorded.

    ControlPlaneSilent if the transfer breaks off again and again: `part` is kept for the next attempt. All other
    errors leave no `part`: ImageUnusable if there is no such image, or more of it than there should be; NoSpace;
    AgentError if it arrives damaged twice.
    """
    try:
        for _ in range(2):
            if _complete(fetch, clock, image, part) == image.checksum:
                return
            log.warning("an image arrived damaged", image=image.id, checksum=image.checksum)
            part.unlink()
    except ControlPlaneSilent:
        raise
    except (AgentError, OSError):
        part.unlink(missing_ok=True)
        raise
    raise AgentError(f"image {image.id} arrived damaged: its {image.hash_algo} is not as recorded")


def _complete(fetch: Fetch, clock: Clock, image: ImageRef, part: Path) -> str:
    """Fetch what is missing; the digest of it all."""
    with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as out:
        digest = hashlib.new(image.hash_algo)
        size = _digest_there(out, digest, image.size)
        if size:
            log.info("the download of an image is resumed", image=image.id, bytes=size, of=image.size)
        if image.size - size > free_bytes(part.parent) - reserve(part.parent):
            raise NoSpace(f"no space for the {image.size - size} bytes of image {image.id} in {part.parent}")
        fruitless = 0
        while size < image.size:
            before = size
            reason = "its end came early"
            try:
                for chunk in fetch(image.id, size):
                    size += len(chunk)
                    if size > image.size:
                        raise ImageUnusable(
                            f"image {image.id} has more data than the {image.size} bytes it should have"
                        )
                    digest.update(chunk)
                    _write(out, chunk)
            except ControlPlaneSilent as err:
                reason = str(err)
            out.truncate(size)  # what was left out at the end was zeros
            if size == image.size:
                break
            fruitless = 0 if size > before else fruitless + 1
            if fruitless == FRUITLESS:
                raise ControlPlaneSilent(
                    f"the transfer of image {image.id} broke off after {size} of {image.size} bytes: {reason}"
                )
            clock.sleep(FIRST_PAUSE * 2**fruitless)
        return digest.hexdigest()


def _digest_there(out: BinaryIO, digest: Any, most: int) -> int:
    """Digest what an earlier attempt left; its size. What is too much cannot be right, and is dropped."""
    if os.fstat(out.fileno()).st_size > most:
        out.truncate(0)
    while chunk := out.read(CHUNK):
        digest.update(chunk)
    return out.tell()


def _write(out: BinaryIO, chunk: bytes) -> None:
    """Write a piece; one of nothing but zeros becomes a hole."""
    if chunk == bytes(len(chunk)):
        out.seek(len(chunk), os.SEEK_CUR)
    else:
        out.write(chunk)


def is_full(err: OSError) -> bool:
    """Whether an error means that the disk is full."""
    return err.errno in (errno.ENOSPC, errno.EDQUOT)
