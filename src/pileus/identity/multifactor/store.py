"""Every query about passcodes."""

import sqlalchemy as sa

from pileus.identity.multifactor.models import totp_use
from pileus.identity.rows import add_once
from pileus.kernel.db import Tx


def take(tx: Tx, credential_id: str, step: int) -> bool:
    """Note that the passcode of a step was taken; False if it was, or a later one."""
    earlier = sa.and_(totp_use.c.credential_id == credential_id, totp_use.c.step < step)
    if tx.changed(sa.update(totp_use).where(earlier).values(step=step)):
        return True
    return add_once(tx, totp_use, credential_id=credential_id, step=step)
