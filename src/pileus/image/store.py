"""Queries on images."""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from pileus.image.domain import VISIBILITIES, Filters, Image, Status
from pileus.image.members.store import shared_with
from pileus.image.models import image, image_location, image_member, image_property, image_tag
from pileus.kernel.db import Row, Tx
from pileus.kernel.paging import Page, keyset

COLUMNS: dict[str, sa.ColumnElement[Any]] = {column.name: column for column in image.c}
_ME: sa.BindParameter[str] = sa.bindparam("me", type_=image.c.owner.type)
_ROWS: sa.BindParameter[int] = sa.bindparam("rows", type_=sa.Integer())
_ONE = sa.select(image).where(image.c.id == sa.bindparam("id"), image.c.status != Status.DELETED)
_FIELDS = Image.__struct_fields__

_OPERATORS = {
    "gt": lambda column, value: column > value,
    "gte": lambda column, value: column >= value,
    "lt": lambda column, value: column < value,
    "lte": lambda column, value: column <= value,
    "eq": lambda column, value: column == value,
    "neq": lambda column, value: column != value,
}


def find(tx: Tx, image_id: str) -> Row | None:
    """One image that is not deleted."""
    return tx.one(_ONE, {"id": image_id})


def lock(tx: Tx, image_id: str) -> Row | None:
    """One image that is not deleted, kept from all others until the transaction ends."""
    return tx.one(_ONE.with_for_update(), {"id": image_id})


def image_of(row: Row) -> Image:
    """The image that a row holds."""
    values = row._mapping
    return Image(**{name: values[name] for name in _FIELDS})


def known(tx: Tx, image_id: str) -> bool:
    """Whether the id is taken, also by a deleted image whose data is still being removed."""
    return tx.one(sa.select(image.c.id).where(image.c.id == image_id)) is not None


def page(tx: Tx, filters: Filters, wanted: Page, marker: Row | None) -> Sequence[Row]:
    """A page of images and one more if there are more."""
    if marker is None and filters.equal.keys() == {"os_hidden"} and not filters.further:
        scope = filters.visible_to is None, filters.visibility, tuple(filters.member_status)
        statement = _plain_page(scope, filters.equal["os_hidden"], wanted.sort)
    else:
        conditions = _conditions(filters)
        after = None if marker is None else dict(marker._mapping)
        statement = keyset(sa.select(image).where(*conditions), COLUMNS, wanted, after).limit(_ROWS)
    me = {} if filters.visible_to is None else {"me": filters.visible_to}
    return tx.all(statement, {"rows": wanted.limit + 1, **me})


@lru_cache(256)
def _plain_page(
    scope: tuple[bool, str | None, tuple[str, ...]], os_hidden: bool, sort: tuple[tuple[str, str], ...]
) -> sa.Select[Any]:
    """The first page of what most ask for: building a statement costs as much as running it."""
    everything, visibility, member_status = scope
    visible_to = None if everything else ""
    filters = Filters(visible_to, visibility, member_status, equal={"os_hidden": os_hidden})
    return keyset(sa.select(image).where(*_conditions(filters)), COLUMNS, Page(0, sort=sort), None).limit(_ROWS)


def _conditions(filters: Filters) -> list[sa.ColumnElement[bool]]:
    """The WHERE terms, over the parameter `me` where not everything is seen."""
    conditions: list[sa.ColumnElement[bool]] = [image.c.status != Status.DELETED]
    if filters.visible_to is not None:
        conditions.append(_seen(filters))
    elif filters.visibility is None:
        conditions.append(image.c.visibility != "community")
    elif filters.visibility != "all":
        conditions.append(image.c.visibility == filters.visibility)
    conditions += [COLUMNS[name] == value for name, value in filters.equal.items()]
    conditions += [COLUMNS[name].in_(values) for name, values in filters.within.items()]
    conditions += [_OPERATORS[operator](COLUMNS[name], value) for name, operator, value in filters.compare]
    for tag in filters.tags:
        conditions.append(image.c.id.in_(sa.select(image_tag.c.image_id).where(image_tag.c.tag == tag)))
    for name, value in filters.properties.items():
        having = sa.select(image_property.c.image_id).where(
            image_property.c.name == name, image_property.c.value == value
        )
        conditions.append(image.c.id.in_(having))
    return conditions


def _seen(filters: Filters) -> sa.ColumnElement[bool]:
    """What a project sees of the images of the wanted visibility: its own, what it received, what is for all."""
    own = image.c.owner == _ME
    received = sa.and_(_only("shared"), image.c.id.in_(shared_with(_ME, filters.member_status)))
    match filters.visibility:
        case None:
            return sa.or_(image.c.visibility == "public", own, received)
        case "all":
            return sa.or_(image.c.visibility.in_(("public", "community")), own, received)
        case "shared":
            return sa.or_(sa.and_(own, _only("shared")), received)
        case "private":
            return sa.and_(own, _only("private"))
        case visibility:
            return image.c.visibility == visibility


