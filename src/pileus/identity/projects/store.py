"""Every query about domains and projects."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from pileus.identity import models
from pileus.identity.application_credentials import store as application_credentials
from pileus.identity.domain import Project, TagFilter
from pileus.identity.rows import Found, Rows, Wanted
from pileus.kernel.db import Tx

PROJECTS = Rows(models.project, Project, "project")
_project, _tag = models.project, models.project_tag
_MANY = 500


def get(tx: Tx, project_id: str) -> Project | None:
    """A project or domain, with its tags."""
    project = PROJECTS.get(tx, project_id)
    return None if project is None else _with_tags(tx, [project])[0]


def by_name(tx: Tx, name: str, namespace: str) -> Project | None:
    """The project of this name in a domain (`namespace`: the domain's id), or the domain (`namespace`: empty)."""
    return PROJECTS.named(tx, name, namespace=namespace)


def page(tx: Tx, wanted: Wanted, tags: TagFilter) -> Found[Project]:
    """A page of projects, with their tags."""
    found = PROJECTS.page(tx, wanted, *_tagged(tags))
    return Found(_with_tags(tx, found.things), found.more)


def of_ids(tx: Tx, ids: Sequence[str]) -> list[Project]:
    """The projects and domains among the ids, with their tags."""
    return _with_tags(tx, PROJECTS.some(tx, ids_in(ids))) if ids else []


def ids_in(ids: Sequence[str]) -> sa.ColumnElement[bool]:
    """The condition that a project is one of `ids`."""
    return _project.c.id.in_(ids)


def page_reached(
    tx: Tx, wanted: Wanted, *, direct: Sequence[str], whole_domains: Sequence[str], subtrees: Sequence[str]
) -> Found[Project]:
    """A page of the projects that are named directly, or in one of the domains, or below one of the projects."""
    ways: list[sa.ColumnElement[bool]] = [_project.c.id.in_(direct), _project.c.domain_id.in_(whole_domains)]
    ways += [_project.c.lineage.contains(f"/{top}/", autoescape=True) for top in sorted(set(subtrees))]
    found = PROJECTS.page(tx, wanted, sa.or_(*ways))
    return Found(_with_tags(tx, found.things), found.more)


def reached(tx: Tx, tops: Sequence[str]) -> list[Project]:
    """All projects below any of the given projects and domains."""
    ways: list[sa.ColumnElement[bool]] = [_project.c.domain_id.in_(tops)]
    ways += [_project.c.lineage.contains(f"/{top}/", autoescape=True) for top in tops]
    return PROJECTS.some(tx, sa.or_(*ways))


def children(tx: Tx, project_id: str) -> list[Project]:
    """The projects directly below one."""
    return PROJECTS.some(tx, _project.c.parent_id == project_id)


def below(tx: Tx, project: Project) -> list[Project]:
    """All projects below one, parents before their children."""
    inside = _project.c.lineage.startswith(f"{project.lineage}{project.id}/", autoescape=True)
    return sorted(PROJECTS.some(tx, inside), key=lambda found: len(found.lineage))


def subtree(tx: Tx, project: Project) -> list[Project]:
    """The same, with their tags."""
    return _with_tags(tx, below(tx, project))


def insert(tx: Tx, project: Project) -> None:
    """Add a project or domain with its tags. Conflict if the name is taken."""
    PROJECTS.insert(tx, project, namespace=project.domain_id or "")
    _insert_tags(tx, project.id, project.tags)


def change(tx: Tx, project_id: str, values: Mapping[str, Any], *, revoke: bool) -> None:
    """Set columns; with `revoke`, void all tokens for it."""
    PROJECTS.change(tx, project_id, {**values, "epoch": _project.c.epoch + 1} if revoke else values)


def set_tags(tx: Tx, project_id: str, tags: Sequence[str]) -> None:
    """Replace all tags."""
    tx.execute(sa.delete(_tag).where(_tag.c.project_id == project_id))
    _insert_tags(tx, project_id, tags)


def delete(tx: Tx, project_id: str) -> None:
    """Delete a project that has nothing below it, and what refers to it."""
    PROJECTS.delete(tx, project_id)  # first: it waits for who is granting a role on it, and then finds that too
    _forget(tx, [project_id])


def delete_domain(tx: Tx, domain_id: str) -> None:
    """Delete a domain and all its projects, users, groups and roles, with everything that they hold."""
    actors = [
        row.id
        for table in (models.user, models.group)
        for row in tx.all(sa.select(table.c.id).where(table.c.domain_id == domain_id))
    ]
    inside = [row.id for row in tx.all(sa.select(_project.c.id).where(_project.c.domain_id == domain_id))]
    for ids in _chunks(actors):
        application_credentials.delete_of(tx, ids)  # which keep the users' access rules
    for table in (models.user, models.group, models.role):
        tx.execute(sa.delete(table).where(table.c.domain_id == domain_id))
    # Cut loose from each other first: MariaDB checks each row's references as it goes.
    tx.execute(sa.update(_project).where(_project.c.namespace == domain_id).values(parent_id=None, domain_id=None))
    tx.execute(sa.delete(_project).where(_project.c.namespace == domain_id))
    PROJECTS.delete(tx, domain_id)
    for ids in _chunks(actors):
        tx.execute(sa.delete(models.assignment).where(models.assignment.c.actor_id.in_(ids)))
        tx.execute(sa.delete(models.credential).where(models.credential.c.user_id.in_(ids)))
    _forget(tx, [*inside, domain_id])


def _forget(tx: Tx, project_ids: Sequence[str]) -> None:
    for ids in _chunks(project_ids):
        tx.execute(sa.delete(models.assignment).where(models.assignment.c.target_id.in_(ids)))
        tx.execute(sa.delete(models.credential).where(models.credential.c.project_id.in_(ids)))
        tx.execute(
            sa.update(models.user).where(models.user.c.default_project_id.in_(ids)).values(default_project_id=None)
        )


def _insert_tags(tx: Tx, project_id: str, tags: Sequence[str]) -> None:
    if tags:
        tx.execute(sa.insert(_tag), [{"project_id": project_id, "name": name} for name in tags])


def _with_tags(tx: Tx, projects: Sequence[Project]) -> list[Project]:
    tags: dict[str, list[str]] = {}
    for ids in _chunks([project.id for project in projects]):
        statement = sa.select(_tag.c.project_id, _tag.c.name).where(_tag.c.project_id.in_(ids)).order_by(_tag.c.name)
        for row in tx.all(statement):
            tags.setdefault(row.project_id, []).append(row.name)
    return [
        msgspec.structs.replace(project, tags=tuple(tags[project.id])) if project.id in tags else project
        for project in projects
    ]


def _chunks(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + _MANY] for start in range(0, len(ids), _MANY)]


def _tagged(tags: TagFilter) -> list[sa.ColumnElement[bool]]:
    def count(names: Sequence[str]) -> sa.ScalarSelect[int]:
        here = sa.and_(_tag.c.project_id == _project.c.id, _tag.c.name.in_(names))
        return sa.select(sa.func.count()).select_from(_tag).where(here).scalar_subquery()

    conditions: list[sa.ColumnElement[bool]] = []
    if tags.all_of:
        conditions.append(count(tags.all_of) == len(set(tags.all_of)))
    if tags.any_of:
        conditions.append(count(tags.any_of) > 0)
    if tags.not_all_of:
        conditions.append(count(tags.not_all_of) < len(set(tags.not_all_of)))
    if tags.none_of:
        conditions.append(count(tags.none_of) == 0)
    return conditions
