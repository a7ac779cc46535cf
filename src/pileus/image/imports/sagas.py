"""The saga of an import: fetch, decompress, inspect, convert, store, clean; then, in its last transaction, activate.

The first steps leave files in the staging area, each under a name of its own, so that a step that is repeated finds
what it needs. Progress is seen in the image's properties and in its task. Whatever fails, the image is queued again (or
active as before, if only a copy failed) and nothing of the data remains. A deletion of the image cancels the saga.
"""

import errno
import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import msgspec

from pileus.image.domain import CONTAINER_FORMATS, DISK_FORMATS, Image, ImportState, Location, Status
from pileus.image.imports import store
from pileus.image.imports.domain import Method, Plan, Prepared
from pileus.image.imports.plugins import conversion, decompression
from pileus.image.imports.service import IMPORT, Busy, Imports
from pileus.image.imports.staging import STAGED
from pileus.image.protection import Operation
from pileus.image.schemas import check_name, check_property
from pileus.image.service import Images
from pileus.kernel.auth import Actor
from pileus.kernel.db import Tx
from pileus.kernel.errors import NotFound, PileusError, Unavailable
from pileus.kernel.image_format import ImageNotAsDeclaredError, inspect_file, is_disk
from pileus.kernel.qemu_img import ConversionFailed
from pileus.kernel.saga import Cancelled, Ctx, Failure, Json, Retry, Saga, Step
from pileus.kernel.signature import SignatureInvalid

_PAUSE = 1.0  # seconds before a download that broke off is taken up again
_PATIENT = Retry(deadline=24 * 3600.0, first=0.2, longest=2.0)
"""For a place among the imports at work, for which this saga waits without a thread."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
T = TypeVar("T")


class ImportFailed(PileusError):
    """The data cannot be imported. The message is for the user."""


def _images(ctx: Ctx) -> Images:
    images: Images = ctx.services.images
    return images


def _imports(ctx: Ctx) -> Imports:
    return _images(ctx).imports


def _plan(ctx: Ctx) -> Plan:
    return msgspec.convert(ctx.params, Plan)


def _image(ctx: Ctx) -> Image:
    with ctx.db.read() as tx:
        image = _images(ctx).find(tx, ctx.resource)
    if image is None:
        raise Cancelled(f"Image {ctx.resource} was deleted.")
    return image


def _prepared(ctx: Ctx, *steps: str) -> Prepared | None:
    """What the last of these steps that changed something left; None for a copy, which stages nothing."""
    for step in steps:
        if ctx.results.get(step) is not None:
            return msgspec.convert(ctx.results[step], Prepared)
    return None


def _watched(ctx: Ctx, chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        ctx.check()
        yield chunk


def _long(work: Callable[[Ctx], Json]) -> Callable[[Ctx], Json]:
    """Work that takes one of the places for imports, and whose errors users may read."""

    def do(ctx: Ctx) -> Json:
        try:
            with _imports(ctx).turn():
                return work(ctx)
        except Busy:
            raise
        except (ImageNotAsDeclaredError, ConversionFailed, SignatureInvalid, Unavailable) as err:
            raise ImportFailed(str(err)) from err
        except OSError as err:
            if err.errno in _FULL:
                raise ImportFailed("There is not enough disk space for the image.") from err
            raise

    return do


def _patiently(ctx: Ctx, work: Callable[[], T]) -> T:
    """Try what may be unavailable for a moment, as often as the operator's settings say."""
    for _ in range(_imports(ctx).settings.attempts - 1):
        try:
            return work()
        except Unavailable as err:
            ctx.log.info("trying again", reason=err.message)
            ctx.clock.sleep(_PAUSE)
            ctx.check()
    return work()


# --- fetch --------------------------------------------------------------------------------------------------


def fetch(ctx: Ctx) -> Json:
    """Bring the data into the staging area, if it is not there and not in a store."""
    plan, imports = _plan(ctx), _imports(ctx)
    if plan.method is Method.COPY_IMAGE:
        return None
    image = _image(ctx)
    _tell(ctx, "The data is being fetched.")
    changes: dict[str, Any] = {}
    if plan.method is Method.GLANCE_DIRECT:
        size = imports.staging.path(image.id, STAGED).stat().st_size
    else:
        open_at, changes, verify = _source(ctx, plan)
        chunks = verify(_going_on(ctx, open_at))
        size = imports.staging.write(image.id, STAGED, imports.limited(_watched(ctx, chunks)))
    ctx.write(lambda tx: store.change(tx, image.id, plan.task, (Status.IMPORTING,), size=size))
    return msgspec.to_builtins(
        Prepared(
            file=STAGED,
            disk_format=changes.get("disk_format") or plan.source_format or image.disk_format or "",
            container_format=changes.get("container_format") or image.container_format or "",
            changes=changes,
        )
    )


