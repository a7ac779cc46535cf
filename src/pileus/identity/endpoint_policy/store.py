"""Every query about associations of policy documents."""

import msgspec
import sqlalchemy as sa

from pileus.identity.endpoint_policy.domain import Place
from pileus.identity.endpoint_policy.models import policy_association as _association
from pileus.kernel.db import Tx
from pileus.kernel.ids import new_hex


def associate(tx: Tx, place: Place, policy_id: str) -> None:
    """Give a place its policy document, instead of the one it had."""
    here = _association.c.place == place.key
    if tx.one(sa.select(_association.c.id).where(here)) is not None:
        tx.execute(sa.update(_association).where(here).values(policy_id=policy_id))
        return
    values = msgspec.structs.asdict(place)
    tx.execute(sa.insert(_association).values(id=new_hex(), place=place.key, policy_id=policy_id, **values))


def dissociate(tx: Tx, place: Place, policy_id: str) -> None:
    """Take a policy document away from a place; it may have had another one, or none."""
    here = (_association.c.place == place.key, _association.c.policy_id == policy_id)
    tx.execute(sa.delete(_association).where(*here))


def policy_of(tx: Tx, place: Place) -> str | None:
    """The id of the policy document that exactly this place has."""
    found: str | None = tx.scalar(sa.select(_association.c.policy_id).where(_association.c.place == place.key))
    return found


def places_of(tx: Tx, policy_id: str) -> list[Place]:
    """The places that have a policy document."""
    columns = [_association.c[name] for name in Place.__struct_fields__]
    statement = sa.select(*columns).where(_association.c.policy_id == policy_id).order_by(_association.c.place)
    return [Place(**row._mapping) for row in tx.all(statement)]
