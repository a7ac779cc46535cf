"""Sagas of locations: an image's first one is looked at and hashed, data is moved, data is removed.

image.add_location is locate, verify, activate, hash. With a hash to verify, the image is active only after that;
without one it is active at once, and what is computed then is added. Failed, the image is queued again; a location in a
store that only reads stays with it, as Glance's does, until data comes in another way or the image goes.

image.move is one copy, read back before it counts; its last transaction replaces the source by the target. Only then,
by image.remove_location, the source's data goes. Readers in the middle go on in the target.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from pileus.image.domain import Image, ImportState, Location, Status
from pileus.image.imports import store as imports_store
from pileus.image.imports.service import Busy
from pileus.image.locations.domain import Addition, Move
from pileus.image.locations.service import ADD, MOVE, REMOVE
from pileus.image.service import Images
from pileus.kernel.db import Tx
from pileus.kernel.errors import NotFound, PileusError, Unavailable
from pileus.kernel.saga import Cancelled, Ctx, Failure, Json, Retry, Saga, Step

_PATIENT = Retry(deadline=3600.0, longest=60.0)
_IN_TURN = Retry(deadline=24 * 3600.0, first=0.2, longest=2.0)
"""For a place among the imports at work, for which a saga waits without a thread."""

_PAUSE = 1.0  # seconds before data that could not be read is read again
_BOTH = (Status.ACTIVE, Status.DEACTIVATED)
_NO_HASH: dict[str, Any] = {"checksum": None, "os_hash_algo": None, "os_hash_value": None}


class LocationRefused(PileusError):
    """The location cannot be the image's. The message is for the user."""


def _images(ctx: Ctx) -> Images:
    images: Images = ctx.services.images
    return images


def _image(ctx: Ctx) -> Image:
    with ctx.db.read() as tx:
        image = _images(ctx).find(tx, ctx.resource)
    if image is None:
        raise Cancelled(f"Image {ctx.resource} was deleted.")
    return image


# --- add_location -------------------------------------------------------------------------------------------


def _addition(ctx: Ctx) -> Addition:
    return msgspec.convert(ctx.params, Addition)


def locate(ctx: Ctx) -> Json:
    """Find out how many bytes are there."""
    addition, images = _addition(ctx), _images(ctx)
    size = images.stored.stores.get(addition.store).size(addition.locator)
    if size > images.settings.size_limit:
        raise LocationRefused(f"What is there is larger than {images.settings.size_limit} bytes.")
    ctx.write(lambda tx: images.tasks.progress(tx, addition.task, "The data is being looked at."))
    return size


def verify(ctx: Ctx) -> Json:
    """Refuse data that does not have the hash that the caller gave."""
    addition = _addition(ctx)
    if addition.value is None:
        return None
    if not addition.secure:
        return {"checksum": None, "os_hash_algo": addition.algorithm, "os_hash_value": addition.value}
    try:
        facts = _facts(ctx, addition)
    except (Unavailable, OSError) as err:
        if isinstance(err, Busy):
            raise
        raise LocationRefused("The data cannot be read.") from err
    if facts["os_hash_value"] != addition.value:
        raise LocationRefused(f"The {addition.algorithm} of the data is not the one that was given.")
    return facts


def _facts(ctx: Ctx, addition: Addition) -> dict[str, Any]:
    """What is known of the data when all of it was read. Takes one of the places for imports; Busy if all are taken."""
    images = _images(ctx)
    with images.imports.turn():
        for attempt in range(1, images.settings.http_retries):
            try:
                return _hashed(ctx, addition)
            except (Unavailable, OSError) as err:
                ctx.log.warning("the data cannot be read", image=ctx.resource, attempt=attempt, error=str(err))
                ctx.clock.sleep(_PAUSE)
                ctx.check()
        return _hashed(ctx, addition)


def _hashed(ctx: Ctx, addition: Addition) -> dict[str, Any]:
    md5, digest = hashlib.md5(usedforsecurity=False), hashlib.new(addition.algorithm)
    size = 0
    for chunk in _images(ctx).stored.stores.get(addition.store).read(addition.locator):
        ctx.check()
        size += len(chunk)
        md5.update(chunk)
        digest.update(chunk)
    if size != ctx.results["locate"]:
        raise LocationRefused("The data changed while it was read.")
    return {"checksum": md5.hexdigest(), "os_hash_algo": addition.algorithm, "os_hash_value": digest.hexdigest()}


def activate(ctx: Ctx) -> Json:
    """The image has its data. The algorithm is told before the hash is known."""
    addition = _addition(ctx)
    hashed = ctx.results["verify"]
    if hashed is None:
        hashed = {**_NO_HASH, "os_hash_algo": addition.algorithm if addition.secure else None}
    values = {**hashed, "size": ctx.results["locate"], "status": Status.ACTIVE, "updated_at": ctx.clock.now()}

    def work(tx: Tx) -> None:
        if not imports_store.change(tx, ctx.resource, addition.task, (Status.IMPORTING,), **values):
            raise Cancelled(f"Image {ctx.resource} was deleted.")

    ctx.write(work)
    return None


def deactivate(ctx: Ctx) -> None:
    """The image has no data."""
    addition = _addition(ctx)
    values = {**_NO_HASH, "size": None, "status": Status.IMPORTING}
    ctx.write(lambda tx: imports_store.change(tx, ctx.resource, addition.task, _BOTH, **values))


