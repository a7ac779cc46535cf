"""The database's schema and its history: Alembic revisions, numbered in order.

Alembic costs a fifth of a second to import, so a database that is up to date is recognised without it.
"""

from pathlib import Path

import sqlalchemy as sa

from pileus.kernel.db import Database, DatabaseSettings

DIRECTORY = Path(__file__).parent
_VERSION = sa.table("alembic_version", sa.column("version_num"))


def head() -> str:
    """The newest revision: the number that the last file in `versions/` begins with."""
    return max(path.name.split("_", 1)[0] for path in (DIRECTORY / "versions").glob("[0-9]*_*.py"))


def current(settings: DatabaseSettings) -> str | None:
    """The revision that the database is at; None if it is empty."""
    db = Database(settings)
    try:
        with db.read() as tx:
            if not sa.inspect(tx.connection).has_table("alembic_version"):
                return None
            version: str | None = tx.scalar(sa.select(_VERSION.c.version_num))
            return version
    finally:
        db.close()


def upgrade(settings: DatabaseSettings, to: str = "") -> bool:
    """Bring the database to a revision, the newest if none is named; whether there was anything to do.

    Safe to be killed and repeated.
    """
    if current(settings) == (to or head()):
        return False
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415

    db = Database(settings)
    try:
        with db.write() as tx:
            config = Config()
            config.set_main_option("script_location", str(DIRECTORY))
            config.attributes["connection"] = tx.connection
            command.upgrade(config, to or "head")
    finally:
        db.close()
    return True
