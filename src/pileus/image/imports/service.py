"""Imports: staged, checked, begun; the saga in `sagas` does the work."""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from pileus.image import store as image_store
from pileus.image.data.service import Data, explain
from pileus.image.domain import Image, ImportState, Status
from pileus.image.imports import store
from pileus.image.imports.domain import Method, Plan, Remote
from pileus.image.imports.regions import Regions
from pileus.image.imports.staging import STAGED, Staging
from pileus.image.quotas.service import ImageQuotas
from pileus.image.settings import ImageSettings
from pileus.image.tasks.domain import Task, TaskType
from pileus.image.tasks.service import Tasks
from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import BadRequest, Conflict, TooLarge, Unavailable
from pileus.kernel.fetch import Fetcher
from pileus.kernel.owner import dead_here, new_owner
from pileus.kernel.saga import Sagas
from pileus.kernel.seal import Seal

log = structlog.get_logger("pileus.image.imports")

IMPORT = "image.import"
_SOURCES = {
    Method.GLANCE_DIRECT: Status.UPLOADING,
    Method.WEB_DOWNLOAD: Status.QUEUED,
    Method.GLANCE_DOWNLOAD: Status.QUEUED,
    Method.COPY_IMAGE: Status.ACTIVE,
    Method.FETCH: Status.QUEUED,
}
"""In which state an image must be for each method."""


class Busy(Unavailable):
    """This process works on as many imports as it may; this one waits."""


