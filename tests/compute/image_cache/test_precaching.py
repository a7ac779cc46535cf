"""What hosts are to fetch, and that they fetch it whatever happens meanwhile."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.compute.image_cache.domain import GIB, Room, Wanted, needs, plan, room
from pileus.compute.image_cache.policies import UsedAndCritical, policy_of
from pileus.compute.image_cache.settings import PrecacheSettings
from pileus.kernel.config import SettingsError
from pileus.kernel.db import Database
from pileus.kernel.errors import BadRequest
from tests.compute.image_cache.world import World, image_id

# --- requests -----------------------------------------------------------------------------------------------


def test_requested_images_are_fetched_on_every_host(database: Database) -> None:
    world = World(database)
    world.request(["h1", "h2"], [1, 2])
    assert world.nudges == 1
    assert [(wish.host, wish.image_id, wish.wisher) for wish in world.wishes()] == [
        (host, image_id(number), "request") for host in ("h1", "h2") for number in (1, 2)
    ]
    world.run()
    assert world.held("h1") == world.held("h2") == {"c1", "c2"}
    assert world.wishes() == []


def test_a_slow_fetch_is_waited_for_and_begun_once(sqlite: Database) -> None:
    world = World(sqlite, hosts=1)
    world.agents.caches["h1"].slow = 5
    world.request(["h1"], [1])
    world.run()
    assert world.held("h1") == {"c1"}
    assert world.agents.caches["h1"].fetches == [image_id(1)] * 6
    assert world.wishes() == []


def test_a_host_that_is_down_is_waited_for(database: Database) -> None:
    world = World(database)
    world.agents.caches["h1"].down = True
    world.request(["h1", "h2"], [1, 2])
    world.run()
    assert world.held("h2") == {"c1", "c2"}
    assert {(wish.host, wish.failures) for wish in world.wishes()} == {("h1", 0)}
    assert "does not answer" in str(world.wishes()[0].error)
    world.clock.advance(120)
    world.report("h2")
    world.run()
    assert "is down" in str(world.wishes()[0].error), "nobody asks a host that was not heard"
    world.agents.caches["h1"].down = False
    world.clock.advance(31)
    world.report("h1")
    world.run()
    assert world.held("h1") == {"c1", "c2"}
    assert world.wishes() == []


def test_a_host_that_was_removed_is_forgotten(sqlite: Database) -> None:
    world = World(sqlite, hosts=1)
    world.request(["h1"], [1])
    sqlite.transact(lambda tx: world.hosts.forget(tx, "h1"))
    world.run()
    assert world.wishes() == []
    assert world.agents.caches["h1"].fetches == []


def test_a_failure_is_tried_again_at_growing_pauses_and_given_up_at_last(database: Database) -> None:
    world = World(database, hosts=1, give_up_after=100.0)
    world.agents.caches["h1"].refusing = "no-space"
    world.request(["h1"], [1])
    pauses = []
    while wishes := world.wishes():
        world.run()
        if left := world.wishes():
            assert left[0].failures == wishes[0].failures + 1
            assert left[0].error == "refused: no-space"
            pauses.append((left[0].retry_at - world.clock.now()) / 1e6)
            world.clock.advance(pauses[-1])
            world.report("h1")
    assert pauses == [5, 10, 20, 40, 80]
    world.agents.caches["h1"].refusing = None
    world.request(["h1"], [1])
    world.run()
    assert world.held("h1") == {"c1"}


def test_what_can_never_work_is_given_up_at_once(sqlite: Database) -> None:
    world = World(sqlite, hosts=1)
    world.agents.caches["h1"].refusing = "image-unusable"
    world.request(["h1"], [1])
    world.run()
    assert world.wishes() == []


def test_one_image_that_fails_does_not_keep_the_next_from_coming(sqlite: Database) -> None:
    world = World(sqlite, hosts=1)
    world.images.by_id[image_id(1)] = world.image(1, size=1000 * GIB)
    world.request(["h1"], [1, 2])
    world.run()
    assert world.held("h1") == {"c2"}
    assert "may take" in str(world.wishes()[0].error)


def test_an_image_that_is_gone_is_not_fetched(sqlite: Database) -> None:
    world = World(sqlite, hosts=1)
    world.request(["h1"], [1, 2])
    del world.images.by_id[image_id(1)]
    world.images.by_id[image_id(2)].status = "deactivated"
    world.run()
    assert world.wishes() == []
    assert world.held("h1") == set()


@pytest.mark.parametrize("image", [{"status": "queued"}, {"status": "deactivated"}, {"os_hash_value": None}])
def test_a_request_for_what_has_no_data_is_refused(sqlite: Database, image: dict[str, Any]) -> None:
    world = World(sqlite)
    world.images.by_id[image_id(1)] = world.image(1, **image)
    for number in (1, 99):
        with pytest.raises(BadRequest, match=f"Image {image_id(number)} could not be found"):
            world.request(["h1"], [2, number])
    assert world.wishes() == []


class Killed(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("call", range(1, 7))
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_conductor_leaves_nothing_undone(sqlite: Database, call: int, when: str) -> None:
    world = World(sqlite, hosts=2, hosts_at_once=1)
    world.request(["h1", "h2"], [1, 2, 3])
    calls = 0

    def die(_host: str) -> None:
        nonlocal calls
        calls += 1
        if calls >= call:
            raise Killed

    setattr(world.agents, when, die)
    with pytest.raises(Killed):
        world.run()
    assert len(world.wishes()) == 6 - (call - 1)
    setattr(world.agents, when, lambda _host: None)
    world.run()
    assert world.wishes() == []
    assert world.held("h1") == world.held("h2") == {"c1", "c2", "c3"}
    assert len(world.agents.caches["h1"].fetches + world.agents.caches["h2"].fetches) <= 8


def test_a_wish_that_is_made_anew_meanwhile_stays(database: Database) -> None:
    world = World(database, hosts=1)
    world.request(["h1"], [1])

    def again(_host: str) -> None:
        world.agents.before = lambda _host: None
        world.clock.advance(1)
        world.request(["h1"], [1])

    world.agents.before = again
    world.run()
    assert world.agents.caches["h1"].fetches == [image_id(1)] * 2
    assert world.wishes() == []


def test_only_so_many_hosts_fetch_at_the_same_time(sqlite: Database) -> None:
    world = World(sqlite, hosts=6, images=1, hosts_at_once=2)
    running: set[str] = set()
    most = 0

    def enter(host: str) -> None:
        nonlocal most
        running.add(host)
        most = max(most, len(running - {one for one in running if world.held(one)}))

    world.agents.before = enter
    world.request([f"h{number}" for number in range(1, 7)], [1])
    world.run()
    assert world.wishes() == []
    assert 1 <= most <= 2


# --- the policy ---------------------------------------------------------------------------------------------


def wanted(world: World) -> list[int]:
    """The numbers of the images that the default policy wants."""
    with world.db.read() as tx:
        return [int(one[:8]) for one in UsedAndCritical(world.settings).wanted(tx, world.clock.now())]


def populate(world: World) -> None:
    """Servers: 3 of image 1 long ago; lately 2 of image 2, one of them deleted, and 1 of image 3; image 4 is critical
    on one server, and image 5 on one that is deleted."""
    for _ in range(3):
        world.add_server(1, age_days=10)
    world.add_server(2, age_days=6)
    world.add_server(2, age_days=6, deleted=True)
    world.add_server(3, age_days=1)
    world.add_server(4, age_days=30, critical="true", other="1")
    world.add_server(5, age_days=30, deleted=True, critical="true")


@pytest.mark.parametrize(
    ("settings", "numbers"),
    [
        ({}, []),
        ({"most_used": 10}, [2, 3]),
        ({"most_used": 1}, [2]),
        ({"most_used": 10, "most_used_days": 14}, [1, 2, 3]),
        ({"critical_key": "critical"}, [4]),
        ({"critical_key": "critical", "most_critical": 0}, []),
        ({"critical_key": "critical", "critical_value": "yes"}, []),
        ({"critical_key": "CRITICAL"}, []),
        ({"critical_key": "criti_al"}, []),
        ({"critical_key": "critical", "most_used": 1}, [4, 2]),
    ],
)
def test_what_the_default_policy_wants(database: Database, settings: dict[str, Any], numbers: list[int]) -> None:
    world = World(database, images=5, **settings)
    populate(world)
    assert wanted(world) == numbers


def test_critical_images_of_the_most_servers_come_first_and_values_are_taken_literally(database: Database) -> None:
    world = World(database, images=5, critical_key="critical", critical_value='100%_"ü\\', most_critical=2)
    for number in (1, 2, 2, 3, 3, 3):
        world.add_server(number, critical='100%_"ü\\')
    world.add_server(4, critical='100x_"ü\\')
    world.add_server(5, note='"critical":"100%_"')
    assert wanted(world) == [3, 2]


def test_hosts_fetch_what_they_lack_of_what_is_wanted(database: Database) -> None:
    world = World(database, images=5, critical_key="critical", most_used=10)
    populate(world)
    world.request(["h1"], [4])
    world.run()
    world.report("h1")
    world.follow()
    assert {(wish.host, int(wish.image_id[:8]), wish.wisher) for wish in world.wishes()} == {
        ("h1", 2, "policy"), ("h1", 3, "policy"), ("h2", 4, "policy"), ("h2", 2, "policy"), ("h2", 3, "policy")
    }  # fmt: skip
    before = world.wishes()
    world.follow()
    assert world.wishes() == before
    world.run()
    assert world.held("h1") == world.held("h2") == {"c2", "c3", "c4"}
    for host in ("h1", "h2"):
        world.report(host)
    world.follow()
    assert world.wishes() == []


def test_a_policy_does_not_disturb_what_is_tried_already(database: Database) -> None:
    world = World(database, hosts=1, most_used=1)
    world.add_server(1)
    world.agents.caches["h1"].refusing = "failed"
    world.request(["h1"], [1])
    world.run()
    before = world.wishes()
    world.follow()
    assert world.wishes() == before
    assert before[0].failures == 1


def test_hosts_that_are_down_or_disabled_and_images_without_data_are_left_out(sqlite: Database) -> None:
    world = World(sqlite, hosts=3, most_used=10)
    for number in (1, 2, 3):
        world.add_server(number)
    world.images.by_id[image_id(1)].status = "deactivated"
    del world.images.by_id[image_id(2)]
    sqlite.transact(lambda tx: world.hosts.set_enabled(tx, "h1", False))
    sqlite.transact(lambda tx: world.hosts.set_forced_down(tx, "h2", True))
    world.follow()
    assert [(wish.host, wish.image_id) for wish in world.wishes()] == [("h3", image_id(3))]


def test_a_full_disk_is_spared(sqlite: Database) -> None:
    world = World(sqlite, most_used=10)
    for number in (1, 2, 3):
        world.add_server(number)
    world.report("h1", disk_gb=100, disk_gb_free=12)  # 10 are spared: room for two
    world.report("h2", disk_gb=100, disk_gb_free=10)
    world.follow()
    assert [(wish.host, int(wish.image_id[:8])) for wish in world.wishes()] == [("h1", 1), ("h1", 2)]


class Third:
    """A policy of an operator's own."""

    def __init__(self, _settings: PrecacheSettings) -> None:
        self.asked_at = 0

    def wanted(self, _tx: Any, now: int) -> list[str]:
        self.asked_at = now
        return [image_id(3)]


