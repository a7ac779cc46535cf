"""Alembic's entry: runs revisions on the connection that it is given."""

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from alembic.operations.ops import AddColumnOp, CreateIndexOp, CreateTableOp

from pileus.kernel.db import Json
from pileus.migrations.tables import all_tables


def render_item(kind: str, item: Any, autogen_context: Any) -> str | Literal[False]:
    """Write our own column types by their names in a new revision."""
    if kind != "type":
        return False
    if isinstance(item, Json):
        autogen_context.imports.add("from pileus.kernel.db import Json")
        return "Json()"
    variant = getattr(item, "_variant_mapping", {}).get("mysql")
    if isinstance(item, sa.String) and variant is not None:
        charset = getattr(variant, "charset", None)
        if charset == "ascii":
            autogen_context.imports.add("from pileus.kernel.db import Uuid")
            return "Uuid()"
        if charset == "utf8mb4":
            autogen_context.imports.add("from pileus.kernel.db import Name")
            return f"Name({item.length})"
    return False


def make_repeatable(_context: Any, _revision: Any, directives: list[Any]) -> None:
    """Write revisions that go on where they were killed: MariaDB keeps each table from the moment it is made."""
    waiting = [directive.upgrade_ops for directive in directives]
    while waiting:
        operation = waiting.pop()
        waiting.extend(getattr(operation, "ops", ()))
        if isinstance(operation, CreateTableOp | CreateIndexOp | AddColumnOp):
            operation.if_not_exists = True


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=all_tables(),
    render_as_batch=True,
    render_item=render_item,
    process_revision_directives=make_repeatable,
    compare_type=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
