"""Runs sagas: one function for those that are new, resumed and adopted. It has no threads of its own."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
import structlog

from pileus.kernel.clock import MICROSECONDS, Clock
from pileus.kernel.db import Database, Tx, is_retryable
from pileus.kernel.log import bound
from pileus.kernel.owner import dead_here, host_of, new_owner
from pileus.kernel.saga import journal
from pileus.kernel.saga.context import Ctx
from pileus.kernel.saga.journal import LeaseLost, Taken
from pileus.kernel.saga.model import Cancelled, Event, Failure, Json, Saga, State, Step
from pileus.kernel.saga.registry import Sagas
from pileus.kernel.saga.retry import STUCK

T = TypeVar("T")
UNREACHED_PAUSE = 1.0  # seconds before a saga whose journal could not be written is taken up again
log = structlog.get_logger("pileus.saga")


class Run:
    """A saga in this engine's hands: what the journal says of it, and the tries of the present step."""

    def __init__(self, taken: Taken, saga: Saga) -> None:
        self.row = taken
        self.saga = saga
        self.began: set[str] = set()
        self.undone: set[str] = set()
        self.done: set[str] = set()
        self.results: dict[str, Json] = {}
        self.failure: Failure | None = None
        self.cancel = threading.Event()
        self.ended = False  # or given back
        self.tries = 0
        self.deadline: float | None = None
        for step, event, data in taken.events:
            self._note(step, event, data)
        if taken.request == journal.CANCEL:
            self.cancel.set()

    def _note(self, step: str, event: Event, data: dict[str, Any]) -> None:
        if event is Event.BEGAN:
            self.began.add(step)
        elif event is Event.DONE:
            self.finished(step, data["result"])
        elif event is Event.UNDONE:
            self.undone.add(step)
        else:
            self.failure = msgspec.convert(data["failure"], Failure)

    def finished(self, step: str, result: Json) -> None:
        """A step is done."""
        self.done.add(step)
        self.results[step] = result
        self.new_step()

    def new_step(self) -> None:
        """The tries of the next step, or of the way back, begin."""
        self.tries = 0
        self.deadline = None

    def present(self) -> Step:
        """The first step that is not done. There is one: the last `done` is written together with the saga's end."""
        return next(step for step in self.saga.steps if step.name not in self.done)

    def after(self, step: Step) -> Step | None:
        """The step that follows."""
        index = self.saga.steps.index(step) + 1
        return self.saga.steps[index] if index < len(self.saga.steps) else None

    def to_undo(self, besides: Step | None = None) -> Step | None:
        """The last step that may have left something behind, leaving out `besides`."""
        for step in reversed(self.saga.steps):
            if step is not besides and step.undo and step.name in self.began and step.name not in self.undone:
                return step
        return None


