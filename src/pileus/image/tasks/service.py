"""Tasks: made with the work that they show, told how it goes, forgotten after a while."""

from collections.abc import Mapping
from typing import Any

from pileus.image.settings import ImageSettings
from pileus.image.tasks import store
from pileus.image.tasks.domain import Task, TaskStatus, TaskType
from pileus.kernel.auth import Actor
from pileus.kernel.clock import MICROSECONDS, Clock
from pileus.kernel.db import Row, Tx
from pileus.kernel.errors import NotFound
from pileus.kernel.ids import new_uuid
from pileus.kernel.paging import Page

_MESSAGE = 4000  # characters that are kept of a message


class Tasks:
    """The tasks of the image service. Methods take the transaction first."""

    def __init__(self, settings: ImageSettings, clock: Clock) -> None:
        self._keep = int(settings.task_hours * 3600 * MICROSECONDS)
        self._clock = clock

    # --- for those who do the work ----------------------------------------------------------------------------

    def create(
        self,
        tx: Tx,
        actor: Actor,
        task_type: TaskType,
        *,
        request_id: str,
        values: Mapping[str, Any],
        image_id: str | None = None,
    ) -> Task:
        """A pending task; `values` is its input as it is shown: no secrets."""
        now = self._clock.now()
        task: dict[str, Any] = {
            "id": new_uuid(),
            "type": task_type,
            "status": TaskStatus.PENDING,
            "owner": actor.owner,
            "user_id": actor.user_id,
            "request_id": request_id,
            "image_id": image_id,
            "input": dict(values),
            "result": None,
            "message": "",
            "created_at": now,
            "updated_at": now,
            "expires_at": None,
        }
        store.insert(tx, task)
        return Task(**task)

    def progress(self, tx: Tx, task_id: str, message: str) -> None:
        """The work has begun, and this is how far it is. Nothing happens to a task that has ended."""
        store.change(
            tx, task_id, status=TaskStatus.PROCESSING, message=message[:_MESSAGE], updated_at=self._clock.now()
        )

    def succeed(self, tx: Tx, task_id: str, result: Mapping[str, Any], message: str = "") -> None:
        """The work is done."""
        self._end(tx, task_id, TaskStatus.SUCCESS, message, dict(result))

    def fail(self, tx: Tx, task_id: str, message: str) -> None:
        """The work has failed, for a reason that its user may know."""
        self._end(tx, task_id, TaskStatus.FAILURE, message, None)

    def _end(self, tx: Tx, task_id: str, status: TaskStatus, message: str, result: dict[str, Any] | None) -> None:
        now = self._clock.now()
        store.change(
            tx, task_id, status=status, message=message[:_MESSAGE], result=result, updated_at=now,
            expires_at=now + self._keep,
        )  # fmt: skip

    # --- for those who look ------------------------------------------------------------------------------------

    def get(self, tx: Tx, actor: Actor, task_id: str) -> Task:
        """A task of the caller's project; an administrator sees all. NotFound."""
        row = store.find(tx, task_id)
        if row is None or not (actor.is_admin or row.owner == actor.owner):
            raise NotFound(f"No task found with ID {task_id}")
        return _task(row)

    def page(self, tx: Tx, actor: Actor, equal: Mapping[str, str], wanted: Page) -> tuple[list[Task], bool]:
        """A page of the tasks that the caller may see, and whether there are more. NotFound if the marker is none."""
        marker = None
        if wanted.marker is not None:
            marker = store.find(tx, wanted.marker)
            if marker is None or not (actor.is_admin or marker.owner == actor.owner):
                raise NotFound(f"No task found with ID {wanted.marker}")
        rows = store.page(tx, None if actor.is_admin else actor.owner, equal, wanted, marker)
        return [_task(row) for row in rows[: wanted.limit]], len(rows) > wanted.limit

    def of_image(self, tx: Tx, image_id: str) -> list[Task]:
        """The tasks of an image, the oldest first."""
        return [_task(row) for row in store.of_image(tx, image_id)]

    def purge(self, tx: Tx) -> int:
        """Forget the tasks that expired; how many."""
        return store.purge(tx, self._clock.now())


def _task(row: Row) -> Task:
    return Task(**row._mapping)
