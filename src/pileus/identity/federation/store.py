"""Every query about providers, mappings, protocols, and the users who came through them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from pileus.identity.federation import models
from pileus.identity.federation.domain import (
    AttributeMapping,
    FederatedObject,
    IdentityProvider,
    Protocol,
    ServiceProvider,
)
from pileus.identity.models import password as password_table
from pileus.identity.models import user as user_table
from pileus.identity.rows import Found, Rows, Wanted, page_of
from pileus.kernel.db import Tx, is_duplicate
from pileus.kernel.errors import Conflict

PROVIDERS = Rows(models.provider, IdentityProvider, "identity provider")
MAPPINGS = Rows(models.mapping, AttributeMapping, "mapping")
SERVICE_PROVIDERS = Rows(models.service_provider, ServiceProvider, "service provider")
_protocol, _remote, _federated = models.protocol, models.remote_id, models.federated_user
_PROTOCOL_FIELDS = ("idp_id", "id", "mapping_id", "remote_id_attribute")


# --- providers ----------------------------------------------------------------------------------------------


def provider(tx: Tx, idp_id: str) -> IdentityProvider | None:
    """A provider, with its remote ids."""
    found = PROVIDERS.get(tx, idp_id)
    return None if found is None else _with_remote_ids(tx, [found])[0]


def providers(tx: Tx, wanted: Wanted) -> Found[IdentityProvider]:
    """A page of providers."""
    found = PROVIDERS.page(tx, wanted)
    return Found(_with_remote_ids(tx, found.things), found.more)


def _with_remote_ids(tx: Tx, found: Sequence[IdentityProvider]) -> list[IdentityProvider]:
    known: dict[str, list[str]] = {}
    ids = [one.id for one in found]
    statement = sa.select(_remote.c.idp_id, _remote.c.remote_id).where(_remote.c.idp_id.in_(ids))
    for row in tx.all(statement.order_by(_remote.c.remote_id)) if ids else ():
        known.setdefault(row.idp_id, []).append(row.remote_id)
    return [msgspec.structs.replace(one, remote_ids=tuple(known.get(one.id, ()))) for one in found]


def set_remote_ids(tx: Tx, idp_id: str, remote_ids: Sequence[str]) -> None:
    """Replace a provider's remote ids. Conflict if another provider has one of them."""
    tx.execute(sa.delete(_remote).where(_remote.c.idp_id == idp_id))
    rows = [{"remote_id": text, "idp_id": idp_id} for text in dict.fromkeys(remote_ids)]
    if not rows:
        return
    try:
        tx.execute(sa.insert(_remote), rows)
    except sa.exc.IntegrityError as err:
        if is_duplicate(err):
            raise Conflict("Duplicate remote ID: another identity provider has one of the remote ids.") from err
        raise


# --- protocols ----------------------------------------------------------------------------------------------


def protocol(tx: Tx, idp_id: str, protocol_id: str) -> Protocol | None:
    """A protocol of a provider."""
    row = tx.one(_protocols(_protocol.c.idp_id == idp_id, _protocol.c.id == protocol_id))
    return None if row is None else Protocol(**row._mapping)


def protocols(tx: Tx, idp_id: str, wanted: Wanted) -> Found[Protocol]:
    """A page of a provider's protocols."""
    rows = tx.all(_protocols(_protocol.c.idp_id == idp_id))
    found = [Protocol(**row._mapping) for row in rows]
    return page_of([one for one in found if wanted.equal.get("id", one.id) == one.id], wanted)


