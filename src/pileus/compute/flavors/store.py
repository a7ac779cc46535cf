"""Every query of flavors."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from pileus.compute.flavors.domain import Flavor, Selection
from pileus.compute.flavors.models import flavor, flavor_access
from pileus.compute.rows import inserted
from pileus.kernel.db import Tx
from pileus.kernel.paging import Page, keyset

_c, _access = flavor.c, flavor_access.c
_SELECT = sa.select(*(_c[name] for name in Flavor.__struct_fields__))
_BY_FLAVORID = _SELECT.where(_c.flavorid == sa.bindparam("the_id"))
_BY_FLAVORID_LOCKED = _BY_FLAVORID.with_for_update()
_PROJECTS = sa.select(_access.project_id).where(_access.flavor == sa.bindparam("number")).order_by(_access.project_id)
_HAS_ACCESS = sa.select(sa.literal(1)).where(
    _access.flavor == sa.bindparam("number"), _access.project_id == sa.bindparam("project")
)
_TAKEN = sa.select(_c.flavorid, _c.name).where(
    sa.or_(_c.flavorid == sa.bindparam("the_id"), _c.name == sa.bindparam("the_name"))
)

"""The API's sort keys and their columns."""


def _flavor(row: Any) -> Flavor:
    return Flavor(*row)


def get(tx: Tx, flavorid: str, *, lock: bool = False) -> Flavor | None:
    """One flavor. `lock`: nobody else changes it until this transaction ends."""
    statement = _BY_FLAVORID_LOCKED if lock and tx.dialect != "sqlite" else _BY_FLAVORID
    row = tx.one(statement, {"the_id": flavorid})
    return None if row is None else _flavor(row)


def page(tx: Tx, selection: Selection, wanted: Page) -> list[Flavor] | None:
    """A page of flavors and, where there are more, one further. None if there is no such marker."""
    marker = None
    if wanted.marker is not None:
        row = tx.one(_BY_FLAVORID, {"the_id": wanted.marker})
        if row is None:
            return None
        marker = row._mapping
    statement = _SELECT.where(*_conditions(selection))
    columns = {name: _c[name] for name in Flavor.__struct_fields__}
    return [_flavor(row) for row in tx.all(keyset(statement, columns, wanted, marker))]  # type: ignore[arg-type]


def _conditions(selection: Selection) -> list[sa.ColumnElement[bool]]:
    where: list[sa.ColumnElement[bool]] = []
    if selection.is_public is False:
        where.append(_c.is_public.is_(False))
    elif selection.is_public:
        granted = sa.select(_access.flavor).where(_access.project_id == selection.project_id)
        where.append(sa.or_(_c.is_public.is_(True), _c.number.in_(granted)))
    if selection.min_ram is not None:
        where.append(_c.ram >= selection.min_ram)
    if selection.min_disk is not None:
        where.append(_c.disk >= selection.min_disk)
    return where


def taken(tx: Tx, flavorid: str, name: str) -> str | None:
    """What stands in the way of a new flavor: "flavorid", "name", or nothing (None)."""
    rows = tx.all(_TAKEN, {"the_id": flavorid, "the_name": name})
    if any(row.name == name for row in rows):
        return "name"
    return "flavorid" if rows else None


def insert(tx: Tx, values: Mapping[str, Any]) -> bool:
    """Add a flavor. False if one that another request has just added has its name or id; nothing more can then be done
    in this transaction."""
    return inserted(tx, sa.insert(flavor).values(**values))


def change(tx: Tx, number: int, values: Mapping[str, Any]) -> bool:
    """Change a flavor; False if it is gone."""
    return tx.changed(sa.update(flavor).where(_c.number == number).values(**values)) == 1


def delete(tx: Tx, number: int) -> None:
    """Remove a flavor, and with it who had access to it."""
    tx.execute(sa.delete(flavor_access).where(_access.flavor == number))
    tx.execute(sa.delete(flavor).where(_c.number == number))


def has_access(tx: Tx, number: int, project_id: str | None) -> bool:
    """Whether a project has been given access to a flavor."""
    return project_id is not None and tx.one(_HAS_ACCESS, {"number": number, "project": project_id}) is not None


def projects_of(tx: Tx, number: int) -> list[str]:
    """The projects that have been given access to a flavor."""
    return [row.project_id for row in tx.all(_PROJECTS, {"number": number})]


def grant(tx: Tx, number: int, project_id: str) -> None:
    """Give a project access to a flavor."""
    tx.execute(sa.insert(flavor_access).values(flavor=number, project_id=project_id))


def revoke(tx: Tx, number: int, project_id: str) -> bool:
    """Take a project's access to a flavor; False if it had none."""
    statement = sa.delete(flavor_access).where(_access.flavor == number, _access.project_id == project_id)
    return tx.changed(statement) == 1
