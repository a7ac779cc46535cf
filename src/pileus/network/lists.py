"""Lists: every resource is filtered, sorted, paged and cut down to fields in the same way.

Statements are built once per shape of query (which filters, which order, which scope) and reused with other values,
because building one costs as much as running it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from pileus.kernel.auth import Actor
from pileus.kernel.clock import parse_iso
from pileus.kernel.db import Row, Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Query, parse_flag
from pileus.kernel.paging import Page, keyset, next_link, parse_sort
from pileus.network.errors import not_found

Column = sa.ColumnElement[Any]
Values = sa.BindParameter[Any]

_RESERVED = frozenset({"fields", "limit", "marker", "page_reverse", "sort_key", "sort_dir"})
_ALL_ROWS = _LARGEST_INTEGER = (1 << 31) - 1
_MAX_PLANS = 500
_DEFAULT_SORT = (("id", "asc"),)


def _itself(term: Column) -> Column:
    return term


def _as_it_is(_name: str, text: str) -> Any:
    return text


@dataclass(frozen=True)
class Filter:
    """One query parameter: rows whose `column` has one of the values.

    `within` makes the WHERE term from that, where the column is another table's. `convert` makes a value of a text.
    """

    column: sa.Column[Any]
    convert: Callable[[str, str], Any] = _as_it_is
    within: Callable[[Column], Column] = _itself

    def term(self, parameter: str, single: bool) -> Column:
        """The WHERE term over a parameter. Equality for a single value: lists cost a rewriting of the statement."""
        if single:
            return self.within(self.column == sa.bindparam(parameter, type_=self.column.type))
        return self.within(self.column.in_(sa.bindparam(parameter, expanding=True, type_=self.column.type)))


def column_filter(column: sa.Column[Any]) -> Filter:
    """Any of the values; boolean and integer columns take the texts that clients write for them."""
    if isinstance(column.type, sa.Boolean):
        return Filter(column, parse_flag)
    if isinstance(column.type, sa.Integer):
        return Filter(column, _integer)
    return Filter(column)


def _integer(name: str, text: str) -> int:
    try:
        number = int(text)
    except ValueError as err:
        raise BadRequest(f"Invalid input for {name}. Reason: '{text}' is not an integer.") from err
    if abs(number) > _LARGEST_INTEGER:
        raise BadRequest(f"Invalid input for {name}. Reason: '{text}' is too large.")
    return number


Special = Callable[[Sequence[str]], Column]
"""A filter whose term depends on the values themselves (tags); statements with one are not reused."""


@dataclass(frozen=True)
class ListRequest:
    """A parsed query string."""

    filters: Mapping[str, list[Any]]
    special: Mapping[str, list[str]]
    sort: tuple[tuple[str, str], ...]
    limit: int | None
    marker: str | None
    reverse: bool
    fields: frozenset[str] | None


def parse_fields(query: Query) -> frozenset[str] | None:
    """The `fields=` parameters; None where there are none."""
    fields = frozenset(name for name in query.all("fields") if name)
    return fields or None


class Listing:
    """How one resource is listed.

    `visible` is the WHERE term for callers who are no administrators, over the parameter `me` (their project). It may
    be several terms, of which one must hold, where each has an index of its own that gives its rows in the order of
    their ids: then a plain page is put together from one page for each term, however many rows there are.
    """

    def __init__(
        self,
        resource: str,
        table: sa.Table,
        visible: Callable[[Values], Column | tuple[Column, ...]],
        *,
        columns: Mapping[str, sa.Column[Any]],
        filters: Mapping[str, Filter] | None = None,
        special: Mapping[str, Special] | None = None,
    ) -> None:
        self.resource = resource
        self.table = table
        named = {
            "id": table.c.id,
            "name": table.c.name,
            "description": table.c.description,
            "project_id": table.c.project_id,
            "tenant_id": table.c.project_id,
            "revision_number": table.c.revision_number,
            **columns,
        }
        self._filters = {name: column_filter(column) for name, column in named.items()} | dict(filters or {})
        self._special: dict[str, Special] = {**_tag_filters(table), **_time_filters(table), **(special or {})}
        self._sortable = {name: column.name for name, column in named.items()}
        self._sortable |= {"created_at": "created_at", "updated_at": "updated_at"}
        self._columns: dict[str, Column] = {column.name: column for column in table.c}
        self._me: Values = sa.bindparam("me", type_=sa.String())
        terms = visible(self._me)
        self._alternatives = terms if isinstance(terms, tuple) else (terms,)
        self._visible = sa.or_(*self._alternatives)
        self._plans: dict[Any, sa.Select[Any]] = {}
        self._one = sa.select(table).where(table.c.id == sa.bindparam("id"))
        self._one_visible = self._one.where(self._visible)

    def parse(self, query: Query) -> ListRequest:
        """Parse a list's query string. BadRequest names what cannot be filtered or sorted by."""
        filters: dict[str, list[Any]] = {}
        special: dict[str, list[str]] = {}
        for name, text in query.pairs:
            if name in _RESERVED:
                continue
            key, value = _nested(name, text) if name == "fixed_ips" else (name, text)
            if (known := self._filters.get(key)) is not None:
                filters.setdefault(key, []).append(known.convert(key, value))
            elif key in self._special:
                special.setdefault(key, []).append(value)
            else:
                raise BadRequest(f"'{name}' is invalid attribute for filtering")
        return ListRequest(
            filters=filters,
            special=special,
            sort=parse_sort(
                query.all("sort_key"), query.all("sort_dir"), self._sortable, _DEFAULT_SORT, default_direction="asc"
            ),
            limit=_limit(query.get("limit")),
            marker=query.get("marker") or None,
            reverse=query.flag("page_reverse"),
            fields=parse_fields(query),
        )

    def by_name(self, name: str) -> ListRequest:
        """The request for all things of one name."""
        return self.parse(Query(urlencode({"name": name})))

    def one(self, tx: Tx, actor: Actor, resource_id: str) -> Row:
        """The row of one resource. NotFound if it is not there or not for the caller's eyes."""
        if actor.is_admin:
            row = tx.one(self._one, {"id": resource_id})
        else:
            row = tx.one(self._one_visible, {"id": resource_id, "me": actor.owner})
        if row is None:
            raise not_found(self.resource, resource_id)
        return row

    def rows(self, tx: Tx, actor: Actor, request: ListRequest) -> tuple[list[Row], bool]:
        """One page of rows, and whether there are more in the direction of paging."""
        marker: dict[str, Any] | None = None
        if request.marker is not None and request.limit is not None:
            marker = self.one(tx, actor, request.marker)._asdict()
        statement = self._statement(request, marker, actor.is_admin)
        limit = _ALL_ROWS - 1 if request.limit is None else request.limit
        parameters: dict[str, Any] = {
            f"filter_{name}": values[0] if len(values) == 1 else values for name, values in request.filters.items()
        }
        parameters["page_rows"] = limit + 1
        if not actor.is_admin:
            parameters["me"] = actor.owner
        rows = list(tx.all(statement, parameters))
        more = len(rows) > limit
        rows = rows[:limit]
        if request.reverse:
            rows.reverse()
        return rows, more

    def _statement(self, request: ListRequest, marker: Mapping[str, Any] | None, everything: bool) -> sa.Select[Any]:
        if marker is not None or request.special:
            return self._build(request, marker, everything)
        wanted = tuple((name, len(values) == 1) for name, values in request.filters.items())
        shape = (wanted, request.sort, request.reverse, request.limit is None, everything)
        statement = self._plans.get(shape)
        if statement is None:
            statement = self._build(request, None, everything)
            if len(self._plans) < _MAX_PLANS:
                self._plans[shape] = statement
        return statement

    def _build(self, request: ListRequest, marker: Mapping[str, Any] | None, everything: bool) -> sa.Select[Any]:
        page = Page(limit=0, sort=request.sort, reverse=request.reverse)
        statement = sa.select(self.table)
        if not everything:
            plain = not request.filters and not request.special and request.sort == _DEFAULT_SORT
            if plain and request.limit is not None and len(self._alternatives) > 1:
                return self._plain_page(statement, page, marker)
            statement = statement.where(self._visible)
        for name, values in request.filters.items():
            statement = statement.where(self._filters[name].term(f"filter_{name}", len(values) == 1))
        for name, texts in request.special.items():
            statement = statement.where(self._special[name](texts))
        return _cut(keyset(statement, self._columns, page, marker))

    def _plain_page(self, statement: sa.Select[Any], page: Page, marker: Mapping[str, Any] | None) -> sa.Select[Any]:
        pages = []
        for term in self._alternatives:
            one = keyset(sa.select(self.table.c.id).where(term), self._columns, page, marker)
            pages.append(sa.select(_cut(one).subquery().c.id))
        some = statement.where(self.table.c.id.in_(sa.union(*pages)))
        return _cut(keyset(some, self._columns, page, None))


