"""Standing truth of images: no upload without its process, no data without its image."""

from typing import Protocol

from pileus.image.service import Images
from pileus.kernel.loops import Loop, LoopCtx

RECONCILE_SECONDS = 60.0


class HasImages(Protocol):
    """What the loop needs of the conductor's services."""

    images: Images


def reconcile(ctx: LoopCtx) -> None:
    """Take back what dead uploaders left."""
    services: HasImages = ctx.services
    services.images.reconcile()


LOOPS = (Loop("image.reconcile", RECONCILE_SECONDS, reconcile),)
