"""Every query about application credentials and access rules."""

from collections.abc import Collection, Sequence

import msgspec
import sqlalchemy as sa

from pileus.identity import models as identity
from pileus.identity.application_credentials import models
from pileus.identity.application_credentials.domain import ApplicationCredential, StoredRule
from pileus.identity.rows import Found, Rows, Wanted
from pileus.kernel.access_rules import AccessRule
from pileus.kernel.db import Tx, is_duplicate
from pileus.kernel.errors import Conflict
from pileus.kernel.ids import new_hex

CREDENTIALS = Rows(models.application_credential, ApplicationCredential, "application credential")
RULES = Rows(models.access_rule, StoredRule, "access rule")
_credential, _rule = models.application_credential, models.access_rule
_role_of, _rule_of = models.application_credential_role, models.application_credential_access_rule
_user = identity.user
_SAME_RULE = ("user_id", "service", "method", "path")
_RULE_COLUMNS = ("id", *_SAME_RULE)
_HASH = sa.select(_credential.c.secret_hash).where(_credential.c.id == sa.bindparam("of_credential"))
_ROLES = sa.select(_role_of.c.application_credential_id, _role_of.c.role_id).order_by(_role_of.c.role_id)
_USED_RULES = (
    sa.select(_rule_of.c.application_credential_id, *_rule.c)
    .join(_rule, _rule.c.id == _rule_of.c.access_rule_id)
    .order_by(_rule.c.id)
)


def get(tx: Tx, credential_id: str) -> ApplicationCredential | None:
    """A credential with its roles and rules."""
    credential = CREDENTIALS.get(tx, credential_id)
    return None if credential is None else _complete(tx, [credential])[0]


def named(tx: Tx, user_id: str, name: str) -> ApplicationCredential | None:
    """A user's credential of this name."""
    credential = CREDENTIALS.named(tx, name, user_id=user_id)
    return None if credential is None else _complete(tx, [credential])[0]


def page(tx: Tx, wanted: Wanted) -> Found[ApplicationCredential]:
    """A page of credentials, with their roles and rules."""
    found = CREDENTIALS.page(tx, wanted)
    return Found(_complete(tx, found.things), found.more)


def hash_of(tx: Tx, credential_id: str) -> str | None:
    """The hash of a credential's secret."""
    found: str | None = tx.scalar(_HASH, {"of_credential": credential_id})
    return found


def insert(tx: Tx, credential: ApplicationCredential, secret_hash: str) -> None:
    """Add a credential. Conflict if the user has one of that name, or what it refers to went."""
    CREDENTIALS.insert(tx, credential, secret_hash=secret_hash)
    if credential.roles:
        rows = [{"application_credential_id": credential.id, "role_id": role_id} for role_id in credential.roles]
        tx.execute(sa.insert(_role_of), rows)
    if credential.rules:
        used = [{"application_credential_id": credential.id, "access_rule_id": rule.id} for rule in credential.rules]
        tx.execute(sa.insert(_rule_of), used)


def count_locked(tx: Tx, user_id: str) -> int:
    """How many credentials a user has; until the transaction ends, nobody else who counts makes another one."""
    tx.one(sa.select(_user.c.id).where(_user.c.id == user_id).with_for_update())
    of_user = sa.select(sa.func.count()).select_from(_credential).where(_credential.c.user_id == user_id)
    return int(tx.scalar(of_user))


def delete_of(tx: Tx, user_ids: Collection[str], project_id: str | None = None) -> None:
    """Delete all credentials of users, or only those for one project."""
    conditions: list[sa.ColumnElement[bool]] = [_credential.c.user_id.in_(user_ids)]
    if project_id is not None:
        conditions.append(_credential.c.project_id == project_id)
    tx.execute(sa.delete(_credential).where(*conditions))


def rule(tx: Tx, user_id: str, wanted: AccessRule) -> StoredRule:
    """The user's rule that says this; made if there is none."""
    stored = StoredRule(id=new_hex(), user_id=user_id, **msgspec.structs.asdict(wanted))
    found = _same(tx, stored)
    if found is not None:
        return found
    try:
        with tx.connection.begin_nested():
            tx.execute(sa.insert(_rule).values({name: getattr(stored, name) for name in _RULE_COLUMNS}))
    except sa.exc.IntegrityError as err:
        found = _same(tx, stored) if is_duplicate(err) else None
        if found is None:
            raise Conflict("The user was deleted meanwhile, or the rule made by somebody else. Try again.") from err
        return found
    return stored


def _same(tx: Tx, stored: StoredRule) -> StoredRule | None:
    same = [_rule.c[name] == getattr(stored, name) for name in _SAME_RULE]
    found = RULES.some(tx, *same)
    return found[0] if found else None


def is_used(tx: Tx, rule_id: str) -> bool:
    """Whether any credential has the rule."""
    return tx.one(sa.select(_rule_of.c.access_rule_id).where(_rule_of.c.access_rule_id == rule_id).limit(1)) is not None


def _complete(tx: Tx, credentials: Sequence[ApplicationCredential]) -> list[ApplicationCredential]:
    ids = [credential.id for credential in credentials]
    if not ids:
        return []
    roles: dict[str, list[str]] = {}
    for row in tx.all(_ROLES.where(_role_of.c.application_credential_id.in_(ids))):
        roles.setdefault(row.application_credential_id, []).append(row.role_id)
    rules: dict[str, list[StoredRule]] = {}
    for row in tx.all(_USED_RULES.where(_rule_of.c.application_credential_id.in_(ids))):
        one = StoredRule(id=row.id, user_id=row.user_id, service=row.service, method=row.method, path=row.path)
        rules.setdefault(row.application_credential_id, []).append(one)
    return [
        msgspec.structs.replace(one, roles=tuple(roles.get(one.id, ())), rules=tuple(rules.get(one.id, ())))
        for one in credentials
    ]
