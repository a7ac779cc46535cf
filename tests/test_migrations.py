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
from pileus.image.domain import Location
from pileus.image.models import image, image_location
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


def kill_at(settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    """Upgrade, and die before the first statement with this in it."""

    class Dying(Database):
        def __init__(self, settings: DatabaseSettings) -> None:
            super().__init__(settings)

            def look(_c: Any, _cursor: Any, text: str, *_more: Any) -> None:
                if statement in text:
                    raise Killed

            sa.event.listen(self.engine, "before_cursor_execute", look)

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "Database", Dying)
        with pytest.raises(Killed):
            upgrade(settings)


@pytest.mark.parametrize("statement", ["ix_flavor_access_project_id", "image_tag"])
def test_killed_in_the_middle(empty: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    """MariaDB cannot undo a CREATE TABLE: what was made is there when the upgrade is repeated."""

    kill_at(empty, monkeypatch, statement)
    assert current(empty) is None
    assert upgrade(empty)
    assert differences(empty) == []


@pytest.mark.parametrize("statement", ["metadef_tag", "import_state", "INSERT INTO image_location"])
def test_images_of_an_older_cloud_keep_their_data(
    empty: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    """Revision 2 says where images' data is. It is killed at some statement first."""
    upgrade(empty, to="0001")
    with_data, queued = "11111111-2222-4333-8444-555555555555", "11111111-2222-4333-8444-666666666666"
    columns = (
        "id, status, visibility, owner, min_disk, min_ram, protected, os_hidden, properties, tags, created_at, "
        "updated_at"
    )
    db = Database(empty)
    with db.write() as tx:
        for image_id, status in ((with_data, "active"), (queued, "queued")):
            tx.execute(
                sa.text(
                    f"INSERT INTO image ({columns}) VALUES "  # noqa: S608 - constants
                    f"('{image_id}', '{status}', 'shared', 'p', 0, 0, false, false, '{{}}', '[]', 1, 1)"
                )
            )
    kill_at(empty, monkeypatch, statement)
    assert upgrade(empty)
    assert differences(empty) == []
    with db.read() as tx:
        found = {row.id: row.locations for row in tx.all(sa.select(image.c.id, image.c.locations))}
        counted = tx.all(sa.select(image_location.c.image_id, image_location.c.position, image_location.c.store))
    db.close()
    assert found == {with_data: [Location("local", with_data, {})], queued: []}
    assert [tuple(row) for row in counted] == [(with_data, 0, "local")]


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
