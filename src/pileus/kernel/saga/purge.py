"""Old history is deleted."""

import sqlalchemy as sa

from pileus.kernel.clock import MICROSECONDS
from pileus.kernel.db import Tx
from pileus.kernel.loops import Loop, LoopCtx
from pileus.kernel.saga.tables import saga, saga_event

BATCH = 500
EVERY = 3600.0
_DAY = 86_400 * MICROSECONDS


def purge(tx: Tx, finished_before: int, limit: int = BATCH) -> int:
    """Delete up to `limit` sagas that ended before an instant, with their journals, and answer how many. Call it again
    while the answer is `limit`."""
    old = sa.select(saga.c.id).where(saga.c.finished_at < finished_before).order_by(saga.c.finished_at).limit(limit)
    ids = [row.id for row in tx.all(old)]
    if ids:
        tx.execute(sa.delete(saga_event).where(saga_event.c.saga_id.in_(ids)))
        tx.execute(sa.delete(saga).where(saga.c.id.in_(ids)))
    return len(ids)


def purge_loop(keep_days: float) -> Loop:
    """The loop that deletes the history of sagas that ended more than `keep_days` ago."""

    def run(ctx: LoopCtx) -> None:
        before = ctx.clock.now() - int(keep_days * _DAY)
        while not ctx.stopping() and ctx.db.transact(lambda tx: purge(tx, before)) == BATCH:
            ctx.clock.sleep(0.05)  # lets other writers in

    return Loop("saga-purge", EVERY, run)
