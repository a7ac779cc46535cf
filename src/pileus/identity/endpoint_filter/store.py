"""Every query about endpoint groups and the endpoints of projects."""

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from pileus.identity.catalog.store import ENDPOINTS
from pileus.identity.domain import Endpoint, Project
from pileus.identity.endpoint_filter.domain import EndpointGroup
from pileus.identity.endpoint_filter.models import endpoint_group as _group
from pileus.identity.endpoint_filter.models import project_endpoint as _direct
from pileus.identity.endpoint_filter.models import project_endpoint_group as _through
from pileus.identity.projects.store import PROJECTS
from pileus.identity.rows import Found, Rows, Wanted, add_once
from pileus.kernel.db import Tx

GROUPS = Rows(_group, EndpointGroup, "endpoint_group")
_ANY = sa.select(sa.or_(sa.exists(sa.select(_direct.c.project_id)), sa.exists(sa.select(_through.c.project_id))))


def any_project(tx: Tx) -> bool:
    """Whether any project has a filter at all."""
    return bool(tx.scalar(_ANY))


def endpoints_of_project(tx: Tx, project_id: str) -> list[Endpoint]:
    """The endpoints that a project is associated with, directly or through a group; also disabled ones."""
    groups = GROUPS.some(
        tx, _group.c.id.in_(sa.select(_through.c.endpoint_group_id).where(_through.c.project_id == project_id))
    )
    direct = sa.select(_direct.c.endpoint_id).where(_direct.c.project_id == project_id)
    return ENDPOINTS.some(tx, sa.or_(ENDPOINTS.table.c.id.in_(direct), *(_matching(one.filters) for one in groups)))


def endpoints_of_group(tx: Tx, group: EndpointGroup, wanted: Wanted) -> Found[Endpoint]:
    """A page of the endpoints that satisfy a group's filters."""
    return ENDPOINTS.page(tx, wanted, _matching(group.filters))


def _matching(filters: Mapping[str, str]) -> sa.ColumnElement[bool]:
    return sa.and_(sa.true(), *(ENDPOINTS.table.c[name] == value for name, value in sorted(filters.items())))


def projects_of_endpoint(tx: Tx, endpoint_id: str, wanted: Wanted) -> Found[Project]:
    """A page of the projects that an endpoint is associated with directly."""
    return _projects(tx, wanted, sa.select(_direct.c.project_id).where(_direct.c.endpoint_id == endpoint_id))


def projects_of_group(tx: Tx, group_id: str, wanted: Wanted) -> Found[Project]:
    """A page of the projects that a group is associated with."""
    return _projects(tx, wanted, sa.select(_through.c.project_id).where(_through.c.endpoint_group_id == group_id))


def _projects(tx: Tx, wanted: Wanted, ids: sa.Select[tuple[str]]) -> Found[Project]:
    return PROJECTS.page(tx, wanted, PROJECTS.table.c.id.in_(ids))


def groups_of_project(tx: Tx, project_id: str, wanted: Wanted) -> Found[EndpointGroup]:
    """A page of the groups that a project is associated with."""
    ids = sa.select(_through.c.endpoint_group_id).where(_through.c.project_id == project_id)
    return GROUPS.page(tx, wanted, _group.c.id.in_(ids))


def add_endpoint(tx: Tx, project_id: str, endpoint_id: str) -> bool:
    """Associate a project with an endpoint; False if it is already."""
    return add_once(tx, _direct, project_id=project_id, endpoint_id=endpoint_id)


def has_endpoint(tx: Tx, project_id: str, endpoint_id: str) -> bool:
    """Whether a project is associated with an endpoint directly."""
    return _there(tx, _direct, _endpoint(project_id, endpoint_id))


def remove_endpoint(tx: Tx, project_id: str, endpoint_id: str) -> bool:
    """End an association; False if there was none."""
    return tx.changed(sa.delete(_direct).where(*_endpoint(project_id, endpoint_id))) > 0


def add_group(tx: Tx, project_id: str, group_id: str) -> bool:
    """Associate a project with a group; False if it is already."""
    return add_once(tx, _through, project_id=project_id, endpoint_group_id=group_id)


def has_group(tx: Tx, project_id: str, group_id: str) -> bool:
    """Whether a project is associated with a group."""
    return _there(tx, _through, _grouped(project_id, group_id))


def remove_group(tx: Tx, project_id: str, group_id: str) -> bool:
    """End an association; False if there was none."""
    return tx.changed(sa.delete(_through).where(*_grouped(project_id, group_id))) > 0


def _endpoint(project_id: str, endpoint_id: str) -> list[sa.ColumnElement[bool]]:
    return [_direct.c.project_id == project_id, _direct.c.endpoint_id == endpoint_id]


def _grouped(project_id: str, group_id: str) -> list[sa.ColumnElement[bool]]:
    return [_through.c.project_id == project_id, _through.c.endpoint_group_id == group_id]


def _there(tx: Tx, table: sa.Table, here: Iterable[sa.ColumnElement[bool]]) -> bool:
    return tx.one(sa.select(sa.literal(1)).select_from(table).where(*here)) is not None