def _cut(statement: sa.Select[Any]) -> sa.Select[Any]:
    return statement.limit(sa.bindparam("page_rows", type_=sa.Integer()))


def _nested(name: str, text: str) -> tuple[str, str]:
    """`fixed_ips=ip_address=10.0.0.5` filters by `fixed_ips.ip_address`."""
    key, equals, value = text.partition("=")
    if not equals:
        raise BadRequest(f"Invalid input for {name}. Reason: '{text}' is not of the form key=value.")
    return f"{name}.{key}", value


def _limit(text: str | None) -> int | None:
    """The page size; none, or 0, is everything."""
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest(f"Invalid input for limit. Reason: '{text}' is not a number of at least 0.")
    return min(int(text), _ALL_ROWS - 1) or None


def _tag_filters(table: sa.Table) -> dict[str, Special]:
    """tags: all of them; tags-any; not-tags: not all of them; not-tags-any: none of them. Commas separate tags."""

    def has(tag: str) -> Column:
        text = sa.type_coerce(table.c.tags, sa.Text)
        quoted = '"' + tag.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return sa.func.length(sa.func.replace(text, quoted, "")) < sa.func.length(text)

    def each(texts: Sequence[str]) -> list[Column]:
        return [has(tag) for text in texts for tag in text.split(",")]

    return {
        "tags": lambda texts: sa.and_(*each(texts)),
        "tags-any": lambda texts: sa.or_(*each(texts)),
        "not-tags": lambda texts: sa.not_(sa.and_(*each(texts))),
        "not-tags-any": lambda texts: sa.not_(sa.or_(*each(texts))),
    }


def _time_filters(table: sa.Table) -> dict[str, Special]:
    def changed_since(texts: Sequence[str]) -> Column:
        try:
            return sa.and_(*(table.c.updated_at >= parse_iso(text) for text in texts))
        except ValueError as err:
            raise BadRequest(f"Invalid input for changed_since. Reason: {err}.") from err

    return {"changed_since": changed_since}


def page_links(url: str, query: Query, request: ListRequest, ids: Sequence[str], more: bool) -> list[dict[str, str]]:
    """The links to the neighbouring pages; none for a list without `limit`."""
    if request.limit is None or not ids:
        return []
    kept = [(key, value) for key, value in query.pairs if key != "page_reverse"]
    links = []
    if more or request.reverse:
        links.append({"rel": "next", "href": next_link(url, kept, ids[-1])})
    if (request.marker and not request.reverse) or (more and request.reverse):
        back = [*kept, ("page_reverse", "True")]
        links.append({"rel": "previous", "href": next_link(url, back, ids[0])})
    return links
