"""`pileus image`: images that come with Pileus, the definitions of what is set on images, and hosts' image caches."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pileus.cli import certificates, image_cache, image_stores, metadefs

app = typer.Typer(
    help="Make guest images; load metadata definitions; look after hosts' image caches.", no_args_is_help=True
)
app.add_typer(metadefs.app, name="metadefs")
app.add_typer(image_cache.app, name="cache")
app.add_typer(certificates.app, name="certificate")
app.command("move")(image_stores.move)
app.command("evacuate")(image_stores.evacuate)


@app.callback()
def root() -> None:
    """Make guest images; load metadata definitions; look after hosts' image caches."""


def _cache_directory() -> Path:
    """Where the XDG base directory specification has a user's files that can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pileus/guest-packages"


@app.command("build-test")
def build_test(
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for the result; made if absent.")] = Path(
        "build/guest-image"
    ),
    cache: Annotated[
        Path | None,
        typer.Option("--cache", help="Directory for Debian packages (default: ~/.cache/pileus/guest-packages)."),
    ] = None,
) -> None:
    """Make the small test guest from Debian packages: a whole disk, and kernel, ramdisk and root.

    Does nothing if the directory holds the image of the same packages already.
    """
    from pileus.guest_image.builder import MANIFEST, build  # noqa: PLC0415

    image = build(output, cache or _cache_directory(), print)
    for path in (image.disk, image.kernel, image.ramdisk, image.root, output.absolute() / MANIFEST):
        print(f"{path.stat().st_size:>10} {path}")
    print(f"log in as {image.user}")
