"""Members of images over HTTP."""

from typing import Any

from pileus.image.domain import Image, Member
from pileus.image.members import schemas
from pileus.image.members.service import no_member
from pileus.image.service import Images
from pileus.kernel.db import Tx
from pileus.kernel.errors import NotFound
from pileus.kernel.http import Call, Route


def list_members(call: Call, images: Images) -> dict[str, Any]:
    """List image members: its owner sees all of them, a member itself."""
    with call.read() as tx:
        image = _image(call, images, tx)
        call.authorize({**image.target(), "member_id": call.actor.owner})
        members = images.members.all(tx, image)
    seen = [schemas.render(member) for member in members if _sees(call, image, member)]
    return {"members": seen, "schema": "/v2/schemas/members"}


def create_member(call: Call, images: Images) -> dict[str, Any]:
    """Create image member."""

    def work(tx: Tx) -> Member:
        image = _image(call, images, tx)
        call.authorize(image.target())
        return images.members.add(tx, image, call.body.member)

    return schemas.render(call.transact(work))


def show_member(call: Call, images: Images) -> dict[str, Any]:
    """Show image member details."""
    with call.read() as tx:
        image = _image(call, images, tx)
        if image.visibility != "shared":
            raise NotFound("Only shared images have members.")
        member = _member(call, images, tx, image)
    call.authorize(image.target(member))
    return schemas.render(member)


def update_member(call: Call, images: Images) -> dict[str, Any]:
    """Update image member: what the member itself says of the image."""

    def work(tx: Tx) -> Member:
        image = _image(call, images, tx)
        member = _member(call, images, tx, image)
        call.authorize(image.target(member))
        return images.members.set_status(tx, image, member.member_id, call.body.status)

    return schemas.render(call.transact(work))


def delete_member(call: Call, images: Images) -> None:
    """Delete image member."""

    def work(tx: Tx) -> None:
        image = _image(call, images, tx)
        member = _member(call, images, tx, image)
        call.authorize(image.target(member))
        images.members.remove(tx, image, member.member_id)

    call.transact(work)


def _image(call: Call, images: Images, tx: Tx) -> Image:
    return images.get(tx, call.actor, call.params["image_id"])


def _member(call: Call, images: Images, tx: Tx, image: Image) -> Member:
    """The member of the path. NotFound if the caller may not know of it."""
    member = images.members.get(tx, image, call.params["member_id"])
    if not _sees(call, image, member):
        raise no_member(image, member.member_id)
    return member


def _sees(call: Call, image: Image, member: Member) -> bool:
    return call.may("get_member", image.target(member))


_ONE = "/images/{image_id}/members/{member_id}"
ROUTES: tuple[Route[Images], ...] = (
    Route("GET", "/images/{image_id}/members", list_members, "get_members", targeted=True),
    Route("POST", "/images/{image_id}/members", create_member, "add_member", body=schemas.CREATE, targeted=True),
    Route("GET", _ONE, show_member, "get_member", targeted=True),
    Route("PUT", _ONE, update_member, "modify_member", body=schemas.UPDATE, targeted=True),
    Route("DELETE", _ONE, delete_member, "delete_member", status=204, targeted=True),
)
