"""Quotas count what there is, and concurrent requests never take more than the limit."""

import threading

import pytest
import sqlalchemy as sa

from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import OverLimit
from pileus.kernel.quota import UNLIMITED, clear_limits, limits, quota_limit, reserve, set_limit

DEFAULTS = {"cores": 5, "instances": 3}


def refuse(resource: str, wanted: int, used: int, limit: int) -> OverLimit:
    return OverLimit(f"{resource}: {wanted} more than {used} of {limit}")


def test_limits(database: Database) -> None:
    def change(tx: Tx) -> None:
        set_limit(tx, "p1", "compute", "cores", 7)
        set_limit(tx, "p1", "compute", "cores", 8)
        set_limit(tx, "p1", "compute", "cores", 8)
        set_limit(tx, "p1", "network", "instances", 1)
        set_limit(tx, "p1", "compute", "unknown", 1)
        set_limit(tx, "P1", "compute", "cores", 99)

    database.transact(change)
    with database.read() as tx:
        assert limits(tx, "p1", "compute", DEFAULTS) == {"cores": 8, "instances": 3}
        assert limits(tx, "p2", "compute", DEFAULTS) == DEFAULTS
        assert limits(tx, "P1", "compute", DEFAULTS)["cores"] == 99
    database.transact(lambda tx: clear_limits(tx, "p1", "compute"))
    with database.read() as tx:
        assert limits(tx, "p1", "compute", DEFAULTS) == DEFAULTS
        assert limits(tx, "p1", "network", DEFAULTS)["instances"] == 1


def test_the_last_place_is_taken_and_no_more(database: Database) -> None:
    def take(tx: Tx, wanted: dict[str, int], used: dict[str, int]) -> None:
        reserve(tx, "p", "compute", wanted, DEFAULTS, lambda: used, refuse)

    database.transact(lambda tx: take(tx, {"cores": 2, "instances": 1}, {"cores": 3, "instances": 2}))
    with pytest.raises(OverLimit, match="instances: 1 more than 3 of 3"):
        database.transact(lambda tx: take(tx, {"cores": 1, "instances": 1}, {"cores": 3, "instances": 3}))
    with pytest.raises(OverLimit, match="cores: 6 more than 0 of 5"):
        database.transact(lambda tx: take(tx, {"cores": 6}, {}))
    database.transact(lambda tx: set_limit(tx, "p", "compute", "cores", 0))
    with pytest.raises(OverLimit, match="cores: 1 more than 0 of 0"):
        database.transact(lambda tx: take(tx, {"cores": 1}, {}))


def test_without_a_limit_nothing_is_counted(database: Database) -> None:
    def take(tx: Tx) -> None:
        reserve(tx, "p", "compute", {"cores": 1000}, {"cores": UNLIMITED}, lambda: pytest.fail("counted"), refuse)

    database.transact(take)
    with pytest.raises(OverLimit):
        database.transact(
            lambda tx: reserve(
                tx, "p", "compute", {"a": 9, "b": 2}, {"a": UNLIMITED, "b": 1}, lambda: {"a": 50}, refuse
            )
        )


@pytest.mark.parametrize("known", [False, True], ids=["first", "later"])
def test_concurrent_requests_never_overstep(database: Database, known: bool) -> None:
    """Rows of `quota_limit` of another service stand for the things that are counted."""
    things = sa.select(sa.func.count()).select_from(quota_limit).where(quota_limit.c.service == "things")

    def take(tx: Tx, name: str) -> None:
        reserve(tx, "p", "compute", {"instances": 1}, DEFAULTS, lambda: {"instances": tx.scalar(things)}, refuse)
        set_limit(tx, "p", "things", name, 1)

    if known:
        database.transact(lambda tx: reserve(tx, "p", "compute", {"cores": 0}, DEFAULTS, dict, refuse))
    together = threading.Barrier(8)
    outcomes: list[str] = []

    def ask(number: int) -> None:
        together.wait(10)
        try:
            database.transact(lambda tx: take(tx, f"t{number}"))
        except OverLimit:
            outcomes.append("refused")
        else:
            outcomes.append("taken")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with database.read() as tx:
        assert tx.scalar(things) == 3
    assert sorted(outcomes) == ["refused"] * 5 + ["taken"] * 3


def test_other_projects_do_not_wait(database: Database) -> None:
    if database.is_sqlite:
        return  # it has one writer at a time, whoever it is for
    with database.write() as tx:
        reserve(tx, "p", "compute", {"cores": 1}, DEFAULTS, dict, refuse)
        done = threading.Thread(
            target=lambda: database.transact(lambda o: reserve(o, "q", "compute", {"cores": 1}, DEFAULTS, dict, refuse))
        )
        done.start()
        done.join(20)
        assert not done.is_alive()
