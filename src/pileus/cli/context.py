"""What commands share: the settings of this call, and commands whose module is imported only when called."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pileus.kernel.config import Loaded
    from pileus.kernel.db import Database
    from pileus.settings import Settings


def settings_of(ctx: typer.Context) -> "Loaded[Settings]":
    """The settings that this call of `pileus` works with; logging is set up by them."""
    from pileus.kernel import log  # noqa: PLC0415 - not needed for help
    from pileus.settings import load_settings  # noqa: PLC0415

    loaded = load_settings(ctx.find_root().obj)
    log.configure(loaded.settings.log, ctx.command.name or "pileus")
    return loaded


@contextmanager
def opened_database(settings: "Settings") -> "Iterator[Database]":
    """The cloud's database, closed afterwards. Unavailable if it cannot be reached or has not been prepared."""
    import sqlalchemy as sa  # noqa: PLC0415 - not needed for help

    from pileus.kernel.db import Database  # noqa: PLC0415
    from pileus.kernel.errors import Unavailable  # noqa: PLC0415

    db = Database(settings.database)
    try:
        yield db
    except (sa.exc.OperationalError, sa.exc.ProgrammingError) as err:
        raise Unavailable(f"The database cannot be used: {err.orig} (`pileus db check` says more).") from err
    finally:
        db.close()


def resolve_lazily(name: str, ctx: typer.Context) -> None:
    """Run the typer application `module:attribute` with the arguments that `ctx` was given, as its sub-command.

    Its commands find the settings like all others: its root context holds the configuration file too.
    """
    module, _, attribute = name.partition(":")
    application = getattr(importlib.import_module(module), attribute)
    application(args=ctx.args, prog_name=ctx.command_path, obj=ctx.find_root().obj)
