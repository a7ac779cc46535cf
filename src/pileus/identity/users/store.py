"""Every query about users, their passwords, groups and memberships."""

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from pileus.identity import models
from pileus.identity.domain import Group, User
from pileus.identity.rows import Found, Rows, Wanted, add_once
from pileus.kernel.db import Tx

USERS = Rows(models.user, User, "user")
GROUPS = Rows(models.group, Group, "group")
_user, _group, _password, _membership = models.user, models.group, models.password, models.membership


class StoredPassword(msgspec.Struct, frozen=True):
    """A password as it is stored."""

    hash: str
    created_at: int
    expires_at: int | None


_PASSWORD_OF = (
    sa.select(_password.c.hash, _password.c.created_at, _password.c.expires_at)
    .where(_password.c.user_id == sa.bindparam("of_user"))
    .order_by(_password.c.created_at.desc())
    .limit(1)
)


def password_of(tx: Tx, user_id: str) -> StoredPassword | None:
    """The password in force."""
    row = tx.one(_PASSWORD_OF, {"of_user": user_id})
    return None if row is None else StoredPassword(row.hash, row.created_at, row.expires_at)


def set_password(tx: Tx, user_id: str, hashed: str | None, now: int) -> None:
    """Replace the password (None: the user has none and cannot log in with one) and void all tokens of the user."""
    tx.execute(sa.delete(_password).where(_password.c.user_id == user_id))
    if hashed is not None:
        tx.execute(sa.insert(_password).values(user_id=user_id, created_at=now, hash=hashed, expires_at=None))
    revoke(tx, user_id)


def renew_hash(tx: Tx, user_id: str, old: str, new: str) -> None:
    """Store another hash of the same password; nothing happens if the password was changed meanwhile."""
    tx.execute(sa.update(_password).where(_password.c.user_id == user_id, _password.c.hash == old).values(hash=new))


def revoke(tx: Tx, user_id: str) -> None:
    """Void all tokens of a user."""
    tx.execute(sa.update(_user).where(_user.c.id == user_id).values(epoch=_user.c.epoch + 1))


def change_user(tx: Tx, user_id: str, values: Mapping[str, Any]) -> None:
    """Set columns of a user. Conflict if the name is taken."""
    USERS.change(tx, user_id, values)


def delete_user(tx: Tx, user_id: str) -> None:
    """Delete a user with everything that it holds."""
    USERS.delete(tx, user_id)  # first: it waits for who is granting the user a role, and then finds that too
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


def is_member(tx: Tx, group_id: str, user_id: str) -> bool:
    """Whether a user is in a group."""
    here = sa.and_(_membership.c.group_id == group_id, _membership.c.user_id == user_id)
    return tx.one(sa.select(_membership.c.user_id).where(here)) is not None


def remove_member(tx: Tx, group_id: str, user_id: str) -> bool:
    """Take a user out of a group; False if it was not there."""
    here = sa.and_(_membership.c.group_id == group_id, _membership.c.user_id == user_id)
    return tx.changed(sa.delete(_membership).where(here)) > 0


def members(tx: Tx, group_id: str, wanted: Wanted) -> Found[User]:
    """A page of the users in a group."""
    return USERS.page(
        tx, wanted, _user.c.id.in_(sa.select(_membership.c.user_id).where(_membership.c.group_id == group_id))
    )


def groups_of(tx: Tx, user_id: str, wanted: Wanted) -> Found[Group]:
    """A page of the groups that a user is in."""
    return GROUPS.page(
        tx, wanted, _group.c.id.in_(sa.select(_membership.c.group_id).where(_membership.c.user_id == user_id))
    )
