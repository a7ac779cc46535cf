"""`pileus image move` and `pileus image evacuate`: data from one store to another, while it is read."""

from typing import Annotated

import typer

from pileus.cli.context import settings_of

_From = Annotated[str, typer.Option("--from", help="The store that has the data.")]
_To = Annotated[str, typer.Option("--to", help="The store that is to have it.")]
_Background = Annotated[bool, typer.Option(help="Do not wait; `pileus saga list` shows how far it is.")]


def move(
    ctx: typer.Context,
    image: Annotated[str, typer.Argument(help="The image's id.")],
    source: _From,
    target: _To,
    background: _Background = False,
) -> None:
    """Move an image's data from one store to another. The copy is read back before the source's data is removed."""
    from pileus.cli import image_stores_work as work  # noqa: PLC0415 - not needed for help

    with work.opened(settings_of(ctx).settings) as cloud:
        raise typer.Exit(work.move(cloud, [image], source, target, wait=not background))


def evacuate(
    ctx: typer.Context,
    store: Annotated[str, typer.Argument(help="The store that is to be empty.")],
    target: _To,
    background: _Background = False,
) -> None:
    """Move the data of all images that a store has. The exit code is 1 if some could not be moved; try those again."""
    from pileus.cli import image_stores_work as work  # noqa: PLC0415 - not needed for help

    with work.opened(settings_of(ctx).settings) as cloud:
        images = work.images_in(cloud, store)
        raise typer.Exit(work.move(cloud, images, store, target, wait=not background))
