"""Every query about registered limits and limits."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from pileus.identity import models
from pileus.identity.limits.domain import Limit, RegisteredLimit
from pileus.identity.rows import NO_LIMIT, Found, Rows, Wanted
from pileus.kernel.db import Row, Tx
from pileus.kernel.paging import Page, keyset

REGISTERED = Rows(models.registered_limit, RegisteredLimit, "registered limit")
_WRITTEN = Rows(models.limit, Limit, "limit")  # to write alone: what it shows of the registered limit is in its table
_registered, _limit, _project = models.registered_limit, models.limit, models.project
_FIELDS: Mapping[str, sa.ColumnElement[Any]] = {
    name: _limit.c[name] if name in _limit.c else _registered.c[name]
    for name in Limit.__struct_fields__
    if name != "extra"
}
_LIMITS = sa.select(*_FIELDS.values()).join_from(_limit, _registered)
_ONE = _LIMITS.where(_limit.c.id == sa.bindparam("wanted_id"))


def insert_registered(tx: Tx, registered: RegisteredLimit) -> None:
    """Add a registered limit. Conflict if there is one for the same resource, service and region."""
    REGISTERED.insert(tx, registered, place=registered.region_id or "")


def change_registered(tx: Tx, registered_id: str, values: Mapping[str, Any]) -> None:
    """Set columns. Conflict as for `insert_registered`."""
    place = {"place": values["region_id"] or ""} if "region_id" in values else {}
    REGISTERED.change(tx, registered_id, {**values, **place})


def hold_registered(tx: Tx, registered_id: str) -> RegisteredLimit | None:
    """A registered limit, which nobody else changes or makes limits of until the transaction ends."""
    tx.one(sa.select(_registered.c.id).where(_registered.c.id == registered_id).with_for_update())
    return REGISTERED.get(tx, registered_id)


def find_registered(tx: Tx, service_id: str, region_id: str | None, resource_name: str) -> str | None:
    """The id of the registered limit of a resource."""
    here = (
        _registered.c.service_id == service_id,
        _registered.c.place == (region_id or ""),
        _registered.c.resource_name == resource_name,
    )
    found: str | None = tx.scalar(sa.select(_registered.c.id).where(*here))
    return found


def is_referred_to(tx: Tx, registered_id: str) -> bool:
    """Whether a project or domain has a limit of its own instead of this registered one."""
    return tx.one(sa.select(_limit.c.id).where(_limit.c.registered_limit_id == registered_id).limit(1)) is not None


def get(tx: Tx, limit_id: str) -> Limit | None:
    """A limit."""
    row = tx.one(_ONE, {"wanted_id": limit_id})
    return None if row is None else _limit_of(row)


def page(tx: Tx, wanted: Wanted, *, project_id: str | None = None, domain_id: str | None = None) -> Found[Limit]:
    """A page of limits. `project_id`: this project's alone. `domain_id`: this domain's and its projects' alone."""
    statement = _LIMITS
    if project_id is not None:
        statement = statement.where(_limit.c.project_id == project_id)
    if domain_id is not None:
        inside = sa.select(_project.c.id).where(_project.c.domain_id == domain_id)
        statement = statement.where(sa.or_(_limit.c.domain_id == domain_id, _limit.c.project_id.in_(inside)))
    for name, value in wanted.equal.items():
        statement = statement.where(_FIELDS[name] == value)
    limit = NO_LIMIT if wanted.limit is None else wanted.limit
    marker = None if wanted.marker is None else {"id": wanted.marker}
    rows = tx.all(
        keyset(statement, {"id": _limit.c.id}, Page(limit, wanted.marker, (("id", "asc"),)), marker),
    )
    return Found([_limit_of(row) for row in rows[:limit]], len(rows) > limit)


def of_projects(tx: Tx, project_ids: Sequence[str]) -> list[Limit]:
    """All limits of these projects' own."""
    return [_limit_of(row) for row in tx.all(_LIMITS.where(_limit.c.project_id.in_(project_ids)))]


def insert(tx: Tx, limit: Limit) -> None:
    """Add a limit. Conflict if its project or domain has one for the resource already."""
    _WRITTEN.insert(tx, limit)


def change(tx: Tx, limit_id: str, values: Mapping[str, Any]) -> None:
    """Set columns."""
    _WRITTEN.change(tx, limit_id, values)


def delete(tx: Tx, limit_id: str) -> None:
    """Delete a limit."""
    _WRITTEN.delete(tx, limit_id)


def of_domain(tx: Tx, registered_id: str, domain_id: str) -> int | None:
    """The domain's own limit."""
    found: int | None = tx.scalar(
        sa.select(_limit.c.resource_limit).where(
            _limit.c.registered_limit_id == registered_id, _limit.c.domain_id == domain_id
        )
    )
    return found


def project_above(tx: Tx, registered_id: str, domain_id: str, ceiling: int) -> str | None:
    """A project of the domain whose own limit is above `ceiling`, which is not unlimited."""
    found: str | None = tx.scalar(
        sa.select(_limit.c.project_id)
        .join_from(_limit, _project, _limit.c.project_id == _project.c.id)
        .where(
            _limit.c.registered_limit_id == registered_id,
            _project.c.domain_id == domain_id,
            sa.or_(_limit.c.resource_limit > ceiling, _limit.c.resource_limit < 0),
        )
        .limit(1)
    )
    return found


_own = _limit.alias("own")
_domains = _limit.alias("domains")
_IN_FORCE = (
    sa.select(
        _registered.c.resource_name,
        _registered.c.default_limit,
        _own.c.resource_limit.label("own"),
        _domains.c.resource_limit.label("domains"),
        _project.c.domain_id,
    )
    .join_from(_registered, models.service, _registered.c.service_id == models.service.c.id)
    .outerjoin(_project, _project.c.id == sa.bindparam("project_id"))
    .outerjoin(_own, sa.and_(_own.c.registered_limit_id == _registered.c.id, _own.c.project_id == _project.c.id))
    .outerjoin(
        _domains,
        sa.and_(_domains.c.registered_limit_id == _registered.c.id, _domains.c.domain_id == _project.c.domain_id),
    )
    .where(
        models.service.c.type == sa.bindparam("service_type"),
        _registered.c.resource_name.in_(sa.bindparam("names", expanding=True)),
        _registered.c.place.in_(("", sa.bindparam("region"))),
    )
    # Those of the region come last, so that they win in a dictionary.
    .order_by(_registered.c.place, _registered.c.id)
)


def in_force(tx: Tx, project_id: str, service_type: str, region: str, names: Sequence[str]) -> Sequence[Row]:
    """What is registered for resources of a service, without a region before what is for this one.

    Rows of resource_name, default_limit, own (the project's limit or None), domains (its domain's or None), domain_id.
    """
    parameters = {"project_id": project_id, "service_type": service_type, "region": region, "names": list(names)}
    return tx.all(_IN_FORCE, parameters)


def projects_of(tx: Tx, domain_id: str) -> tuple[str, ...]:
    """The ids of a domain's projects."""
    return tuple(row.id for row in tx.all(sa.select(_project.c.id).where(_project.c.domain_id == domain_id)))


def _limit_of(row: Row) -> Limit:
    return Limit(**dict(zip(_FIELDS, row, strict=True)))
