"""What is seen of a directory, written into the tables of users and groups.

Nothing is deleted for having vanished from the directory: with a wrong filter or a server restored from an old copy
that would take all role assignments along. Who is not there any more is disabled, and a group has no members.
Names are unique within a domain here, and need not be in a directory: then all but one get their id behind the name.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from pileus.identity.directories import store
from pileus.identity.directories.domain import Entry, Noun
from pileus.identity.directories.store import Known
from pileus.identity.domain import Group, User
from pileus.identity.rows import Rows
from pileus.identity.users import store as users_store
from pileus.kernel.db import Tx

_LONGEST = {"user": 255, "group": 64}


def public_id(domain_id: str, kind: Noun, local_id: str) -> str:
    """The id that a user or group of a directory has here: always the same, also in an empty database."""
    text = f"{domain_id}\0{kind}\0{local_id}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def put(tx: Tx, domain_id: str, kind: Noun, entries: Sequence[Entry], *, complete: bool) -> bool:
    """Bring the rows of a directory's users or groups up to what was seen; whether what tokens rest on changed.

    `complete`: the entries are all that the directory has.
    """
    store.alone(tx, domain_id)
    rows: Rows[Any] = users_store.USERS if kind == "user" else users_store.GROUPS
    known = store.known(tx, domain_id, kind, None if complete else [entry.local_id for entry in entries])
    wanted = {_id(domain_id, kind, known, entry): entry for entry in entries}
    concerned = [rows.table.c.domain_id == domain_id]
    if not complete:
        same_names = rows.table.c.name.in_([entry.name[: _LONGEST[kind]] for entry in entries])
        concerned.append(sa.or_(rows.table.c.id.in_(list(wanted)), same_names))
    in_domain = {row.id: row for row in rows.some(tx, *concerned)}
    names = _names(kind, wanted, in_domain, complete=complete)
    changed = False
    for thing_id, row in in_domain.items():
        if row.name != names[thing_id]:
            changed = True
            if row.name in names.values():  # somebody else's from now on: out of the way first
                rows.change(tx, thing_id, {"name": thing_id})
    for thing_id, entry in wanted.items():
        if thing_id in in_domain:
            changed |= _refresh(tx, rows, in_domain[thing_id], names[thing_id], entry)
            if known[entry.local_id].dn != entry.dn:
                store.move(tx, thing_id, entry.dn)
        else:
            rows.insert(tx, _new(kind, thing_id, domain_id, names[thing_id], entry))
            store.add(tx, domain_id, kind, Known(thing_id, entry.local_id, entry.dn))
    for thing_id in in_domain.keys() - wanted.keys():
        values: dict[str, Any] = {}
        if in_domain[thing_id].name != names[thing_id]:
            values["name"] = names[thing_id]
        if complete and kind == "user" and in_domain[thing_id].enabled:
            changed = True
            values["enabled"] = False
            users_store.revoke(tx, thing_id)
        rows.change(tx, thing_id, values)
    return changed


def _id(domain_id: str, kind: Noun, known: Mapping[str, Known], entry: Entry) -> str:
    found = known.get(entry.local_id)
    return public_id(domain_id, kind, entry.local_id) if found is None else found.public_id


def _names(kind: Noun, wanted: Mapping[str, Entry], in_domain: Mapping[str, Any], *, complete: bool) -> dict[str, str]:
    """What each row is called then. Whoever was seen comes before those who have vanished."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for thing_id in sorted(wanted, key=lambda one: wanted[one].local_id):
        name = wanted[thing_id].name[: _LONGEST[kind]]
        present = in_domain.get(thing_id)
        longer = _longer(kind, name, wanted[thing_id].local_id)
        if name in taken or (not complete and present is not None and present.name == longer):
            name = longer
        names[thing_id] = name
        taken.add(name)
    for thing_id, row in in_domain.items():
        if thing_id not in names:
            names[thing_id] = _longer(kind, row.name, thing_id) if row.name in taken else row.name
            taken.add(names[thing_id])
    return names


def _longer(kind: Noun, name: str, more: str) -> str:
    return f"{name[: _LONGEST[kind] // 2]} ({more})"[: _LONGEST[kind]]


def _new(kind: Noun, thing_id: str, domain_id: str, name: str, entry: Entry) -> User | Group:
    if kind == "group":
        return Group(id=thing_id, domain_id=domain_id, name=name, **_group_values(entry))
    return User(id=thing_id, domain_id=domain_id, name=name, **_user_values(entry))


def _user_values(entry: Entry) -> dict[str, Any]:
    extra = {**entry.extra}
    if entry.email:
        extra["email"] = entry.email
    if entry.description:
        extra["description"] = entry.description
    project_id = entry.default_project_id or None
    return {"enabled": entry.enabled, "default_project_id": project_id, "extra": extra}


def _group_values(entry: Entry) -> dict[str, Any]:
    return {"description": entry.description, "extra": {**entry.extra}}


def _refresh(tx: Tx, rows: Rows[Any], row: User | Group, name: str, entry: Entry) -> bool:
    """Change what is different; whether that matters to tokens."""
    wanted = _user_values(entry) if isinstance(row, User) else _group_values(entry)
    values = {key: value for key, value in {"name": name, **wanted}.items() if getattr(row, key) != value}
    rows.change(tx, row.id, values)
    if isinstance(row, User) and row.enabled and not entry.enabled:
        users_store.revoke(tx, row.id)
    return not values.keys() <= {"extra", "description", "default_project_id"}