def test_an_operators_own_policy(sqlite: Database) -> None:
    policy = policy_of(PrecacheSettings(policy=f"{__name__}:Third"))
    world = World(sqlite)
    world.follow(policy)
    world.run()
    assert world.held("h1") == world.held("h2") == {"c3"}
    assert isinstance(policy, Third)
    assert policy.asked_at == world.clock.now()
    for name in ("nowhere:Third", f"{__name__}:Fourth", "x"):
        with pytest.raises(SettingsError, match=r"precache\.policy"):
            policy_of(PrecacheSettings(policy=name))


# --- planning -----------------------------------------------------------------------------------------------

_WANTED = st.lists(st.integers(0, 5), unique=True, max_size=6).flatmap(
    lambda numbers: st.tuples(
        *(st.builds(Wanted, st.just(f"i{n}"), st.just(f"c{n}"), st.integers(0, 9)) for n in numbers)
    )
)
_ROOMS = st.lists(
    st.tuples(st.frozensets(st.sampled_from([f"c{n}" for n in range(6)])), st.integers(0, 20)), max_size=3
)


@given(_WANTED, _ROOMS, st.frozensets(st.tuples(st.sampled_from(["h0", "h1"]), st.sampled_from(["i0", "i1"]))))
def test_a_plan_never_takes_more_than_there_is(
    images: tuple[Wanted, ...], free: list[tuple[frozenset[str], int]], waiting: frozenset[tuple[str, str]]
) -> None:
    rooms = [Room(f"h{number}", cached, space) for number, (cached, space) in enumerate(free)]
    found = plan(images, rooms, waiting)
    by_id = {one.image_id: one for one in images}
    assert len(set(found)) == len(found)
    for one in rooms:
        mine = [image for host, image in found if host == one.host]
        taken = {image for host, image in waiting if host == one.host and image in by_id}
        assert not taken & set(mine)
        assert not {by_id[image].checksum for image in mine} & set(one.cached)
        total = sum(by_id[image].needs for image in [*mine, *taken])
        assert not mine or total <= one.free or not any(by_id[image].needs for image in mine)


def test_what_an_image_needs() -> None:
    assert needs("raw", 5, 5) == 5
    assert needs("qcow2", 5, 20) == 25
    assert needs("qcow2", 5, None) == 10
    assert room(100, 30, 10) == 20 * GIB
    assert room(100, 5, 10) == 0