class Engine:
    """Takes sagas from the journal and advances them.

    Thread-safe: any number of threads may call `advance`, each with a run of its own. `services` is handed to
    the steps as it is. With `stopping` set, runs are given back at the next boundary between steps.
    """

    def __init__(
        self,
        db: Database,
        sagas: Sagas,
        services: Any,
        clock: Clock,
        owner: str | None = None,
        lease_seconds: float = 15.0,
    ) -> None:
        self.db = db
        self.clock = clock
        self.owner = owner or new_owner()
        self.stopping = False
        self.runs: dict[str, Run] = {}
        self._sagas = sagas
        self._services = services
        self._lease = int(lease_seconds * MICROSECONDS)
        self._unreached: set[str] = set()

    # --- leases ---------------------------------------------------------------------------------------------

    def has_due(self) -> bool:
        """Whether `take` would find something: cheaper than `take` when it would not."""
        if self._unreached:
            return True
        with self.db.read() as tx:
            return journal.any_due(tx, self.clock.now())

    def take(self, capacity: int) -> list[Run]:
        """Take up to `capacity` sagas that are new, given back, to be tried again, or whose owner lost its lease.

        The first step of a new one begins with it. A saga unknown here becomes stuck, with the reason.
        """
        busy = Counter(run.row.project for run in self.runs.values())
        unreached = set(self._unreached)

        def work(tx: Tx) -> list[Run]:
            now = self.clock.now()
            if unreached:
                journal.release(tx, self.owner, now + int(UNREACHED_PAUSE * MICROSECONDS), unreached)
            taken = journal.take(tx, self.owner, now, now + self._lease, capacity, busy)
            return [run for one in taken if (run := self._accept(tx, one, now)) is not None]

        runs = self.db.transact(work)
        self._unreached -= unreached
        for run in runs:
            self.runs[run.row.id] = run
        return runs

    def _accept(self, tx: Tx, taken: Taken, now: int) -> Run | None:
        saga = self._sagas.find(taken.name, taken.version)
        if saga is None:
            self._accept_unknown(tx, taken, now)
            return None
        run = Run(taken, saga)
        if taken.generation == 1 and not run.cancel.is_set():
            first = saga.steps[0].name
            journal.add_events(tx, taken.id, now, [(first, Event.BEGAN, {"owner": self.owner})])
            run.began.add(first)
        return run

    def _accept_unknown(self, tx: Tx, taken: Taken, now: int) -> None:
        if taken.request == journal.ABANDON:
            journal.finish(tx, taken.id, State.ABANDONED, now)
            return
        message = f"This Pileus does not know version {taken.version} of the saga {taken.name}."
        self._stick(tx, taken, Failure("", "UnknownSaga", message), now)
        log.error("saga unknown here", saga=taken.id, name=taken.name, version=taken.version)

    def extend_leases(self) -> None:
        """Prolong the leases of all runs. To be called three times in a lease."""
        if self.runs:
            self.db.transact(lambda tx: journal.extend(tx, self.owner, self.clock.now() + self._lease))

    def adopt_local(self) -> int:
        """Give back the sagas of processes of this host that are dead, and answer how many processes that were."""
        with self.db.read() as tx:
            dead = dead_here(journal.owners(tx))
        for owner in dead:
            log.info("taking over from a dead process", owner=owner)
            self.db.transact(lambda tx, owner=owner: journal.release(tx, owner, 0))  # type: ignore[misc]
        return len(dead)

    def notice_cancels(self) -> list[Run]:
        """Tell the runs that were asked to stop, and answer those that had not been told before."""
        if not self.runs:
            return []
        with self.db.read() as tx:
            asked = journal.cancelled(tx, self.owner)
        told = [run for saga_id in asked if (run := self.runs.get(saga_id)) and not run.cancel.is_set()]
        for run in told:
            run.cancel.set()
        return told

    def release(self) -> None:
        """Give everything back, for other engines to take at once."""
        self.stopping = True
        self.db.transact(lambda tx: journal.release(tx, self.owner, 0))
        self.runs.clear()

    # --- running --------------------------------------------------------------------------------------------

    def advance(self, run: Run) -> float | None:
        """Work on a run until it ends, is given back or lost (None), or must wait (seconds before the next call)."""
        row = run.row
        kind = row.name.partition(".")[0]
        with bound(request_id=row.request_id, saga=row.id, project=row.project, **{kind: row.resource}):
            try:
                pause = self._proceed(run)
            except LeaseLost:
                log.warning("saga abandoned: another process holds its lease", name=row.name)
                pause = None
            except Exception:  # the run is repeated from the journal; whatever was in doubt is done again
                log.exception("journal out of reach, the saga is taken up again", name=row.name)
                self._unreached.add(row.id)
                pause = None
        if pause is None:
            self.runs.pop(row.id, None)
        return pause

    def _proceed(self, run: Run) -> float | None:
        pause = None
        while pause is None and not run.ended:
            if run.row.request == journal.ABANDON:
                pause = self._backward(run, None, State.ABANDONED)
            elif run.failure is None:
                pause = self._forward(run, run.present())
            else:
                pause = self._backward(run, run.to_undo(), State.UNDONE)
        return pause

    def _context(self, run: Run, step: str, results: dict[str, Json] | None = None) -> Ctx:
        row = run.row
        return Ctx(
            saga_id=row.id,
            name=row.name,
            step=step,
            resource=row.resource,
            project=row.project,
            user=row.user,
            request_id=row.request_id,
            params=row.params,
            results=run.results if results is None else results,
            generation=row.generation,
            attempt=run.tries + 1,
            deadline=run.deadline if run.deadline is not None else self.clock.monotonic(),
            db=self.db,
            services=self._services,
            clock=self.clock,
            cancel=run.cancel if run.failure is None else None,
        )

    def _write(self, run: Run, record: Callable[[Tx, int, str], T], work: Callable[[Tx], None] | None = None) -> T:
        """One transaction: the saga's own `work`, a check that the saga is still ours, `record(tx, now, request)`.

        The saga's row is locked after those that the work touches: services lock in that order too, so that a
        cancel and a step cannot lock each other out.
        """

        def fenced(tx: Tx) -> T:
            if work is not None:
                _guard(lambda: work(tx))
            request = journal.fence(tx, run.row.id, run.row.generation, self.owner)
            return record(tx, self.clock.now(), request)

        return self.db.transact(fenced)

    # --- forward --------------------------------------------------------------------------------------------

    def _forward(self, run: Run, step: Step) -> float | None:
        if run.cancel.is_set():
            self._turn_back(run, step, None, Cancelled("The operation was cancelled."))
            return None
        if step.name not in run.began:
            self._begin(run, step)
        if run.deadline is None:
            run.deadline = self.clock.monotonic() + step.retry.deadline
        ctx = self._context(run, step.name)
        try:
            result = _as_json(step.do(ctx))
        except Exception as err:  # noqa: BLE001 - whatever a step raises is its failure
            return self._do_failed(run, step, ctx, err)
        try:
            self._step_done(run, step, ctx, result)
        except _WorkFailed as err:
            return self._do_failed(run, step, ctx, err.cause)
        return None

    def _begin(self, run: Run, step: Step) -> None:
        event = (step.name, Event.BEGAN, {"owner": self.owner})
        self._write(run, lambda tx, now, _: journal.add_events(tx, run.row.id, now, [event]))
        run.began.add(step.name)

    def _step_done(self, run: Run, step: Step, ctx: Ctx, result: Json) -> None:
        following = run.after(step)
        outcome = result

        def work(tx: Tx) -> None:
            nonlocal outcome
            answer = _execute_writes(tx, ctx)
            outcome = _as_json(answer) if result is None else result
            if following is None and run.saga.on_done is not None:
                run.saga.on_done(self._context(run, "", {**run.results, step.name: outcome}), tx)

        def record(tx: Tx, now: int, request: str) -> Event | None:
            event = (step.name, Event.DONE, {"result": outcome, "host": ctx.host})
            return self._record_done(tx, run, event, following, request, now)

        event = self._write(run, record, work)
        run.finished(step.name, outcome)
        if following is not None and event is Event.BEGAN:
            run.began.add(following.name)
        elif following is not None and event is Event.FAILED:
            run.cancel.set()
            run.failure = _cancelled_before(following)
        else:
            run.ended = True
            if following is None:
                log.info("saga done", name=run.saga.name)

    def _record_done(
        self,
        tx: Tx,
        run: Run,
        done: tuple[str, Event, dict[str, Any]],
        following: Step | None,
        request: str,
        now: int,
    ) -> Event | None:
        """Record a step as done and what follows: the saga's end (DONE), the way back (FAILED), the next step's begin
        (BEGAN), or a rest (None)."""
        if following is not None and request != journal.CANCEL and not self.stopping:
            began = (following.name, Event.BEGAN, {"owner": self.owner})
            journal.add_events(tx, run.row.id, now, [done, began])
            return Event.BEGAN
        journal.add_events(tx, run.row.id, now, [done])
        if following is None:
            journal.finish(tx, run.row.id, State.DONE, now)
            return Event.DONE
        if request == journal.CANCEL:
            self._record_failure(tx, run, _cancelled_before(following), None, now)
            return Event.FAILED
        journal.release(tx, self.owner, 0, [run.row.id])
        return None

    def _do_failed(self, run: Run, step: Step, ctx: Ctx, err: Exception) -> float | None:
        run.tries += 1
        retry = step.retry
        if retry.transient(err) and not isinstance(err, Cancelled) and not run.cancel.is_set():
            pause = retry.pause(run.tries)
            if run.tries < retry.attempts and self.clock.monotonic() + pause < ctx.deadline:
                log.info("step failed, trying again", step=step.name, error=str(err), tries=run.tries, pause=pause)
                return pause
        self._turn_back(run, step, ctx, err)
        return None

    def _turn_back(self, run: Run, step: Step, ctx: Ctx | None, err: Exception) -> None:
        failure = Failure.of(step.name, err)
        if run.cancel.is_set():
            failure = replace(failure, cancelled=True)
        host = ctx.host if ctx else None
        self._write(run, lambda tx, now, _: self._record_failure(tx, run, failure, host, now))
        log.warning("step failed, undoing", name=run.saga.name, step=step.name, error=failure.error, reason=str(err))
        run.failure = failure
        run.new_step()

    def _record_failure(self, tx: Tx, run: Run, failure: Failure, host: str | None, now: int) -> None:
        data = {"failure": asdict(failure), "host": host}
        journal.add_events(tx, run.row.id, now, [(failure.step, Event.FAILED, data)])
        journal.set_state(tx, run.row.id, State.UNDOING, now)

    # --- backward -------------------------------------------------------------------------------------------

    def _backward(self, run: Run, step: Step | None, final: State) -> float | None:
        """Undo `step`, and end the saga as `final` if nothing is left to undo; None: only end it."""
        if run.deadline is None:
            run.deadline = self.clock.monotonic() + (step.retry.deadline if step else 0)
        ctx = self._context(run, step.name if step else "")
        try:
            if step is not None and step.undo is not None:
                step.undo(ctx)
        except Exception as err:  # noqa: BLE001 - whatever an undo raises makes the saga wait
            return self._undo_failed(run, step, ctx, err)
        last = final is State.ABANDONED or run.to_undo(besides=step) is None
        try:
            self._step_undone(run, step, ctx, final if last else None)
        except _WorkFailed as err:
            return self._undo_failed(run, step, ctx, err.cause)
        run.row.problem = None
        run.row.state = State.UNDOING
        run.new_step()
        if step is not None:
            run.undone.add(step.name)
        if last:
            run.ended = True
            log.info("saga ended", name=run.saga.name, state=final)
        return None

    def _step_undone(self, run: Run, step: Step | None, ctx: Ctx, final: State | None) -> None:
        """Record an undo, and with `final` the saga's end."""
        failure = run.failure or Failure("", "Abandoned", "The operation was abandoned.")

        def work(tx: Tx) -> None:
            _execute_writes(tx, ctx)
            if final is not None and run.saga.on_failed is not None:
                run.saga.on_failed(self._context(run, ""), tx, failure)

        def record(tx: Tx, now: int, _request: str) -> None:
            if step is not None:
                journal.add_events(tx, run.row.id, now, [(step.name, Event.UNDONE, {})])
            if final is not None:
                journal.finish(tx, run.row.id, final, now)
            elif run.row.state is State.STUCK:
                journal.set_state(tx, run.row.id, State.UNDOING, now)

        self._write(run, record, work)

    def _undo_failed(self, run: Run, step: Step | None, ctx: Ctx, err: Exception) -> float | None:
        run.tries += 1
        if step is not None and step.retry.transient(err):
            pause = step.retry.pause(run.tries)
            if run.tries < step.retry.attempts and self.clock.monotonic() + pause < ctx.deadline:
                log.info("undo failed, trying again", step=step.name, error=str(err), tries=run.tries, pause=pause)
                return pause
        failure = Failure.of(step.name if step else "", err)
        self._write(run, lambda tx, now, _: self._stick(tx, run.row, failure, now))
        log.error("saga stuck: undo failed", name=run.saga.name, step=failure.step, exc_info=err)
        run.ended = True
        return None

    def _stick(self, tx: Tx, row: Taken, failure: Failure, now: int) -> None:
        tries = 1 + (row.problem["tries"] if row.problem else 0)
        problem = {
            "step": failure.step,
            "error": failure.error,
            "message": failure.message,
            "traceback": failure.traceback,
            "tries": tries,
            "host": host_of(self.owner),
        }
        journal.stick(tx, row.id, problem, now, now + int(STUCK.pause(tries) * MICROSECONDS))


