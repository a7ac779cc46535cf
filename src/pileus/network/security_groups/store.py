"""Queries over security groups and their rules."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from pileus.kernel.auth import Actor
from pileus.kernel.db import Row, Tx
from pileus.network.domain import SecurityGroup, SecurityGroupRef, SecurityGroupRule
from pileus.network.lists import Listing, ListRequest, Values
from pileus.network.models import (
    default_security_group,
    port_security_group,
    security_group,
    security_group_rule,
)
from pileus.network.rows import built, grouped, remove


def visible_rules(me: Values) -> sa.ColumnElement[bool]:
    """Rules that a project may see: its own, and those of its groups that an administrator added."""
    groups = sa.select(security_group.c.id).where(security_group.c.project_id == me)
    return sa.or_(security_group_rule.c.project_id == me, security_group_rule.c.security_group_id.in_(groups))


LISTING = Listing("security_group", security_group, lambda me: security_group.c.project_id == me, columns={})

RULE_LISTING = Listing(
    "security_group_rule",
    security_group_rule,
    visible_rules,
    columns={
        name: security_group_rule.c[name]
        for name in (
            "security_group_id",
            "direction",
            "ethertype",
            "protocol",
            "port_range_min",
            "port_range_max",
            "remote_ip_prefix",
            "remote_group_id",
        )
    },
)

_RULES_OF = (
    sa.select(security_group_rule)
    .where(security_group_rule.c.security_group_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(security_group_rule.c.created_at, security_group_rule.c.id)
)
_DEFAULT = sa.select(default_security_group.c.security_group_id).where(
    default_security_group.c.project_id == sa.bindparam("project")
)
_OWNED = sa.select(security_group.c.id).where(
    security_group.c.id.in_(sa.bindparam("ids", expanding=True)),
    security_group.c.project_id == sa.bindparam("project"),
)
_NAMED = sa.select(security_group.c.id, security_group.c.name).where(
    security_group.c.project_id == sa.bindparam("project"),
    sa.or_(
        security_group.c.id.in_(sa.bindparam("ids", expanding=True)),
        security_group.c.name.in_(sa.bindparam("names", expanding=True)),
    ),
)


def _with_rules(tx: Tx, rows: Sequence[Row]) -> list[SecurityGroup]:
    if not rows:
        return []
    rules = [built(SecurityGroupRule, row) for row in tx.all(_RULES_OF, {"ids": [row[0] for row in rows]})]
    by_group: dict[str, list[SecurityGroupRule]] = {}
    for rule in rules:
        by_group.setdefault(rule.security_group_id, []).append(rule)
    return [built(SecurityGroup, row, tuple(by_group.get(row[0], ()))) for row in rows]


def get(tx: Tx, actor: Actor, group_id: str) -> SecurityGroup:
    """A security group that the caller may see. NotFound else."""
    return _with_rules(tx, [LISTING.one(tx, actor, group_id)])[0]


def page(tx: Tx, actor: Actor, request: ListRequest) -> tuple[list[SecurityGroup], bool]:
    """One page of security groups, and whether there are more."""
    rows, more = LISTING.rows(tx, actor, request)
    return _with_rules(tx, rows), more


def get_rule(tx: Tx, actor: Actor, rule_id: str) -> SecurityGroupRule:
    """A rule that the caller may see. NotFound else."""
    return built(SecurityGroupRule, RULE_LISTING.one(tx, actor, rule_id))


def page_rules(tx: Tx, actor: Actor, request: ListRequest) -> tuple[list[SecurityGroupRule], bool]:
    """One page of rules, and whether there are more."""
    rows, more = RULE_LISTING.rows(tx, actor, request)
    return [built(SecurityGroupRule, row) for row in rows], more


def rules_of(tx: Tx, group_ids: Collection[str]) -> list[SecurityGroupRule]:
    """The rules of several groups."""
    if not group_ids:
        return []
    return [built(SecurityGroupRule, row) for row in tx.all(_RULES_OF, {"ids": sorted(group_ids)})]


def default_of(tx: Tx, project_id: str) -> str | None:
    """The project's default group, if it has been made."""
    found: str | None = tx.scalar(_DEFAULT, {"project": project_id})
    return found


def make_default(tx: Tx, project_id: str, group_id: str) -> None:
    """Note which group is a project's default."""
    tx.execute(sa.insert(default_security_group).values(project_id=project_id, security_group_id=group_id))


def is_default(tx: Tx, group_id: str) -> bool:
    """Whether a group is its project's default."""
    statement = sa.select(default_security_group.c.project_id).where(
        default_security_group.c.security_group_id == group_id
    )
    return tx.one(statement) is not None


def owned(tx: Tx, project_id: str, group_ids: Collection[str]) -> set[str]:
    """Those of the groups that are the project's."""
    return {row.id for row in tx.all(_OWNED, {"ids": sorted(group_ids), "project": project_id})}


def named(tx: Tx, project_id: str, names: Collection[str]) -> list[SecurityGroupRef]:
    """The project's groups with one of these names or ids."""
    rows = tx.all(_NAMED, {"project": project_id, "ids": sorted(names), "names": sorted(names)})
    return [SecurityGroupRef(row.id, row.name) for row in rows]


def names_of(tx: Tx, group_ids: Collection[str]) -> dict[str, str]:
    """The names of groups by id."""
    if not group_ids:
        return {}
    rows = tx.all(
        sa.select(security_group.c.id, security_group.c.name).where(security_group.c.id.in_(sorted(group_ids)))
    )
    return {row.id: row.name for row in rows}


def insert(tx: Tx, values: Mapping[str, Any]) -> None:
    """Add a group."""
    tx.execute(sa.insert(security_group).values(values))


def insert_rules(tx: Tx, rules: Sequence[Mapping[str, Any]]) -> None:
    """Add rules."""
    tx.execute(sa.insert(security_group_rule), [dict(rule) for rule in rules])


def in_use(tx: Tx, group_id: str) -> bool:
    """Whether ports are in the group."""
    statement = sa.select(port_security_group.c.port_id).where(port_security_group.c.security_group_id == group_id)
    return tx.one(statement.limit(1)) is not None


def groups_naming(tx: Tx, group_id: str) -> dict[str, list[str]]:
    """The groups whose rules name this group as remote, with those rules' ids."""
    rows = tx.all(
        sa.select(security_group_rule.c.security_group_id, security_group_rule.c.id).where(
            security_group_rule.c.remote_group_id == group_id
        )
    )
    return grouped(rows, lambda row: row[1])


def delete(tx: Tx, group_id: str) -> None:
    """Delete a group with its rules and the rules of others that name it."""
    tx.execute(
        sa.delete(security_group_rule).where(
            sa.or_(
                security_group_rule.c.security_group_id == group_id,
                security_group_rule.c.remote_group_id == group_id,
            )
        )
    )
    tx.execute(sa.delete(default_security_group).where(default_security_group.c.security_group_id == group_id))
    remove(tx, security_group, group_id)
