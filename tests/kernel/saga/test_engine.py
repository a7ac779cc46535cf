import itertools
import os
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from tests.kernel.saga.sagas import DONE, Cloud, do, saga

from pileus.kernel.clock import FakeClock
from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import Conflict, Unavailable
from pileus.kernel.owner import dead_here, new_owner, this_host
from pileus.kernel.saga import Cancelled, Ctx, Failure, Saga, Sagas, State, Step, drain, journal, tables
from pileus.kernel.saga.journal import fair_choice
from pileus.kernel.saga.retry import Retry
from pileus.kernel.saga.tables import unfinished_row


def test_runs_steps_in_order_with_params_and_results(database: Database) -> None:
    cloud = Cloud(database)
    seen: list[Any] = []
    cloud.script.hooks = {
        "do claim": lambda ctx: {"host": "cmp1", "numbers": (1, 2)},
        "do guest": lambda ctx: seen.append((dict(ctx.results), ctx.params, ctx.resource, ctx.project, ctx.user)),
    }
    saga_id = cloud.start(params={"flavor": "m1.tiny"})
    assert drain(cloud.engine())
    assert cloud.script.calls == DONE
    results = {"claim": {"host": "cmp1", "numbers": [1, 2]}, "ports": "do ports"}
    assert seen == [(results, {"flavor": "m1.tiny"}, "r", "p", "u")]
    shown = cloud.shown(saga_id)
    assert (shown.state, shown.owner, shown.lease_until) == (State.DONE, None, None)


def test_a_saga_rolled_back_by_its_service_never_runs(sqlite: Database) -> None:
    cloud = Cloud(sqlite)

    class Refused(Exception):
        pass

    with pytest.raises(Refused), sqlite.write() as tx:
        cloud.sagas.start(tx, "server.create", resource="r", project="p", user="u", request_id="q", params={})
        raise Refused
    drain(cloud.engine())
    assert cloud.script.calls == []


def test_a_permanent_failure_undoes_backwards_including_the_failed_step(database: Database) -> None:
    failures: list[Failure] = []
    cloud = Cloud(database, saga(on_failed=lambda ctx, tx, failure: failures.append(failure)))
    cloud.script.errors["do guest"] = [Conflict("The host is full.", kind="HostFull", host="cmp1")]
    saga_id = cloud.start()
    drain(cloud.engine())
    assert cloud.script.calls == [*DONE, "undo guest", "undo ports", "undo claim"]
    assert cloud.state(saga_id) is State.UNDONE
    (failure,) = failures
    assert (failure.step, failure.error, failure.message) == ("guest", "Conflict", "The host is full.")
    assert (failure.expected, failure.cancelled, failure.kind) == (True, False, "HostFull")
    assert failure.details == {"host": "cmp1"}
    assert "Conflict: The host is full." in failure.traceback


def test_a_failure_reads_the_same_after_a_crash(sqlite: Database) -> None:
    class Crash(BaseException):
        pass

    failures: list[Failure] = []
    cloud = Cloud(sqlite, saga(on_failed=lambda ctx, tx, failure: failures.append(failure)))
    cloud.script.errors = {"do ports": [ValueError("no")], "undo claim": [Crash()]}
    cloud.start()
    with pytest.raises(Crash):
        drain(cloud.engine())
    drain(cloud.engine())
    assert [(f.step, f.error, f.message, f.expected) for f in failures] == [("ports", "ValueError", "no", False)]


def test_transient_failures_are_tried_again_with_growing_pauses(sqlite: Database) -> None:
    cloud = Cloud(sqlite)
    at: list[int] = []
    cloud.script.hooks["do claim"] = lambda ctx: at.append(ctx.clock.now())

    def flaky(ctx: Ctx) -> str:
        at.append(ctx.clock.now())
        if ctx.attempt < 5:
            raise Unavailable("not yet")
        return "at last"

    cloud.script.hooks["do ports"] = flaky
    saga_id = cloud.start()
    drain(cloud.engine())
    assert cloud.state(saga_id) is State.DONE
    pauses = [round((late - early) / 1e6, 3) for early, late in itertools.pairwise(at[1:])]
    assert pauses == [0.1, 0.2, 0.4, 0.8]


