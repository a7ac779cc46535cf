"""Every query about roles and assignments."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from pileus.identity import models
from pileus.identity.domain import SYSTEM, Assignment, AssignmentFilter, Project, Role
from pileus.identity.federation.models import expiring_membership
from pileus.identity.rows import Rows, add_once, hold
from pileus.kernel.db import Tx
from pileus.kernel.errors import Conflict

ROLES = Rows(models.role, Role, "role")
_implied, _held, _membership, _project = models.implied_role, models.assignment, models.membership, models.project
_ending = expiring_membership
_COLUMNS = tuple(_held.c[name] for name in Assignment.__struct_fields__)


def implications(tx: Tx) -> list[tuple[str, str]]:
    """All pairs of prior and implied role."""
    return [(row.prior_role_id, row.implied_role_id) for row in tx.all(sa.select(_implied))]


def imply(tx: Tx, prior_id: str, implied_id: str) -> None:
    """Let one role imply another; again changes nothing."""
    add_once(tx, _implied, prior_role_id=prior_id, implied_role_id=implied_id)


def no_longer_imply(tx: Tx, prior_id: str, implied_id: str) -> bool:
    """End an implication; False if there was none."""
    here = sa.and_(_implied.c.prior_role_id == prior_id, _implied.c.implied_role_id == implied_id)
    return tx.changed(sa.delete(_implied).where(here)) > 0


def assign(tx: Tx, assignment: Assignment) -> bool:
    """Add an assignment; False if it is there already. Conflict if user, group or target was deleted meanwhile."""
    actors = models.user if assignment.actor_kind == "user" else models.group
    ends = [(actors, assignment.actor_id)]
    if assignment.target_kind != SYSTEM:
        ends.append((_project, assignment.target_id))
    if not all(hold(tx, table, thing_id) for table, thing_id in ends):
        raise Conflict("The user, group or target of the assignment was deleted meanwhile.")
    return add_once(tx, _held, **msgspec.structs.asdict(assignment))


def is_assigned(tx: Tx, assignment: Assignment) -> bool:
    """Whether exactly this assignment exists."""
    return tx.one(sa.select(_held.c.role_id).where(*_exactly(assignment))) is not None


def unassign(tx: Tx, assignment: Assignment) -> bool:
    """Remove an assignment; False if there was none."""
    return tx.changed(sa.delete(_held).where(*_exactly(assignment))) > 0


def _exactly(assignment: Assignment) -> list[sa.ColumnElement[bool]]:
    return [_held.c[name] == value for name, value in msgspec.structs.asdict(assignment).items()]


def assignments(tx: Tx, wanted: AssignmentFilter) -> list[Assignment]:
    """The assignments asked for, in a stable order."""
    statement = sa.select(*_COLUMNS).where(*_conditions(wanted))
    ordered = statement.order_by(*(column for column in _COLUMNS))
    return [_assignment(row) for row in tx.all(ordered)]


def _assignment(row: Sequence[Any]) -> Assignment:
    return Assignment(  # by place: lists have many thousands
        actor_kind=row[0],
        actor_id=row[1],
        target_kind=row[2],
        target_id=row[3],
        role_id=row[4],
        inherited=row[5],
    )


def _conditions(wanted: AssignmentFilter) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.user_id is not None:
        conditions.append(_of_user(wanted.user_id, wanted.groups_at))
    if wanted.group_id is not None:
        conditions.append(sa.and_(_held.c.actor_kind == "group", _held.c.actor_id == wanted.group_id))
    if wanted.role_id is not None:
        conditions.append(_held.c.role_id == wanted.role_id)
    if wanted.projects is not None:
        conditions.append(_on_projects(wanted.projects, wanted.with_inherited))
    if wanted.domain_id is not None:
        conditions.append(sa.and_(_held.c.target_kind == "domain", _held.c.target_id == wanted.domain_id))
    if wanted.system:
        conditions.append(sa.and_(_held.c.target_kind == "system", _held.c.target_id == SYSTEM))
    if wanted.inherited is not None:
        conditions.append(_held.c.inherited == wanted.inherited)
    if wanted.in_domain is not None:
        inside = sa.select(_project.c.id).where(_project.c.domain_id == wanted.in_domain)
        conditions.append(sa.or_(_held.c.target_id == wanted.in_domain, _held.c.target_id.in_(inside)))
    return conditions


def _of_user(user_id: str, groups_at: int | None) -> sa.ColumnElement[bool]:
    own = sa.and_(_held.c.actor_kind == "user", _held.c.actor_id == user_id)
    if groups_at is None:
        return own
    groups = sa.union_all(
        sa.select(_membership.c.group_id).where(_membership.c.user_id == user_id),
        sa.select(_ending.c.group_id).where(_ending.c.user_id == user_id, _ending.c.expires_at > groups_at),
    )
    return sa.or_(own, sa.and_(_held.c.actor_kind == "group", _held.c.actor_id.in_(groups)))


def _on_projects(projects: Sequence[Project], with_inherited: bool) -> sa.ColumnElement[bool]:
    ids = [project.id for project in projects]
    on_them = sa.and_(_held.c.target_kind == "project", _held.c.target_id.in_(ids))
    if not with_inherited:
        return on_them
    above = sorted({ancestor for project in projects for ancestor in project.ancestors})
    return sa.or_(
        sa.and_(on_them, sa.not_(_held.c.inherited)), sa.and_(_held.c.inherited, _held.c.target_id.in_(above))
    )


def members(tx: Tx, group_ids: Sequence[str], at: int) -> dict[str, list[str]]:
    """The users of each group at a moment."""
    found: dict[str, list[str]] = {}
    for table, lasting in ((_membership, sa.true()), (_ending, _ending.c.expires_at > at)) if group_ids else ():
        statement = sa.select(table.c.group_id, table.c.user_id).where(table.c.group_id.in_(group_ids), lasting)
        for row in tx.all(statement):
            if row.user_id not in found.setdefault(row.group_id, []):
                found[row.group_id].append(row.user_id)
    return found


def named(tx: Tx, table: sa.Table, ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """Name and domain of users, groups, projects or roles (a domain's own is None), by id."""
    if not ids:
        return {}
    statement = sa.select(table.c.id, table.c.name, table.c.domain_id).where(table.c.id.in_(ids))
    return {row.id: (row.name, row.domain_id) for row in tx.all(statement)}
