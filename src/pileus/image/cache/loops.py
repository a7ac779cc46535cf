"""Each node fills its cache, and removes what does not belong there."""

from typing import Protocol

from pileus.image.cache.service import CACHE_LOOP
from pileus.image.service import Images
from pileus.kernel.loops import Loop, LoopCtx

CACHE_SECONDS = 60.0


class HasImages(Protocol):
    """What the loop needs of the conductor's services."""

    images: Images


def keep(ctx: LoopCtx) -> None:
    """Fetch what waits; then tidy up."""
    services: HasImages = ctx.services
    images = services.images
    images.cache.fill(images.find, lambda image: images.stored.of(image, cached=False).read(), ctx.stopping)
    images.cache.clean()
    images.cache.prune()


LOOPS = (Loop(CACHE_LOOP, CACHE_SECONDS, keep, singleton=False),)
