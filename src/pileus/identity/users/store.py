"""Every query about users, their passwords, groups and memberships."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from pileus.identity import models
from pileus.identity.application_credentials import store as application_credentials
from pileus.identity.domain import Comparator, Group, User
from pileus.identity.federation.models import expiring_membership, federated_user
from pileus.identity.rows import Found, Rows, Wanted, add_once
from pileus.identity.users.compliance import Failures, StoredPassword, passcodes_of
from pileus.kernel.db import Row, Tx

USERS = Rows(models.user, User, "user")
GROUPS = Rows(models.group, Group, "group")
_user, _group, _password, _membership = models.user, models.group, models.password, models.membership
_failed, _ending = models.failed_login, expiring_membership
_COMPARE: Mapping[Comparator, Callable[[Any, Any], sa.ColumnElement[bool]]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "eq": operator.eq,
    "neq": operator.ne,
    "gte": operator.ge,
    "gt": operator.gt,
}


_PASSWORDS_OF = (
    sa.select(_password.c.hash, _password.c.created_at, _password.c.self_service)
    .where(_password.c.user_id == sa.bindparam("of_user"))
    .order_by(_password.c.created_at.desc())
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_FAILURES_OF = sa.select(_failed.c.failures, _failed.c.failed_at).where(_failed.c.account == sa.bindparam("of_account"))


def _stored(row: Row) -> StoredPassword:
    return StoredPassword(row.hash, row.created_at, row.self_service)


def passwords_of(tx: Tx, user_id: str, most: int) -> list[StoredPassword]:
    """The user's passwords, the one in force first."""
    return [_stored(row) for row in tx.all(_PASSWORDS_OF, {"of_user": user_id, "most": most})]


def password_of(tx: Tx, user_id: str) -> StoredPassword | None:
    """The password in force."""
    row = tx.one(_PASSWORDS_OF, {"of_user": user_id, "most": 1})
    return None if row is None else _stored(row)


def set_password(
    tx: Tx, user_id: str, hashed: str | None, now: int, *, expires_at: int | None, self_service: bool, remembered: int
) -> None:
    """Replace the password (None: the user has none and cannot log in with one) and void all tokens of the user.

    `remembered`: so many passwords are kept, the new one included; without a new one, none is.
    """
    kept = passwords_of(tx, user_id, remembered - 1) if hashed is not None and remembered > 1 else []
    mine = _password.c.user_id == user_id
    tx.execute(sa.delete(_password).where(mine, _password.c.created_at.not_in([one.created_at for one in kept])))
    if hashed is not None:
        at = max(now, kept[0].created_at + 1) if kept else now
        new = {"user_id": user_id, "created_at": at, "hash": hashed, "self_service": self_service}
        tx.execute(sa.insert(_password).values(**new))
    expiry = expires_at if hashed is not None else None
    changed = {"password_expires_at": expiry, "epoch": _user.c.epoch + 1}
    tx.execute(sa.update(_user).where(_user.c.id == user_id).values(**changed))


def failures_of(tx: Tx, account: str) -> Failures | None:
    """The wrong passwords in a row for an account."""
    row = tx.one(_FAILURES_OF, {"of_account": account})
    return None if row is None else Failures(row.failures, row.failed_at)


def held_failures_of(tx: Tx, account: str) -> Failures | None:
    """The same, and nobody else changes the row until the transaction ends."""
    row = tx.one(_FAILURES_OF.with_for_update(), {"of_account": account})
    return None if row is None else Failures(row.failures, row.failed_at)


def set_failures(tx: Tx, account: str, failures: Failures) -> bool:
    """Store them; False if somebody else stored the account's first ones at the same moment.

    The row is always written anew, so that the first failure takes the same statements as any other.
    """
    tx.execute(sa.delete(_failed).where(_failed.c.account == account))
    return add_once(tx, _failed, account=account, failures=failures.count, failed_at=failures.failed_at)


def forget_failures(tx: Tx, account: str) -> None:
    """The account begins without wrong passwords again."""
    tx.execute(sa.delete(_failed).where(_failed.c.account == account))


def forget_all_failures(tx: Tx, user_id: str) -> None:
    """A user begins without wrong passwords and passcodes again."""
    tx.execute(sa.delete(_failed).where(_failed.c.account.in_((user_id, passcodes_of(user_id)))))


def is_enabled(active_since: int | None) -> sa.ColumnElement[bool]:
    """The condition that a user is enabled, and has been active since then."""
    if active_since is None:
        return _user.c.enabled
    return sa.and_(_user.c.enabled, sa.or_(_user.c.last_active_at.is_(None), _user.c.last_active_at >= active_since))


