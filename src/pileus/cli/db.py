"""`pileus db`: the database's schema and its old rows."""

from typing import Annotated

import typer

from pileus.cli.context import opened_database, settings_of

app = typer.Typer(help="Look after the database.", no_args_is_help=True)


@app.command()
def upgrade(ctx: typer.Context) -> None:
    """Bring the schema to the version that this program needs. Safe to repeat; `pileus up` does it too."""
    from pileus.supervisor.parts import Parts, resolve  # noqa: PLC0415

    settings = settings_of(ctx).settings
    resolve(Parts().migrate)(settings.database)
    version(ctx)


@app.command()
def version(ctx: typer.Context) -> None:
    """Print the schema's version and the one that this program needs."""
    from pileus.supervisor.parts import resolve  # noqa: PLC0415

    present, needed = resolve("pileus.migrations:versions")(settings_of(ctx).settings.database)
    print(f"schema: {present or 'none'}\nneeded: {needed}")


@app.command()
def check(ctx: typer.Context) -> None:
    """Compare the database's tables with what this program expects. The exit code is 1 if they differ."""
    from pileus.supervisor.parts import resolve  # noqa: PLC0415

    differences = resolve("pileus.migrations:differences")(settings_of(ctx).settings.database)
    for line in differences:
        print(line)
    if differences:
        raise typer.Exit(1)
    print("The schema is what it should be.")


@app.command()
def purge(
    ctx: typer.Context,
    days: Annotated[float | None, typer.Option(min=0, help="Keep what is younger (default: as configured).")] = None,
) -> None:
    """Delete the history of operations that ended long ago. The conductor does it by itself every day."""
    from pileus.kernel.clock import MICROSECONDS, SystemClock  # noqa: PLC0415
    from pileus.kernel.saga import purge as purge_sagas  # noqa: PLC0415

    settings = settings_of(ctx).settings
    age = settings.conductor.keep_days if days is None else days
    before = SystemClock().now() - int(age * 86400 * MICROSECONDS)
    batch, total, deleted = 1000, 0, 1000
    with opened_database(settings) as db:
        while deleted == batch:
            deleted = db.transact(lambda tx: purge_sagas(tx, before, batch))
            total += deleted
    print(f"Deleted {total} operations that ended more than {age:g} days ago.")
