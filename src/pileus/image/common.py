"""What the routes of images and of what belongs to them have in common."""

from typing import Any

from pileus.image.domain import Image
from pileus.image.service import Images
from pileus.kernel.auth import Actor
from pileus.kernel.db import Tx
from pileus.kernel.errors import Forbidden
from pileus.kernel.http import Call


def own_image(call: Call, images: Images, tx: Tx) -> Image:
    """The image of the path, if the caller may do to it what the route does. NotFound, Forbidden."""
    image = images.get(tx, call.actor, call.params["image_id"])
    call.authorize(image.target())
    return image


def held_image(call: Call, images: Images, tx: Tx) -> Image:
    """The same to change it: nobody else does until the transaction ends. NotFound, Forbidden."""
    image = images.hold(tx, call.actor, call.params["image_id"])
    call.authorize(image.target())
    return image


def check_owner(actor: Actor, values: dict[str, Any]) -> None:
    """Forbidden if the caller may not give an image that owner."""
    if "owner" in values and values["owner"] != actor.owner and not actor.is_admin:
        raise Forbidden("You are not permitted to create images owned by another project.")


def check_visibility(call: Call, values: dict[str, Any], target: dict[str, Any]) -> None:
    """Forbidden if the caller may not give an image that visibility."""
    rule = {"public": "publicize_image", "community": "communitize_image"}.get(values.get("visibility", ""))
    if rule is not None:
        call.authorize(target, rule)
