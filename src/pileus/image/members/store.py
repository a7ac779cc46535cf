"""Queries on the members of images."""

from collections.abc import Sequence

import sqlalchemy as sa

from pileus.image.domain import Member
from pileus.image.models import image_member
from pileus.kernel.db import Tx

_OF_IMAGE = sa.select(image_member).where(image_member.c.image_id == sa.bindparam("image"))
_ALL = _OF_IMAGE.order_by(image_member.c.created_at, image_member.c.member_id)
_ONE = _OF_IMAGE.where(image_member.c.member_id == sa.bindparam("member"))
_COUNT = sa.select(sa.func.count()).where(image_member.c.image_id == sa.bindparam("image"))


def of_image(tx: Tx, image_id: str) -> list[Member]:
    """All members of an image, the first first."""
    return [Member(**row._asdict()) for row in tx.all(_ALL, {"image": image_id})]


def find(tx: Tx, image_id: str, member_id: str) -> Member | None:
    """One member of an image."""
    row = tx.one(_ONE, {"image": image_id, "member": member_id})
    return None if row is None else Member(**row._asdict())


def count(tx: Tx, image_id: str) -> int:
    """How many members an image has."""
    return int(tx.scalar(_COUNT, {"image": image_id}))


def insert(tx: Tx, member: Member) -> None:
    """Add a member."""
    tx.execute(sa.insert(image_member).values({name: getattr(member, name) for name in member.__struct_fields__}))


def set_status(tx: Tx, image_id: str, member_id: str, status: str, now: int) -> bool:
    """Change what a member says of the image. Whether it was there."""
    statement = sa.update(image_member).where(_is(image_id, member_id))
    return tx.changed(statement.values(status=status, updated_at=now)) == 1


def delete(tx: Tx, image_id: str, member_id: str) -> bool:
    """Remove a member. Whether it was there."""
    return tx.changed(sa.delete(image_member).where(_is(image_id, member_id))) == 1


def shared_with(member_id: sa.ColumnElement[str], statuses: Sequence[str]) -> sa.Select[tuple[str]]:
    """The ids of the images that a project is a member of, with one of the statuses."""
    return sa.select(image_member.c.image_id).where(
        image_member.c.member_id == member_id, image_member.c.status.in_(statuses)
    )


def _is(image_id: str, member_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(image_member.c.image_id == image_id, image_member.c.member_id == member_id)
