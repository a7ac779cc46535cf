"""`pileus image cache`: what hosts keep of images, so that servers boot without fetching them."""

from typing import Annotated

import typer

from pileus.cli.context import settings_of

app = typer.Typer(help="Look after the image caches of hosts.", no_args_is_help=True)

_Hosts = Annotated[list[str] | None, typer.Option("--host", help="Only this host; may be repeated.")]
_Json = Annotated[bool, typer.Option("--json", help="For programs.")]
_SECONDS_PER_HOUR = 3600


@app.command("list")
def list_(ctx: typer.Context, host: _Hosts = None, as_json: _Json = False) -> None:
    """What each host's cache holds, which servers use it, and what is still to be fetched."""
    from pileus.cli import image_cache_work as work  # noqa: PLC0415 - not needed for help

    with work.opened(settings_of(ctx).settings) as cloud:
        raise typer.Exit(work.show(cloud, host or (), as_json=as_json))


@app.command()
def prefetch(
    ctx: typer.Context,
    images: Annotated[list[str], typer.Argument(help="Names or ids of images.")],
    host: _Hosts = None,
    aggregate: Annotated[str | None, typer.Option(help="Only the hosts of this aggregate (name or id).")] = None,
    background: Annotated[
        bool, typer.Option(help="Leave it to the cloud, which also reaches hosts that are down now.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Have hosts (all that are up, if none is named) fetch images, and wait until they have them."""
    from pileus.cli import image_cache_work as work  # noqa: PLC0415 - not needed for help

    with work.opened(settings_of(ctx).settings) as cloud:
        hosts = work.chosen(cloud, host or (), aggregate)
        if background:
            work.wish(cloud, images, hosts)
            raise typer.Exit
        raise typer.Exit(work.prefetch(cloud, images, hosts, as_json=as_json))


@app.command()
def verify(
    ctx: typer.Context,
    images: Annotated[list[str] | None, typer.Argument(help="Names or ids of images (default: all).")] = None,
    host: _Hosts = None,
    as_json: _Json = False,
) -> None:
    """Have hosts read what they keep and compare it with its checksums. The exit code is 1 if any is damaged."""
    from pileus.cli import image_cache_work as work  # noqa: PLC0415 - not needed for help

    with work.opened(settings_of(ctx).settings) as cloud:
        raise typer.Exit(work.verify(cloud, images or (), host or (), as_json=as_json))


@app.command()
def prune(
    ctx: typer.Context,
    images: Annotated[list[str] | None, typer.Argument(help="Names or ids of images (default: all).")] = None,
    host: _Hosts = None,
    unused_for: Annotated[
        float | None,
        typer.Option(min=0, help="Hours since the last use; 0: all that no server uses (default: the host's setting)."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Have hosts remove images that no server there uses."""
    from pileus.cli import image_cache_work as work  # noqa: PLC0415 - not needed for help

    seconds = None if unused_for is None else unused_for * _SECONDS_PER_HOUR
    with work.opened(settings_of(ctx).settings) as cloud:
        raise typer.Exit(work.prune(cloud, images or (), host or (), seconds, as_json=as_json))
