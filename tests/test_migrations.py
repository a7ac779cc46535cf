"""The schema's history leads from nothing to exactly the tables of the models, on every database, however often."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from pileus import migrations
from pileus.kernel.db import Database, DatabaseSettings
from pileus.migrations import DIRECTORY, current, head, upgrade
from pileus.migrations.tables import all_tables
from tests.conftest import BACKENDS

REVISIONS = sorted((DIRECTORY / "versions").glob("[0-9]*_*.py"))


@pytest.fixture(params=BACKENDS)
def empty(request: pytest.FixtureRequest, tmp_path: Path, _servers: Any) -> Iterator[DatabaseSettings]:
    """A database without tables."""
    if request.param == "sqlite":
        yield DatabaseSettings(url=f"sqlite:///{tmp_path}/pileus.db")
        return
    url = sa.make_url(_servers.database(request.param).engine.url).set(database="migrated")
    server = sa.create_engine(_servers.database(request.param).engine.url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE migrated")
    yield DatabaseSettings(url=url.render_as_string(hide_password=False))
    with server.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE migrated")
    server.dispose()


def differences(settings: DatabaseSettings) -> list[Any]:
    """What stands between the database and the models: tables, columns with types, indexes, unique constraints."""
    db = Database(settings)
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = list(compare_metadata(context, all_tables()))
    db.close()
    return found


def test_from_nothing_to_the_models_and_no_further(empty: DatabaseSettings) -> None:
    assert current(empty) is None
    assert upgrade(empty)
    assert differences(empty) == []
    assert current(empty) == head()
    assert not upgrade(empty)


class Killed(Exception):
    """The process dies here."""


@pytest.mark.parametrize("statement", [9])
def test_killed_in_the_middle(empty: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, statement: int) -> None:
    """MariaDB cannot undo a CREATE TABLE: what was made is there when the upgrade is repeated."""

    class Dying(Database):
        def __init__(self, settings: DatabaseSettings) -> None:
            super().__init__(settings)
            self.left = statement

            def count(_c: Any, _cursor: Any, text: str, *_more: Any) -> None:
                self.left -= text.lstrip().startswith("CREATE")
                if not self.left:
                    raise Killed

            sa.event.listen(self.engine, "before_cursor_execute", count)

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "Database", Dying)
        with pytest.raises(Killed):
            upgrade(empty)
    assert current(empty) is None
    assert upgrade(empty)
    assert differences(empty) == []


def test_revisions_are_numbered_one_after_the_other() -> None:
    numbers = [path.name.split("_", 1)[0] for path in REVISIONS]
    assert numbers == [f"{number:04d}" for number in range(1, len(numbers) + 1)]
    assert head() == numbers[-1]
    for number, path in zip(numbers, REVISIONS, strict=True):
        scope: dict[str, Any] = {}
        lines = [line for line in path.read_text().splitlines() if line.startswith(("revision", "down_revision"))]
        exec("\n".join(lines), scope)  # noqa: S102 - two assignments of our own
        assert scope["revision"] == number
        assert scope["down_revision"] == (None if number == "0001" else f"{int(number) - 1:04d}")


def test_a_new_revision_can_be_written() -> None:
    script = DIRECTORY.parents[2] / "scripts" / "new-revision"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
