"""What the tests of this directory share: a saga whose steps do as told, and its engines."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pileus.kernel.clock import Clock, FakeClock
from pileus.kernel.db import Database
from pileus.kernel.nudge import Nudges
from pileus.kernel.saga import Ctx, Engine, Listed, Retry, Saga, Sagas, State, Step, show

STEPS = ("claim", "ports", "guest")


@dataclass
class Script:
    """The steps' services: what to raise where, what to call where, and what happened."""

    errors: dict[str, list[BaseException]] = field(default_factory=dict)  # "do claim": raised one after another
    hooks: dict[str, Callable[[Ctx], Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def act(self, what: str, ctx: Ctx) -> Any:
        self.calls.append(what)
        if self.errors.get(what):
            raise self.errors[what].pop(0)
        return self.hooks[what](ctx) if what in self.hooks else what


def do(ctx: Ctx) -> Any:
    return ctx.services.act(f"do {ctx.step}", ctx)


def undo(ctx: Ctx) -> None:
    ctx.services.act(f"undo {ctx.step}", ctx)


def saga(version: int = 1, **more: Any) -> Saga:
    steps = tuple(Step(name, do=do, undo=undo, retry=Retry(jitter=0), event=f"compute_{name}") for name in STEPS)
    return Saga("server.create", steps, version=version, action="create", **more)


DONE = ["do claim", "do ports", "do guest"]


class Cloud:
    """A database, a clock, a registry, and any number of engines."""

    def __init__(self, db: Database, declared: Saga | None = None, clock: Clock | None = None) -> None:
        self.db = db
        self.clock = clock or FakeClock()
        self.nudges = Nudges()
        self.sagas = Sagas(self.clock, self.nudges, [declared or saga()])
        self.script = Script()

    def engine(self, owner: str | None = None) -> Engine:
        return Engine(self.db, self.sagas, self.script, self.clock, owner)

    def start(self, resource: str = "r", **more: Any) -> str:
        values = {"project": "p", "user": "u", "request_id": "req-1", "params": {}} | more
        with self.db.write() as tx:
            return self.sagas.start(tx, "server.create", resource=resource, **values)

    def shown(self, saga_id: str) -> Listed:
        with self.db.read() as tx:
            found = show(tx, saga_id)
        assert found is not None
        return found

    def state(self, saga_id: str) -> State:
        return self.shown(saga_id).state

    def cancel(self, saga_id: str) -> bool:
        with self.db.write() as tx:
            return self.sagas.request_cancel(tx, saga_id)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.002)
