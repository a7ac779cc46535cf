"""Every query about trusts."""

import msgspec
import sqlalchemy as sa

from pileus.identity.rows import Found, Rows, Wanted
from pileus.identity.trusts import models
from pileus.identity.trusts.domain import Trust
from pileus.kernel.db import Tx

TRUSTS = Rows(models.trust, Trust, "trust")
_trust, _role = models.trust, models.trust_role
_ROLES = sa.select(_role.c.role_id).where(_role.c.trust_id == sa.bindparam("of_trust")).order_by(_role.c.role_id)


def get(tx: Tx, trust_id: str) -> Trust | None:
    """A trust with its roles."""
    trust = TRUSTS.get(tx, trust_id)
    if trust is None:
        return None
    roles = tuple(row.role_id for row in tx.all(_ROLES, {"of_trust": trust_id}))
    return msgspec.structs.replace(trust, roles=roles)


def page(tx: Tx, wanted: Wanted) -> Found[Trust]:
    """A page of trusts, without their roles."""
    return TRUSTS.page(tx, wanted)


def insert(tx: Tx, trust: Trust) -> None:
    """Add a trust. Conflict if what it refers to went meanwhile."""
    TRUSTS.insert(tx, trust)
    if trust.roles:
        tx.execute(sa.insert(_role), [{"trust_id": trust.id, "role_id": role_id} for role_id in trust.roles])


def use(tx: Tx, trust_id: str) -> bool:
    """Count one use of a trust; False if none is left, or the trust is gone."""
    counted = sa.and_(_trust.c.id == trust_id, sa.or_(_trust.c.remaining_uses.is_(None), _trust.c.remaining_uses > 0))
    return tx.changed(sa.update(_trust).where(counted).values(remaining_uses=_trust.c.remaining_uses - 1)) > 0
