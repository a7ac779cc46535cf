"""Every query about what directories call their users and groups."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from pileus.identity.directories.models import id_mapping as _mapping
from pileus.identity.domain_config.models import domain_option as _option
from pileus.identity.models import membership as _membership
from pileus.identity.models import project as _project
from pileus.kernel.db import Tx

_MANY = 500


class Known(msgspec.Struct, frozen=True):
    """A user or group of a directory that has been seen."""

    public_id: str
    local_id: str
    dn: str


def alone(tx: Tx, domain_id: str) -> None:
    """Let nobody else write what is seen of a domain's directory until the transaction ends."""
    tx.one(sa.select(_project.c.id).where(_project.c.id == domain_id).with_for_update())


def domains(tx: Tx) -> list[str]:
    """The domains whose users are in a directory."""
    statement = sa.select(_option.c.domain_id, _option.c.value).where(
        _option.c.section == "identity", _option.c.name == "driver"
    )
    return sorted(row.domain_id for row in tx.all(statement) if row.value == "ldap")


def known(tx: Tx, domain_id: str, kind: str, local_ids: Sequence[str] | None = None) -> dict[str, Known]:
    """All that were seen of a directory, or those of some ids, by what it calls them."""
    statement = sa.select(_mapping).where(_mapping.c.domain_id == domain_id, _mapping.c.kind == kind)
    if local_ids is not None:
        statement = statement.where(_mapping.c.local_id.in_(local_ids))
    return {row.local_id: Known(row.public_id, row.local_id, row.dn) for row in tx.all(statement)}


def home_of(tx: Tx, public_id: str) -> tuple[str, Known] | None:
    """The domain whose directory something is in, and what it is called there."""
    row = tx.one(sa.select(_mapping).where(_mapping.c.public_id == public_id))
    return None if row is None else (row.domain_id, Known(row.public_id, row.local_id, row.dn))


def add(tx: Tx, domain_id: str, kind: str, new: Known) -> None:
    """Note something that is seen for the first time."""
    tx.execute(sa.insert(_mapping).values(domain_id=domain_id, kind=kind, **msgspec.structs.asdict(new)))


def move(tx: Tx, public_id: str, dn: str) -> None:
    """Note where something is now."""
    tx.execute(sa.update(_mapping).where(_mapping.c.public_id == public_id).values(dn=dn))


def public_ids(tx: Tx, domain_id: str, kind: str, column: str, names: Sequence[str]) -> list[str]:
    """The ids of those that the directory calls so. `column`: dn or local_id."""
    found: list[str] = []
    for start in range(0, len(names), _MANY):
        part = names[start : start + _MANY]
        statement = sa.select(_mapping.c.public_id).where(
            _mapping.c.domain_id == domain_id, _mapping.c.kind == kind, _mapping.c[column].in_(part)
        )
        found += [row.public_id for row in tx.all(statement)]
    return sorted(found)


def set_groups_of(tx: Tx, domain_id: str, user_id: str, group_ids: Sequence[str]) -> bool:
    """Let a user be in these groups of the directory and in no others of it; whether that changed anything."""
    return _set(tx, domain_id, "group", {"user_id": user_id}, "group_id", group_ids)


def set_members_of(tx: Tx, domain_id: str, group_id: str, user_ids: Sequence[str]) -> bool:
    """Let a group have these members of the directory and no others of it; whether that changed anything."""
    return _set(tx, domain_id, "user", {"group_id": group_id}, "user_id", user_ids)


def _set(tx: Tx, domain_id: str, kind: str, fixed: Mapping[str, Any], column: str, wanted: Sequence[str]) -> bool:
    other = _membership.c[column]
    here = [_membership.c[name] == value for name, value in fixed.items()]
    ours = sa.select(_mapping.c.public_id).where(_mapping.c.domain_id == domain_id, _mapping.c.kind == kind)
    present = {str(row[0]) for row in tx.all(sa.select(other).where(*here, other.in_(ours)))}
    gone, new = sorted(present - set(wanted)), sorted(set(wanted) - present)
    for start in range(0, len(gone), _MANY):
        tx.execute(sa.delete(_membership).where(*here, other.in_(gone[start : start + _MANY])))
    if new:
        tx.execute(sa.insert(_membership), [{**fixed, column: thing_id} for thing_id in new])
    return bool(gone or new)
