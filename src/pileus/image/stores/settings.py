"""Settings of one store of image data."""

from dataclasses import dataclass
from pathlib import Path

from pileus.kernel.config import setting

KINDS = ("file",)


@dataclass(frozen=True)
class StoreSettings:
    """`[image.stores.NAME]`: one place where images are kept."""

    kind: str = setting("file", "what the store is", choices=KINDS)
    description: str = setting("", "what users are told of it")
    weight: int = setting(0, "of several stores that hold an image, the heaviest is read from first")
    directory: Path = setting(Path(), "kind file: where the files are; a relative path is one under image.files_dir")