def _only(visibility: str) -> sa.ColumnElement[bool]:
    """Written so that no database looks there first: most images of a cloud are private or shared."""
    return image.c.visibility.not_in([other for other in VISIBILITIES if other != visibility])


def insert(tx: Tx, values: Mapping[str, Any]) -> None:
    """Add an image with its properties, tags and locations."""
    tx.execute(sa.insert(image).values(**values))
    _index(tx, values["id"], values)


def update(tx: Tx, image_id: str, values: Mapping[str, Any]) -> None:
    """Change an image; `properties`, `tags` and `locations` are replaced whole."""
    tx.execute(sa.update(image).where(image.c.id == image_id).values(**values))
    _index(tx, image_id, values)


def change_status(tx: Tx, image_id: str, sources: Collection[str], target: str, **values: Any) -> bool:
    """Compare-and-swap of the status; whether the image was in one of the source states."""
    statement = sa.update(image).where(image.c.id == image_id, image.c.status.in_(sources))
    if tx.changed(statement.values(status=target, **values)) != 1:
        return False
    _index(tx, image_id, values)
    return True


def finish_upload(tx: Tx, image_id: str, uploader: str, target: str, **values: Any) -> bool:
    """End an upload, if it is still this uploader's: nobody deleted the image or took the upload for dead."""
    statement = sa.update(image).where(
        image.c.id == image_id, image.c.status == Status.SAVING, image.c.uploader == uploader
    )
    if tx.changed(statement.values(status=target, uploader=None, **values)) != 1:
        return False
    _index(tx, image_id, values)
    return True


def uploads(tx: Tx) -> Sequence[Row]:
    """Images that are being received, also those that were deleted meanwhile: id, status and uploader."""
    deleted_meanwhile = sa.and_(image.c.status == Status.DELETED, image.c.uploader.is_not(None))
    wanted = sa.or_(image.c.status == Status.SAVING, deleted_meanwhile)
    return tx.all(sa.select(image.c.id, image.c.status, image.c.uploader).where(wanted))


def let_go(tx: Tx, image_id: str, column: str, holder: str) -> Row | None:
    """The deleted image to which this holder's data (column: `uploader` or `import_task`) comes no more, id and
    locations; None if there is none."""
    mine = sa.and_(image.c.id == image_id, image.c.status == Status.DELETED, image.c[column] == holder)
    row = tx.one(sa.select(image.c.id, image.c.locations).where(mine))
    if row is not None:
        tx.execute(sa.update(image).where(mine).values({column: None}))
    return row


def deleted(tx: Tx) -> Sequence[Row]:
    """Deleted images whose data may still be there."""
    return tx.all(sa.select(image.c.id, image.c.locations).where(image.c.status == Status.DELETED))


def purge(tx: Tx, image_id: str) -> None:
    """Forget a deleted image, unless somebody is at work on its data still: its id must not be taken before that ends,
    or what they write or remove would be the data of the image that took it."""
    idle = sa.and_(image.c.status == Status.DELETED, image.c.uploader.is_(None), image.c.import_task.is_(None))
    if tx.one(sa.select(image.c.id).where(image.c.id == image_id, idle)) is None:
        return
    tx.execute(sa.delete(image_property).where(image_property.c.image_id == image_id))
    tx.execute(sa.delete(image_tag).where(image_tag.c.image_id == image_id))
    tx.execute(sa.delete(image_location).where(image_location.c.image_id == image_id))
    tx.execute(sa.delete(image_member).where(image_member.c.image_id == image_id))
    tx.execute(sa.delete(image).where(image.c.id == image_id, image.c.status == Status.DELETED))


def _index(tx: Tx, image_id: str, values: Mapping[str, Any]) -> None:
    if "properties" in values:
        tx.execute(sa.delete(image_property).where(image_property.c.image_id == image_id))
        rows = [{"image_id": image_id, "name": name, "value": text} for name, text in values["properties"].items()]
        if rows:
            tx.execute(sa.insert(image_property), rows)
    if "tags" in values:
        tx.execute(sa.delete(image_tag).where(image_tag.c.image_id == image_id))
        if values["tags"]:
            tx.execute(sa.insert(image_tag), [{"image_id": image_id, "tag": tag} for tag in values["tags"]])
    if "locations" in values:
        tx.execute(sa.delete(image_location).where(image_location.c.image_id == image_id))
        places = [
            {"image_id": image_id, "position": position, "store": location.store}
            for position, location in enumerate(values["locations"])
        ]
        if places:
            tx.execute(sa.insert(image_location), places)