def compute_hash(ctx: Ctx) -> Json:
    """Hash the data of an image that is active already: what cannot be read now is no reason to take it back."""
    addition = _addition(ctx)
    if ctx.results["verify"] is not None or not addition.secure:
        return None
    try:
        return _facts(ctx, addition)
    except (Busy, Cancelled):
        raise
    except (PileusError, OSError) as err:
        ctx.log.warning("the data was not hashed", image=ctx.resource, error=str(err))
        return _NO_HASH


def added(ctx: Ctx, tx: Tx) -> None:
    """The location is the image's, and all is known of its data that will be."""
    addition = _addition(ctx)
    values = {**(ctx.results["hash"] or {}), "import_task": None, "updated_at": ctx.clock.now()}
    if not imports_store.change(tx, ctx.resource, addition.task, _BOTH, **values):
        raise Cancelled(f"Image {ctx.resource} was deleted.")
    _images(ctx).tasks.succeed(tx, addition.task, {"image_id": ctx.resource})


def not_added(ctx: Ctx, tx: Tx, failure: Failure) -> None:
    """The image is queued again."""
    addition, images = _addition(ctx), _images(ctx)
    images.let_go(tx, ctx.resource, addition.task)
    values: dict[str, Any] = {"status": Status.QUEUED, "import_task": None, "updated_at": ctx.clock.now()}
    if not images.stored.stores.get(addition.store).read_only:
        values["locations"] = []
    imports_store.change(tx, ctx.resource, addition.task, (Status.IMPORTING,), **values)
    if failure.cancelled:
        message = "It was cancelled."
    elif failure.expected:
        message = failure.message
    else:
        message = f"It failed for a reason that the cloud's log tells under {ctx.request_id}."
    images.tasks.fail(tx, addition.task, message)


# --- move ---------------------------------------------------------------------------------------------------


class CopyFailed(PileusError):
    """The copy is not what the source is."""


def _move(ctx: Ctx) -> Move:
    return msgspec.convert(ctx.params, Move)


def copy(ctx: Ctx) -> Json:
    """Have the same data in the target; its locator there."""
    move, images = _move(ctx), _images(ctx)
    if not move.copies:
        return None
    image, target = _image(ctx), images.stored.stores.writable(move.target)
    expected = hashlib.new(image.os_hash_algo or "sha512")
    found = hashlib.new(expected.name)
    with images.imports.turn():
        locator = target.write(image.id, _sent(ctx, image, expected))
        for chunk in target.read(locator):
            ctx.check()
            found.update(chunk)
    if found.digest() != expected.digest():
        raise CopyFailed(f"Store {move.target} does not hold what was written to it.")
    return locator


def _sent(ctx: Ctx, image: Image, digest: Any) -> Iterator[bytes]:
    """The image's bytes. CopyFailed at their end if they are not what its record says."""
    size = 0
    for chunk in _images(ctx).stored.wherever(image).read():
        ctx.check()
        size += len(chunk)
        digest.update(chunk)
        yield chunk
    if size != image.size or image.os_hash_value not in (None, digest.hexdigest()):
        raise CopyFailed(f"The data of image {image.id} is damaged.")


def discard(ctx: Ctx) -> None:
    """Have nothing in the target that was not there before."""
    move = _move(ctx)
    if move.copies:
        _images(ctx).stored.stores.get(move.target).discard(ctx.resource)


def moved(ctx: Ctx, tx: Tx) -> None:
    """The data is in the target; the source's goes."""
    if not _images(ctx).locations.switch(tx, ctx.resource, _move(ctx), ctx.results["copy"]):
        raise Cancelled(f"Image {ctx.resource} was deleted.")


def not_moved(ctx: Ctx, tx: Tx, _failure: Failure) -> None:
    """All is as before."""
    move = _move(ctx)
    _images(ctx).let_go(tx, ctx.resource, move.slot)
    state = ImportState([], [move.target])
    imports_store.change(tx, ctx.resource, move.slot, _BOTH, import_task=None, import_state=state)


# --- remove_location ----------------------------------------------------------------------------------------


def remove(ctx: Ctx) -> Json:
    """Remove data that is the image's no more. Where that fails for good, it goes with the image."""
    store, locator = ctx.params["store"], ctx.params["locator"]
    with ctx.db.read() as tx:
        image = _images(ctx).find(tx, ctx.resource)
    if image is not None and image.status == Status.SAVING:
        raise Unavailable("Data is coming to an image of the same id.")
    current: list[Location] = [] if image is None else image.locations
    if any((each.store, each.locator) == (store, locator) for each in current):
        return None
    try:
        _images(ctx).stored.stores.get(store).remove(locator)
    except NotFound:
        ctx.log.warning("a store is configured no more; its data stays", store=store, locator=locator)
    return None


SAGAS = (
    Saga(
        ADD,
        (
            Step("locate", do=locate, retry=Retry(deadline=15.0)),
            Step("verify", do=verify, retry=_IN_TURN),
            Step("activate", do=activate, undo=deactivate),
            Step("hash", do=compute_hash, retry=_IN_TURN),
        ),
        on_done=added,
        on_failed=not_added,
    ),
    Saga(MOVE, (Step("copy", do=copy, undo=discard, retry=_PATIENT),), on_done=moved, on_failed=not_moved),
    Saga(REMOVE, (Step("remove", do=remove, retry=_PATIENT),)),
)
