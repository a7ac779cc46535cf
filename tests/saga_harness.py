"""Exercises a saga against every fault the engine promises to survive, in one process, on a fake clock.

    def test_boot_survives_everything(tmp_path):
        assert exercise(BOOT, lambda: BootWorld(tmp_path)) > 100

For each scenario a new world is made, the saga is started in it, and engines run it until it ends: a new engine
after each crash. Then the world is audited. The scenarios:

* nothing happens
* each step fails, before and after it had its effect; for good and for a moment (so that it is repeated)
* each undo fails likewise, after the last step failed (for good: the saga is stuck, and tried again)
* a crash before and after each effect of each do and undo
* a crash before and after each commit to the database: of the whole way forward, and of the way back from each step
* the lease is lost before each commit, forward and backward
* another engine overtakes: it runs the saga to its end while this one stands before a do
* a cancel before each commit, and before and after the effect of each do
* `CHAOS` runs with several crashes and failures each, chosen by a fixed seed
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import sqlalchemy as sa

from pileus.kernel.clock import MICROSECONDS, FakeClock
from pileus.kernel.db import Database, Tx
from pileus.kernel.nudge import Nudges
from pileus.kernel.saga import Ctx, Engine, Saga, Sagas, State, Step, drain, show
from pileus.kernel.saga import tables as saga_tables

CHAOS = 20
MOST_CRASHES = 200
MOST_PROBLEMS = 8
BEFORE, AFTER = "before", "after"
DO, UNDO = "do", "undo"


class World(Protocol):
    """What a saga acts on. Its `services` and what they hold (the fake host, say) outlive the engines that crash."""

    db: Database  # with all tables; the object whose `write` and `transact` all its services use
    clock: FakeClock
    services: Any

    def begin(self, tx: Tx, sagas: Sagas) -> str:
        """Write the resource and start the exercised saga; its id."""
        ...

    def audit(self, state: State) -> list[str]:
        """What is wrong, now that the saga has ended in `state` (DONE or UNDONE): leaks, false counts, a resource in
        a transitional state."""
        ...

    def close(self) -> None:
        """Free what the world holds."""
        ...


class Crash(BaseException):
    """The process dies here. Not an Exception: nothing may handle it."""


class Broken(Exception):
    """A failure for good."""


class Hiccup(Exception):
    """A failure for a moment."""

    transient = True


Place = tuple[str, str, str]  # step, DO or UNDO, BEFORE or AFTER its effect


@dataclass(frozen=True)
class Scenario:
    """The faults of one run. Each happens once, except that with `always` a step fails at every try."""

    name: str
    expected: frozenset[State]
    steps: tuple[tuple[Place, type[BaseException]], ...] = ()
    crash: tuple[int, str] | None = None  # at the n-th commit, BEFORE or AFTER it
    steal: int | None = None  # the lease is taken before the n-th commit
    cancel: int | None = None  # the cancel comes before the n-th commit
    cancel_in: Place | None = None
    overtaken: str | None = None  # another engine runs the saga to its end before this step's do
    chaos: int | None = None  # seed


ONLY_DONE = frozenset({State.DONE})
ONLY_UNDONE = frozenset({State.UNDONE})
EITHER = frozenset({State.DONE, State.UNDONE})


def exercise(
    saga: Saga,
    make_world: Callable[[], World],
    others: Sequence[Saga] = (),
    chaos: int = CHAOS,
    most_problems: int = MOST_PROBLEMS,
) -> int:
    """Run all scenarios; how many. AssertionError names those that did not end as they must, and why: the first
    `most_problems` of them.

    `others` are sagas that the exercised one starts or waits for. They run without faults of their own.
    """
    harness = _Harness(saga, make_world, others, most_problems)
    harness.run(Scenario("nothing happens", ONLY_DONE))
    for scenario in _step_faults(saga):
        harness.run(scenario)
    harness.sweep("forward", ONLY_DONE, ())
    for step in saga.steps:
        harness.sweep(f"{step.name} failed", ONLY_UNDONE, (((step.name, DO, AFTER), Broken),))
    for step in saga.steps:
        harness.run(Scenario(f"overtaken before {step.name}", ONLY_DONE, overtaken=step.name))
    for seed in range(chaos):
        harness.run(Scenario(f"chaos {seed}", EITHER, chaos=seed))
    assert not harness.problems, "\n".join(harness.problems)
    return harness.count


def _step_faults(saga: Saga) -> Iterator[Scenario]:
    last_fails = (((saga.steps[-1].name, DO, AFTER), Broken),)
    for step in saga.steps:
        survives = ONLY_DONE if step.retry.attempts > 1 and step.retry.deadline > step.retry.longest else EITHER
        for when in (BEFORE, AFTER):
            place = (step.name, DO, when)
            yield Scenario(f"{when} {step.name} fails", ONLY_UNDONE, ((place, Broken),))
            yield Scenario(f"{when} {step.name} hiccups", survives, ((place, Hiccup),))
            yield Scenario(f"crash {when} {step.name}", ONLY_DONE, ((place, Crash),))
            yield Scenario(f"cancel {when} {step.name}", EITHER, cancel_in=place)
            if step.undo is None:
                continue
            for fault in (Broken, Hiccup, Crash):
                back = ((step.name, UNDO, when), fault)
                yield Scenario(f"{when} undo of {step.name}: {fault.__name__}", ONLY_UNDONE, (*last_fails, back))


class _Harness:
    def __init__(self, saga: Saga, make_world: Callable[[], World], others: Sequence[Saga], most: int) -> None:
        self._saga = saga
        self._make_world = make_world
        self._others = others
        self._most_problems = most
        self.count = 0
        self.problems: list[str] = []

    def sweep(
        self, name: str, expected: frozenset[State], steps: tuple[tuple[Place, type[BaseException]], ...]
    ) -> None:
        """Run with `steps` failing, and a crash, a lost lease or a cancel at each commit from the failure on."""
        faults = self.run(Scenario(name, expected, steps))
        first = faults.first_fault_commit
        for commit in range(first, faults.commits + 1):
            unrecorded = expected | ONLY_DONE if commit == first else expected  # the failure may be forgotten
            at = f"commit {commit}"
            self.run(Scenario(f"{name}, crash before {at}", unrecorded, steps, crash=(commit, BEFORE)))
            self.run(Scenario(f"{name}, crash after {at}", expected, steps, crash=(commit, AFTER)))
            self.run(Scenario(f"{name}, lease lost before {at}", unrecorded, steps, steal=commit))
            self.run(Scenario(f"{name}, cancel before {at}", expected | ONLY_UNDONE, steps, cancel=commit))

    def run(self, scenario: Scenario) -> "_Faults":
        self.count += 1
        world = self._make_world()
        try:
            faults = _Faults(scenario, world)
            self.problems += [f"[{scenario.name}] {problem}" for problem in self._play(scenario, world, faults)]
        finally:
            world.close()
        assert len(self.problems) < self._most_problems, "\n".join(self.problems)
        return faults

    def _play(self, scenario: Scenario, world: World, faults: "_Faults") -> list[str]:
        steps = tuple(faults.instrument(step) for step in self._saga.steps)
        sagas = Sagas(world.clock, Nudges(), [replace(self._saga, steps=steps), *self._others])
        with world.db.write() as tx:
            saga_id = world.begin(tx, sagas)
        with faults.armed(saga_id, lambda: drain(Engine(world.db, sagas, world.services, world.clock))):
            for _ in range(MOST_CRASHES):
                try:
                    drain(Engine(world.db, sagas, world.services, world.clock))
                    break
                except Crash:
                    world.clock.advance(0.001)
        with world.db.read() as tx:
            ended = show(tx, saga_id)
        if ended is None:
            return ["the saga is gone"]
        if ended.state not in scenario.expected:
            return [f"ended {ended.state}, not {' or '.join(sorted(scenario.expected))}: {ended.problem}"]
        return world.audit(ended.state)


class _Faults:
    """Makes one scenario's faults happen, and counts commits."""

    def __init__(self, scenario: Scenario, world: World) -> None:
        self._scenario = scenario
        self._world = world
        self._left = list(scenario.steps)
        self._chaos = random.Random(scenario.chaos) if scenario.chaos is not None else None
        self._misfortunes = 12  # so that chaos comes to an end
        self._overtaken = False
        self._cancelled = False
        self._write = world.db.write
        self._overtake: Callable[[], object] = lambda: None
        self._saga_id = ""
        self.commits = 0
        self.first_fault_commit = 1  # the first commit after the first fault of a step

    @contextmanager
    def armed(self, saga_id: str, overtake: Callable[[], object]) -> Iterator[None]:
        """Let faults happen in the block. `overtake` runs all sagas to their end."""
        self._saga_id, self._overtake = saga_id, overtake
        self._world.db.write = self._faulty_write  # type: ignore[method-assign]
        try:
            yield
        finally:
            self._world.db.write = self._write  # type: ignore[method-assign]

    def instrument(self, step: Step) -> Step:
        """The step, with places for faults before and after its effects."""
        undo = self._wrapped(step.name, UNDO, step.undo) if step.undo is not None else None
        return replace(step, do=self._wrapped(step.name, DO, step.do), undo=undo)

    def _wrapped(self, step: str, way: str, work: Callable[[Ctx], Any]) -> Callable[[Ctx], Any]:
        def call(ctx: Ctx) -> Any:
            self._reach((step, way, BEFORE))
            result = work(ctx)
            self._reach((step, way, AFTER))
            return result

        return call

    def _reach(self, place: Place) -> None:
        step, way, when = place
        if self._scenario.cancel_in == place:
            self._cancel()
        if self._scenario.overtaken == step and way == DO and when == BEFORE and not self._overtaken:
            self._overtaken = True
            self._steal()
            self._overtake()
        if self._misfortune():
            raise self._chaos.choice((Crash, Hiccup, Hiccup, Broken))  # type: ignore[union-attr]
        for fault in self._left:
            if fault[0] == place:
                self._left.remove(fault)
                if len(self._left) == len(self._scenario.steps) - 1:
                    self.first_fault_commit = self.commits + 1
                raise fault[1](f"{when} {way} of {step}")

    def _misfortune(self) -> bool:
        if self._chaos is None or self._misfortunes == 0 or self._chaos.random() > 0.15:
            return False
        self._misfortunes -= 1
        return True

    @contextmanager
    def _faulty_write(self) -> Iterator[Tx]:
        self.commits += 1
        this = self.commits
        if self._scenario.steal == this:
            self._steal()
        if self._scenario.cancel == this:
            self._cancel()
        with self._write() as tx:
            yield tx
            if self._scenario.crash == (this, BEFORE) or self._misfortune():
                raise Crash
        if self._scenario.crash == (this, AFTER) or self._misfortune():
            raise Crash

    def _steal(self) -> None:
        """Another engine takes the saga, and dies at once."""
        table = saga_tables.saga
        with self._write() as tx:
            tx.execute(
                sa.update(table)
                .where(table.c.id == self._saga_id, table.c.owner.is_not(None))
                .values(
                    owner="another",
                    generation=table.c.generation + 1,
                    lease_until=self._world.clock.now() + MICROSECONDS,
                )
            )

    def _cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            with self._write() as tx:
                Sagas(self._world.clock, Nudges()).request_cancel(tx, self._saga_id)
