"""What projects use of the image service, counted."""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from pileus.image.domain import Status
from pileus.image.models import image, image_location
from pileus.image.quotas.domain import COUNT_TOTAL, COUNT_UPLOADING, SIZE_TOTAL, STAGE_TOTAL
from pileus.kernel.db import Tx

_UPLOADING = (Status.SAVING, Status.UPLOADING, Status.IMPORTING)
_STAGED = (Status.UPLOADING, Status.IMPORTING)
_MANY = 500

_places = (
    sa.select(sa.func.count())
    .select_from(image_location)
    .where(image_location.c.image_id == image.c.id)
    .correlate(image)
    .scalar_subquery()
)
_COUNTED: Mapping[str, sa.ColumnElement[Any]] = {
    SIZE_TOTAL: sa.func.sum(image.c.size * _places),
    STAGE_TOTAL: sa.func.sum(sa.case((image.c.status.in_(_STAGED), image.c.size), else_=0)),
    COUNT_TOTAL: sa.func.count(),
    COUNT_UPLOADING: sa.func.sum(sa.case((image.c.status.in_(_UPLOADING), 1), else_=0)),
}


def usage(tx: Tx, project_ids: Sequence[str], names: Collection[str]) -> dict[str, int]:
    """What projects use together of what the named limits are for; sizes in bytes.

    An image's data counts once for each store that has it.
    """
    statement, total = _usage(frozenset(names)), dict.fromkeys(names, 0)
    for start in range(0, len(project_ids), _MANY):
        row = tx.one(statement, {"owners": list(project_ids[start : start + _MANY])})
        for name in total if row is not None else ():
            total[name] += int(getattr(row, name) or 0)
    return total


@lru_cache(1 << len(_COUNTED))
def _usage(names: frozenset[str]) -> sa.Select[Any]:
    """The statement, which costs as much to build as to run."""
    return sa.select(*(_COUNTED[name].label(name) for name in sorted(names))).where(
        image.c.owner.in_(sa.bindparam("owners", expanding=True)), image.c.status != Status.DELETED
    )
