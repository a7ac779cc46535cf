"""`pileus db`: the database's schema and its old rows."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pileus.cli.context import opened_database, settings_of

if TYPE_CHECKING:
    from pileus.kernel.db import Database

app = typer.Typer(help="Look after the database.", no_args_is_help=True)


@app.command()
def upgrade(ctx: typer.Context) -> None:
    """Bring the schema to the version that this program needs. Safe to repeat; `pileus up` does it too."""
    from pileus import migrations  # noqa: PLC0415

    changed = migrations.upgrade(settings_of(ctx).settings.database)
    print(f"schema: {migrations.head()}{'' if changed else ', as before'}")


@app.command()
def version(ctx: typer.Context) -> None:
    """Print the schema's version and the one that this program needs."""
    from pileus import migrations  # noqa: PLC0415

    settings = settings_of(ctx).settings
    with opened_database(settings):
        print(f"schema: {migrations.current(settings.database) or 'none'}\nneeded: {migrations.head()}")


@app.command()
def check(ctx: typer.Context) -> None:
    """Compare the database's tables with what this program expects. The exit code is 1 if they differ."""
    with opened_database(settings_of(ctx).settings) as db:
        differences = _differences(db)
    for line in differences:
        print(line)
    if differences:
        raise typer.Exit(1)
    print("The schema is what it should be.")


def _differences(db: "Database") -> list[str]:
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415 - a fifth of a second
    from alembic.migration import MigrationContext  # noqa: PLC0415

    from pileus.migrations.tables import all_tables  # noqa: PLC0415

    tables = all_tables()
    with db.read() as tx:
        return [_in_words(one) for one in compare_metadata(MigrationContext.configure(tx.connection), tables)]


def _in_words(difference: Any) -> str:
    """What Alembic would have to do, such as `add_column: server locked`."""
    if isinstance(difference, list):
        return "; ".join(_in_words(one) for one in difference)
    operation, *things = difference
    names = [str(getattr(thing, "name", thing)) for thing in things if thing and not isinstance(thing, dict)]
    return f"{operation}: {' '.join(names)}"


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
