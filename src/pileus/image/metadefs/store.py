"""Queries on metadata definitions."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from pileus.image.metadefs.domain import (
    Association,
    Content,
    Filters,
    MetadefObject,
    Namespace,
    Property,
    ResourceType,
    Tag,
)
from pileus.image.metadefs.models import (
    metadef_association,
    metadef_namespace,
    metadef_object,
    metadef_property,
    metadef_resource_type,
    metadef_tag,
)
from pileus.kernel.db import Tx
from pileus.kernel.paging import Page, keyset

T = TypeVar("T", bound=Content)

_NAMESPACE = sa.select(metadef_namespace)
_BY_NAME = _NAMESPACE.where(metadef_namespace.c.namespace == sa.bindparam("name"))
_EVERY = _NAMESPACE.order_by(metadef_namespace.c.namespace)
_TYPES = sa.select(metadef_resource_type).order_by(metadef_resource_type.c.name)
_TYPE_NAMES = sa.select(metadef_resource_type.c.name)


def find(tx: Tx, name: str) -> Namespace | None:
    """A namespace by its name."""
    row = tx.one(_BY_NAME, {"name": name})
    return None if row is None else Namespace(**row._asdict())


def every(tx: Tx) -> list[Namespace]:
    """All namespaces, by name."""
    return [Namespace(**row._asdict()) for row in tx.all(_EVERY)]


def page(tx: Tx, filters: Filters, wanted: Page, marker: Namespace | None) -> list[Namespace]:
    """The page's namespaces after the marker, and one more if there are more."""
    column = metadef_namespace.c
    statement = _NAMESPACE
    if filters.visible_to is not None:
        statement = statement.where(sa.or_(column.visibility == "public", column.owner == filters.visible_to))
    if filters.visibility is not None:
        statement = statement.where(column.visibility == filters.visibility)
    if filters.owner is not None:
        statement = statement.where(column.owner == filters.owner)
    if filters.resource_types:
        associated = sa.select(metadef_association.c.namespace_id)
        statement = statement.where(
            column.id.in_(associated.where(metadef_association.c.name.in_(filters.resource_types)))
        )
    after = None if marker is None else {name: getattr(marker, name) for name, _ in wanted.sort}
    return [Namespace(**row._asdict()) for row in tx.all(keyset(statement, dict(column), wanted, after))]


def insert(tx: Tx, namespace: Namespace) -> None:
    """Add a namespace."""
    values = {name: getattr(namespace, name) for name in namespace.__struct_fields__}
    tx.execute(sa.insert(metadef_namespace).values(values))


def update(tx: Tx, namespace_id: str, values: Mapping[str, Any]) -> bool:
    """Change columns of a namespace. Whether it was there."""
    return tx.changed(sa.update(metadef_namespace).where(metadef_namespace.c.id == namespace_id).values(**values)) == 1


def delete(tx: Tx, namespace_id: str) -> bool:
    """Delete a namespace and all that it holds. Whether it was there."""
    return tx.changed(sa.delete(metadef_namespace).where(metadef_namespace.c.id == namespace_id)) == 1


def resource_types(tx: Tx) -> list[ResourceType]:
    """All resource types, by name."""
    return [ResourceType(**row._asdict()) for row in tx.all(_TYPES)]


def add_resource_types(tx: Tx, names: Collection[str], now: int) -> None:
    """Make sure that these resource types are there."""
    if not names:
        return
    missing = set(names) - {row.name for row in tx.all(_TYPE_NAMES)}
    if missing:
        rows = [{"name": name, "created_at": now, "updated_at": now} for name in sorted(missing)]
        tx.execute(sa.insert(metadef_resource_type), rows)


class Contents(Generic[T]):
    """The table of one kind of content. A row is found by its namespace and its name there."""

    def __init__(self, table: sa.Table, shape: type[T]) -> None:
        self.shape = shape
        self._table = table
        self._columns = {name: table.c[name] for name in shape.__struct_fields__}
        self._select = sa.select(*self._columns.values()).where(table.c.namespace_id == sa.bindparam("namespace"))
        self._all = self._select.order_by(table.c.created_at, table.c.name)
        self._one = self._select.where(table.c.name == sa.bindparam("name_wanted"))
        self._names = sa.select(table.c.name).where(table.c.namespace_id == sa.bindparam("namespace"))
        self._of_many = (
            sa.select(table.c.namespace_id, *self._columns.values())
            .where(table.c.namespace_id.in_(sa.bindparam("namespaces", expanding=True)))
            .order_by(table.c.created_at, table.c.name)
        )

    def all(self, tx: Tx, namespace_id: str) -> list[T]:
        """All that a namespace has, the oldest first."""
        return [self.shape(**row._asdict()) for row in tx.all(self._all, {"namespace": namespace_id})]

    def of_many(self, tx: Tx, namespace_ids: Collection[str]) -> dict[str, list[T]]:
        """What each of several namespaces has, in one query; none where it has nothing."""
        found: dict[str, list[T]] = {}
        if namespace_ids:
            for row in tx.all(self._of_many, {"namespaces": list(namespace_ids)}):
                values = row._asdict()
                found.setdefault(values.pop("namespace_id"), []).append(self.shape(**values))
        return found

    def page(self, tx: Tx, namespace_id: str, wanted: Page, marker: T | None) -> list[T]:
        """The page's content after the marker, and one more if there is more."""
        after = None if marker is None else {name: getattr(marker, name) for name, _ in wanted.sort}
        statement = keyset(self._select, self._columns, wanted, after)
        return [self.shape(**row._asdict()) for row in tx.all(statement, {"namespace": namespace_id})]

    def find(self, tx: Tx, namespace_id: str, name: str) -> T | None:
        """One by its name."""
        row = tx.one(self._one, {"namespace": namespace_id, "name_wanted": name})
        return None if row is None else self.shape(**row._asdict())

    def names(self, tx: Tx, namespace_id: str) -> set[str]:
        """The names of all that a namespace has."""
        return {row.name for row in tx.all(self._names, {"namespace": namespace_id})}

    def insert(self, tx: Tx, namespace_id: str, contents: Sequence[T]) -> None:
        """Add several in one statement."""
        if contents:
            rows = [{name: getattr(one, name) for name in self._columns} for one in contents]
            tx.execute(sa.insert(self._table), [{**row, "namespace_id": namespace_id} for row in rows])

    def update(self, tx: Tx, namespace_id: str, name: str, values: Mapping[str, Any]) -> bool:
        """Change columns of one. Whether it was there."""
        return tx.changed(sa.update(self._table).where(self._is(namespace_id, name)).values(**values)) == 1

    def delete(self, tx: Tx, namespace_id: str, name: str) -> bool:
        """Delete one. Whether it was there."""
        return tx.changed(sa.delete(self._table).where(self._is(namespace_id, name))) == 1

    def clear(self, tx: Tx, namespace_id: str) -> None:
        """Delete all that a namespace has."""
        tx.execute(sa.delete(self._table).where(self._table.c.namespace_id == namespace_id))

    def _is(self, namespace_id: str, name: str) -> sa.ColumnElement[bool]:
        return sa.and_(self._table.c.namespace_id == namespace_id, self._table.c.name == name)


ASSOCIATIONS = Contents(metadef_association, Association)
OBJECTS = Contents(metadef_object, MetadefObject)
PROPERTIES = Contents(metadef_property, Property)
TAGS = Contents(metadef_tag, Tag)
