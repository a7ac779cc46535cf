"""Every query of servers."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from pileus.agent.api import PowerState
from pileus.compute.servers.domain import Boot, Server, VmState, special_tasks
from pileus.compute.servers.models import server, server_tag
from pileus.kernel.db import Tx
from pileus.kernel.paging import Page, keyset

_c = server.c
_SHOWN = [_c[name] for name in Server.__struct_fields__]
_SELECT = sa.select(*_SHOWN)
_BY_ID = _SELECT.where(_c.id == sa.bindparam("id"))
_BY_ID_LOCKED = _BY_ID.with_for_update()
_BOOT = sa.select(_c.boot, _c.user_data).where(_c.id == sa.bindparam("id"))
_PASSWORD = sa.select(_c.password).where(_c.id == sa.bindparam("id"))
_USER_DATA = sa.select(_c.id, _c.user_data).where(_c.id.in_(sa.bindparam("ids", expanding=True)))
_ON_HOST = _SELECT.where(_c.host == sa.bindparam("the_host"), _c.deleted == 0)
_KNOWN = sa.select(_c.id, _c.host, _c.deleted, _c.vm_state, _c.task_state).where(
    _c.id.in_(sa.bindparam("ids", expanding=True))
)
_INSERT = sa.insert(server)
_ADD_TAGS = sa.insert(server_tag)

SORT_KEYS: Mapping[str, str] = {
    "uuid": "id",
    "id": "id",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "display_name": "name",
    "name": "name",
    "display_description": "description",
    "host": "host",
    "node": "host",
    "hostname": "hostname",
    "image_ref": "image_id",
    "instance_type_id": "flavorid",
    "key_name": "key_name",
    "launch_index": "launch_index",
    "launched_at": "launched_at",
    "terminated_at": "terminated_at",
    "power_state": "power_state",
    "project_id": "project_id",
    "user_id": "user_id",
    "task_state": "task_state",
    "vm_state": "vm_state",
    "availability_zone": "availability_zone",
    "access_ip_v4": "access_ip_v4",
    "access_ip_v6": "access_ip_v6",
    "auto_disk_config": "auto_disk_config",
    "config_drive": "config_drive",
    "locked": "locked_by",
}
"""The API's sort keys and their columns."""


@dataclass(frozen=True)
class Selection:
    """Which servers a list holds. All that is empty or None does not restrict."""

    project_id: str | None = None
    deleted: bool | None = False  # None: both
    equal: Mapping[str, Collection[Any]] = field(default_factory=dict)  # column -> one of
    matching: Mapping[str, str] = field(default_factory=dict)  # column -> regular expression, found anywhere
    states: Sequence[tuple[str, Collection[str] | None]] | None = None  # see domain.states_of
    task_null: bool = False
    changed_since: int | None = None
    changed_before: int | None = None
    ids: Collection[str] | None = None
    locked: bool | None = None
    tags_all: Collection[str] = ()
    tags_any: Collection[str] = ()
    tags_not_all: Collection[str] = ()
    tags_not_any: Collection[str] = ()


def _server(row: Any) -> Server:
    return Server(*row)


