"""Fixtures that all tests share.

`database` runs a test on SQLite, PostgreSQL and MariaDB; `sqlite` on SQLite alone. Either is empty and has all tables.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from pileus.kernel.db import Database, DatabaseSettings
from pileus.kernel.log import LogSettings, configure
from pileus.migrations import tables
from tests.databases import STARTERS, DatabaseServer
from tests.real_things import require

BACKENDS = ("sqlite", "postgresql", "mariadb")
PROGRAMS = {"postgresql": ("setpriv", "psql"), "mariadb": ("setpriv", "mariadbd", "mariadb-install-db")}


@pytest.fixture(scope="session", autouse=True)
def _logging() -> None:
    configure(LogSettings(level="DEBUG"), "test")


@pytest.fixture(scope="session")
def all_tables() -> sa.MetaData:
    """The metadata with every table of every package in it."""
    return tables.all_tables()


@pytest.fixture(scope="session")
def _sqlite_template(all_tables: sa.MetaData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "pileus.db"
    db = Database(DatabaseSettings(url=f"sqlite:///{path}"))
    with db.write() as tx:
        all_tables.create_all(tx.connection)
    with db.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return path


class _Servers:
    """Database servers, each started when the first test asks for it."""

    def __init__(self, tables: sa.MetaData) -> None:
        self._tables = tables
        self._running: dict[str, tuple[DatabaseServer, Database]] = {}

    def database(self, backend: str) -> Database:
        if backend not in self._running:
            require(*PROGRAMS[backend])
            server = STARTERS[backend]()
            db = Database(DatabaseSettings(url=server.url))
            self._running[backend] = (server, db)
            with db.engine.begin() as connection:
                self._tables.create_all(connection)
        return self._running[backend][1]

    def empty(self, backend: str) -> None:
        db = self._running[backend][1]
        tables = list(self._tables.sorted_tables)
        with db.engine.begin() as connection:
            if backend == "postgresql":
                names = ", ".join(f'"{table.name}"' for table in tables)
                connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY CASCADE")
                return
            connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS=0")
            for table in tables:
                connection.execute(sa.delete(table))
            connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS=1")

    def stop(self) -> None:
        for server, db in self._running.values():
            db.close()
            server.stop()


@pytest.fixture(scope="session")
def _servers(all_tables: sa.MetaData) -> Iterator[_Servers]:
    servers = _Servers(all_tables)
    yield servers
    servers.stop()


@pytest.fixture
def sqlite(_sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    """An empty SQLite database with all tables."""
    path = tmp_path / "pileus.db"
    shutil.copyfile(_sqlite_template, path)
    db = Database(DatabaseSettings(url=f"sqlite:///{path}"))
    yield db
    db.close()


@pytest.fixture(params=BACKENDS)
def database(request: pytest.FixtureRequest, _servers: _Servers) -> Iterator[Database]:
    """An empty database with all tables: the test runs on each kind."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite")
        return
    yield _servers.database(request.param)
    _servers.empty(request.param)
