"""Keyset paging: a page starts after the marker's row, found through an index, however many rows came before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from pileus.kernel.errors import BadRequest


@dataclass(frozen=True)
class Page:
    """What part of a list is asked for. `sort` is never empty and ends with a unique key."""

    limit: int
    marker: str | None = None
    sort: tuple[tuple[str, str], ...] = (("created_at", "desc"), ("id", "desc"))
    reverse: bool = False


def parse_limit(text: str | None, maximum: int, default: int | None = None) -> int:
    """The page size: `default` (or the maximum) where none is given, never above the maximum. BadRequest else."""
    if text is None or text == "":
        return maximum if default is None else default
    try:
        limit = int(text)
    except ValueError as err:
        raise BadRequest(f"limit must be an integer, not '{text}'.") from err
    if limit < 0:
        raise BadRequest("limit must not be negative.")
    return min(limit, maximum)


def parse_sort(
    keys: Sequence[str],
    directions: Sequence[str],
    allowed: Mapping[str, str],
    default: tuple[tuple[str, str], ...],
    default_direction: str = "desc",
) -> tuple[tuple[str, str], ...]:
    """The sort order: pairs of column and direction, made unique by the default order's last key.

    `allowed` maps the API's sort keys to columns. A column that comes again orders nothing any more and is left out,
    so that there are never more than there are columns. BadRequest names a key or direction that is not allowed.
    """
    pairs: dict[str, str] = {}
    for position, key in enumerate(keys):
        column = allowed.get(key)
        if column is None:
            raise BadRequest(f"Sort key '{key}' is not allowed. It must be one of: {', '.join(sorted(allowed))}.")
        direction = directions[position] if position < len(directions) else default_direction
        if direction not in ("asc", "desc"):
            raise BadRequest(f"Sort direction '{direction}' is not 'asc' or 'desc'.")
        pairs.setdefault(column, direction)
    if not pairs:
        pairs = dict(default)
    unique, _ = default[-1]
    pairs.setdefault(unique, next(reversed(pairs.values())))
    return tuple(pairs.items())


def keyset(
    statement: sa.Select[Any],
    columns: Mapping[str, sa.ColumnElement[Any]],
    page: Page,
    marker: Mapping[str, Any] | None,
) -> sa.Select[Any]:
    """Order `statement` by the page's keys, start after the marker's row and take one row more than the limit
    (so that the caller knows whether a next page exists).

    `marker` holds the marker row's values by column name, or None for the first page. NULLs sort first on every
    database.
    """
    order: list[sa.ColumnElement[Any]] = []
    for name, direction in page.sort:
        column = columns[name]
        ascending = (direction == "asc") != page.reverse
        if _nullable(column):
            empty = sa.case((column.is_(None), 0), else_=1)
            order.append(empty.asc() if ascending else empty.desc())
        order.append(column.asc() if ascending else column.desc())
    if marker is not None:
        statement = statement.where(_after(columns, page, marker))
    return statement.order_by(*order).limit(page.limit + 1)


def _nullable(column: sa.ColumnElement[Any]) -> bool:
    return bool(getattr(column, "nullable", False))


def _after(
    columns: Mapping[str, sa.ColumnElement[Any]], page: Page, marker: Mapping[str, Any]
) -> sa.ColumnElement[bool]:
    alternatives: list[sa.ColumnElement[bool]] = []
    equal: list[sa.ColumnElement[bool]] = []
    for name, direction in page.sort:
        column, value = columns[name], marker[name]
        ascending = (direction == "asc") != page.reverse
        further = _further(column, value, ascending)
        if further is not None:
            alternatives.append(sa.and_(*equal, further))
        equal.append(column.is_(None) if value is None else column == value)
    return sa.or_(*alternatives)


def _further(column: sa.ColumnElement[Any], value: Any, ascending: bool) -> sa.ColumnElement[bool] | None:
    """Rows after `value` in the order in which NULL is the smallest."""
    if value is None:
        return column.is_not(None) if ascending else None
    if ascending:
        return sa.and_(column > value)
    return sa.or_(column < value, column.is_(None)) if _nullable(column) else column < value


def next_link(base: str, query: Sequence[tuple[str, str]], marker: str, limit: int | None = None) -> str:
    """The address of the next page: the request's own query with another marker."""
    kept = [(key, value) for key, value in query if key not in ("marker", "limit")]
    if limit is not None:
        kept.append(("limit", str(limit)))
    else:
        kept.extend((key, value) for key, value in query if key == "limit")
    return f"{base}?{urlencode([*kept, ('marker', marker)])}"
