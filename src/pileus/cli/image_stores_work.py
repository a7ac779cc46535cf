"""What `pileus image move` and `pileus image evacuate` do."""

import sys
from collections.abc import Callable, Sequence
from functools import partial

from pileus.cli.image_cache_work import opened
from pileus.kernel.errors import BadRequest, Conflict, NotFound
from pileus.kernel.saga import FINAL, State, show
from pileus.wiring import Cloud

__all__ = ["images_in", "move", "opened"]

_PAUSE = 0.5  # seconds between two looks


def images_in(cloud: Cloud, store: str) -> list[str]:
    """The ids of the images that have data in a store. NotFound."""
    cloud.images.stored.stores.get(store)
    with cloud.db.read() as tx:
        return cloud.images.locations.in_store(tx, store)


def move(
    cloud: Cloud,
    images: Sequence[str],
    source: str,
    target: str,
    *,
    wait: bool,
    pause: Callable[[float], None] | None = None,
) -> int:
    """Move images' data, and wait for the end of that if asked to; the exit code. `pause` lets time pass."""
    begun: dict[str, str] = {}
    failed = 0
    for image in images:
        try:
            begun[image] = cloud.db.transact(
                partial(cloud.images.locations.move, image_id=image, source=source, target=target)
            )
        except (BadRequest, Conflict, NotFound) as err:
            failed += 1
            print(err.message, file=sys.stderr)
    if wait:
        done = _wait(cloud, begun, pause or cloud.clock.sleep)
        failed += len(begun) - done
        print(f"{done} of {len(images)} images were moved from {source} to {target}.")
    else:
        print(f"{len(begun)} of {len(images)} images are being moved from {source} to {target}.")
    return 1 if failed else 0


def _wait(cloud: Cloud, begun: dict[str, str], pause: Callable[[float], None]) -> int:
    """Wait until all these sagas (by image) have ended; how many ended well. Says which did not."""
    waiting = dict(begun)
    done = 0
    while waiting:
        for image, saga_id in list(waiting.items()):
            with cloud.db.read() as tx:
                saga = show(tx, saga_id)
            if saga is not None and saga.state not in FINAL:
                continue
            del waiting[image]
            if saga is not None and saga.state is State.DONE:
                done += 1
            else:
                print(f"Image {image} stays where it was: `pileus saga show {saga_id}` says why.", file=sys.stderr)
        if waiting:
            pause(_PAUSE)
    return done
