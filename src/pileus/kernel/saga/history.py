"""What is shown of sagas: to users the actions of a resource, to operators everything."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from pileus.kernel.db import Row, Tx
from pileus.kernel.owner import host_of
from pileus.kernel.saga.model import Event, Saga, State
from pileus.kernel.saga.registry import Sagas
from pileus.kernel.saga.tables import saga, saga_event, unfinished_row


@dataclass(frozen=True)
class Action:
    """One action of a user on a resource. Instants in microseconds."""

    saga_id: str
    resource: str
    action: str
    request_id: str
    project: str
    user: str
    started_at: int
    updated_at: int
    failed: bool  # it ended undone or abandoned, or is on its way there


@dataclass(frozen=True)
class ActionEvent:
    """One step of an action. `result` is None while it runs."""

    step: str
    event: str  # the name for users; empty: not shown to them
    started_at: int
    finished_at: int | None
    result: str | None  # "Success", "Error"
    error: str  # class of the error, for administrators
    message: str
    traceback: str  # for administrators
    expected: bool  # the message was written for users
    host: str | None  # on which the step acted, if it said so; else the conductor's


@dataclass(frozen=True)
class Listed:
    """A saga as operators see it."""

    id: str
    name: str
    version: int
    resource: str
    project: str
    request_id: str
    state: State
    request: str  # "", "cancel" or "abandon"
    owner: str | None
    lease_until: int | None
    problem: dict[str, Any] | None  # of a stuck one: step, error, message, traceback, tries, host
    started_at: int
    updated_at: int
    finished_at: int | None
    blocked: bool  # behind an earlier saga of its resource


_FAILED = (State.UNDOING, State.STUCK, State.UNDONE, State.ABANDONED)


def actions(
    tx: Tx,
    resource: str,
    *,
    limit: int | None = None,
    marker: str | None = None,
    changed_since: int | None = None,
    changed_before: int | None = None,
) -> list[Action] | None:
    """The actions on a resource, the latest first. `marker` is the request id of the last action of the page before;
    None if there is no such action."""
    query = sa.select(saga).where(saga.c.resource == resource, saga.c.action != "").order_by(saga.c.seq.desc())
    if marker is not None:
        last = tx.one(
            sa.select(sa.func.min(saga.c.seq).label("seq")).where(
                saga.c.resource == resource, saga.c.request_id == marker, saga.c.action != ""
            )
        )
        if last is None or last.seq is None:
            return None
        query = query.where(saga.c.seq < last.seq)
    if changed_since is not None:
        query = query.where(saga.c.updated_at >= changed_since)
    if changed_before is not None:
        query = query.where(saga.c.updated_at <= changed_before)
    return [_action(row) for row in tx.all(query.limit(limit))]


def find_action(tx: Tx, resource: str, request_id: str) -> Action | None:
    """The action on a resource that a request began (the first, if it began several)."""
    row = tx.one(
        sa.select(saga)
        .where(saga.c.resource == resource, saga.c.request_id == request_id, saga.c.action != "")
        .order_by(saga.c.seq)
    )
    return None if row is None else _action(row)


def _action(row: Row) -> Action:
    return Action(
        saga_id=row.id,
        resource=row.resource,
        action=row.action,
        request_id=row.request_id,
        project=row.project,
        user=row.user,
        started_at=row.started_at,
        updated_at=row.updated_at,
        failed=row.state in _FAILED,
    )


def events(tx: Tx, sagas: Sagas, saga_id: str) -> list[ActionEvent]:
    """The steps of a saga that have begun, in their order. Filter by `event` for what users see."""
    row = tx.one(sa.select(saga.c.name, saga.c.version).where(saga.c.id == saga_id))
    if row is None:
        return []
    steps: dict[str, dict[str, Row]] = {}
    for one in tx.all(sa.select(saga_event).where(saga_event.c.saga_id == saga_id).order_by(saga_event.c.at)):
        steps.setdefault(one.step, {})[one.event] = one
    declared = sagas.find(row.name, row.version)
    names = _names(declared)
    order = {name: index for index, name in enumerate(names)}
    begun = [name for name in sorted(steps, key=lambda name: order.get(name, len(order))) if Event.BEGAN in steps[name]]
    return [_event(name, names.get(name, name), steps[name]) for name in begun]


def _names(declared: Saga | None) -> dict[str, str]:
    return {step.name: step.event for step in declared.steps} if declared else {}


def _event(step: str, event: str, journal: dict[str, Row]) -> ActionEvent:
    began = journal[Event.BEGAN]
    end = journal.get(Event.FAILED) or journal.get(Event.DONE)
    failure = end.data.get("failure", {}) if end is not None else {}
    return ActionEvent(
        step=step,
        event=event,
        started_at=began.at,
        finished_at=None if end is None else end.at,
        result=None if end is None else "Success" if end.event == Event.DONE else "Error",
        error=failure.get("error", ""),
        message=failure.get("message", ""),
        traceback=failure.get("traceback", ""),
        expected=failure.get("expected", False),
        host=(end.data.get("host") if end is not None else None) or host_of(began.data["owner"]),
    )


def listing(
    tx: Tx, *, states: Sequence[State] | None = None, resource: str | None = None, limit: int = 1000
) -> list[Listed]:
    """Sagas, the latest first: those that are in `states` (default: unfinished)."""
    query = _LISTED.order_by(saga.c.seq.desc()).limit(limit)
    query = query.where(unfinished_row(saga) if states is None else saga.c.state.in_(states))
    if resource is not None:
        query = query.where(saga.c.resource == resource)
    return [_listed(row) for row in tx.all(query)]


def show(tx: Tx, saga_id: str) -> Listed | None:
    """One saga."""
    row = tx.one(_LISTED.where(saga.c.id == saga_id))
    return None if row is None else _listed(row)


_earlier = saga.alias("before")
_LISTED = sa.select(
    saga,
    (
        unfinished_row(saga)
        & sa.exists().where(
            _earlier.c.resource == saga.c.resource, unfinished_row(_earlier), _earlier.c.seq < saga.c.seq
        )
    ).label("blocked"),
)


def _listed(row: Row) -> Listed:
    return Listed(
        id=row.id,
        name=row.name,
        version=row.version,
        resource=row.resource,
        project=row.project,
        request_id=row.request_id,
        state=State(row.state),
        request=row.request,
        owner=row.owner,
        lease_until=row.lease_until,
        problem=row.problem,
        started_at=row.started_at,
        updated_at=row.updated_at,
        finished_at=row.finished_at,
        blocked=bool(row.blocked),
    )