def insert(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write new servers with their tags."""
    tx.execute(_INSERT, rows)
    tags = [{"server_id": row["id"], "tag": tag} for row in rows for tag in row["tags"]]
    if tags:
        tx.execute(_ADD_TAGS, tags)


def get(tx: Tx, server_id: str, *, lock: bool = False) -> Server | None:
    """A server, deleted or not. `lock`: nobody else changes it until this transaction ends."""
    row = tx.one(_BY_ID_LOCKED if lock and tx.dialect != "sqlite" else _BY_ID, {"id": server_id})
    return None if row is None else _server(row)


def boot_of(tx: Tx, server_id: str) -> tuple[Boot, str | None]:
    """What the guest is made from, and its user data. KeyError if there is no such server."""
    row = tx.one(_BOOT, {"id": server_id})
    if row is None:
        raise KeyError(server_id)
    return row.boot, row.user_data


def password_of(tx: Tx, server_id: str) -> str:
    """What the guest gave to keep; empty if it gave nothing."""
    return str(tx.scalar(_PASSWORD, {"id": server_id}) or "")


def user_data(tx: Tx, server_ids: Sequence[str]) -> dict[str, str | None]:
    """The user data of several servers."""
    return {row.id: row.user_data for row in tx.all(_USER_DATA, {"ids": list(server_ids)})}


def change(
    tx: Tx,
    server_id: str,
    values: Mapping[str, Any],
    *,
    vm_states: Collection[str] | None = None,
    tasks: Collection[str | None] | None = None,
) -> bool:
    """Change a server that is in one of the states (None: any). False if it is in none of them, or deleted."""
    statement = _change_of(
        tuple(values),
        None if vm_states is None else frozenset(vm_states),
        None if tasks is None else frozenset(tasks),
    )
    return tx.changed(statement, {"the_id": server_id, **{f"new_{name}": value for name, value in values.items()}}) == 1


@lru_cache(maxsize=512)
def _change_of(
    names: tuple[str, ...], vm_states: frozenset[str] | None, tasks: frozenset[str | None] | None
) -> sa.Update:
    """The statement for a kind of change: there are few, and building one costs more than executing it."""
    where = [_c.id == sa.bindparam("the_id"), _c.deleted == 0]
    if vm_states is not None:
        where.append(_c.vm_state.in_(sorted(vm_states)))
    if tasks is not None:
        named = sorted(task for task in tasks if task is not None)
        alternatives = [_c.task_state.in_(named)] if named else []
        if None in tasks:
            alternatives.append(_c.task_state.is_(None))
        where.append(sa.or_(*alternatives))
    values = {name: sa.bindparam(f"new_{name}", type_=_c[name].type) for name in names}
    return sa.update(server).where(*where).values(values)


def set_tags(tx: Tx, server_id: str, tags: Sequence[str], now: int) -> None:
    """Make a server's tags be `tags`."""
    tx.execute(sa.update(server).where(_c.id == server_id).values(tags=list(tags), updated_at=now))
    tx.execute(sa.delete(server_tag).where(server_tag.c.server_id == server_id))
    if tags:
        tx.execute(_ADD_TAGS, [{"server_id": server_id, "tag": tag} for tag in tags])


def on_host(tx: Tx, host: str) -> list[Server]:
    """The servers of a host."""
    return [_server(row) for row in tx.all(_ON_HOST, {"the_host": host})]


def known(tx: Tx, server_ids: Iterable[str]) -> dict[str, sa.Row[Any]]:
    """Of those ids that were ever servers: id, host, deleted, vm_state, task_state."""
    wanted = list(server_ids)
    return {row.id: row for row in tx.all(_KNOWN, {"ids": wanted})} if wanted else {}


def page(tx: Tx, selection: Selection, wanted: Page) -> list[Server] | None:
    """A page of servers and, where there are more, one further. None if the marker is no server of the selection's
    project."""
    marker = None
    if wanted.marker is not None:
        where = [_c.id == wanted.marker]
        if selection.project_id is not None:
            where.append(_c.project_id == selection.project_id)
        row = tx.one(sa.select(*(_c[name] for name, _ in wanted.sort)).where(*where))
        if row is None:
            return None
        marker = row._asdict()
    statement = keyset(_SELECT.where(*_conditions(selection)), dict(_c), wanted, marker)
    return [_server(row) for row in tx.all(statement)]


def matching(tx: Tx, selection: Selection) -> list[Server]:
    """All servers of a selection, in no order."""
    return [_server(row) for row in tx.all(_SELECT.where(*_conditions(selection)))]


def _conditions(selection: Selection) -> list[sa.ColumnElement[bool]]:
    where: list[sa.ColumnElement[bool]] = []
    if selection.project_id is not None:
        where.append(_c.project_id == selection.project_id)
    if selection.deleted is not None:
        where.append(_c.deleted == int(selection.deleted))
    for name, values in selection.equal.items():
        where.append(_one_of(_c[name], values))
    where.extend(_c[name].regexp_match(pattern) for name, pattern in selection.matching.items())
    if selection.states is not None:
        where.append(sa.or_(sa.false(), *(_state(vm_state, tasks) for vm_state, tasks in selection.states)))
    if selection.task_null:
        where.append(_c.task_state.is_(None))
    if selection.changed_since is not None:
        where.append(_c.updated_at >= selection.changed_since)
    if selection.changed_before is not None:
        where.append(_c.updated_at <= selection.changed_before)
    if selection.ids is not None:
        where.append(_c.id.in_(list(selection.ids)))
    if selection.locked is not None:
        where.append(_c.locked_by.is_not(None) if selection.locked else _c.locked_by.is_(None))
    return where + _tag_conditions(selection)


def _one_of(column: sa.ColumnElement[Any], values: Collection[Any]) -> sa.ColumnElement[bool]:
    return column == next(iter(values)) if len(values) == 1 else column.in_(list(values))


def _state(vm_state: str, tasks: Collection[str] | None) -> sa.ColumnElement[bool]:
    if tasks is not None:
        return sa.and_(_c.vm_state == vm_state, _c.task_state.in_(list(tasks)))
    special = special_tasks(vm_state)
    if not special:
        return _c.vm_state == vm_state
    return sa.and_(_c.vm_state == vm_state, sa.or_(_c.task_state.is_(None), _c.task_state.not_in(special)))


def _tag_conditions(selection: Selection) -> list[sa.ColumnElement[bool]]:
    def has(tags: Collection[str]) -> sa.ColumnElement[bool]:
        return sa.exists().where(server_tag.c.server_id == _c.id, server_tag.c.tag.in_(list(tags)))

    where = [has((tag,)) for tag in selection.tags_all]
    if selection.tags_any:
        where.append(has(selection.tags_any))
    if selection.tags_not_all:
        where.append(sa.not_(sa.and_(*(has((tag,)) for tag in selection.tags_not_all))))
    if selection.tags_not_any:
        where.append(~has(selection.tags_not_any))
    return where


def set_deleted(tx: Tx, server_id: str, now: int) -> None:
    """Keep a server's row as that of a deleted one."""
    values = {
        "vm_state": VmState.DELETED,
        "task_state": None,
        "power_state": PowerState.NOSTATE,
        "deleted": 1,
        "terminated_at": now,
        "updated_at": now,
    }
    change(tx, server_id, values)
