"""What a durable operation is: its steps, its states and its journal's words."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.errors import PileusError
from pileus.kernel.saga.retry import DEFAULT, Retry

if TYPE_CHECKING:
    from pileus.kernel.saga.context import Ctx

Json = Any
"""A plain JSON value: None, bool, int, float, str, list or dict with string keys."""

TRACEBACK_LIMIT = 20_000  # characters; the end is kept, because it names the error


class State(StrEnum):
    """Where a saga stands. The last three are final."""

    PENDING = "pending"  # written by a service, in nobody's hands yet
    RUNNING = "running"  # going forward
    UNDOING = "undoing"  # a step failed or the saga was cancelled: going backward
    STUCK = "stuck"  # an undo failed, or no process here knows this saga; tried again with growing pauses
    DONE = "done"  # every step done
    UNDONE = "undone"  # everything that was begun was made absent again
    ABANDONED = "abandoned"  # an operator gave up on a stuck saga; what it left behind is theirs


FINAL = frozenset({State.DONE, State.UNDONE, State.ABANDONED})


class Event(StrEnum):
    """What the journal records of a step, each at most once. An undo in doubt is one without `undone`."""

    BEGAN = "began"
    DONE = "done"
    FAILED = "failed"  # also written for the step that a cancelled saga did not begin
    UNDONE = "undone"


class Cancelled(PileusError):
    """The saga was asked to stop. A step may raise it (see `Ctx.check`); it is never retried."""


@dataclass(frozen=True)
class Failure:
    """Why a saga turned back, as journaled: the same after a crash as before, hence text and no exception."""

    step: str
    error: str  # name of the exception's class
    message: str  # written for the user only if `expected`
    traceback: str = ""  # for administrators
    expected: bool = False  # the error was a PileusError, so the message may be shown to the user
    cancelled: bool = False
    kind: str | None = None  # of a PileusError
    details: dict[str, Any] = field(default_factory=dict)  # of a PileusError, if they are JSON

    @classmethod
    def of(cls, step: str, err: BaseException) -> "Failure":
        """The record of `err`, raised by `step`."""
        expected = isinstance(err, PileusError)
        return cls(
            step=step,
            error=type(err).__name__,
            message=str(err),
            traceback="".join(traceback.format_exception(err))[-TRACEBACK_LIMIT:],
            expected=expected,
            cancelled=isinstance(err, Cancelled),
            kind=err.kind if isinstance(err, PileusError) else None,
            details=_plain_details(err) if isinstance(err, PileusError) else {},
        )


def _plain_details(err: PileusError) -> dict[str, Any]:
    try:
        return dict(msgspec.json.decode(msgspec.json.encode(err.details)))
    except (TypeError, ValueError):
        return {}


@dataclass(frozen=True)
class Step:
    """One resource made (`do`) and made absent (`undo`).

    `do` may run more than once, after a crash or a transient failure, also when an earlier try has in truth
    succeeded: it means "make it so". What it returns (JSON) is journaled and is `ctx.results[name]` of later
    steps and of every undo. `undo` means "make absent": it accepts "never was", may run when `do` never finished
    (then `ctx.results` lacks the step) and may run more than once. Without `undo` a step leaves nothing behind.
    `event` is the name under which the user sees the step in the history of the resource; empty: unseen.
    """

    name: str
    do: "Callable[[Ctx], Json]"
    undo: "Callable[[Ctx], None] | None" = None
    retry: Retry = DEFAULT
    event: str = ""


@dataclass(frozen=True)
class Saga:
    """A declared list of steps. Change the list only together with `version`, and keep the old one registered
    for as long as sagas of that version may be unfinished: a row runs by the version that wrote it.

    `on_done` runs in the transaction that ends the saga well, `on_failed` in the one that ends it after
    everything was undone: the place to write the resource's final state. They do nothing but database work.
    `action` is the name under which the user sees the saga (Nova's `create`, `reboot`); empty: unseen.
    """

    name: str
    steps: tuple[Step, ...]
    version: int = 1
    on_done: "Callable[[Ctx, Tx], None] | None" = None
    on_failed: "Callable[[Ctx, Tx, Failure], None] | None" = None
    action: str = ""

    def __post_init__(self) -> None:
        names = [step.name for step in self.steps]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"saga {self.name}: steps must be there and have names of their own, got {names}")