def _protocols(*conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(*(_protocol.c[name] for name in _PROTOCOL_FIELDS)).where(*conditions)


def insert_protocol(tx: Tx, new: Protocol) -> None:
    """Add a protocol. Conflict if the provider has one of that id."""
    try:
        tx.execute(sa.insert(_protocol).values({name: getattr(new, name) for name in _PROTOCOL_FIELDS}))
    except sa.exc.IntegrityError as err:
        if is_duplicate(err):
            raise Conflict(f"Conflict occurred attempting to store protocol - Duplicate entry {new.id}.") from err
        raise Conflict("The identity provider or the mapping was deleted meanwhile.") from err


def change_protocol(tx: Tx, idp_id: str, protocol_id: str, values: Mapping[str, Any]) -> None:
    """Set columns of a protocol."""
    if values:
        here = sa.and_(_protocol.c.idp_id == idp_id, _protocol.c.id == protocol_id)
        tx.execute(sa.update(_protocol).where(here).values(**values))


def delete_protocol(tx: Tx, idp_id: str, protocol_id: str) -> None:
    """Delete a protocol, and what says who came through it."""
    tx.execute(sa.delete(_protocol).where(_protocol.c.idp_id == idp_id, _protocol.c.id == protocol_id))


def uses_of_mapping(tx: Tx, mapping_id: str) -> int:
    """How many protocols use a mapping."""
    counted = sa.select(sa.func.count()).select_from(_protocol).where(_protocol.c.mapping_id == mapping_id)
    return int(tx.scalar(counted))


# --- users --------------------------------------------------------------------------------------------------


def user_of(tx: Tx, who: FederatedObject) -> str | None:
    """The id of the user that a provider's user is here."""
    row = tx.one(sa.select(_federated.c.user_id).where(*_exactly(who)))
    return None if row is None else str(row.user_id)


def _exactly(who: FederatedObject) -> list[sa.ColumnElement[bool]]:
    return [_federated.c[name] == value for name, value in msgspec.structs.asdict(who).items()]


def add_user(tx: Tx, who: FederatedObject, user_id: str) -> None:
    """Say that a provider's user is this user. Conflict if it is another one already."""
    try:
        tx.execute(sa.insert(_federated).values(user_id=user_id, **msgspec.structs.asdict(who)))
    except sa.exc.IntegrityError as err:
        raise Conflict("The user logged in for the first time twice at one moment, or the provider is gone.") from err


_OBJECTS_OF = sa.select(_federated.c.idp_id, _federated.c.protocol_id, _federated.c.unique_id).where(
    _federated.c.user_id == sa.bindparam("of_user")
)


def objects_of(tx: Tx, user_id: str) -> list[FederatedObject]:
    """Through which providers a user comes."""
    rows = tx.all(_OBJECTS_OF, {"of_user": user_id})
    return sorted((FederatedObject(**row._mapping) for row in rows), key=msgspec.structs.astuple)


def forget_user(tx: Tx, user_id: str) -> None:
    """Let a user come through no provider."""
    tx.execute(sa.delete(_federated).where(_federated.c.user_id == user_id))


def users_only_by(tx: Tx, idp_id: str, protocol_id: str | None = None) -> list[str]:
    """The users who came through a provider (or one protocol of it) and cannot come otherwise, nor have a password."""
    here = [_federated.c.idp_id == idp_id]
    if protocol_id is not None:
        here.append(_federated.c.protocol_id == protocol_id)
    theirs = sa.select(_federated.c.user_id).where(*here)
    others = sa.select(_federated.c.user_id).where(sa.not_(sa.and_(*here)))
    statement = sa.select(user_table.c.id).where(
        user_table.c.id.in_(theirs),
        user_table.c.id.not_in(others),
        user_table.c.id.not_in(sa.select(password_table.c.user_id)),
    )
    return [row.id for row in tx.all(statement.order_by(user_table.c.id))]


# --- memberships that end -----------------------------------------------------------------------------------

_membership = models.expiring_membership


def replace_memberships(tx: Tx, user_id: str, idp_id: str, group_ids: Sequence[str], expires_at: int, now: int) -> bool:
    """Let a user be in the groups that a provider says, until a time, and in no others that it said before.

    Logins of one user wait for each other here.

    A membership that lasts longer already stays as it is. Answers whether the user gained or lost a group.
    """
    tx.one(sa.select(user_table.c.id).where(user_table.c.id == user_id).with_for_update())
    rows = tx.all(
        sa.select(_membership.c.group_id, _membership.c.expires_at).where(
            _membership.c.user_id == user_id, _membership.c.idp_id == idp_id
        )
    )
    before = {row.group_id: int(row.expires_at) for row in rows}
    ours = sa.and_(_membership.c.user_id == user_id, _membership.c.idp_id == idp_id)
    gone = sorted(before.keys() - set(group_ids))
    if gone:
        tx.execute(sa.delete(_membership).where(ours, _membership.c.group_id.in_(gone)))
    for group_id in dict.fromkeys(group_ids):
        if group_id not in before:
            values = {"user_id": user_id, "group_id": group_id, "idp_id": idp_id, "expires_at": expires_at}
            tx.execute(sa.insert(_membership).values(**values))
        elif before[group_id] < expires_at:
            here = sa.and_(ours, _membership.c.group_id == group_id)
            tx.execute(sa.update(_membership).where(here).values(expires_at=expires_at))
    alive = {group_id for group_id, ends in before.items() if ends > now}
    return alive != set(group_ids)


_OF_USER = sa.select(_membership.c.group_id, _membership.c.idp_id, _membership.c.expires_at).where(
    _membership.c.user_id == sa.bindparam("of_user"), _membership.c.expires_at > sa.bindparam("at")
)


def memberships(tx: Tx, user_id: str, now: int) -> list[tuple[str, str, int]]:
    """The memberships of a user that last: group, provider, and when they end."""
    rows = tx.all(_OF_USER, {"of_user": user_id, "at": now})
    return sorted((row.group_id, row.idp_id, int(row.expires_at)) for row in rows)
