"""What the stores of compute share."""

import sqlalchemy as sa

from pileus.kernel.db import Tx, is_duplicate


def inserted(tx: Tx, statement: sa.Insert) -> bool:
    """Execute an INSERT. False if a unique constraint refused the row; the transaction can then only be rolled back."""
    try:
        tx.execute(statement)
    except sa.exc.IntegrityError as err:
        if not is_duplicate(err):
            raise
        return False
    return True
