"""Durable operations: declared lists of steps that end complete or undone, whatever dies on the way.

Declare (in a service's `sagas.py`)::

    def claim_host(ctx: Ctx) -> Json:            # the step's result, journaled
        ctx.write(lambda tx: ctx.services.placement.claim(tx, ctx.params["flavor"]))
        return None                              # the result is then what the last write returned

    def ensure_guest(ctx: Ctx) -> Json:
        ctx.host = ctx.results["claim"]["host"]
        return ctx.services.agents.call(ctx.host, "PUT", f"/guests/{ctx.resource}", spec, ctx.remaining())

    BOOT = Saga(
        "server.create",
        (
            Step("claim", do=claim_host, undo=release_claim, event="compute__do_build_and_run_instance"),
            Step("guest", do=ensure_guest, undo=ensure_no_guest),
        ),
        action="create",
        on_done=lambda ctx, tx: ...,             # write ACTIVE
        on_failed=lambda ctx, tx, failure: ...,  # write ERROR
    )

Start, in the transaction that writes the resource's row::

    with db.write() as tx:
        store.insert(tx, server)
        sagas.start(tx, "server.create", resource=server.id, project=..., user=..., request_id=..., params={...})

Stop and delete::

    sagas.cancel_all(tx, server.id, "server.create")
    sagas.start(tx, "server.delete", resource=server.id, ...)   # waits until the create has ended

What holds:

* Every `do` and `undo` may run again after a crash: `do` means "make it so", `undo` means "make absent" and
  accepts "never was". Work given to `ctx.write` has its effect exactly once.
* A step that began and is not done is in doubt: it is undone too when the saga turns back.
* Only the holder of the lease writes to the journal. One that lost it stops, and what it registered with
  `ctx.write` is rolled back.
* Sagas of one resource run one after another in start order.
* A failed undo makes the saga `stuck`: visible, tried again with growing pauses, and in the way of the
  resource's next sagas until it works or an operator abandons it.

Run: `Conductor(db, sagas, services, clock, nudges).start()` in a process, or `drain(Engine(...))` in a test.
`tests/saga_harness.py` exercises any saga against all faults.
"""

from pileus.kernel.saga.conductor import Conductor
from pileus.kernel.saga.context import Ctx
from pileus.kernel.saga.engine import Engine, drain
from pileus.kernel.saga.history import (
    Action,
    ActionEvent,
    Listed,
    actions,
    events,
    find_action,
    listing,
    show,
)
from pileus.kernel.saga.model import FINAL, Cancelled, Failure, Json, Saga, State, Step
from pileus.kernel.saga.purge import purge, purge_loop
from pileus.kernel.saga.registry import Sagas
from pileus.kernel.saga.retry import DEFAULT, ONCE, Retry
from pileus.kernel.saga.settings import ConductorSettings

__all__ = [
    "DEFAULT",
    "FINAL",
    "ONCE",
    "Action",
    "ActionEvent",
    "Cancelled",
    "Conductor",
    "ConductorSettings",
    "Ctx",
    "Engine",
    "Failure",
    "Json",
    "Listed",
    "Retry",
    "Saga",
    "Sagas",
    "State",
    "Step",
    "actions",
    "drain",
    "events",
    "find_action",
    "listing",
    "purge",
    "purge_loop",
    "show",
]
