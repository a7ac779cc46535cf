"""The image caches of all hosts: what they are to fetch is noted here, what they hold is asked of them.

A note (a wish) is a row of its own, so that it outlives every process; the loop `image-precache` has the host fetch the
image, however often that takes.
"""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from pileus.agent.api import (
    CachedImages,
    ImageRef,
    Inventory,
    Prefetched,
    PrunedImages,
    PruneImages,
    VerifiedImages,
    VerifyImages,
)
from pileus.compute.image_cache import store
from pileus.compute.image_cache.domain import Room, Wanted, Wish, needs, plan, room
from pileus.compute.image_cache.settings import PrecacheSettings
from pileus.compute.servers.neighbours import Agents, Hosts, Image, Images
from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, NotFound, PileusError
from pileus.kernel.signature import Signature

T = TypeVar("T")

PRECACHE_LOOP = "image-precache"
SYSTEM = Actor(user_id="pileus", roles=frozenset({"admin"}), is_admin=True)
"""Who looks at images for a policy: it names images of any project."""

FETCH_WAIT = 20.0  # seconds that one call waits for a fetch
_VERIFY_SECONDS = 3600.0  # seconds for reading one image
_CALL = 30.0  # seconds for an answer, beyond what was asked to wait
_AT_ONCE = 16  # hosts that are asked at the same time


class ImageCaches:
    """What caches are to hold. Methods that take a transaction run in it; the others call hosts, and hold none."""

    def __init__(
        self,
        settings: PrecacheSettings,
        images: Images,
        hosts: Hosts,
        agents: Agents,
        clock: Clock,
        nudge: Callable[[Tx], None],
    ) -> None:
        self.settings = settings
        self.images = images
        self.hosts = hosts
        self._agents = agents
        self._clock = clock
        self._nudge = nudge

    # --- wishes ---------------------------------------------------------------------------------------------

    def request(self, tx: Tx, actor: Actor, hosts: Sequence[str], image_ids: Sequence[str]) -> None:
        """Note that these hosts are to have these images. BadRequest if the actor sees no such image, or it has no
        data."""
        for image_id in image_ids:
            if self.usable(tx, actor, image_id) is None:
                raise BadRequest(f"Image {image_id} could not be found, or is not active.")
        pairs = [(host, image_id) for host in hosts for image_id in image_ids]
        if pairs:
            store.request(tx, pairs, self._clock.now())
            self._nudge(tx)

    def propose(self, tx: Tx, image_ids: Sequence[str]) -> list[tuple[str, str]]:
        """Note that every host is to have these images, as far as there is room for them; the (host, image) that are
        new. Hosts that are down or disabled are left alone until they are not."""
        wanted = [wanted_of(image) for one in image_ids if (image := self.usable(tx, SYSTEM, one)) is not None]
        rooms = [
            Room(host.name, frozenset(host.inventory.cached_images), self.room(host.inventory))
            for host in self.hosts.all(tx)
            if host.up and host.enabled
        ]
        found = plan(wanted, rooms, {(wish.host, wish.image_id) for wish in store.wishes(tx)})
        if found:
            store.propose(tx, found, self._clock.now())
            self._nudge(tx)
        return found

    def wishes(self, tx: Tx) -> list[Wish]:
        """What hosts are to fetch and have not said yet that they have."""
        return store.wishes(tx)

    def usable(self, tx: Tx, actor: Actor, image_id: str) -> Image | None:
        """An image that the actor sees and that has data."""
        try:
            image = self.images.get(tx, actor, image_id)
        except NotFound:
            return None
        return image if image.status == "active" and image.os_hash_value else None

    def room(self, inventory: Inventory) -> int:
        """Bytes that pre-caching may take of a host's disk."""
        return room(inventory.disk_gb, inventory.disk_gb_free, self.settings.spare_disk)

    # --- asking hosts ---------------------------------------------------------------------------------------

    def each(self, hosts: Sequence[str], ask: Callable[[str], T]) -> dict[str, T | PileusError]:
        """What each host answers, or the error why it does not. Several are asked at once."""

        def asked(host: str) -> T | PileusError:
            try:
                return ask(host)
            except PileusError as err:
                return err

        with ThreadPoolExecutor(min(_AT_ONCE, max(1, len(hosts)))) as pool:
            return dict(zip(hosts, pool.map(asked, hosts), strict=True))

    def cached(self, host: str) -> CachedImages:
        """What a host's cache holds. AgentUnreachable, AgentRefused."""
        return msgspec.convert(self._agents.call(host, "GET", "/images", timeout=_CALL), CachedImages)

    def fetch(self, host: str, image: Image) -> bool:
        """Have a host fetch an image, and wait a while; whether it has it now. If not, its fetch goes on: ask again."""
        path = f"/images/{image.os_hash_value}?wait={FETCH_WAIT:g}"
        ref = image_ref(image, self.images.signature(image))
        answer = self._agents.call(host, "PUT", path, ref, timeout=FETCH_WAIT + _CALL)
        return msgspec.convert(answer, Prefetched).ready

    def verify(self, host: str, checksums: Collection[str] = ()) -> VerifiedImages:
        """Have a host read cached images (none named: all) and compare them with their checksums, however long that
        takes: one call for each image, which is read to its end with all its copies."""
        listed = sorted({image.checksum for image in self.cached(host).images if image.state == "ready"})
        verified: list[str] = []
        damaged: list[str] = []
        for checksum in listed:
            if checksums and checksum not in checksums:
                continue
            body = VerifyImages(checksums=(checksum,), seconds=_VERIFY_SECONDS)
            answer = self._agents.call(host, "POST", "/images/verify", body, timeout=_VERIFY_SECONDS)
            found = msgspec.convert(answer, VerifiedImages)
            verified += found.verified
            damaged += found.damaged
        return VerifiedImages(verified=tuple(verified), damaged=tuple(damaged))

    def prune(self, host: str, what: PruneImages) -> PrunedImages:
        """Have a host remove cached images that no server needs."""
        return msgspec.convert(self._agents.call(host, "POST", "/images/prune", what, timeout=300.0), PrunedImages)


def wanted_of(image: Image) -> Wanted:
    """What is planned with of an image that has data."""
    return Wanted(image.id, image.os_hash_value or "", needs(image.disk_format, image.size or 0, image.virtual_size))


def image_ref(image: Image, signature: Signature | None) -> ImageRef:
    """An image as hosts know it. `signature`: what its bytes must bear out."""
    return ImageRef(
        id=image.id,
        checksum=image.os_hash_value or "",
        hash_algo=image.os_hash_algo or "",
        size=image.size or 0,
        disk_format=image.disk_format or "",
        min_disk=image.min_disk,
        signature=signature,
    )
