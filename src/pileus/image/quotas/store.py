"""What projects use of the image service, counted."""

from collections.abc import Sequence

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
_USAGE = sa.select(
    sa.func.sum(image.c.size * _places).label(SIZE_TOTAL),
    sa.func.sum(sa.case((image.c.status.in_(_STAGED), image.c.size), else_=0)).label(STAGE_TOTAL),
    sa.func.count().label(COUNT_TOTAL),
    sa.func.sum(sa.case((image.c.status.in_(_UPLOADING), 1), else_=0)).label(COUNT_UPLOADING),
).where(image.c.owner.in_(sa.bindparam("owners", expanding=True)), image.c.status != Status.DELETED)


def usage(tx: Tx, project_ids: Sequence[str]) -> dict[str, int]:
    """What projects use together, by the name of the limit; sizes in bytes.

    An image's data counts once for each store that has it.
    """
    total = dict.fromkeys((SIZE_TOTAL, STAGE_TOTAL, COUNT_TOTAL, COUNT_UPLOADING), 0)
    for start in range(0, len(project_ids), _MANY):
        row = tx.one(_USAGE, {"owners": list(project_ids[start : start + _MANY])})
        for name in total if row is not None else ():
            total[name] += int(getattr(row, name) or 0)
    return total
