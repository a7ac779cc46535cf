"""Where rows come from and where they go: a Keystone's database is read, this cloud's is written."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from pileus.identity import models
from pileus.identity.keystone_import.dump import Tables
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest

TABLES = (
    "project", "role", "user", "local_user", "nonlocal_user", "password", "user_option", "group",
    "user_group_membership", "assignment", "system_assignment", "implied_role",
)  # fmt: skip
"""Of Keystone's, those that are imported."""

_BATCH = 1000
HELD: Mapping[str, sa.Table] = {
    "project": models.project,
    "role": models.role,
    "user": models.user,
    "group": models.group,
}


def read_database(url: str) -> Tables:
    """The rows of a Keystone's live database. BadRequest if it cannot be reached or has no such tables."""
    tables: Tables = {}
    try:
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            present = set(sa.inspect(connection).get_table_names())
            for name in (name for name in TABLES if name in present):
                table = sa.Table(name, sa.MetaData(), autoload_with=connection)
                tables[name] = [dict(row._mapping) for row in connection.execute(sa.select(table))]
        engine.dispose()
    except (sa.exc.SQLAlchemyError, ModuleNotFoundError) as err:
        raise BadRequest(f"The database cannot be read: {getattr(err, 'orig', err)}") from err
    return tables


def names(tx: Tx, table: sa.Table) -> dict[tuple[str, str], str]:
    """The ids of all things of a kind by where their name is unique, and name."""
    home = table.c.namespace if "namespace" in table.c else table.c.domain_id
    statement = sa.select(home.label("home"), table.c.name, table.c.id)
    return {(row.home, row.name): row.id for row in tx.all(statement)}


def lineages(tx: Tx) -> dict[str, str]:
    """The ancestors of all projects."""
    project = models.project
    return {row.id: row.lineage for row in tx.all(sa.select(project.c.id, project.c.lineage))}


def add(tx: Tx, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that are known not to be there."""
    for start in range(0, len(rows), _BATCH):
        tx.execute(sa.insert(table), rows[start : start + _BATCH])


def add_missing(tx: Tx, table: sa.Table, rows: Iterable[Mapping[str, Any]]) -> int:
    """Insert those rows of a table of pairs that are not there; how many."""
    key = [column.name for column in table.primary_key.columns]
    present = {tuple(row) for row in tx.all(sa.select(*table.primary_key.columns))}
    fresh = {tuple(row[name] for name in key): row for row in rows}
    new = [row for identity, row in fresh.items() if identity not in present]
    add(tx, table, new)
    return len(new)
