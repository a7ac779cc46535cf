"""`pileus image metadefs`: metadata definitions from files."""

from pathlib import Path
from typing import Annotated

import typer

from pileus.cli.context import opened_database, settings_of

app = typer.Typer(help="Load metadata definitions from files, and list them.", no_args_is_help=True)


@app.command()
def load(
    ctx: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Files, or directories of files that end in .json.")],
    merge: Annotated[bool, typer.Option("--merge", help="Add to a namespace that is there what it lacks.")] = False,
    prefer_new: Annotated[
        bool, typer.Option("--prefer-new", help="Add what it lacks, and change the rest to what the file says.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete a namespace that is there, and make it anew.")
    ] = False,
) -> None:
    """Load files of definitions, one namespace each: OpenStack's own, or others of that form.

    A namespace that is there already stays as it is unless an option says otherwise, so that this may be repeated.
    Nothing is loaded unless all files are right.
    """
    from pileus.image.metadefs import loading  # noqa: PLC0415 - not needed for help
    from pileus.image.metadefs.domain import Loading  # noqa: PLC0415
    from pileus.image.metadefs.service import MetadefService  # noqa: PLC0415
    from pileus.kernel.clock import SystemClock  # noqa: PLC0415

    if prefer_new and overwrite:
        raise typer.BadParameter("--prefer-new and --overwrite exclude each other")
    how = Loading.MERGE if merge else Loading.KEEP
    how = Loading.PREFER_NEW if prefer_new else Loading.OVERWRITE if overwrite else how
    definitions = loading.read_all(paths)
    service = MetadefService(SystemClock())
    with opened_database(settings_of(ctx).settings) as db:
        for path, wanted in definitions:
            done = db.transact(lambda tx, wanted=wanted: service.load(tx, wanted, how))  # type: ignore[misc]
            print(f"{done:<11} {wanted.values['namespace']} ({path})")


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """All namespaces with the resource types that they are for."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from pileus.image.metadefs.service import MetadefService  # noqa: PLC0415
    from pileus.kernel.clock import SystemClock  # noqa: PLC0415

    service = MetadefService(SystemClock())
    with opened_database(settings_of(ctx).settings) as db, db.read() as tx:
        found = service.all(tx)
        types = service.associations.of(tx, found)
    table = Table(box=None, pad_edge=False)
    for column in ("namespace", "visibility", "protected", "owner", "resource types"):
        table.add_column(column, overflow="fold")
    for one in found:
        kinds = ", ".join(association.name for association in types.get(one.id, ()))
        table.add_row(one.namespace, one.visibility, "yes" if one.protected else "no", one.owner, kinds)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 500  # one line for each, for programs that read it
    console.print(table if found else "There are no metadata definitions.")
