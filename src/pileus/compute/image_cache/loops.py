"""The loops of pre-caching: one finds what hosts lack of what a policy wants, the other has them fetch it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from pileus.compute.image_cache import store
from pileus.compute.image_cache.domain import Wish
from pileus.compute.image_cache.policies import PrecachePolicy
from pileus.compute.image_cache.service import PRECACHE_LOOP, SYSTEM, ImageCaches, wanted_of
from pileus.compute.servers.neighbours import Image
from pileus.kernel.clock import MICROSECONDS
from pileus.kernel.db import Tx
from pileus.kernel.errors import NotFound, PileusError
from pileus.kernel.loops import Loop, LoopCtx
from pileus.kernel.rpc import AgentRefused, AgentUnreachable

log = structlog.get_logger("pileus.compute.image_cache")

POLICY_LOOP = "image-precache-policy"
_BATCH = 500
_HOST_PAUSE = 30.0  # seconds until a host that is down is tried again
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 600.0  # after failures
_LOOK = 0.5  # seconds between questions whether it is there, on top of what each waits
_LONGEST_FETCH = 3600.0  # seconds for one image; then other hosts have their turn
_HOPELESS = frozenset({"image-unusable", "invalid"})


def precache_loops(caches: ImageCaches, policy: PrecachePolicy) -> tuple[Loop, Loop]:
    """Both loops for a cloud's caches."""
    return (
        Loop(PRECACHE_LOOP, every=5.0, run=lambda ctx: fetch_all(ctx, caches)),
        Loop(POLICY_LOOP, every=caches.settings.interval, run=lambda ctx: follow(ctx, caches, policy)),
    )


def follow(ctx: LoopCtx, caches: ImageCaches, policy: PrecachePolicy) -> None:
    """Note what hosts lack of what the policy wants."""
    with ctx.db.read() as tx:
        wanted = policy.wanted(tx, ctx.clock.now())
    if wanted:
        found = ctx.db.transact(lambda tx: caches.propose(tx, wanted))
        if found:
            log.info("hosts are to fetch images", images=len({image for _, image in found}), fetches=len(found))


def fetch_all(ctx: LoopCtx, caches: ImageCaches) -> None:
    """Have hosts fetch what is due, a few hosts at once and one image at a time on each."""
    while not ctx.stopping():
        with ctx.db.read() as tx:
            due = store.due(tx, ctx.clock.now(), _BATCH)
        if not due:
            return
        by_host: dict[str, list[Wish]] = {}
        for wish in due:
            by_host.setdefault(wish.host, []).append(wish)
        workers = min(caches.settings.hosts_at_once, len(by_host))
        with ThreadPoolExecutor(workers, thread_name_prefix=PRECACHE_LOOP) as pool:
            for future in [pool.submit(_serve_host, ctx, caches, wishes) for wishes in by_host.values()]:
                future.result()


def _serve_host(ctx: LoopCtx, caches: ImageCaches, wishes: Sequence[Wish]) -> None:
    for position, wish in enumerate(wishes):
        if ctx.stopping():
            return
        try:
            _fulfil(ctx, caches, wish)
        except AgentUnreachable as err:
            _postpone(ctx, wishes[position:], _HOST_PAUSE, err.message, failed=False)
            return
        except PileusError as err:
            log.warning("image not cached", image=wish.image_id, host=wish.host, reason=err.message)
            hopeless = isinstance(err, AgentRefused) and err.refusal in _HOPELESS
            if hopeless or ctx.clock.now() - wish.requested_at > caches.settings.give_up_after * MICROSECONDS:
                _drop(ctx, wish)
            else:
                pause = min(_FIRST_PAUSE * 2.0 ** min(wish.failures, 10), _LONGEST_PAUSE)
                _postpone(ctx, [wish], pause, err.message, failed=True)


def _fulfil(ctx: LoopCtx, caches: ImageCaches, wish: Wish) -> None:
    """Have the host fetch the image, and see it arrive. AgentUnreachable also for a host that is known to be down."""
    with ctx.db.read() as tx:
        image = caches.usable(tx, SYSTEM, wish.image_id)
        try:
            host = caches.hosts.get(tx, wish.host)
        except NotFound:
            host = None
    if host is None or image is None:
        _drop(ctx, wish)
        return
    if not host.up:
        raise AgentUnreachable(f"Host {wish.host} is down.")
    if image.os_hash_value not in host.inventory.cached_images:
        needed, free = wanted_of(image).needs, caches.room(host.inventory)
        if needed > free:
            raise NoRoom(f"The image takes up to {needed} bytes, and pre-caching may take {free} on {wish.host}.")
    if _arrived(ctx, caches, wish.host, image):
        _drop(ctx, wish)


class NoRoom(PileusError):
    """The host's disk has no room for the image."""


def _arrived(ctx: LoopCtx, caches: ImageCaches, host: str, image: Image) -> bool:
    """Wait until the host has the image; False if this process is to stop before. The host goes on by itself."""
    deadline = ctx.clock.monotonic() + _LONGEST_FETCH
    while not caches.fetch(host, image):
        if ctx.stopping():
            return False
        if ctx.clock.monotonic() > deadline:
            raise AgentUnreachable(f"Host {host} has not fetched image {image.id} in {_LONGEST_FETCH:g} s.")
        ctx.clock.sleep(_LOOK)
    return True


def _drop(ctx: LoopCtx, wish: Wish) -> None:
    ctx.db.transact(lambda tx: store.drop(tx, wish))


def _postpone(ctx: LoopCtx, wishes: Sequence[Wish], pause: float, reason: str, *, failed: bool) -> None:
    retry_at = ctx.clock.now() + int(pause * MICROSECONDS)

    def work(tx: Tx) -> None:
        store.postpone(tx, wishes, retry_at, reason, failed=failed)

    ctx.db.transact(work)