def discard(ctx: Ctx) -> None:
    """Remove what is staged."""
    if _plan(ctx).method is not Method.COPY_IMAGE:
        _imports(ctx).staging.discard(ctx.resource)


Opened = Callable[[int], Iterator[bytes]]
Verify = Callable[[Iterator[bytes]], Iterator[bytes]]


def _source(ctx: Ctx, plan: Plan) -> tuple[Opened, dict[str, Any], Verify]:
    """How to read the data from some point on, what the image takes over with it, and how it is verified."""
    imports = _imports(ctx)
    if plan.uri is not None:
        uri = plan.uri
        return lambda start: imports.fetcher.open(uri, start).chunks, {}, lambda chunks: chunks
    if plan.remote is None:
        raise ImportFailed("The import says of no place from where the data comes.")
    if plan.remote.region == imports.regions.own:
        return _source_here(ctx, plan)
    wanted, token = plan.remote, imports.seal.open(plan.remote.token or "")
    remote = _patiently(ctx, lambda: imports.regions.find(wanted.region, wanted.interface, wanted.image_id, token))
    return remote.read, _taken_over(ctx, wanted.actor, remote.record), _verifying(remote.record)


def _source_here(ctx: Ctx, plan: Plan) -> tuple[Opened, dict[str, Any], Verify]:
    images, remote = _images(ctx), plan.remote
    if remote is None or not remote.permitted:
        raise NotFound("There is no such image that can be downloaded in this region.")
    with ctx.db.read() as tx:
        image = images.get(tx, remote.actor, remote.image_id)  # it may be shared no more since it was asked for
    record = {"disk_format": image.disk_format, "container_format": image.container_format, **image.properties}
    data = images.stored.of(image)
    return data.read, _taken_over(ctx, remote.actor, record), lambda chunks: chunks


def _taken_over(ctx: Ctx, actor: Actor, record: dict[str, Any]) -> dict[str, Any]:
    """The fields that an image takes over from another's record: no properties that the caller may not set."""
    images = _images(ctx)
    prefixes = images.imports.settings.download_properties
    properties = {
        check_name(name): check_property(name, value)
        for name, value in record.items()
        if name.startswith(prefixes)
        and all(
            images.protection.permits(actor, each, name)
            for each in (Operation.READ, Operation.CREATE, Operation.UPDATE)
        )
    }
    if len(properties) > images.settings.property_limit:
        raise ImportFailed(f"The image has {len(properties)} properties to take over, more than an image may have.")
    known = {"disk_format": DISK_FORMATS, "container_format": CONTAINER_FORMATS}
    formats = {name: record[name] for name, values in known.items() if record.get(name) in values}
    return {**formats, "properties": properties}


def _verifying(record: dict[str, Any]) -> Verify:
    """ImportFailed at the end of bytes that are not those whose hash the record has."""
    algorithm, expected = str(record.get("os_hash_algo")), record.get("os_hash_value")

    def verify(chunks: Iterator[bytes]) -> Iterator[bytes]:
        digest = hashlib.new(algorithm) if expected and algorithm in hashlib.algorithms_guaranteed else None
        for chunk in chunks:
            if digest is not None:
                digest.update(chunk)
            yield chunk
        if digest is not None and digest.hexdigest() != expected:
            raise ImportFailed(f"The data arrived damaged: its {algorithm} is not as recorded.")

    return verify


def _going_on(ctx: Ctx, open_at: Opened) -> Iterator[bytes]:
    """All bytes, taken up again where a server broke off; Unavailable if it does so too often."""
    position, tries = 0, 0
    while True:
        try:
            for chunk in open_at(position):
                position += len(chunk)
                yield chunk
        except Unavailable as err:
            tries += 1
            ctx.check()
            if tries >= _imports(ctx).settings.attempts:
                raise ImportFailed(err.message) from err
            ctx.log.info("the download is taken up again", position=position, reason=err.message)
            ctx.clock.sleep(_PAUSE)
        else:
            return


# --- decompress, inspect, convert ---------------------------------------------------------------------------


