"""Which sagas there are, and how a service starts and stops one."""

from collections.abc import Iterable, Mapping
from typing import Any

from pileus.kernel import nudge
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.ids import new_uuid
from pileus.kernel.nudge import Nudges
from pileus.kernel.saga import journal
from pileus.kernel.saga.model import Saga


class Sagas:
    """The registry of sagas. A service gets it to start sagas, the engine to find their steps."""

    def __init__(self, clock: Clock, nudges: Nudges, sagas: Iterable[Saga] = ()) -> None:
        self._clock = clock
        self._nudges = nudges
        self._by_version: dict[tuple[str, int], Saga] = {}
        self._newest: dict[str, Saga] = {}
        for saga in sagas:
            self.register(saga)

    def register(self, *sagas: Saga) -> None:
        """Add sagas. Several versions of one name may be there; `start` by name takes the newest. ValueError if one
        is there already."""
        for saga in sagas:
            key = (saga.name, saga.version)
            if key in self._by_version:
                raise ValueError(f"saga {saga.name} version {saga.version} is registered twice")
            self._by_version[key] = saga
            newest = self._newest.get(saga.name)
            if newest is None or newest.version < saga.version:
                self._newest[saga.name] = saga

    def find(self, name: str, version: int) -> Saga | None:
        """The saga as that version declared it."""
        return self._by_version.get((name, version))

    def start(
        self,
        tx: Tx,
        saga: Saga | str,
        *,
        resource: str,
        project: str,
        user: str,
        request_id: str,
        params: Mapping[str, Any],
    ) -> str:
        """Write a saga into the caller's transaction and answer its id; a conductor takes it once that is durable.

        Sagas of one `resource` (an id) run one after another in the order of their starts. For that order to be
        certain, the transaction also changes the resource's own row (compare-and-swap), as services do anyway. `params`
        is plain JSON with everything the saga needs: ids minted, names resolved. KeyError if the saga is
        not registered.
        """
        declared = self._newest[saga] if isinstance(saga, str) else self._by_version[saga.name, saga.version]
        saga_id = new_uuid()
        journal.insert(
            tx,
            saga_id,
            declared,
            resource=resource,
            project=project,
            user=user,
            request_id=request_id,
            params=dict(params),
            now=self._clock.now(),
        )
        tx.after_commit(lambda: self._nudges.send(nudge.SAGA))
        return saga_id

    def record(self, tx: Tx, action: str, *, resource: str, project: str, user: str, request_id: str) -> str:
        """Write an action that is already complete (a lock, a rename) into the history of the resource."""
        saga_id = new_uuid()
        journal.insert_finished(
            tx,
            saga_id,
            action,
            resource=resource,
            project=project,
            user=user,
            request_id=request_id,
            now=self._clock.now(),
        )
        return saga_id

    def request_cancel(self, tx: Tx, saga_id: str) -> bool:
        """Ask an unfinished saga to stop at its next boundary between steps and to undo. False if it has ended.

        A pause before another try is cut short, a running step sees `ctx.cancelled`. A saga whose last step is
        running, or that is undoing already, goes on as if not asked.
        """
        found = journal.request_cancel(tx, saga_id, self._clock.now())
        tx.after_commit(lambda: self._nudges.send(nudge.CANCEL))
        return found

    def cancel_all(self, tx: Tx, resource: str, name: str | None = None) -> list[str]:
        """`request_cancel` for the unfinished sagas of `resource` (of that name); their ids in start order. A delete
        calls it, then starts its own saga, which runs once they have ended."""
        found = [live.id for live in journal.unfinished(tx, resource) if name is None or live.name == name]
        for saga_id in found:
            self.request_cancel(tx, saga_id)
        return found

    def request_retry(self, tx: Tx, saga_id: str) -> bool:
        """Have a stuck saga tried again now. False if it is not stuck."""
        tx.after_commit(lambda: self._nudges.send(nudge.SAGA))
        return journal.hasten(tx, saga_id, "", self._clock.now())

    def request_abandon(self, tx: Tx, saga_id: str) -> bool:
        """Have a stuck saga ended without the rest of its undos; `on_failed` still runs. False if it is not stuck.

        For an operator who has cleaned up by hand.
        """
        tx.after_commit(lambda: self._nudges.send(nudge.SAGA))
        return journal.hasten(tx, saga_id, "abandon", self._clock.now())
