"""Standing truth of tasks: what expired is forgotten."""

from typing import Protocol

from pileus.image.service import Images
from pileus.kernel.loops import Loop, LoopCtx

PURGE_SECONDS = 3600.0


class HasImages(Protocol):
    """What the loop needs of the conductor's services."""

    images: Images


def purge(ctx: LoopCtx) -> None:
    """Forget the tasks that ended long ago."""
    services: HasImages = ctx.services
    ctx.db.transact(services.images.tasks.purge)


LOOPS = (Loop("image.tasks.purge", PURGE_SECONDS, purge),)
