"""A table's rows as structs: what the stores of all of identity's resources have in common."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import msgspec
import sqlalchemy as sa

from pileus.identity.domain import Thing
from pileus.kernel.db import Tx, is_duplicate
from pileus.kernel.errors import BadRequest, Conflict
from pileus.kernel.paging import Page, keyset

T = TypeVar("T", bound=Thing)

NO_LIMIT = (1 << 31) - 2
_END = "\x01"
BY_ID: tuple[tuple[str, str], ...] = (("id", "asc"),)


class Wanted(msgspec.Struct, frozen=True):
    """What part of a list is asked for: filters, and a page of it.

    `equal`: column -> value. `alike`: (column, comparator, text) with Keystone's comparators: contains, startswith,
    endswith, and each with an i in front for any case. `sort`: pairs of column and direction, the last a unique column.
    """

    equal: Mapping[str, Any] = {}
    alike: tuple[tuple[str, str, str], ...] = ()
    limit: int | None = None
    marker: str | None = None
    sort: tuple[tuple[str, str], ...] = BY_ID

    def but(self, **equal: Any) -> "Wanted":
        """The same with further columns fixed."""
        return msgspec.structs.replace(self, equal={**self.equal, **equal})


class Found(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list, and whether there is more behind it."""

    things: list[T]
    more: bool = False


class Rows(Generic[T]):
    """One table whose primary key is `id`, read and written as structs of `shape`.

    Columns that the struct lacks are given to `insert` and never read.
    """

    def __init__(self, table: sa.Table, shape: type[T], noun: str) -> None:
        self.table = table
        self.shape = shape
        self.noun = noun
        self._fields = [name for name in shape.__struct_fields__ if name in table.c]
        self._columns = [table.c[name] for name in self._fields]
        self._by_id = sa.select(*self._columns).where(table.c.id == sa.bindparam("wanted_id"))

    def get(self, tx: Tx, thing_id: str) -> T | None:
        """The thing with this id."""
        row = tx.one(self._by_id, {"wanted_id": thing_id})
        return None if row is None else self._thing(row)

    def some(self, tx: Tx, *conditions: sa.ColumnElement[bool]) -> list[T]:
        """All things that satisfy the conditions, in the order of their ids."""
        statement = sa.select(*self._columns).where(*conditions).order_by(self.table.c.id)
        return [self._thing(row) for row in tx.all(statement)]

    def named(self, tx: Tx, name: str, **equal: Any) -> T | None:
        """The thing with this name, and the given values of other columns."""
        conditions = [self.table.c[column] == value for column, value in equal.items()]
        found = self.some(tx, self.table.c.name == name, *conditions)
        return found[0] if found else None

    def page(self, tx: Tx, wanted: Wanted, *conditions: sa.ColumnElement[bool]) -> Found[T]:
        """The page that is asked for, of the things that satisfy the conditions."""
        statement = sa.select(*self._columns).where(*conditions)
        for column, value in wanted.equal.items():
            of = self.table.c[column]
            statement = statement.where(of.is_(None) if value is None else of == value)
        for column, comparator, text in wanted.alike:
            if text:
                statement = statement.where(_alike(self.table.c[column], comparator, text))
        limit = NO_LIMIT if wanted.limit is None else wanted.limit
        page = Page(limit=limit, marker=wanted.marker, sort=wanted.sort)
        columns = {name: self.table.c[name] for name, _ in wanted.sort}
        rows = tx.all(keyset(statement, columns, page, self._marker(tx, wanted)))
        return Found([self._thing(row) for row in rows[:limit]], len(rows) > limit)

    def _marker(self, tx: Tx, wanted: Wanted) -> dict[str, Any] | None:
        """The values that the page comes after. BadRequest for a marker that does not exist, where order needs it."""
        if wanted.marker is None or wanted.sort == BY_ID:
            return None if wanted.marker is None else {"id": wanted.marker}
        last = self.get(tx, wanted.marker)
        if last is None:
            raise BadRequest(f"Marker {wanted.marker} could not be found.")
        return {name: getattr(last, name) for name, _ in wanted.sort}

    def insert(self, tx: Tx, thing: T, **more: Any) -> None:
        """Conflict if the name is taken, or what it refers to was deleted meanwhile."""
        values = {name: getattr(thing, name) for name in self._fields}
        with self._conflicts(getattr(thing, "name", None)):
            tx.execute(sa.insert(self.table).values(**values, **more))

    def change(self, tx: Tx, thing_id: str, values: Mapping[str, Any]) -> None:
        """Set columns of one row. Conflict as for `insert`."""
        if values:
            with self._conflicts(values.get("name")):
                tx.execute(sa.update(self.table).where(self.table.c.id == thing_id).values(**values))

    def delete(self, tx: Tx, thing_id: str) -> None:
        """Delete the row. Conflict if something still refers to it."""
        with self._conflicts(None):
            tx.execute(sa.delete(self.table).where(self.table.c.id == thing_id))

    def _thing(self, row: sa.Row[Any]) -> T:
        return self.shape(**dict(zip(self._fields, row, strict=True)))

    @contextmanager
    def _conflicts(self, name: str | None) -> Iterator[None]:
        try:
            yield
        except sa.exc.IntegrityError as err:
            if is_duplicate(err):
                what = f"Duplicate entry found with name {name}." if name else "Duplicate entry."
                raise Conflict(f"Conflict occurred attempting to store {self.noun} - {what}") from err
            raise Conflict(f"The {self.noun} refers to something that was deleted, or is still in use.") from err


def add_once(tx: Tx, table: sa.Table, **values: Any) -> bool:
    """Insert a row of a table of pairs; False if it is there already, or comes to be at the same moment.

    Conflict if what it refers to was deleted meanwhile.
    """
    here = [table.c[column.name] == values[column.name] for column in table.primary_key.columns]
    if tx.one(sa.select(sa.literal(1)).select_from(table).where(*here)) is not None:
        return False
    try:
        with tx.connection.begin_nested():
            tx.execute(sa.insert(table).values(**values))
    except sa.exc.IntegrityError as err:
        if is_duplicate(err):
            return False
        raise Conflict("What this refers to was deleted meanwhile.") from err
    return True


def hold(tx: Tx, table: sa.Table, thing_id: str) -> bool:
    """Keep a row from being deleted until the transaction ends; False if it is gone."""
    return tx.one(sa.select(table.c.id).where(table.c.id == thing_id).with_for_update(read=True)) is not None


def _alike(column: sa.ColumnElement[Any], comparator: str, text: str) -> sa.ColumnElement[bool]:
    # LIKE folds case on SQLite and not on the others; these functions compare exactly everywhere.
    if comparator.startswith("i"):
        column, text, comparator = sa.func.lower(column), text.lower(), comparator[1:]
    if comparator == "startswith":
        return sa.func.substr(column, 1, len(text)) == text
    if comparator == "endswith":
        ended = column + sa.literal(_END)
        return sa.func.replace(ended, text + _END, "") != ended
    return sa.func.replace(column, text, "") != column


def page_of(things: Sequence[T], wanted: Wanted) -> Found[T]:
    """A page of a list that is in memory already."""
    rest = sorted(things, key=lambda thing: thing.id)
    if wanted.marker is not None:
        rest = [thing for thing in rest if thing.id > wanted.marker]
    limit = len(rest) if wanted.limit is None else wanted.limit
    return Found(rest[:limit], len(rest) > limit)
