"""Locations: what is told of them, and how they change."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from pileus.image import store as image_store
from pileus.image.data.service import HASH_ALGO
from pileus.image.domain import Image, ImportState, Location, Status
from pileus.image.imports import store as imports_store
from pileus.image.locations import schemas
from pileus.image.locations import store as locations_store
from pileus.image.locations.domain import Addition, Found, Given, Move, Validation
from pileus.image.locations.patching import Patching
from pileus.image.patch import Operation
from pileus.image.quotas.service import ImageQuotas
from pileus.image.settings import ImageSettings
from pileus.image.stores.base import Store
from pileus.image.stores.registry import Stores
from pileus.image.tasks.domain import TaskType
from pileus.image.tasks.service import Tasks
from pileus.kernel.auth import Actor
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Conflict, Forbidden, NotFound, TooLarge, Unavailable
from pileus.kernel.ids import new_request_id, new_uuid
from pileus.kernel.saga import Sagas

log = structlog.get_logger("pileus.image.locations")

ADD = "image.add_location"
MOVE = "image.move"
REMOVE = "image.remove_location"


class Locations:
    """Where images' data is. Methods that change something take the transaction first."""

    def __init__(
        self, settings: ImageSettings, stores: Stores, quotas: ImageQuotas, tasks: Tasks, sagas: Sagas
    ) -> None:
        self.settings = settings
        self.stores = stores
        self.tasks = tasks
        self._quotas = quotas
        self.sagas = sagas

    # --- telling --------------------------------------------------------------------------------------------

    def shown(self, image: Image, may_see: Callable[[], bool]) -> dict[str, Any]:
        """What an image shows of its locations: `stores` to all, the rest where the operator and `may_see` agree."""
        shown: dict[str, Any] = {}
        if image.locations:
            shown["stores"] = ",".join(self.stores.names_of(image.locations))
        if (self.settings.show_multiple_locations or self.settings.show_image_direct_url) and may_see():
            listed = self.listed(image)
            if self.settings.show_multiple_locations:
                shown["locations"] = listed
            if self.settings.show_image_direct_url and listed:
                shown["direct_url"] = listed[0]["url"]
        return shown

    def listed(self, image: Image) -> list[dict[str, Any]]:
        """An image's locations as the API shows them, the best to read from first."""
        return [schemas.render(each, self.stores.get(each.store)) for each in self._visible(image.locations)[0]]

    def _visible(self, locations: Sequence[Location]) -> tuple[list[Location], list[Location]]:
        """The locations in the order in which they are shown, and those in stores that are configured no more."""
        ordered = self.stores.by_weight(locations)
        return (
            [each for each in ordered if self.stores.has(each.store)],
            [each for each in ordered if not self.stores.has(each.store)],
        )

    # --- given by users -----------------------------------------------------------------------------------------

    def place(self, actor: Actor, image_id: str, url: str) -> tuple[Store, Location]:
        """The place that a URL names. BadRequest unless the caller may say that an image's data is there.

        What a store of the cloud itself holds is only for administrators to name, and only the object that is the
        image's own by its name: another's would be read, and in the end removed, as this image's.
        """
        try:
            found = self.stores.find(url)
        except Unavailable as err:
            raise BadRequest(err.message) from err
        if found is None or (not found[0].read_only and not (actor.is_admin and found[1] == image_id)):
            raise BadRequest(f"Invalid location: there is no store of images at '{url.partition('?')[0]}'.")
        return found[0], Location(found[0].name, found[1], {})

    def resolve(self, actor: Actor, image: Image, operations: Sequence[Operation]) -> dict[str, Found]:
        """What is at the URLs that a patch adds. Asks the stores, so it must not be called in a transaction.

        BadRequest if there is nothing, TooLarge if it is too many.
        """
        adding = [each for each in operations if each.kind == "add" or not image.locations]
        given: list[Given] = [one for each in adding for one in schemas.given_by(each)]
        self._check_count(len(given))
        found = {}
        for each in given:
            store, location = self.place(actor, image.id, each.url)
            try:
                found[each.url] = Found(location, store.size(location.locator))
            except (NotFound, Unavailable) as err:
                raise BadRequest(err.message) from err
        return found

    def patched(
        self, tx: Tx, actor: Actor, image_id: str, operations: Sequence[Operation], found: Mapping[str, Found]
    ) -> dict[str, Any]:
        """The image's fields that a patch of its locations changes, with their new values. What is removed is gone as
        soon as the transaction is durable and a conductor has done it. `found`: as `resolve` answered."""
        image = self._locked(tx, image_id)
        visible, hidden = self._visible(image.locations)
        known = {self.stores.get(each.store).url(each.locator): Found(each, image.size or 0) for each in visible}
        patching = Patching(image, visible, {**found, **known})
        for operation in operations:
            patching.apply(operation)
        self._check_count(len(patching.locations))
        if patching.values.get("size") is not None and image.status == Status.QUEUED:
            self._quotas.check_upload(tx, image.owner, patching.values["size"])
        for location in patching.removed:
            self._start_removal(tx, actor.owner, actor.user_id, image.id, location)
        return {**patching.values, "locations": [*patching.locations, *hidden]}

    def _check_count(self, count: int) -> None:
        if count > self.settings.location_limit:
            raise TooLarge(f"The limit has been exceeded on the number of allowed image locations: {count}.")

    def add(
        self, tx: Tx, actor: Actor, image: Image, place: Location, validation: Validation | None, request_id: str
    ) -> None:
        """Give an image without data its location; a saga looks what is there, and hashes it. Conflict, BadRequest."""
        if None in (image.disk_format, image.container_format):
            raise BadRequest("disk_format and container_format must be set before a location is.")
        url = self.stores.get(place.store).url(place.locator)
        task = self.tasks.create(
            tx, actor, TaskType.LOCATION_IMPORT, request_id=request_id, image_id=image.id,
            values={"image_id": image.id, "loc_url": url, "validation_data": msgspec.to_builtins(validation) or {}},
        )  # fmt: skip
        state = ImportState([], [])
        if not imports_store.begin(tx, image.id, (Status.QUEUED,), Status.IMPORTING, task.id, state):
            raise Conflict(
                f"A location can only be added to an image with status queued; {image.id} has {image.status}."
            )
        image_store.update(tx, image.id, {"locations": [place]})
        self._quotas.check_upload(tx, image.owner)
        addition = Addition(
            task=task.id,
            store=place.store,
            locator=place.locator,
            secure=self.settings.do_secure_hash,
            algorithm=HASH_ALGO if validation is None else validation.os_hash_algo,
            value=None if validation is None else validation.os_hash_value,
        )
        self.sagas.start(
            tx, ADD, resource=image.id, project=actor.owner, user=actor.user_id, request_id=request_id,
            params=msgspec.to_builtins(addition),
        )  # fmt: skip

    # --- stores -------------------------------------------------------------------------------------------------

    def remove_from_store(self, tx: Tx, actor: Actor, image_id: str, store_name: str) -> None:
        """Remove the copy of an image's data that is in one store. Conflict, Forbidden (the last one), NotFound."""
        if not self.stores.has(store_name):
            raise Conflict(f"The selected store {store_name} is not available on this node.")
        image = self._locked(tx, image_id)
        if image.status != Status.ACTIVE or image.import_task is not None:
            raise Conflict(f"Data of image {image_id} cannot be removed while its status is not active.")
        if len(image.locations) == 1:
            raise Forbidden(f"Cannot delete image data from the only store containing it: image {image_id}.")
        doomed = [each for each in image.locations if each.store == store_name]
        if not doomed:
            raise NotFound(f"Image {image_id} is not stored on store {store_name}.")
        kept = [each for each in image.locations if each.store != store_name]
        if not kept:
            raise Forbidden(f"Cannot delete image data from the only store containing it: image {image_id}.")
        image_store.update(tx, image_id, {"locations": kept})
        for location in doomed:
            self._start_removal(tx, actor.owner, actor.user_id, image_id, location)

    def check_unused(self, image: Image, store_name: str) -> None:
        """Conflict if something outside the image service needs what a store has of an image.

        Asks the store, so it must not be called in a transaction.
        """
        here = [each.locator for each in image.locations if each.store == store_name and self.stores.has(store_name)]
        if any(self.stores.get(store_name).in_use(locator) for locator in here):
            raise Conflict(f"The data of image {image.id} in store {store_name} is in use.")

    def in_store(self, tx: Tx, store_name: str) -> list[str]:
        """The ids of the images that have data in a store."""
        return locations_store.in_store(tx, store_name)

    def move(self, tx: Tx, image_id: str, source: str, target: str) -> str:
        """Begin to bring an image's data from one store to another; the saga's id. Readers notice nothing.

        NotFound if the source has nothing of it, BadRequest if the target takes no data, Conflict if other data is
        coming to the image.
        """
        self.stores.writable(target)
        image = self._locked(tx, image_id)
        places = {each.store for each in image.locations}
        if source not in places:
            raise NotFound(f"Image {image_id} is not stored on store {source}.")
        if source == target:
            raise BadRequest("The data is where it is to be moved to.")
        slot = new_uuid()
        movable = image.status in (Status.ACTIVE, Status.DEACTIVATED)
        state = ImportState([target], [])
        if not movable or not imports_store.begin(tx, image_id, (image.status,), image.status, slot, state):
            raise Conflict(f"The data of image {image_id} cannot be moved now: its status is {image.status}.")
        return self.sagas.start(
            tx, MOVE, resource=image_id, project=image.owner, user="", request_id=new_request_id(),
            params=msgspec.to_builtins(Move(slot, source, target, copies=target not in places)),
        )  # fmt: skip

    def switch(self, tx: Tx, image_id: str, move: Move, locator: str | None) -> bool:
        """The data is in both places: have the target instead of the source, whose data is removed after this.

        Whether the image still waits for that.
        """
        with contextlib.suppress(NotFound):
            image = self._locked(tx, image_id)
            kept = [each for each in image.locations if each.store != move.source]
            metadata = next(each.metadata for each in image.locations if each.store == move.source)
            if locator is not None:
                kept.append(Location(move.target, locator, metadata))
            both = (Status.ACTIVE, Status.DEACTIVATED)
            state = ImportState([], [])
            if imports_store.change(
                tx, image_id, move.slot, both, locations=kept, import_task=None, import_state=state
            ):
                for each in image.locations:
                    if each.store == move.source:
                        self._start_removal(tx, image.owner, "", image_id, each)
                return True
        return False

    def _start_removal(self, tx: Tx, project: str, user: str, image_id: str, location: Location) -> None:
        self.sagas.start(
            tx, REMOVE, resource=image_id, project=project, user=user, request_id=new_request_id(),
            params={"store": location.store, "locator": location.locator},
        )  # fmt: skip

    def _locked(self, tx: Tx, image_id: str) -> Image:
        """The image, kept from all others until the transaction ends. NotFound."""
        row = image_store.lock(tx, image_id)
        if row is None:
            raise NotFound(f"No image found with ID {image_id}")
        return image_store.image_of(row)
