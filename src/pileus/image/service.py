"""Images: rules of their life, without HTTP and SQL."""

from collections.abc import Mapping, Sequence
from typing import Any

from pileus.image import store
from pileus.image.cache.service import ImageCache, Wake
from pileus.image.data.service import Data, ImageData
from pileus.image.domain import TRANSITIONS, Filters, Image, Status
from pileus.image.imports.regions import Regions
from pileus.image.imports.service import Imports
from pileus.image.locations.service import Locations
from pileus.image.members import store as members_store
from pileus.image.members.service import Members
from pileus.image.metadefs.service import MetadefService
from pileus.image.protection import Protection
from pileus.image.quotas.service import ImageQuotas, Limits, NoLimits
from pileus.image.settings import ImageSettings
from pileus.image.signatures.service import Signable, Signatures
from pileus.image.stores.registry import Stores
from pileus.image.tasks.service import Tasks
from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Database, Row, Tx
from pileus.kernel.errors import Conflict, Forbidden, NotFound, TooLarge
from pileus.kernel.ids import new_uuid
from pileus.kernel.paging import Page
from pileus.kernel.saga import Sagas
from pileus.kernel.seal import Seal
from pileus.kernel.signature import Signature


class Images:
    """The image service. Methods take the transaction first."""

    def __init__(
        self,
        settings: ImageSettings,
        db: Database,
        stores: Stores,
        clock: Clock,
        sagas: Sagas,
        seal: Seal,
        regions: Regions,
        wake_cache: Wake = lambda _: None,
        limits: Limits | None = None,
        protection: Protection | None = None,
    ) -> None:
        """`wake_cache` makes the loop that fills the cache run soon. `limits`: identity's unified limits."""
        self.settings = settings
        self.protection = protection or Protection()
        self._clock = clock
        self.members = Members(settings, clock)
        self.metadefs = MetadefService(clock)
        self.cache = ImageCache(settings.cache, db, clock, wake_cache)
        self.quotas = ImageQuotas(settings, limits or NoLimits())
        self.signatures = Signatures(settings.signatures, clock)
        self.tasks = Tasks(settings, clock)
        self.stored = Data(settings, db, stores, clock, self.cache, self.quotas, self.signatures)
        self.locations = Locations(settings, stores, self.quotas, self.tasks, sagas)
        self.imports = Imports(settings, db, self.stored, self.quotas, self.tasks, sagas, clock, regions, seal)

    # --- reading --------------------------------------------------------------------------------------------

    def get(self, tx: Tx, actor: Actor, image_id: str) -> Image:
        """An image that the caller may see. NotFound."""
        return _seen(tx, store.find(tx, image_id), actor, image_id)

    def hold(self, tx: Tx, actor: Actor, image_id: str) -> Image:
        """The same, kept from all others until the transaction ends: for changes that depend on what the image is."""
        return _seen(tx, store.lock(tx, image_id), actor, image_id)

    def page(self, tx: Tx, actor: Actor, filters: Filters, wanted: Page) -> tuple[list[Image], bool]:
        """A page of images, and whether there are more. BadRequest if the marker is not an image that is seen."""
        marker = None
        if wanted.marker is not None:
            marker = store.find(tx, wanted.marker)
            if marker is None or not _visible(tx, marker, actor):
                raise NotFound(f"No image found with ID {wanted.marker}")
        rows = store.page(tx, filters, wanted, marker)
        return [store.image_of(row) for row in rows[: wanted.limit]], len(rows) > wanted.limit

    def signature(self, image: Signable, trusted: Sequence[str] = ()) -> Signature | None:
        """What an image's bytes must bear out before they are used: see `Signatures.of`."""
        return self.signatures.of(image, trusted)

    def find(self, tx: Tx, image_id: str) -> Image | None:
        """An image, whoever owns it."""
        row = store.find(tx, image_id)
        return None if row is None else store.image_of(row)

    def find_held(self, tx: Tx, image_id: str) -> Image | None:
        """The same, kept from all others until the transaction ends."""
        row = store.lock(tx, image_id)
        return None if row is None else store.image_of(row)

    def open(self, tx: Tx, image_id: str) -> ImageData:
        """The bytes of an active image for a host that boots a server from it, whoever owns the image."""
        row = store.find(tx, image_id)
        if row is None:
            raise NotFound(f"No image found with ID {image_id}")
        return self.stored.of(store.image_of(row))

    # --- changing -------------------------------------------------------------------------------------------

    def create(self, tx: Tx, actor: Actor, values: Mapping[str, Any]) -> Image:
        """Register an image without data. Conflict if the id is taken."""
        now = self._clock.now()
        image_id = values.get("id") or new_uuid()
        if store.known(tx, image_id):
            raise Conflict(f"Image ID {image_id} already exists!")
        row: dict[str, Any] = {
            "name": None,
            "visibility": "shared",
            "owner": actor.owner,
            "disk_format": None,
            "container_format": None,
            "size": None,
            "virtual_size": None,
            "min_disk": 0,
            "min_ram": 0,
            "checksum": None,
            "os_hash_algo": None,
            "os_hash_value": None,
            "protected": False,
            "os_hidden": False,
            "properties": {},
            "tags": [],
            "locations": [],
            **values,
            "id": image_id,
            "status": Status.QUEUED,
            "created_at": now,
            "updated_at": now,
        }
        self._check_limits(row["properties"], row["tags"])
        store.insert(tx, row)
        self.quotas.check_create(tx, row["owner"])
        return Image(**row)

    def update(self, tx: Tx, image: Image, values: Mapping[str, Any]) -> Image:
        """Replace fields of an image."""
        formats = {"disk_format", "container_format"} & values.keys()
        if formats and image.status != Status.QUEUED:
            raise Forbidden(f"Attribute {min(formats)} can be only replaced for a queued image.")
        self._check_limits(values.get("properties", {}), values.get("tags", []))
        changed = {**values, "updated_at": self._clock.now()}
        store.update(tx, image.id, changed)
        return image.replaced(changed)

    def set_tag(self, tx: Tx, image: Image, tag: str) -> None:
        """Give the image a tag; it may have it already."""
        if tag not in image.tags:
            self.update(tx, image, {"tags": [*image.tags, tag]})

    def remove_tag(self, tx: Tx, image: Image, tag: str) -> None:
        """Take a tag from the image. NotFound if it has none of that name."""
        if tag not in image.tags:
            raise NotFound(f"Image {image.id} has no tag '{tag}'.")
        self.update(tx, image, {"tags": [other for other in image.tags if other != tag]})

    def delete(self, tx: Tx, image: Image) -> None:
        """Delete an image; its data goes as soon as the transaction is durable, its id when nobody brings it data."""
        if image.protected:
            raise Forbidden(f"Image {image.id} is protected and cannot be deleted.")
        if not store.change_status(tx, image.id, _before(Status.DELETED), Status.DELETED):
            raise NotFound(f"No image found with ID {image.id}")
        self.cache.forget(tx, image.id)
        self.imports.forget(tx, image.id)
        tx.after_commit(lambda: self.stored.remove(image.id, image.locations))

    def let_go(self, tx: Tx, image_id: str, task: str) -> None:
        """An import, or whatever brought data to an image by such a task, has ended: a deleted image is forgotten."""
        row = store.let_go(tx, image_id, "import_task", task)
        if row is not None:
            tx.after_commit(lambda: self.stored.remove(image_id, row.locations))

    def set_active(self, tx: Tx, image: Image, active: bool) -> None:
        """Make the data available, or not. Forbidden in other states than active and deactivated."""
        source, target = (Status.DEACTIVATED, Status.ACTIVE) if active else (Status.ACTIVE, Status.DEACTIVATED)
        if image.status == target:
            return
        if not store.change_status(tx, image.id, (source,), target, updated_at=self._clock.now()):
            raise Forbidden(f"Not allowed to change the status of an image from {image.status} to {target}.")

    # --- standing truth -------------------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Take back uploads whose process died, and remove data that belongs to no image."""
        self.stored.reconcile()
        self.imports.reconcile()

    def _check_limits(self, properties: Mapping[str, str], tags: Sequence[str]) -> None:
        if len(properties) > self.settings.property_limit:
            raise TooLarge(f"The limit has been exceeded on the number of allowed image properties: {len(properties)}.")
        if len(tags) > self.settings.tag_limit:
            raise TooLarge(f"The limit has been exceeded on the number of allowed image tags: {len(tags)}.")


def _seen(tx: Tx, row: Row | None, actor: Actor, image_id: str) -> Image:
    if row is None or not _visible(tx, row, actor):
        raise NotFound(f"No image found with ID {image_id}")
    return store.image_of(row)


def _visible(tx: Tx, row: Row, actor: Actor) -> bool:
    if actor.is_admin or row.visibility in ("public", "community") or row.owner == actor.owner:
        return True
    return row.visibility == "shared" and members_store.find(tx, row.id, actor.owner) is not None


def _before(target: Status) -> list[Status]:
    return [source for source, targets in TRANSITIONS.items() if target in targets]
