"""Claims take what is there and no more, whoever else claims at the same time."""

import threading
from typing import Any

import pytest

from pileus.kernel.db import Database
from pileus.kernel.errors import Conflict
from pileus.placement.service import DISK_GB, MEMORY_MB, VCPU, DoesNotFit, Placement
from pileus.placement.settings import PlacementSettings

SMALL = {VCPU: 1, MEMORY_MB: 100, DISK_GB: 1}


@pytest.fixture
def placement(database: Database) -> Placement:
    found = Placement(PlacementSettings(cpu_allocation_ratio=2.0, reserved_host_memory_mb=24))
    with database.write() as tx:
        found.set_inventory(tx, "h1", {VCPU: 4, MEMORY_MB: 1024, DISK_GB: 100})
        found.set_inventory(tx, "h2", {VCPU: 1, MEMORY_MB: 1024, DISK_GB: 100})
    return found


def claim(database: Database, placement: Placement, consumer: str, host: str, wanted: dict[str, int]) -> None:
    database.transact(lambda tx: placement.claim(tx, consumer, "p", "u", host, wanted))


def used(database: Database, placement: Placement) -> dict[str, dict[str, int]]:
    with database.read() as tx:
        assert placement.miscounted(tx) == []
        return {
            host: {name: one.used for name, one in records.items()} for host, records in placement.usages(tx).items()
        }


def test_claim_and_release(database: Database, placement: Placement) -> None:
    claim(database, placement, "c1", "h1", SMALL)
    claim(database, placement, "c1", "h1", SMALL)
    assert used(database, placement)["h1"] == SMALL
    with pytest.raises(Conflict):
        claim(database, placement, "c1", "h2", SMALL)
    for _ in range(2):
        database.transact(lambda tx: placement.release(tx, "c1"))
    assert used(database, placement)["h1"] == dict.fromkeys(SMALL, 0)


def test_a_claim_that_does_not_fit_leaves_nothing(database: Database, placement: Placement) -> None:
    with pytest.raises(DoesNotFit, match="MEMORY_MB"):
        claim(database, placement, "c1", "h1", SMALL | {MEMORY_MB: 1001})
    assert used(database, placement)["h1"] == dict.fromkeys(SMALL, 0)
    claim(database, placement, "c1", "h1", SMALL | {MEMORY_MB: 1000})
    with pytest.raises(DoesNotFit):
        claim(database, placement, "c3", "nowhere", SMALL)


def test_candidates_know_ratios_and_reserves(database: Database, placement: Placement) -> None:
    with database.read() as tx:
        assert placement.candidates(tx, {VCPU: 2}) == ["h1", "h2"]
        assert placement.candidates(tx, {VCPU: 3}) == ["h1"]
        assert placement.candidates(tx, {VCPU: 9}) == []
        assert placement.candidates(tx, {MEMORY_MB: 1001}) == []


def test_concurrent_claims_do_not_overfill(database: Database, placement: Placement) -> None:
    outcomes: list[str] = []

    def work(number: int) -> None:
        try:
            claim(database, placement, f"c{number}", "h1", {VCPU: 1, MEMORY_MB: 10})
            outcomes.append("fits")
        except DoesNotFit:
            outcomes.append("full")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["fits"] * 8 + ["full"] * 4
    assert used(database, placement)["h1"][VCPU] == 8


def test_a_host_that_shrinks_keeps_what_is_allocated(database: Database, placement: Placement) -> None:
    claim(database, placement, "c1", "h1", {VCPU: 8})

    def shrink(tx: Any) -> None:
        placement.set_inventory(tx, "h1", {VCPU: 1, MEMORY_MB: 1024, DISK_GB: 100})

    database.transact(shrink)
    with database.read() as tx:
        assert placement.usages(tx)["h1"][VCPU].free == -6
    database.transact(lambda tx: placement.forget_host(tx, "h1"))
    database.transact(lambda tx: placement.set_inventory(tx, "h1", {VCPU: 4}))
    assert used(database, placement)["h1"] == {VCPU: 8}