def expires(comparator: Comparator, instant: int) -> sa.ColumnElement[bool]:
    """The condition that a user's password expires before, at or after an instant."""
    return _COMPARE[comparator](_user.c.password_expires_at, instant)


def renew_hash(tx: Tx, user_id: str, old: str, new: str) -> None:
    """Store another hash of the same password; nothing happens if the password was changed meanwhile."""
    tx.execute(sa.update(_password).where(_password.c.user_id == user_id, _password.c.hash == old).values(hash=new))


def revoke(tx: Tx, user_id: str) -> None:
    """Void all tokens of a user."""
    tx.execute(sa.update(_user).where(_user.c.id == user_id).values(epoch=_user.c.epoch + 1))


def disabled(tx: Tx, user_id: str) -> None:
    """Void all tokens of a user, and what the user's programs log in with."""
    revoke(tx, user_id)
    application_credentials.delete_of(tx, [user_id])


def change_user(tx: Tx, user_id: str, values: Mapping[str, Any]) -> None:
    """Set columns of a user. Conflict if the name is taken."""
    USERS.change(tx, user_id, values)


def delete_user(tx: Tx, user_id: str) -> None:
    """Delete a user with everything that it holds."""
    application_credentials.delete_of(tx, [user_id])  # which keep the user's access rules
    USERS.delete(tx, user_id)  # before the rest: it waits for who is granting a role, and then finds that too
    forget_all_failures(tx, user_id)
    assignment, credential = models.assignment, models.credential
    tx.execute(sa.delete(assignment).where(assignment.c.actor_kind == "user", assignment.c.actor_id == user_id))
    tx.execute(sa.delete(credential).where(credential.c.user_id == user_id))


def delete_group(tx: Tx, group_id: str) -> None:
    """Delete a group with its memberships and everything that it holds."""
    GROUPS.delete(tx, group_id)  # first, as for users
    assignment = models.assignment
    tx.execute(sa.delete(assignment).where(assignment.c.actor_kind == "group", assignment.c.actor_id == group_id))


def add_member(tx: Tx, group_id: str, user_id: str) -> bool:
    """Put a user into a group; False if it is there already."""
    return add_once(tx, _membership, group_id=group_id, user_id=user_id)


def is_member(tx: Tx, group_id: str, user_id: str, at: int) -> bool:
    """Whether a user is in a group at a moment."""
    return tx.one(sa.select(_user.c.id).where(_user.c.id == user_id, in_group(group_id, at))) is not None


def remove_member(tx: Tx, group_id: str, user_id: str) -> bool:
    """Take a user out of a group; False if it was not there."""
    here = sa.and_(_membership.c.group_id == group_id, _membership.c.user_id == user_id)
    return tx.changed(sa.delete(_membership).where(here)) > 0


def in_group(group_id: str, at: int) -> sa.ColumnElement[bool]:
    """The condition that a user is in a group at a moment."""
    for_good = sa.select(_membership.c.user_id).where(_membership.c.group_id == group_id)
    for_now = sa.select(_ending.c.user_id).where(_ending.c.group_id == group_id, _ending.c.expires_at > at)
    return _user.c.id.in_(sa.union_all(for_good, for_now))


def came_by(where: Mapping[str, str]) -> sa.ColumnElement[bool]:
    """The condition that a user came through a provider, by a protocol, under an id (those that `where` has)."""
    conditions = [federated_user.c[name] == value for name, value in where.items()]
    return _user.c.id.in_(sa.select(federated_user.c.user_id).where(*conditions))


def groups_of(tx: Tx, user_id: str, wanted: Wanted, at: int) -> Found[Group]:
    """A page of the groups that a user is in at a moment."""
    for_good = sa.select(_membership.c.group_id).where(_membership.c.user_id == user_id)
    for_now = sa.select(_ending.c.group_id).where(_ending.c.user_id == user_id, _ending.c.expires_at > at)
    return GROUPS.page(tx, wanted, _group.c.id.in_(sa.union_all(for_good, for_now)))


def ends_of_memberships(tx: Tx, user_id: str, at: int) -> dict[str, int]:
    """When a user's memberships end that do not last for good, by group."""
    statement = sa.select(_ending.c.group_id, sa.func.max(_ending.c.expires_at).label("ends")).where(
        _ending.c.user_id == user_id, _ending.c.expires_at > at
    )
    return {row.group_id: int(row.ends) for row in tx.all(statement.group_by(_ending.c.group_id))}