def test_tries_end_at_the_deadline(sqlite: Database) -> None:
    cloud = Cloud(sqlite)
    clock = cloud.clock
    remaining: list[float] = []

    def unavailable(ctx: Ctx) -> None:
        remaining.append(ctx.remaining())
        raise Unavailable("never")

    cloud.script.hooks["do ports"] = unavailable
    begun = clock.now()
    saga_id = cloud.start()
    drain(cloud.engine())
    assert cloud.state(saga_id) is State.UNDONE
    assert 50e6 < clock.now() - begun <= 60e6
    assert remaining[0] == 60 and remaining == sorted(remaining, reverse=True) and remaining[-1] > 0


def test_tries_end_at_their_number_and_classes_can_be_named(sqlite: Database) -> None:
    cloud = Cloud(sqlite, Saga("server.create", (Step("claim", do=do, retry=Retry(attempts=3, on=(KeyError,))),)))
    cloud.script.errors["do claim"] = [KeyError(), KeyError(), KeyError(), KeyError()]
    assert cloud.state(cloud.start()) is State.PENDING
    drain(cloud.engine())
    assert cloud.script.calls == ["do claim"] * 3


def test_pauses_have_a_ceiling_and_jitter() -> None:
    retry = Retry(first=1, longest=8, jitter=0.5)
    for tries, full in ((1, 1), (3, 4), (10, 8), (10_000, 8)):
        pauses = [retry.pause(tries) for _ in range(50)]
        assert full / 2 <= min(pauses) < max(pauses) <= full


@pytest.mark.parametrize("result", [object(), {1, 2, object()}])
def test_a_result_that_is_no_json_fails_the_step(result: object, sqlite: Database) -> None:
    cloud = Cloud(sqlite)
    cloud.script.hooks["do claim"] = lambda ctx: result
    saga_id = cloud.start()
    drain(cloud.engine())
    assert cloud.state(saga_id) is State.UNDONE


# --- database work of steps ---------------------------------------------------------------------------------

note = sa.Table("saga_test_note", sa.MetaData(), sa.Column("text", sa.String(40), primary_key=True))


@pytest.fixture
def notes(database: Database) -> Callable[[], list[str]]:
    with database.write() as tx:
        note.metadata.drop_all(tx.connection)
        note.metadata.create_all(tx.connection)

    def read() -> list[str]:
        with database.read() as tx:
            return [row.text for row in tx.all(sa.select(note).order_by(note.c.text))]

    return read


def write(text: str) -> Callable[[Tx], str]:
    def work(tx: Tx) -> str:
        tx.execute(sa.insert(note).values(text=text))
        return text.upper()

    return work


def test_writes_are_part_of_the_record_and_give_its_result(database: Database, notes: Callable[[], list[str]]) -> None:
    cloud = Cloud(database)
    seen: list[Any] = []
    cloud.script.hooks = {
        "do claim": lambda ctx: ctx.write(write("claimed")),
        "do ports": lambda ctx: seen.append(ctx.results["claim"]),
    }
    cloud.start()
    drain(cloud.engine())
    assert notes() == ["claimed"]
    assert seen == ["CLAIMED"]


def test_a_write_that_fails_fails_the_step_and_is_rolled_back(
    database: Database, notes: Callable[[], list[str]]
) -> None:
    cloud = Cloud(database)

    def twice(ctx: Ctx) -> None:
        ctx.write(write("same"))
        ctx.write(write("same"))

    cloud.script.hooks = {"do claim": lambda ctx: ctx.write(write("kept")), "do ports": twice}
    saga_id = cloud.start()
    drain(cloud.engine())
    assert cloud.state(saga_id) is State.UNDONE
    assert notes() == ["kept"]
    assert cloud.script.calls[-2:] == ["undo ports", "undo claim"]


def test_writes_of_a_try_that_fails_are_dropped(sqlite: Database) -> None:
    cloud = Cloud(sqlite)
    written: list[int] = []

    def flaky(ctx: Ctx) -> None:
        ctx.write(lambda tx: written.append(ctx.attempt))
        if ctx.attempt == 1:
            raise Unavailable("not yet")

    cloud.script.hooks["do claim"] = flaky
    cloud.start()
    drain(cloud.engine())
    assert written == [2]


