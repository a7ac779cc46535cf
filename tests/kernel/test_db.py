"""Transactions on every database, and SQLite's queue of writers."""

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from pileus.kernel.db import Database, is_duplicate, metadata
from pileus.kernel.errors import Unavailable
from pileus.kernel.quota import lock, quota_limit, set_limit


@pytest.fixture
def counter(database: Database) -> Iterator[Database]:
    with database.write() as tx:
        set_limit(tx, "p", "compute", "cores", 0)
    yield database


VALUE = sa.select(quota_limit.c.value)


def test_a_failed_block_leaves_nothing_and_runs_no_hook(counter: Database) -> None:
    ran: list[str] = []
    with pytest.raises(RuntimeError), counter.write() as tx:
        set_limit(tx, "p", "compute", "cores", 7)
        tx.after_commit(lambda: ran.append("hook"))
        raise RuntimeError
    with counter.read() as tx:
        assert tx.scalar(VALUE) == 0
    assert ran == []


def test_hooks_run_once_durable(counter: Database) -> None:
    seen: list[int] = []

    def look() -> None:
        with counter.read() as tx:
            seen.append(tx.scalar(VALUE))

    with counter.write() as tx:
        set_limit(tx, "p", "compute", "cores", 7)
        tx.after_commit(look)
    assert seen == [7]


def test_concurrent_increments_are_all_kept(counter: Database) -> None:
    def increment() -> None:
        for _ in range(25):
            counter.transact(
                lambda tx: tx.execute(sa.update(quota_limit).values(value=quota_limit.c.value + 1)) and None
            )

    threads = [threading.Thread(target=increment) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with counter.read() as tx:
        assert tx.scalar(VALUE) == 100


def test_read_then_write_under_the_quota_lock_does_not_lose_updates(counter: Database) -> None:
    def increment() -> None:
        for _ in range(10):

            def work(tx: object) -> None:
                lock(tx, "p", "compute")  # type: ignore[arg-type]
                value = tx.scalar(VALUE)  # type: ignore[attr-defined]
                tx.execute(sa.update(quota_limit).values(value=value + 1))  # type: ignore[attr-defined]

            counter.transact(work)

    threads = [threading.Thread(target=increment) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with counter.read() as tx:
        assert tx.scalar(VALUE) == 40


def test_transact_repeats_what_the_database_broke_off(counter: Database) -> None:
    tries: list[int] = []

    class Broken(Exception):
        sqlstate = "40001"

    def work(_tx: object) -> str:
        tries.append(1)
        if len(tries) < 3:
            raise sa.exc.OperationalError("statement", {}, Broken())
        return "done"

    assert counter.transact(work) == "done"
    assert len(tries) == 3
    with pytest.raises(Unavailable):
        counter.transact(lambda _tx: (_ for _ in ()).throw(sa.exc.OperationalError("s", {}, Broken())))


def test_duplicates_are_told_from_other_refusals(counter: Database) -> None:
    row = {"project_id": "p", "service": "compute", "resource": "cores", "value": 1}
    with pytest.raises(sa.exc.IntegrityError) as refused, counter.write() as tx:
        tx.execute(sa.insert(quota_limit).values(**row))
    assert is_duplicate(refused.value)
    with pytest.raises(sa.exc.DBAPIError) as missing, counter.write() as tx:
        tx.execute(sa.insert(quota_limit).values(**{**row, "resource": "ram", "value": None}))
    assert not (isinstance(missing.value, sa.exc.IntegrityError) and is_duplicate(missing.value))


def test_names_compare_by_case_on_every_database(database: Database) -> None:
    with database.write() as tx:
        set_limit(tx, "p", "compute", "Cores", 1)
        set_limit(tx, "p", "compute", "cores", 2)
    with database.read() as tx:
        assert tx.scalar(sa.select(quota_limit.c.value).where(quota_limit.c.resource == "Cores")) == 1


def test_all_tables_have_a_primary_key(all_tables: sa.MetaData) -> None:
    assert metadata.tables
    assert [table.name for table in all_tables.sorted_tables if not table.primary_key.columns] == []
