import pytest
import sqlalchemy as sa
from tests.kernel.saga.sagas import Cloud

from pileus.kernel.clock import FakeClock
from pileus.kernel.db import Database
from pileus.kernel.errors import Conflict
from pileus.kernel.loops import LoopCtx
from pileus.kernel.owner import this_host
from pileus.kernel.saga import Ctx, State, actions, drain, events, find_action, listing, purge, purge_loop, tables


def advance(cloud: Cloud, seconds: float) -> None:
    assert isinstance(cloud.clock, FakeClock)
    cloud.clock.advance(seconds)


@pytest.fixture
def cloud(database: Database) -> Cloud:
    """Three actions: a create that worked, a create that failed at `ports`, a lock."""
    cloud = Cloud(database)

    def act(ctx: Ctx) -> None:
        ctx.host = "cmp1"
        advance(cloud, 2)

    cloud.script.hooks = {"do claim": act, "do ports": act}
    cloud.start(request_id="req-1")
    drain(cloud.engine())
    advance(cloud, 10)
    cloud.start(request_id="req-2")
    cloud.script.errors = {"do ports": [Conflict("The port is bound.")]}
    drain(cloud.engine())
    advance(cloud, 10)
    with database.write() as tx:
        cloud.sagas.record(tx, "lock", resource="r", project="p", user="admin", request_id="req-3")
    return cloud


def test_actions_are_the_sagas_of_a_resource_the_latest_first(cloud: Cloud) -> None:
    start = FakeClock().now()
    with cloud.db.read() as tx:
        found = actions(tx, "r")
        assert actions(tx, "other") == []
    assert found is not None
    assert [(a.request_id, a.action, a.user, a.failed) for a in found] == [
        ("req-3", "lock", "admin", False),
        ("req-2", "create", "u", True),
        ("req-1", "create", "u", False),
    ]
    first = found[2]
    assert (first.started_at, first.updated_at) == (start, start + 4_000_000)


def test_actions_are_paged_and_filtered_by_time(cloud: Cloud) -> None:
    start = FakeClock().now()
    with cloud.db.read() as tx:
        pages = (
            actions(tx, "r", limit=1),
            actions(tx, "r", limit=1, marker="req-3"),
            actions(tx, "r", marker="req-1"),
            actions(tx, "r", changed_since=start + 5_000_000),
            actions(tx, "r", changed_before=start + 5_000_000),
        )
        assert actions(tx, "r", marker="req-9") is None
        assert actions(tx, "other", marker="req-1") is None
    ids = [[action.request_id for action in page or ()] for page in pages]
    assert ids == [["req-3"], ["req-2"], [], ["req-3", "req-2"], ["req-1"]]


def test_events_are_the_steps_with_their_times_and_errors(cloud: Cloud) -> None:
    start = FakeClock().now()
    with cloud.db.read() as tx:
        done, failed = find_action(tx, "r", "req-1"), find_action(tx, "r", "req-2")
        assert find_action(tx, "r", "req-9") is None
        assert done is not None
        assert failed is not None
        well, badly = events(tx, cloud.sagas, done.saga_id), events(tx, cloud.sagas, failed.saga_id)
        assert events(tx, cloud.sagas, "none") == []
    assert [(e.step, e.event, e.result, e.host) for e in well] == [
        ("claim", "compute_claim", "Success", "cmp1"),
        ("ports", "compute_ports", "Success", "cmp1"),
        ("guest", "compute_guest", "Success", this_host()),
    ]
    assert [(e.started_at - start, e.finished_at) for e in well][1] == (2_000_000, start + 4_000_000)
    last = badly[-1]
    assert (last.step, last.result, last.error, last.message) == ("ports", "Error", "Conflict", "The port is bound.")
    assert last.expected
    assert "Conflict: The port is bound." in last.traceback


def test_a_step_that_runs_has_no_result(sqlite: Database) -> None:
    cloud = Cloud(sqlite)
    saga_id = cloud.start()
    cloud.engine().take(1)
    with sqlite.read() as tx:
        (event,) = events(tx, cloud.sagas, saga_id)
        found = actions(tx, "r")
    assert (event.step, event.result, event.finished_at) == ("claim", None, None)
    assert found is not None
    assert not found[0].failed


def test_listing_shows_the_unfinished_or_those_in_states(cloud: Cloud) -> None:
    waiting, behind = cloud.start("x"), cloud.start("x")
    with cloud.db.read() as tx:
        unfinished = listing(tx)
        undone = listing(tx, states=[State.UNDONE, State.STUCK])
        assert len(listing(tx, states=list(State), limit=2)) == 2
        assert [one.id for one in listing(tx, states=[State.PENDING], resource="x")] == [behind, waiting]
        assert listing(tx, resource="r") == []
    assert [(one.id, one.blocked) for one in unfinished] == [(behind, True), (waiting, False)]
    assert [one.request_id for one in undone] == ["req-2"]


def test_purge_deletes_what_ended_long_ago(cloud: Cloud) -> None:
    unfinished = cloud.start()
    ended = FakeClock().now() + 4_000_000
    with cloud.db.write() as tx:
        assert purge(tx, ended) == 0
        assert purge(tx, ended + 1) == 1
    with cloud.db.read() as tx:
        assert len(listing(tx, states=list(State))) == 3
    advance(cloud, 2 * 86_400)
    purge_loop(1.0).run(LoopCtx(cloud.db, None, cloud.clock, lambda: False))
    with cloud.db.read() as tx:
        assert [one.id for one in listing(tx, states=list(State))] == [unfinished]
        assert tx.scalar(sa.select(sa.func.count()).select_from(tables.saga_event)) == 0