def test_the_ends_run_in_the_ending_transaction(database: Database, notes: Callable[[], list[str]]) -> None:
    declared = saga(
        on_done=lambda ctx, tx: write(f"done {ctx.results['guest']}")(tx) and None,
        on_failed=lambda ctx, tx, failure: write(f"failed {failure.step}")(tx) and None,
    )
    cloud = Cloud(database, declared)
    cloud.start()
    drain(cloud.engine())
    cloud.script.errors["do claim"] = [ValueError()]
    cloud.start()
    drain(cloud.engine())
    assert notes() == ["done do guest", "failed claim"]


def test_an_end_that_fails_is_a_failure_of_the_last_step(sqlite: Database) -> None:
    def refuse(_ctx: Ctx, _tx: Tx) -> None:
        raise Conflict("The server is being deleted.")

    failures: list[Failure] = []
    cloud = Cloud(sqlite, saga(on_done=refuse, on_failed=lambda ctx, tx, failure: failures.append(failure)))
    saga_id = cloud.start()
    drain(cloud.engine())
    assert cloud.state(saga_id) is State.UNDONE
    assert [f.step for f in failures] == ["guest"]


# --- order and leases ---------------------------------------------------------------------------------------


def test_sagas_of_a_resource_run_one_after_another_in_start_order(database: Database) -> None:
    cloud = Cloud(database)
    order: list[str] = []
    cloud.script.hooks["do claim"] = lambda ctx: order.append(ctx.saga_id)
    first, second, third = cloud.start(), cloud.start(), cloud.start()
    other = cloud.start("another")
    engine = cloud.engine()
    runs = engine.take(10)
    assert {run.row.id for run in runs} == {first, other}
    assert cloud.shown(second).blocked
    assert not cloud.shown(first).blocked
    for run in runs:
        assert engine.advance(run) is None
    drain(cloud.engine())
    assert [one for one in order if one != other] == [first, second, third]


def test_the_clock_going_back_does_not_change_the_order(sqlite: Database) -> None:
    cloud = Cloud(sqlite)
    first = cloud.start()
    assert isinstance(cloud.clock, FakeClock)
    cloud.clock.advance(-3600)
    second = cloud.start()
    assert cloud.shown(second).blocked
    assert not cloud.shown(first).blocked


def test_two_engines_never_take_the_same(database: Database) -> None:
    cloud = Cloud(database)
    ids = {cloud.start(f"r{n}") for n in range(10)}
    first, second = cloud.engine().take(6), cloud.engine().take(6)
    taken = [run.row.id for run in first + second]
    assert len(taken) == len(set(taken)) == 10
    assert set(taken) == ids


def test_an_expired_lease_is_adopted_and_its_owner_stops(database: Database) -> None:
    cloud = Cloud(database)
    saga_id = cloud.start()
    old, new = cloud.engine("old"), cloud.engine("new")
    (stale,) = old.take(1)
    assert new.take(1) == []
    assert isinstance(cloud.clock, FakeClock)
    cloud.clock.advance(10)
    old.extend_leases()
    cloud.clock.advance(10)
    assert new.take(1) == []
    cloud.clock.advance(6)
    (adopted,) = new.take(1)
    assert old.advance(stale) is None
    assert cloud.state(saga_id) is State.RUNNING
    assert cloud.script.calls == ["do claim"]
    assert new.advance(adopted) is None
    assert cloud.script.calls == ["do claim", *DONE]
    assert cloud.state(saga_id) is State.DONE
    assert old.runs == new.runs == {}


def test_a_stale_owner_cannot_write(database: Database, notes: Callable[[], list[str]]) -> None:
    cloud = Cloud(database)
    assert isinstance(cloud.clock, FakeClock)
    clock = cloud.clock
    new = cloud.engine("new")

    def slow(ctx: Ctx) -> None:
        ctx.write(write(f"by {ctx.generation}"))
        if ctx.generation == 1:
            clock.advance(60)
            new.advance(new.take(1)[0])

    cloud.script.hooks["do ports"] = slow
    saga_id = cloud.start()
    drain(cloud.engine("old"))
    assert notes() == ["by 2"]
    assert cloud.state(saga_id) is State.DONE


