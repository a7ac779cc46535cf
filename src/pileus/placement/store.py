"""Every query of placement."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from pileus.kernel.db import Tx
from pileus.placement.domain import Allocation, Inventory
from pileus.placement.models import allocation, inventory

_i, _a = inventory.c, allocation.c
_INVENTORIES = sa.select(_i.host, _i.resource_class, _i.total, _i.reserved, _i.allocation_ratio, _i.used)
_ALLOCATIONS = sa.select(_a.consumer_id, _a.host, _a.resource_class, _a.used, _a.project_id, _a.user_id)
_OF_HOST = _INVENTORIES.where(_i.host == sa.bindparam("the_host"))
_OF_CONSUMER = _ALLOCATIONS.where(_a.consumer_id == sa.bindparam("consumer")).order_by(_a.host, _a.resource_class)
_TAKE = (
    sa.update(inventory)
    .where(
        _i.host == sa.bindparam("the_host"),
        _i.resource_class == sa.bindparam("class_name"),
        _i.used + sa.bindparam("more") <= (_i.total - _i.reserved) * _i.allocation_ratio,
    )
    .values(used=_i.used + sa.bindparam("more"))
)
_GIVE_BACK = (
    sa.update(inventory)
    .where(_i.host == sa.bindparam("the_host"), _i.resource_class == sa.bindparam("class_name"))
    .values(used=_i.used - sa.bindparam("less"))
)
_DELETE = sa.delete(allocation).where(_a.consumer_id == sa.bindparam("consumer"))
_INSERT = sa.insert(allocation)
_SUMS = sa.select(_a.host, _a.resource_class, sa.func.sum(_a.used).label("used")).group_by(_a.host, _a.resource_class)


def _inventory(row: Any) -> Inventory:
    return Inventory(*row)


def _allocation(row: Any) -> Allocation:
    return Allocation(*row)


def inventories(tx: Tx, host: str | None = None) -> list[Inventory]:
    """All inventories, or a host's."""
    rows = tx.all(_INVENTORIES) if host is None else tx.all(_OF_HOST, {"the_host": host})
    return [_inventory(row) for row in rows]


def put_inventory(tx: Tx, record: Inventory) -> None:
    """Write a host's inventory of one class. `used` stays as it is, or becomes what is already allocated."""
    key = (_i.host == record.host) & (_i.resource_class == record.resource_class)
    values = {"total": record.total, "reserved": record.reserved, "allocation_ratio": record.allocation_ratio}
    if tx.one(sa.select(_i.used).where(key)) is not None:
        tx.execute(sa.update(inventory).where(key).values(**values))
        return
    taken = sa.select(sa.func.coalesce(sa.func.sum(_a.used), 0)).where(
        _a.host == record.host, _a.resource_class == record.resource_class
    )
    used = int(tx.scalar(taken))
    tx.execute(sa.insert(inventory).values(host=record.host, resource_class=record.resource_class, used=used, **values))


def delete_inventory(tx: Tx, host: str) -> None:
    """Remove all inventories of a host."""
    tx.execute(sa.delete(inventory).where(_i.host == host))


def take(tx: Tx, host: str, resource_class: str, amount: int) -> bool:
    """Count `amount` as used if it fits. False, and nothing changed, if it does not."""
    return tx.changed(_TAKE, {"the_host": host, "class_name": resource_class, "more": amount}) == 1


def give_back(tx: Tx, host: str, resource_class: str, amount: int) -> None:
    """Count `amount` as no longer used."""
    tx.execute(_GIVE_BACK, {"the_host": host, "class_name": resource_class, "less": amount})


def allocations_of(tx: Tx, consumer_id: str) -> list[Allocation]:
    """A consumer's allocations in the order in which they must be given back."""
    return [_allocation(row) for row in tx.all(_OF_CONSUMER, {"consumer": consumer_id})]


def all_allocations(tx: Tx) -> list[Allocation]:
    """Every allocation there is."""
    return [_allocation(row) for row in tx.all(_ALLOCATIONS)]


def insert_allocations(tx: Tx, records: Sequence[Mapping[str, object]]) -> None:
    """Write allocations."""
    tx.execute(_INSERT, records)


def delete_allocations(tx: Tx, consumer_id: str) -> None:
    """Remove a consumer's allocations."""
    tx.execute(_DELETE, {"consumer": consumer_id})


def allocated(tx: Tx) -> dict[tuple[str, str], int]:
    """The sums of the allocations by host and class: what `used` of the inventories must be."""
    return {(row.host, row.resource_class): int(row.used) for row in tx.all(_SUMS)}
