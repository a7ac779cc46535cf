"""What a step is given."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from pileus.kernel.clock import Clock
from pileus.kernel.db import Database, Tx
from pileus.kernel.saga.model import Cancelled, Json


class Ctx:
    """One try of one step. Plain attributes; the methods say what is special.

    `params` is what the service gave to `start`, `results` what the steps before returned (the journal's copy: the same
    after a crash). `services` is the object given to the engine. `deadline` is the instant of `clock.monotonic()`
    after which no further try is made. `generation` grows with every change of owner: a fencing token. A step that
    knows on which host it acts sets `host`, and the history shows it.
    """

    def __init__(
        self,
        *,
        saga_id: str,
        name: str,
        step: str,
        resource: str,
        project: str,
        user: str,
        request_id: str,
        params: Mapping[str, Any],
        results: Mapping[str, Json],
        generation: int,
        attempt: int,
        deadline: float,
        db: Database,
        services: Any,
        clock: Clock,
        cancel: threading.Event | None,
    ) -> None:
        self.saga_id = saga_id
        self.name = name
        self.step = step
        self.resource = resource
        self.project = project
        self.user = user
        self.request_id = request_id
        self.params = params
        self.results = results
        self.generation = generation
        self.attempt = attempt
        self.deadline = deadline
        self.db = db
        self.services = services
        self.clock = clock
        self.host: str | None = None
        self.log = structlog.get_logger("pileus.saga").bind(step=step)
        self.writes: list[Callable[[Tx], Json]] = []
        self._cancel = cancel

    def write(self, work: Callable[[Tx], Json]) -> None:
        """Run `work` in the very transaction that records this step as done (or undone): its effect on the database
        happens exactly once.

        `work` may be called again if the database breaks the transaction off, so it has no other effects. An error it
        raises is an error of the step. If `do` returns None, the result of the step is what the last `work` returned.
        """
        self.writes.append(work)

    @property
    def cancelled(self) -> bool:
        """Whether the saga was asked to stop. Never true in an undo."""
        return self._cancel is not None and self._cancel.is_set()

    def check(self) -> None:
        """Raise Cancelled if the saga was asked to stop. For steps that wait or work in rounds."""
        if self.cancelled:
            raise Cancelled("The operation was cancelled.")

    def remaining(self) -> float:
        """Seconds until `deadline`, at least 0: an upper bound for a call's timeout."""
        return max(0.0, self.deadline - self.clock.monotonic())
