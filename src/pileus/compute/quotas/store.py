"""Queries of quotas."""

from collections.abc import Mapping

import sqlalchemy as sa

from pileus.compute.quotas.models import user_limit
from pileus.compute.servers.models import server
from pileus.kernel.db import Tx

_u, _s = user_limit.c, server.c
_USER_LIMITS = sa.select(_u.resource, _u.value).where(
    _u.project_id == sa.bindparam("project"), _u.user_id == sa.bindparam("user")
)
_USED = sa.select(
    sa.func.count().label("instances"),
    sa.func.coalesce(sa.func.sum(_s.vcpus), 0).label("cores"),
    sa.func.coalesce(sa.func.sum(_s.memory_mb), 0).label("ram"),
).where(_s.project_id == sa.bindparam("project"), _s.deleted == 0)
_USED_BY_USER = _USED.where(_s.user_id == sa.bindparam("user"))


def user_limits(tx: Tx, project_id: str, user_id: str) -> dict[str, int]:
    """The limits that were set for one user of a project."""
    return {row.resource: row.value for row in tx.all(_USER_LIMITS, {"project": project_id, "user": user_id})}


def set_user_limits(tx: Tx, project_id: str, user_id: str, values: Mapping[str, int]) -> None:
    """Set limits of one user of a project."""
    mine = (_u.project_id == project_id, _u.user_id == user_id)
    tx.execute(sa.delete(user_limit).where(*mine, _u.resource.in_(list(values))))
    rows = [
        {"project_id": project_id, "user_id": user_id, "resource": resource, "value": value}
        for resource, value in values.items()
    ]
    tx.execute(sa.insert(user_limit), rows)


def clear_user_limits(tx: Tx, project_id: str, user_id: str | None = None) -> None:
    """Forget the limits of one user of a project, or of all its users."""
    where = [_u.project_id == project_id]
    if user_id is not None:
        where.append(_u.user_id == user_id)
    tx.execute(sa.delete(user_limit).where(*where))


def used(tx: Tx, project_id: str, user_id: str | None = None) -> dict[str, int]:
    """What the servers of a project, or of one user in it, take: instances, cores, ram (MiB)."""
    if user_id is None:
        row = tx.one(_USED, {"project": project_id})
    else:
        row = tx.one(_USED_BY_USER, {"project": project_id, "user": user_id})
    return {} if row is None else {"instances": row.instances, "cores": int(row.cores), "ram": int(row.ram)}
