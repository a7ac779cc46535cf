"""Quotas without counters: usage is counted from the rows themselves, so it cannot drift.

The count and the insert that it allows happen in one transaction. On SQLite there is one writer at a time; elsewhere a
row per project and resource class is locked first, so that two requests cannot both take the last place.
"""

from collections.abc import Callable

import sqlalchemy as sa

from pileus.kernel.db import Name, Tx, Uuid, metadata
from pileus.kernel.errors import OverLimit

UNLIMITED = -1

quota_lock = sa.Table(
    "quota_lock",
    metadata,
    sa.Column("project_id", Uuid(), primary_key=True),
    sa.Column("service", sa.String(32), primary_key=True),
)

quota_limit = sa.Table(
    "quota_limit",
    metadata,
    sa.Column("project_id", Uuid(), primary_key=True),
    sa.Column("service", sa.String(32), primary_key=True),
    sa.Column("resource", Name(64), primary_key=True),
    sa.Column("value", sa.Integer, nullable=False),
)


def limits(tx: Tx, project_id: str, service: str, defaults: dict[str, int]) -> dict[str, int]:
    """The project's limits: the defaults with what an administrator has set for it. UNLIMITED is -1."""
    rows = tx.all(
        sa.select(quota_limit.c.resource, quota_limit.c.value).where(
            quota_limit.c.project_id == project_id, quota_limit.c.service == service
        )
    )
    return defaults | {row.resource: row.value for row in rows if row.resource in defaults}


def set_limit(tx: Tx, project_id: str, service: str, resource: str, value: int) -> None:
    """Set one limit of one project."""
    key = sa.and_(
        quota_limit.c.project_id == project_id,
        quota_limit.c.service == service,
        quota_limit.c.resource == resource,
    )
    if not tx.changed(sa.update(quota_limit).where(key).values(value=value)) and not tx.scalar(
        sa.select(sa.func.count()).select_from(quota_limit).where(key)
    ):
        tx.execute(
            sa.insert(quota_limit).values(project_id=project_id, service=service, resource=resource, value=value)
        )


def clear_limits(tx: Tx, project_id: str, service: str) -> None:
    """Return a project to the defaults."""
    tx.execute(sa.delete(quota_limit).where(quota_limit.c.project_id == project_id, quota_limit.c.service == service))


def lock(tx: Tx, project_id: str, service: str) -> None:
    """Make other requests that take from this project's quota wait until this transaction ends."""
    if tx.dialect == "sqlite":
        return  # a write transaction is alone already
    key = (quota_lock.c.project_id == project_id) & (quota_lock.c.service == service)
    statement = sa.select(quota_lock.c.project_id).where(key).with_for_update()
    if tx.one(statement) is None:
        try:
            with tx.connection.begin_nested():
                tx.execute(sa.insert(quota_lock).values(project_id=project_id, service=service))
        except sa.exc.IntegrityError:
            tx.one(statement)


def reserve(
    tx: Tx,
    project_id: str,
    service: str,
    wanted: dict[str, int],
    defaults: dict[str, int],
    used: Callable[[], dict[str, int]],
    refuse: Callable[[str, int, int, int], OverLimit],
) -> None:
    """Check that `wanted` more of each resource fits, holding the quota until the transaction ends.

    `used` counts what there is; it is called under the lock. `refuse(resource, wanted, used, limit)` makes the error.
    """
    lock(tx, project_id, service)
    allowed = limits(tx, project_id, service, defaults)
    if all(allowed[resource] == UNLIMITED for resource in wanted):
        return
    present = used()
    for resource, more in wanted.items():
        limit = allowed[resource]
        if limit != UNLIMITED and present.get(resource, 0) + more > limit:
            raise refuse(resource, more, present.get(resource, 0), limit)
