"""Every query that changes the journal.

A saga is in one engine's hands from `take` until it ends, is released, or its lease passes to another. Whoever
writes in between calls `fence` in the same transaction: it holds the saga's row and refuses an owner of the past.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam

from pileus.kernel.db import Row, Tx
from pileus.kernel.saga.model import Event, Saga, State
from pileus.kernel.saga.tables import saga, saga_event, unfinished_row

CANCEL = "cancel"
ABANDON = "abandon"

_earlier = saga.alias("earlier")
_blocked = sa.exists().where(
    _earlier.c.resource == saga.c.resource, unfinished_row(_earlier), _earlier.c.seq < saga.c.seq
)
_DUE = (saga.c.lease_until <= bindparam("now"), ~_blocked)
_ANY_DUE = sa.select(saga.c.id).where(*_DUE).limit(1)
_TAKE = (
    sa.select(
        saga.c.id,
        saga.c.name,
        saga.c.version,
        saga.c.resource,
        saga.c.project,
        saga.c.user,
        saga.c.request_id,
        saga.c.params,
        saga.c.state,
        saga.c.request,
        saga.c.generation,
        saga.c.problem,
    )
    .where(*_DUE)
    .order_by(saga.c.seq)
    .limit(bindparam("most", type_=sa.Integer))
    .with_for_update(skip_locked=True)
)
_TAKEN = (
    sa.update(saga)
    .where(saga.c.id == bindparam("the_id"))
    .values(
        owner=bindparam("owner"),
        generation=bindparam("generation"),
        state=bindparam("state"),
        lease_until=bindparam("lease_until"),
    )
)
_FENCE = (
    sa.select(saga.c.request)
    .where(
        saga.c.id == bindparam("id"),
        saga.c.generation == bindparam("generation"),
        saga.c.owner == bindparam("owner"),
    )
    .with_for_update()
)
_FINISH = (
    sa.update(saga)
    .where(saga.c.id == bindparam("the_id"))
    .values(
        state=bindparam("state"),
        owner=None,
        lease_until=None,
        problem=None,
        updated_at=bindparam("now"),
        finished_at=bindparam("now"),
    )
)
_ADD_EVENTS = sa.insert(saga_event)
_EVENTS_OF = sa.select(saga_event.c.saga_id, saga_event.c.step, saga_event.c.event, saga_event.c.data).where(
    saga_event.c.saga_id.in_(bindparam("ids", expanding=True))
)
_LAST_SEQ = sa.select(sa.func.max(saga.c.seq)).where(saga.c.resource == bindparam("resource"))
_INSERT = sa.insert(saga)


class LeaseLost(Exception):
    """Another engine holds the saga now, or it has ended."""


@dataclass
class Taken:
    """A saga as read by whoever took it. `generation` is already the new one."""

    id: str
    name: str
    version: int
    resource: str
    project: str
    user: str
    request_id: str
    params: dict[str, Any]
    state: State  # as it was before
    request: str
    generation: int
    problem: dict[str, Any] | None
    events: list[tuple[str, Event, dict[str, Any]]] = field(default_factory=list)


def insert(
    tx: Tx,
    saga_id: str,
    declared: Saga,
    *,
    resource: str,
    project: str,
    user: str,
    request_id: str,
    params: dict[str, Any],
    now: int,
) -> None:
    """Write a new saga, to be taken at once."""
    values = _new_row(tx, saga_id, resource, project, user, request_id, now)
    values |= {
        "name": declared.name,
        "version": declared.version,
        "action": declared.action,
        "params": params,
        "state": State.PENDING,
        "lease_until": 0,
        "finished_at": None,
    }
    tx.execute(_INSERT, values)


def insert_finished(
    tx: Tx, saga_id: str, action: str, *, resource: str, project: str, user: str, request_id: str, now: int
) -> None:
    """Write a saga without steps that has ended well."""
    values = _new_row(tx, saga_id, resource, project, user, request_id, now)
    values |= {
        "name": "",
        "version": 0,
        "action": action,
        "params": {},
        "state": State.DONE,
        "lease_until": None,
        "finished_at": now,
    }
    tx.execute(_INSERT, values)


def _new_row(tx: Tx, saga_id: str, resource: str, project: str, user: str, request_id: str, now: int) -> dict[str, Any]:
    last = tx.scalar(_LAST_SEQ, {"resource": resource})
    return {
        "id": saga_id,
        "resource": resource,
        "seq": now if last is None else max(now, last + 1),
        "project": project,
        "user": user,
        "request_id": request_id,
        "request": "",
        "owner": None,
        "generation": 0,
        "problem": None,
        "started_at": now,
        "updated_at": now,
    }


def request_cancel(tx: Tx, saga_id: str, now: int) -> bool:
    """Note the wish that a saga stop. False if it has ended."""
    return (
        tx.changed(
            sa.update(saga)
            .where(saga.c.id == saga_id, unfinished_row(saga), saga.c.request.in_(("", CANCEL)))
            .values(request=CANCEL, updated_at=now)
        )
        == 1
    )


def hasten(tx: Tx, saga_id: str, request: str, now: int) -> bool:
    """Have a stuck saga taken at once, with `request` noted if it is not empty. False if it is not stuck."""
    values: dict[str, Any] = {"lease_until": 0, "updated_at": now}
    if request:
        values["request"] = request
    stuck = (saga.c.id == saga_id, saga.c.state == State.STUCK, saga.c.owner.is_(None))
    return tx.changed(sa.update(saga).where(*stuck).values(values)) == 1


def unfinished(tx: Tx, resource: str) -> Sequence[Row]:
    """(id, name) of the unfinished sagas of a resource in start order."""
    return tx.all(
        sa.select(saga.c.id, saga.c.name).where(saga.c.resource == resource, unfinished_row(saga)).order_by(saga.c.seq)
    )


def any_due(tx: Tx, now: int) -> bool:
    """Whether `take` would find something."""
    return tx.one(_ANY_DUE, {"now": now}) is not None


def next_due(tx: Tx, now: int) -> int | None:
    """The next instant after `now` at which a saga may become due by itself; None if there is none."""
    instant: int | None = tx.scalar(sa.select(sa.func.min(saga.c.lease_until)).where(saga.c.lease_until > now))
    return instant


def take(tx: Tx, owner: str, now: int, lease_until: int, capacity: int, busy: Counter[str]) -> list[Taken]:
    """Take up to `capacity` due sagas: the longest waiting, yet evenly from all projects.

    `busy` counts the sagas that the owner has in its hands by project.
    """
    rows = tx.all(_TAKE, {"now": now, "most": 4 * capacity})
    taken = [_taken(row) for row in fair_choice(rows, busy, capacity)]
    if not taken:
        return []
    tx.execute(
        _TAKEN,
        [
            {
                "the_id": one.id,
                "owner": owner,
                "generation": one.generation,
                "state": State.RUNNING if one.state == State.PENDING else one.state,
                "lease_until": lease_until,
            }
            for one in taken
        ],
    )
    resumed = {one.id: one for one in taken if one.generation > 1}
    if resumed:
        for row in tx.all(_EVENTS_OF, {"ids": list(resumed)}):
            resumed[row.saga_id].events.append((row.step, Event(row.event), row.data))
    return taken


def _taken(row: Row) -> Taken:
    values = dict(row._mapping)
    values["state"] = State(values["state"])
    values["generation"] += 1
    return Taken(**values)


def fair_choice(rows: Sequence[Row], busy: Counter[str], capacity: int) -> list[Row]:
    """`capacity` of `rows` (which are in order of age), always from the project that has the fewest so far."""
    if len(rows) <= capacity:
        return list(rows)
    load = Counter(busy)
    rank: list[tuple[int, int, Row]] = []
    for age, row in enumerate(rows):
        rank.append((load[row.project], age, row))
        load[row.project] += 1
    rank.sort(key=lambda one: one[:2])
    return [row for _, _, row in rank[:capacity]]


def fence(tx: Tx, saga_id: str, generation: int, owner: str) -> str:
    """Hold the saga's row until the end of the transaction and answer the pending request. LeaseLost if it is
    another's."""
    request: str | None = tx.scalar(_FENCE, {"id": saga_id, "generation": generation, "owner": owner})
    if request is None:
        raise LeaseLost
    return request