def test_given_back_at_the_next_boundary_when_stopping(database: Database) -> None:
    cloud = Cloud(database)
    saga_id = cloud.start()
    engine = cloud.engine()

    def stop(_ctx: Ctx) -> None:
        engine.stopping = True

    cloud.script.hooks["do claim"] = stop
    (run,) = engine.take(1)
    assert engine.advance(run) is None
    assert cloud.script.calls == ["do claim"]
    assert cloud.shown(saga_id).owner is None
    (again,) = cloud.engine("other").take(1)
    assert again.began == again.done == {"claim"}


def test_a_saga_that_is_not_registered_cannot_start(sqlite: Database) -> None:
    cloud = Cloud(sqlite)
    for unknown in ("server.dance", Saga("server.create", (Step("a", do=do),), version=7)):
        with pytest.raises(KeyError), sqlite.write() as tx:
            cloud.sagas.start(tx, unknown, resource="r", project="p", user="u", request_id="q", params={})


def test_no_frequent_query_reads_the_finished(sqlite: Database) -> None:
    mine = (tables.saga.c.owner == "me", unfinished_row(tables.saga))
    queries = (journal._TAKE.params(now=5, most=5), journal._ANY_DUE.params(now=5), sa.select(tables.saga).where(*mine))
    with sqlite.read() as tx:
        for query in queries:
            text = query.compile(sqlite.engine, compile_kwargs={"literal_binds": True})
            plan = [row.detail for row in tx.all(sa.text(f"EXPLAIN QUERY PLAN {text}"))]
            assert plan[0].startswith("SEARCH saga USING INDEX ix_saga_lease_until"), plan
            assert not any(detail.startswith("SCAN") for detail in plan), plan


def test_the_living_and_strangers_are_not_dead() -> None:
    assert dead_here([new_owner(), "elsewhere:1:x:1", "nonsense", f"{this_host()}:x:y:1"]) == []


def test_a_zombie_is_dead() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    owner = new_owner().split(":")
    owner[1] = str(pid)
    assert dead_here([":".join(owner)]) == [":".join(owner)]
    os.waitpid(pid, 0)


def test_release_gives_back_what_waits(sqlite: Database) -> None:
    cloud = Cloud(sqlite)
    saga_id = cloud.start()
    cloud.script.errors["do claim"] = [Unavailable("no")]
    engine = cloud.engine()
    (run,) = engine.take(1)
    assert engine.advance(run) == pytest.approx(0.1)
    engine.release()
    assert cloud.engine("other").take(1)[0].row.id == saga_id
    assert engine.advance(run) is None


def test_the_dead_of_this_host_are_adopted_at_once(sqlite: Database) -> None:
    cloud = Cloud(sqlite)
    cloud.start("a")
    cloud.start("b")
    dead = cloud.engine(f"{this_host()}:1:no-such-start:1")
    elsewhere = cloud.engine("elsewhere:1:x:1")
    assert len(dead.take(1)) == len(elsewhere.take(1)) == 1
    living = cloud.engine()
    assert living.adopt_local() == 1
    assert [run.row.resource for run in living.take(5)] == ["a"]


def test_work_is_shared_fairly_among_projects() -> None:
    rows: Any = [SimpleNamespace(project=p, n=n) for n, p in enumerate("aaaaaabbc")]
    assert [row.n for row in fair_choice(rows, Counter(), 4)] == [0, 6, 8, 1]
    assert [row.n for row in fair_choice(rows, Counter(b=9), 3)] == [0, 8, 1]
    assert fair_choice(rows, Counter(a=99), 20) == rows


# --- cancelling ---------------------------------------------------------------------------------------------


def test_a_cancel_before_it_runs(database: Database) -> None:
    failures: list[Failure] = []
    cloud = Cloud(database, saga(on_failed=lambda ctx, tx, failure: failures.append(failure)))
    saga_id = cloud.start()
    assert cloud.cancel(saga_id)
    assert cloud.cancel(saga_id)
    drain(cloud.engine())
    assert cloud.script.calls == []
    assert cloud.state(saga_id) is State.UNDONE
    assert failures[0].cancelled
    assert not cloud.cancel(saga_id)


