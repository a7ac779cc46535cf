"""Keyset pages are the whole list, in order, however they are cut."""

import itertools
import random

import pytest
import sqlalchemy as sa

from pileus.kernel.db import Database
from pileus.kernel.errors import BadRequest
from pileus.kernel.paging import Page, keyset, next_link, parse_limit, parse_sort
from pileus.kernel.quota import quota_limit

ALLOWED = {"project": "project_id", "value": "value", "resource": "resource"}
DEFAULT = (("project_id", "asc"), ("resource", "asc"))


def fill(db: Database) -> None:
    rows = [{"project_id": f"p{i % 3}", "service": "s", "resource": f"r{i:02d}", "value": i % 4} for i in range(23)]
    random.Random(1).shuffle(rows)
    with db.write() as tx:
        tx.execute(sa.insert(quota_limit), rows)


@pytest.mark.parametrize(
    ("sort", "limit"),
    list(itertools.product(["project:asc", "value:desc,project:asc", "value:asc", "resource:desc"], [1, 4, 23])),
)
def test_pages_join_to_the_whole(database: Database, sort: str, limit: int) -> None:
    fill(database)
    keys = [item.split(":")[0] for item in sort.split(",")]
    directions = [item.split(":")[1] for item in sort.split(",")]
    order = parse_sort(keys, directions, ALLOWED, DEFAULT)
    columns = dict(quota_limit.c.items())
    found: list[str] = []
    marker = None
    with database.read() as tx:
        while True:
            statement = keyset(sa.select(quota_limit), columns, Page(limit, sort=order), marker)
            rows = tx.all(statement)
            found += [row.resource for row in rows[:limit]]
            if len(rows) <= limit:
                break
            marker = dict(rows[limit - 1]._mapping)
        everything = tx.all(sa.select(quota_limit))
    expected = list(everything)
    for column, direction in reversed(order):
        expected.sort(key=lambda row: getattr(row, column), reverse=direction == "desc")
    assert found == [row.resource for row in expected]


def test_limits() -> None:
    assert parse_limit(None, 1000) == 1000
    assert parse_limit(None, 1000, 25) == 25
    assert parse_limit("5000", 1000) == 1000
    for bad in ("x", "-1", "1.5"):
        with pytest.raises(BadRequest, match="limit"):
            parse_limit(bad, 1000)


def test_sort_keys_are_checked() -> None:
    with pytest.raises(BadRequest, match="must be one of: project, resource, value"):
        parse_sort(["password"], [], ALLOWED, DEFAULT)
    with pytest.raises(BadRequest, match="direction"):
        parse_sort(["value"], ["up"], ALLOWED, DEFAULT)
    assert parse_sort(["value"], ["asc"], ALLOWED, DEFAULT) == (("value", "asc"), ("resource", "asc"))


def test_the_next_link_keeps_the_query() -> None:
    link = next_link("http://c/servers", [("name", "a b"), ("limit", "2"), ("marker", "old")], "new")
    assert link == "http://c/servers?name=a+b&limit=2&marker=new"