def add_events(tx: Tx, saga_id: str, now: int, events: Iterable[tuple[str, Event, dict[str, Any]]]) -> None:
    """Append (step, event, data) to the journal."""
    rows = [{"saga_id": saga_id, "step": step, "event": event, "data": data, "at": now} for step, event, data in events]
    if rows:
        tx.execute(_ADD_EVENTS, rows)


def set_state(tx: Tx, saga_id: str, state: State, now: int) -> None:
    """Change the state of a saga that goes on; it has no problem any more."""
    tx.execute(sa.update(saga).where(saga.c.id == saga_id).values(state=state, problem=None, updated_at=now))


def finish(tx: Tx, saga_id: str, state: State, now: int) -> None:
    """End a saga."""
    tx.execute(_FINISH, {"the_id": saga_id, "state": state, "now": now})


def stick(tx: Tx, saga_id: str, problem: dict[str, Any], now: int, due: int) -> None:
    """Mark a saga as stuck, to be taken again at `due`."""
    tx.execute(
        sa.update(saga)
        .where(saga.c.id == saga_id)
        .values(state=State.STUCK, owner=None, lease_until=due, problem=problem, updated_at=now)
    )


def release(tx: Tx, owner: str, due: int, ids: Collection[str] | None = None) -> None:
    """Give the owner's sagas (all, or those with `ids`) back, to be taken at `due`."""
    mine = [saga.c.owner == owner, unfinished_row(saga)]
    if ids is not None:
        mine.append(saga.c.id.in_(ids))
    tx.execute(sa.update(saga).where(*mine).values(owner=None, lease_until=due))


def extend(tx: Tx, owner: str, lease_until: int) -> None:
    """Prolong the leases of all of the owner's sagas."""
    tx.execute(sa.update(saga).where(saga.c.owner == owner, unfinished_row(saga)).values(lease_until=lease_until))


def owners(tx: Tx) -> list[str]:
    """Who holds leases."""
    held = sa.select(saga.c.owner).where(unfinished_row(saga), saga.c.owner.is_not(None)).distinct()
    return [row.owner for row in tx.all(held)]


def cancelled(tx: Tx, owner: str) -> list[str]:
    """The owner's sagas that were asked to stop."""
    asked = (saga.c.owner == owner, unfinished_row(saga), saga.c.request == CANCEL)
    return [row.id for row in tx.all(sa.select(saga.c.id).where(*asked))]