def test_a_cancel_stops_at_the_next_boundary(database: Database) -> None:
    cloud = Cloud(database)
    saga_id = cloud.start()
    cloud.script.hooks["do ports"] = lambda ctx: cloud.cancel(saga_id)
    drain(cloud.engine())
    assert cloud.script.calls == ["do claim", "do ports", "undo ports", "undo claim"]


def test_a_cancel_ends_the_tries(sqlite: Database) -> None:
    cloud = Cloud(sqlite)
    saga_id = cloud.start()

    def unavailable(ctx: Ctx) -> None:
        if ctx.attempt == 2:
            cloud.cancel(saga_id)
        raise Unavailable("never")

    cloud.script.hooks["do ports"] = unavailable
    begun = cloud.clock.now()
    drain(cloud.engine())
    assert cloud.state(saga_id) is State.UNDONE
    assert cloud.clock.now() - begun < 1e6


def test_a_long_step_sees_the_cancel_and_an_undo_does_not(sqlite: Database) -> None:
    failures: list[Failure] = []
    cloud = Cloud(sqlite, saga(on_failed=lambda ctx, tx, failure: failures.append(failure)))
    saga_id = cloud.start()
    engine = cloud.engine()

    def long(ctx: Ctx) -> None:
        ctx.check()
        cloud.cancel(saga_id)
        engine.notice_cancels()
        ctx.check()
        raise AssertionError("not cancelled")

    cloud.script.hooks = {"do ports": long, "undo ports": lambda ctx: ctx.check()}
    drain(engine)
    assert cloud.state(saga_id) is State.UNDONE
    assert [(f.step, f.error, f.cancelled) for f in failures] == [("ports", Cancelled.__name__, True)]


def test_a_delete_cancels_the_create_and_runs_after_it(sqlite: Database) -> None:
    cloud = Cloud(sqlite)
    create = cloud.start()
    with sqlite.write() as tx:
        assert cloud.sagas.cancel_all(tx, "r", "server.create") == [create]
        assert cloud.sagas.cancel_all(tx, "r", "server.delete") == []
    delete = cloud.start()
    drain(cloud.engine())
    assert (cloud.state(create), cloud.state(delete)) == (State.UNDONE, State.DONE)


# --- stuck --------------------------------------------------------------------------------------------------


def test_a_failed_undo_is_stuck_until_it_works(database: Database) -> None:
    cloud = Cloud(database)
    cloud.script.errors = {"do guest": [ValueError("first")], "undo ports": [KeyError("still there") for _ in range(4)]}
    saga_id = cloud.start()
    engine = cloud.engine()
    (run,) = engine.take(1)
    assert engine.advance(run) is None
    shown = cloud.shown(saga_id)
    assert (shown.state, shown.owner) == (State.STUCK, None)
    assert shown.problem is not None
    assert (shown.problem["step"], shown.problem["error"], shown.problem["tries"]) == ("ports", "KeyError", 1)
    assert "still there" in shown.problem["traceback"]
    begun = cloud.clock.now()
    drain(cloud.engine())
    assert cloud.state(saga_id) is State.UNDONE
    assert cloud.shown(saga_id).problem is None
    assert cloud.clock.now() - begun > 4e6
    assert cloud.script.calls.count("undo guest") == 1


def test_a_stuck_saga_holds_back_its_resource_only(sqlite: Database) -> None:
    cloud = Cloud(sqlite)
    cloud.script.errors = {"do claim": [ValueError()], "undo claim": [ValueError()]}
    stuck = cloud.start()
    engine = cloud.engine()
    engine.advance(engine.take(1)[0])
    behind, other = cloud.start(), cloud.start("other")
    assert [run.row.id for run in engine.take(9)] == [other]
    with sqlite.write() as tx:
        assert cloud.sagas.request_retry(tx, stuck)
        assert not cloud.sagas.request_retry(tx, behind)
    drain(cloud.engine())
    assert cloud.state(behind) is State.DONE