def decompress(ctx: Ctx) -> Json:
    """Unpack the data, if it is compressed and the operator wants it unpacked."""
    imports, now = _imports(ctx), _prepared(ctx, "fetch")
    if now is None or not imports.settings.decompress or now.container_format not in ("bare", "compressed"):
        return None
    path = imports.staging.path(ctx.resource, now.file)
    with path.open("rb") as source:
        compressed = decompression.is_compressed(source.read(8))
    if not compressed:
        return None
    _tell(ctx, "The data is being decompressed.")
    chunks = decompression.decompressed(path, imports.settings.decompressed_limit)
    imports.staging.write(ctx.resource, "decompressed", _watched(ctx, imports.limited(chunks)))
    changes = {**now.changes, "container_format": "bare"} if now.container_format == "compressed" else now.changes
    return msgspec.to_builtins(
        msgspec.structs.replace(now, file="decompressed", container_format="bare", changes=changes)
    )


def inspect(ctx: Ctx) -> Json:
    """Refuse data that is not what it is said to be, before any program looks at it."""
    imports, now = _imports(ctx), _prepared(ctx, "decompress", "fetch")
    if now is None:
        return None
    imports.staging.keep_only(ctx.resource, now.file)
    if not is_disk(now.disk_format, now.container_format):
        return None
    return inspect_file(imports.staging.path(ctx.resource, now.file), now.disk_format)


def convert(ctx: Ctx) -> Json:
    """Make the data what the image shall be: what the operator wants, or what a task of type import names."""
    imports, now = _imports(ctx), _prepared(ctx, "decompress", "fetch")
    if now is None or now.container_format != "bare":
        return None
    wanted = conversion.wanted(now.disk_format, _image(ctx).disk_format, imports.settings, _plan(ctx).source_format)
    if wanted == now.disk_format:
        return None
    if ctx.results["inspect"] > imports.size_limit:
        raise ImportFailed(f"The image holds a disk of {ctx.results['inspect']} bytes, which is more than is allowed.")
    _tell(ctx, f"The data is being converted to {wanted}.")
    source = imports.staging.path(ctx.resource, now.file)
    with imports.staging.making(ctx.resource, "converted") as target:
        conversion.convert(source, now.disk_format, target, wanted, imports.settings, imports.size_limit, ctx.check)
    changes = {**now.changes, "disk_format": wanted}
    return msgspec.to_builtins(msgspec.structs.replace(now, file="converted", disk_format=wanted, changes=changes))


# --- store --------------------------------------------------------------------------------------------------


def keep(ctx: Ctx) -> Json:
    """Bring the data to each store in turn."""
    plan, now = _plan(ctx), _prepared(ctx, "convert", "decompress", "fetch")
    image = _image(ctx)
    if now is not None:
        _imports(ctx).staging.keep_only(ctx.resource, now.file)
        image = image.replaced({"disk_format": now.disk_format, "container_format": now.container_format})
    done: list[Location] = []
    failed: dict[str, str] = {}
    facts: dict[str, Any] = {}
    for position, name in enumerate(plan.stores):
        _tell(ctx, f"The data is being copied to store {name}.", ImportState(plan.stores[position:], list(failed)))
        try:
            location, facts = _patiently(ctx, partial(_keep_in, ctx, image, now, name, facts))
        except (PileusError, OSError, ImageNotAsDeclaredError) as err:
            ctx.check()
            if plan.must_succeed or isinstance(err, Cancelled | ImageNotAsDeclaredError):
                raise
            ctx.log.warning("a store did not take the data", store=name, error=str(err))
            failed[name] = str(err)
        else:
            done.append(location)
    if plan.stores and not done:
        raise ImportFailed("No store took the data: " + "; ".join(f"{name}: {why}" for name, why in failed.items()))
    return {"locations": msgspec.to_builtins(done), "failed": list(failed), "facts": facts}


def _keep_in(
    ctx: Ctx, image: Image, now: Prepared | None, name: str, facts: dict[str, Any]
) -> tuple[Location, dict[str, Any]]:
    """Bring the data to one store; where it is, and what it is. ImportFailed if it is other data than before."""
    images = _images(ctx)
    if now is None:
        chunks = images.stored.of(image).read()
        facts = {"size": image.size, "os_hash_value": image.os_hash_value}
    else:
        chunks = images.imports.staging.read(image.id, now.file)
    target = images.stored.stores.writable(name)
    received = images.stored.receive(image, target, _watched(ctx, chunks))
    if facts.get("os_hash_value") and facts.get("os_hash_algo", image.os_hash_algo) == received.facts["os_hash_algo"]:
        same = facts["os_hash_value"] == received.facts["os_hash_value"]
    else:
        same = facts.get("size") in (None, received.facts["size"])
    if not same:
        target.remove(received.location.locator)
        raise ImportFailed("The data changed while it was copied.")
    return received.location, received.facts