class Imports:
    """Brings images' data into the cloud. `stage` and `reconcile` manage their own transactions."""

    def __init__(
        self,
        settings: ImageSettings,
        db: Database,
        stored: Data,
        quotas: ImageQuotas,
        tasks: Tasks,
        sagas: Sagas,
        clock: Clock,
        regions: Regions,
        seal: Seal,
    ) -> None:
        self.settings = settings.imports
        self.size_limit = settings.size_limit
        self.stored = stored
        self.tasks = tasks
        self.regions = regions
        self.seal = seal
        self.fetcher = Fetcher(settings.fetch)
        self.staging = Staging(settings.staging_dir)
        self._db = db
        self._quotas = quotas
        self._sagas = sagas
        self._clock = clock
        self._slots = threading.BoundedSemaphore(self.settings.at_once)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """One of the places for imports at work in this process. Busy if all are taken."""
        if not self._slots.acquire(blocking=False):
            raise Busy("Too many other imports are at work.")
        try:
            yield
        finally:
            self._slots.release()

    # --- staging --------------------------------------------------------------------------------------------

    def stage(self, image: Image, chunks: Iterator[bytes], size: int | None = None) -> None:
        """Receive an image's data as it arrives, for an import to come. What it is, is judged by the import.

        `size`: how many bytes will come, if that is known. Conflict if the image has data, or is receiving some;
        TooLarge. Whatever goes wrong, the image is queued again and nothing of the data remains.
        """
        uploader = new_owner()

        def begin(tx: Tx) -> None:
            if not image_store.change_status(tx, image.id, (Status.QUEUED,), Status.UPLOADING, uploader=uploader):
                raise Conflict(f"Image status transition from {image.status} to {Status.UPLOADING} is not allowed.")
            self._quotas.check_stage(tx, image.owner, size)

        self._db.transact(begin)
        try:
            staged = self._receive(image, chunks, size)
        except BaseException as err:
            self.staging.discard(image.id)
            if not self._finish(image.id, uploader, Status.QUEUED):
                self.stored.let_go(image.id, uploader)
                raise _deleted_meanwhile(image) from err
            explain(image, err)
        if not self._finish(image.id, uploader, Status.UPLOADING, size=staged, updated_at=self._clock.now()):
            self.staging.discard(image.id)
            self.stored.let_go(image.id, uploader)
            raise _deleted_meanwhile(image)

    def _receive(self, image: Image, chunks: Iterator[bytes], size: int | None) -> int:
        staged = self.staging.write(image.id, STAGED, self.limited(chunks))
        if size is not None and staged != size:
            raise BadRequest(f"{size} bytes of data were announced, and {staged} came.")
        return staged

    def _finish(self, image_id: str, uploader: str, status: Status, **values: Any) -> bool:
        return self._db.transact(lambda tx: store.finish_stage(tx, image_id, uploader, status, **values))

    def limited(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The bytes, and TooLarge past the limit of any image."""
        size = 0
        for chunk in chunks:
            size += len(chunk)
            if size > self.size_limit:
                raise TooLarge(f"The image is larger than {self.size_limit} bytes.")
            yield chunk

    def reconcile(self) -> None:
        """Take back what processes that died were staging, and remove what belongs to no image that waits for it."""
        with self._db.read() as tx:
            staged = {row.uploader: row.id for row in store.uploaders(tx)}
        for uploader in dead_here(staged):
            log.warning("staging was cut off; the image is queued again", image=staged[uploader])
            self.staging.discard(staged[uploader])
            self._finish(staged[uploader], uploader, Status.QUEUED)
        for image_id in self.staging.images():
            with self._db.read() as tx:
                stray = not store.at_work(tx, image_id)
            if stray:
                self.staging.discard(image_id)

    # --- importing ------------------------------------------------------------------------------------------

    def methods(self) -> tuple[str, ...]:
        """The methods that users may choose, in the operator's order."""
        return self.settings.methods

    def choose_stores(self, image: Image, asked: Sequence[str], every: bool, method: Method) -> list[str]:
        """The names of the stores that the data is to be brought to.

        Conflict if a store cannot be had, BadRequest if a copy is there already. A copy to every store leaves out those
        that have one, and so may have nothing to do.
        """
        have = {location.store for location in image.locations} if method is Method.COPY_IMAGE else set()
        if every:
            return [each.name for each in self.stored.stores.all() if not each.read_only and each.name not in have]
        try:
            chosen = [self.stored.stores.writable(name).name for name in dict.fromkeys(asked)]
        except BadRequest as err:
            raise Conflict(err.message) from err
        if present := sorted(have.intersection(chosen)):
            raise BadRequest(f"Image is already present at store '{present[0]}'.")
        return chosen or [self.stored.stores.default.name]

    def check(self, image: Image, method: Method) -> None:
        """Conflict if the image is not in the state that the method needs, or does not say what its data is."""
        needed = _SOURCES[method]
        if image.import_task is not None:
            raise Conflict(f"Image {image.id} is being imported already.")
        if image.status != needed:
            staged = " Data must be staged first." if needed == Status.UPLOADING else ""
            raise Conflict(
                f"The method '{method}' needs an image with status {needed}; {image.id} has {image.status}.{staged}"
            )
        if image.disk_format is None or image.container_format is None:
            raise Conflict("disk_format and container_format must be set before an import.")

    def start(
        self,
        tx: Tx,
        actor: Actor,
        image: Image,
        method: Method,
        *,
        request_id: str,
        stores: Sequence[str],
        shown: Mapping[str, Any],
        task_type: TaskType = TaskType.API_IMAGE_IMPORT,
        must_succeed: bool = True,
        uri: str | None = None,
        remote: Remote | None = None,
        source_format: str | None = None,
        delete_on_failure: bool = False,
    ) -> Task:
        """Begin an import. `shown` is the task's input. Conflict if other data is coming to the image."""
        task = self.tasks.create(tx, actor, task_type, request_id=request_id, values=shown, image_id=image.id)
        source = _SOURCES[method]
        target = source if method is Method.COPY_IMAGE else Status.IMPORTING
        if not store.begin(tx, image.id, (source,), target, task.id, ImportState(list(stores), [])):
            raise Conflict(f"Other data is coming to image {image.id} already.")
        if source is Status.QUEUED:  # else no data is to come into the staging area that is not there
            self._quotas.check_stage(tx, image.owner)
        self._quotas.check_upload(tx, image.owner, (image.size or 0) * len(stores))
        plan = Plan(
            method=method,
            task=task.id,
            stores=list(stores),
            must_succeed=must_succeed,
            uri=uri,
            remote=remote,
            source_format=source_format,
            inject={} if method is Method.COPY_IMAGE else self._injected(actor),
            delete_on_failure=delete_on_failure,
        )
        self._sagas.start(
            tx,
            IMPORT,
            resource=image.id,
            project=actor.owner,
            user=actor.user_id,
            request_id=request_id,
            params=msgspec.to_builtins(plan),
        )
        return task

    def forget(self, tx: Tx, image_id: str) -> None:
        """The image is deleted: end what is coming to it."""
        self._sagas.cancel_all(tx, image_id)
        tx.after_commit(lambda: self.staging.discard(image_id))

    def _injected(self, actor: Actor) -> dict[str, str]:
        ignored = {role.lower() for role in self.settings.inject_ignore_roles}
        return {} if ignored & {role.lower() for role in actor.roles} else dict(self.settings.inject)


def _deleted_meanwhile(image: Image) -> Conflict:
    return Conflict(f"Image {image.id} was deleted while its data was staged.")
