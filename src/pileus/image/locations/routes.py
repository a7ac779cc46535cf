"""Locations over HTTP."""

from collections.abc import Sequence

from pileus.image.common import held_image, own_image
from pileus.image.domain import Image
from pileus.image.locations import schemas
from pileus.image.locations.domain import Found
from pileus.image.patch import Operation
from pileus.image.service import Images
from pileus.kernel.db import Tx
from pileus.kernel.errors import Forbidden
from pileus.kernel.fields import given
from pileus.kernel.http import Call, Reply, Route

_RULES = {"add": "set_image_location", "replace": "set_image_location", "remove": "delete_image_location"}


def look(call: Call, images: Images, operations: Sequence[Operation]) -> dict[str, Found]:
    """What is at the URLs that a patch adds to an image's locations, once it is sure that the caller may do all of it.

    To be called before the transaction that changes the image.
    """
    if not operations:
        return {}
    if not images.settings.show_multiple_locations:
        raise Forbidden("It's not allowed to change locations where locations are invisible.")
    with call.read() as tx:
        image = own_image(call, images, tx)
    authorize(call, image, operations)
    return images.locations.resolve(call.actor, image, operations)


def authorize(call: Call, image: Image, operations: Sequence[Operation]) -> None:
    """Forbidden unless the caller may do all of this to the image's locations."""
    for rule in sorted({_RULES[operation.kind] for operation in operations}):
        call.authorize(image.target(), rule)


def add_location(call: Call, images: Images) -> None:
    """Add Location."""
    validation = schemas.check_validation(given(call.body.validation_data))
    with call.read() as tx:
        image = own_image(call, images, tx)
    _, place = images.locations.place(call.actor, image.id, call.body.url)

    def work(tx: Tx) -> None:
        images.locations.add(tx, call.actor, held_image(call, images, tx), place, validation, call.request_id)

    call.transact(work)


def list_locations(call: Call, images: Images) -> Reply:
    """Get Location."""
    with call.read() as tx:
        image = own_image(call, images, tx)
    return Reply(images.locations.listed(image))


ROUTES: tuple[Route[Images], ...] = (
    Route(
        "POST", "/images/{image_id}/locations", add_location, "add_image_location", status=202, body=schemas.ADD,
        targeted=True,
    ),
    Route("GET", "/images/{image_id}/locations", list_locations, "fetch_image_location", targeted=True),
)  # fmt: skip