def take_away(ctx: Ctx) -> None:
    """Remove the data from all stores that it was for."""
    stores = _images(ctx).stored.stores
    for name in _plan(ctx).stores:
        stores.get(name).discard(ctx.resource)


def clean(ctx: Ctx) -> Json:
    """Remove what was staged: it is all in the stores now."""
    discard(ctx)
    return None


# --- the end ------------------------------------------------------------------------------------------------


def activate(ctx: Ctx, tx: Tx) -> None:
    """The image has its data."""
    plan, outcome = _plan(ctx), ctx.results["store"]
    image = _images(ctx).find_held(tx, ctx.resource)
    if image is None:
        raise Cancelled(f"Image {ctx.resource} was deleted.")
    locations = msgspec.convert(outcome["locations"], list[Location])
    values: dict[str, Any] = {
        "import_task": None,
        "import_state": ImportState([], outcome["failed"]),
        "locations": [*image.locations, *locations] if plan.method is Method.COPY_IMAGE else locations,
        "updated_at": ctx.clock.now(),
    }
    sources: tuple[Status, ...] = (Status.ACTIVE, Status.DEACTIVATED)
    if plan.method is not Method.COPY_IMAGE:
        sources = (Status.IMPORTING,)
        prepared = _prepared(ctx, "convert", "decompress", "fetch")
        changes = {} if prepared is None else prepared.changes
        properties = {**image.properties, **changes.get("properties", {}), **plan.inject}
        values |= {**changes, **outcome["facts"], "properties": properties, "status": Status.ACTIVE}
    if not store.change(tx, ctx.resource, plan.task, sources, **values):
        raise Cancelled(f"Image {ctx.resource} was deleted.")
    result = {"image_id": ctx.resource}
    note = f"Stores that did not take the data: {', '.join(outcome['failed'])}" if outcome["failed"] else ""
    _images(ctx).tasks.succeed(tx, plan.task, result, note)


def give_up(ctx: Ctx, tx: Tx, failure: Failure) -> None:
    """The image is as before, and says which stores did not get the data."""
    plan = _plan(ctx)
    _images(ctx).let_go(tx, ctx.resource, plan.task)
    now = ctx.clock.now()
    state = ImportState([], plan.stores)
    if plan.method is Method.COPY_IMAGE:
        both = (Status.ACTIVE, Status.DEACTIVATED)
        store.change(tx, ctx.resource, plan.task, both, import_task=None, import_state=state, updated_at=now)
    else:
        target = Status.DELETED if plan.delete_on_failure else Status.QUEUED
        store.change(
            tx, ctx.resource, plan.task, (Status.IMPORTING,), status=target, size=None, import_task=None,
            import_state=state, updated_at=now,
        )  # fmt: skip
    if failure.cancelled:
        message = "The import was cancelled."
    elif failure.expected:
        message = failure.message
    else:
        message = f"The import failed for a reason that the cloud's log tells under {ctx.request_id}."
    _images(ctx).tasks.fail(tx, plan.task, message)


def _tell(ctx: Ctx, message: str, state: ImportState | None = None) -> None:
    """Show how far the import is. Not part of its truth: it may be lost."""
    plan = _plan(ctx)

    def work(tx: Tx) -> None:
        if state is not None:
            store.show(tx, ctx.resource, plan.task, state)
        _images(ctx).tasks.progress(tx, plan.task, message)

    ctx.db.transact(work)


SAGAS = (
    Saga(
        IMPORT,
        (
            Step("fetch", do=_long(fetch), undo=discard, retry=_PATIENT),
            Step("decompress", do=_long(decompress), retry=_PATIENT),
            Step("inspect", do=_long(inspect), retry=_PATIENT),
            Step("convert", do=_long(convert), retry=_PATIENT),
            Step("store", do=_long(keep), undo=take_away, retry=_PATIENT),
            Step("clean", do=clean),
        ),
        on_done=activate,
        on_failed=give_up,
    ),
)