def test_an_operator_can_abandon_a_stuck_saga(database: Database) -> None:
    failures: list[Failure] = []
    cloud = Cloud(database, saga(on_failed=lambda ctx, tx, failure: failures.append(failure)))
    cloud.script.errors = {"do ports": [ValueError("why")], "undo ports": [ValueError() for _ in range(99)]}
    saga_id = cloud.start()
    engine = cloud.engine()
    with database.write() as tx:
        assert not cloud.sagas.request_abandon(tx, saga_id)
    engine.advance(engine.take(1)[0])
    with database.write() as tx:
        assert cloud.sagas.request_abandon(tx, saga_id)
    drain(cloud.engine())
    assert cloud.state(saga_id) is State.ABANDONED
    assert [f.message for f in failures] == ["why"]
    assert "undo claim" not in cloud.script.calls


def test_an_end_after_undoing_that_fails_is_stuck(sqlite: Database) -> None:
    tries: list[int] = []

    def flaky(ctx: Ctx, tx: Tx, failure: Failure) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError

    cloud = Cloud(sqlite, saga(on_failed=flaky))
    cloud.script.errors = {"do claim": [ValueError()]}
    saga_id = cloud.start()
    engine = cloud.engine()
    engine.advance(engine.take(1)[0])
    assert cloud.state(saga_id) is State.STUCK
    drain(engine)
    assert cloud.state(saga_id) is State.UNDONE


def test_a_version_unknown_here_is_stuck_until_it_is_known(database: Database) -> None:
    cloud = Cloud(database, saga(version=2))
    saga_id = cloud.start()
    older = Sagas(cloud.clock, cloud.nudges, [saga(version=1)])
    newer, cloud.sagas = cloud.sagas, older
    assert cloud.engine().take(5) == []
    shown = cloud.shown(saga_id)
    assert shown.state is State.STUCK
    assert shown.problem is not None
    assert shown.problem["message"] == "This Pileus does not know version 2 of the saga server.create."
    cloud.sagas = newer
    drain(cloud.engine())
    assert cloud.state(saga_id) is State.DONE
    assert cloud.script.calls == DONE


def test_an_unknown_version_can_be_abandoned(sqlite: Database) -> None:
    cloud = Cloud(sqlite)
    saga_id = cloud.start()
    cloud.sagas = Sagas(cloud.clock, cloud.nudges)
    cloud.engine().take(5)
    with sqlite.write() as tx:
        assert cloud.sagas.request_abandon(tx, saga_id)
    cloud.engine().take(5)
    assert cloud.state(saga_id) is State.ABANDONED


def test_a_row_runs_by_the_version_that_wrote_it(sqlite: Database) -> None:
    one, two = saga(version=1), Saga("server.create", (Step("other", do=do),), version=2)
    cloud = Cloud(sqlite, one)
    first = cloud.start()
    cloud.sagas.register(two)
    second = cloud.start("other")
    drain(cloud.engine())
    assert (cloud.state(first), cloud.state(second)) == (State.DONE, State.DONE)
    assert sorted(cloud.script.calls) == sorted([*DONE, "do other"])
    with pytest.raises(ValueError, match="registered twice"):
        cloud.sagas.register(two)


@pytest.mark.parametrize("names", [(), ("a", "a")])
def test_a_list_of_steps_must_make_sense(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="names of their own"):
        Saga("x", tuple(Step(name, do=do) for name in names))


# --- a database that fails ----------------------------------------------------------------------------------


def test_a_journal_out_of_reach_is_taken_up_again(sqlite: Database) -> None:
    cloud = Cloud(sqlite)
    saga_id = cloud.start()
    troubles = [sa.exc.OperationalError("COMMIT", {}, Exception("disk full"))]

    def trouble(_tx: Tx) -> None:
        if troubles:
            raise troubles.pop()

    cloud.script.hooks["do ports"] = lambda ctx: ctx.write(trouble)
    engine = cloud.engine()
    assert drain(engine)
    assert cloud.state(saga_id) is State.DONE
    assert cloud.script.calls == ["do claim", "do ports", "do ports", "do guest"]
    with sqlite.read() as tx:
        assert tx.scalar(sa.select(tables.saga.c.generation)) == 2


def test_drain_gives_up_after_its_patience(sqlite: Database) -> None:
    cloud = Cloud(sqlite)
    cloud.script.errors = {"do claim": [ValueError()], "undo claim": [ValueError() for _ in range(999)]}
    cloud.start()
    assert not drain(cloud.engine(), patience=100)
