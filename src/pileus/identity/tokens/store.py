"""Every query about revoked tokens."""

import sqlalchemy as sa

from pileus.identity.models import revocation
from pileus.identity.rows import add_once
from pileus.kernel.db import Tx

_REVOKED = sa.select(revocation.c.audit_id).where(revocation.c.audit_id == sa.bindparam("of_token"))


def is_revoked(tx: Tx, audit_id: str) -> bool:
    """Whether a token was revoked on its own."""
    return tx.one(_REVOKED, {"of_token": audit_id}) is not None


def revoke(tx: Tx, audit_id: str, expires_at: int, now: int, ended: int) -> None:
    """Revoke a token, and forget those that had ended by `ended` and so mean nothing to anybody any more."""
    tx.execute(sa.delete(revocation).where(revocation.c.expires_at < ended))
    add_once(tx, revocation, audit_id=audit_id, expires_at=expires_at, revoked_at=now)


def revoked_after(tx: Tx, instant: int) -> list[tuple[str, int]]:
    """The audit ids of tokens that were revoked on their own after an instant, and when, the oldest first."""
    columns = (revocation.c.audit_id, revocation.c.revoked_at)
    statement = sa.select(*columns).where(revocation.c.revoked_at > instant)
    return [(row.audit_id, row.revoked_at) for row in tx.all(statement.order_by(revocation.c.revoked_at, *columns[:1]))]