class _WorkFailed(Exception):
    """What a step does in the recording transaction failed. `cause` is the step's error."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _guard(work: Callable[[], None]) -> None:
    """Call what belongs to the saga: its errors are the step's, except the database's own troubles."""
    try:
        work()
    except (sa.exc.OperationalError, sa.exc.InterfaceError):
        raise
    except Exception as err:
        if isinstance(err, sa.exc.DBAPIError) and is_retryable(err):
            raise
        raise _WorkFailed(err) from err


def _execute_writes(tx: Tx, ctx: Ctx) -> Any:
    answer = None
    for work in ctx.writes:
        answer = work(tx)
    return answer


def _cancelled_before(step: Step) -> Failure:
    return Failure.of(step.name, Cancelled("The operation was cancelled."))


def _as_json(result: Any) -> Json:
    """As the journal will give it back, so that a resumed run sees the same. TypeError if it is no JSON."""
    return None if result is None else msgspec.json.decode(msgspec.json.encode(result))


def drain(engine: Engine, patience: float = 3600.0) -> bool:
    """Run in this thread until no saga is unfinished, sleeping on the engine's clock where one must wait.

    For tests (with a FakeClock no time passes) and one-shot commands. False if some are unfinished after `patience`
    seconds.
    """
    clock = engine.clock
    give_up = clock.now() + int(patience * MICROSECONDS)
    waiting: dict[Run, int] = {}
    while True:
        now = clock.now()
        told = engine.notice_cancels()
        due = engine.take(1) + [run for run, instant in waiting.items() if instant <= now or run in told]
        for run in due:
            waiting.pop(run, None)
            pause = engine.advance(run)
            if pause is not None:
                waiting[run] = clock.now() + int(pause * MICROSECONDS) + 1
        if due:
            continue
        with engine.db.read() as tx:
            upcoming = journal.next_due(tx, now)
        instants = [*waiting.values(), *([] if upcoming is None else [upcoming])]
        if not instants or now >= give_up:
            return not instants
        clock.sleep((min(instants) - now) / MICROSECONDS)
        engine.extend_leases()
