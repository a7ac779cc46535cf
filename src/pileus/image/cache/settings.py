"""Settings of the image service's cache."""

from dataclasses import dataclass
from pathlib import Path

from pileus.kernel.config import setting


@dataclass(frozen=True)
class CacheSettings:
    """`[image.cache]`: copies of images on this machine's disk."""

    node: str = setting("", "this machine among those that serve images; empty: its host name")
    directory: Path = setting(Path("image-cache"), "where the copies are")
    max_size: int = setting(
        10 << 30, "pruned to this size, the least recently used copies first", unit="bytes", minimum=0
    )
    remote: bool = setting(True, "cache what is downloaded from stores that are not on this machine's disk")
