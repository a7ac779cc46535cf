"""What the routes of images and of what belongs to them have in common."""

from pileus.image.domain import Image
from pileus.image.service import Images
from pileus.kernel.db import Tx
from pileus.kernel.http import Call


def own_image(call: Call, images: Images, tx: Tx) -> Image:
    """The image of the path, if the caller may do to it what the route does. NotFound, Forbidden."""
    image = images.get(tx, call.actor, call.params["image_id"])
    call.authorize(image.target())
    return image
