"""The image API's URL table and its handlers."""

from typing import Any
from urllib.parse import urlencode

import msgspec

from pileus.image import listing, patch, schemas
from pileus.image.cache import routes as cache
from pileus.image.common import check_owner, check_visibility, held_image
from pileus.image.data import routes as data
from pileus.image.domain import Filters, Image
from pileus.image.errors import error_shape
from pileus.image.imports import routes as imports
from pileus.image.locations import routes as locations
from pileus.image.members import routes as members
from pileus.image.members.schemas import MEMBER_SCHEMA, MEMBERS_SCHEMA
from pileus.image.metadefs import routes as metadefs
from pileus.image.protection import Operation
from pileus.image.quotas import routes as quotas
from pileus.image.service import Images
from pileus.image.stores import routes as stores
from pileus.image.tasks import routes as tasks
from pileus.image.tasks.schemas import TASK_SCHEMA, TASKS_SCHEMA
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, NotFound, TooLarge
from pileus.kernel.fields import MALFORMED_JSON, refuse_nul
from pileus.kernel.http import Call, Reply, Route, Service
from pileus.kernel.paging import Page, next_link

PREFIX = "/image/v2"
MAX_DOCUMENT = 1 << 20
OLDEST_MINOR, NEWEST_MINOR = 0, 18


def list_images(call: Call, images: Images) -> dict[str, Any]:
    """List Images."""
    filters = listing.parse_filters(call.query, call.actor)
    page = listing.parse_page(call.query, images.settings)
    found, more = _page(call, images, filters, page)
    answer: dict[str, Any] = {
        "images": [_render(call, images, image) for image in found],
        "schema": "/v2/schemas/images",
        "first": _first(call),
    }
    if more and found:
        answer["next"] = next_link("/v2/images", call.query.pairs, found[-1].id)
    return answer


def _page(call: Call, images: Images, filters: Filters, page: Page) -> tuple[list[Image], bool]:
    """A filter by a property that the caller may not read finds nothing, as it would tell its value."""
    if not all(images.protection.permits(call.actor, Operation.READ, name) for name in filters.properties):
        return [], False
    with call.read() as tx:
        return images.page(tx, call.actor, filters, page)


def _render(call: Call, images: Images, image: Image) -> dict[str, Any]:
    """An image as this caller sees it."""
    return {
        **schemas.render(images.protection.readable(call.actor, image)),
        **images.locations.shown(image, lambda: call.may("get_image_location", image.target())),
    }


def _first(call: Call) -> str:
    query = urlencode([(key, value) for key, value in call.query.pairs if key != "marker"])
    return f"/v2/images?{query}" if query else "/v2/images"


def create_image(call: Call, images: Images) -> Reply:
    """Create Image."""
    values = schemas.parse_create(_document(call))
    check_owner(call.actor, values)
    check_visibility(call, values, {"project_id": call.actor.project_id, "owner": call.actor.project_id})
    images.protection.check(call.actor, {}, values.get("properties", {}))
    image = call.transact(lambda tx: images.create(tx, call.actor, values))
    headers = {
        "Location": f"{call.base_url}/images/{image.id}",
        "OpenStack-image-import-methods": ",".join(images.imports.methods()),
        "OpenStack-image-store-ids": ",".join(store.name for store in images.stored.stores.all()),
    }
    return Reply(_render(call, images, image), headers=headers)


def show_image(call: Call, images: Images) -> dict[str, Any]:
    """Show Image."""
    with call.read() as tx:
        image = images.get(tx, call.actor, call.params["image_id"])
    call.authorize(image.target())
    return _render(call, images, image)


def update_image(call: Call, images: Images) -> dict[str, Any]:
    """Update Image."""
    about_locations, others = patch.split(patch.parse(_body(call), call.header("Content-Type")))
    found = locations.look(call, images, about_locations)

    def work(tx: Tx) -> Image:
        image = held_image(call, images, tx)
        values = patch.apply(image, others)
        if about_locations:
            locations.authorize(call, image, about_locations)
            values |= images.locations.patched(tx, call.actor, image.id, about_locations, found)
        images.protection.check(call.actor, image.properties, values.get("properties", image.properties))
        check_owner(call.actor, values)
        check_visibility(call, values, image.target())
        return images.update(tx, image, values)

    return _render(call, images, call.transact(work))


def delete_image(call: Call, images: Images) -> None:
    """Delete Image."""
    call.transact(lambda tx: images.delete(tx, held_image(call, images, tx)))


def deactivate_image(call: Call, images: Images) -> None:
    """Deactivate image."""
    call.transact(lambda tx: images.set_active(tx, held_image(call, images, tx), active=False))


def reactivate_image(call: Call, images: Images) -> None:
    """Reactivate image."""
    call.transact(lambda tx: images.set_active(tx, held_image(call, images, tx), active=True))


def add_tag(call: Call, images: Images) -> None:
    """Add image tag."""
    tag = schemas.check_tag(call.params["tag"])
    call.transact(lambda tx: images.set_tag(tx, held_image(call, images, tx), tag))


def delete_tag(call: Call, images: Images) -> None:
    """Delete image tag."""
    call.transact(lambda tx: images.remove_tag(tx, held_image(call, images, tx), call.params["tag"]))


_SCHEMAS = {
    "image": schemas.IMAGE_SCHEMA,
    "images": schemas.IMAGES_SCHEMA,
    "member": MEMBER_SCHEMA,
    "members": MEMBERS_SCHEMA,
    "task": TASK_SCHEMA,
    "tasks": TASKS_SCHEMA,
}


def show_schema(call: Call, _images: Images) -> dict[str, Any]:
    """Show image schema, Show images schema, Show image member schema, Show image members schema, Show task schema,
    Show tasks schema."""
    found = _SCHEMAS.get(call.params["schema"])
    if found is None:
        raise NotFound(f"There is no schema {call.params['schema']}.")
    return found


def _body(call: Call) -> bytes:
    data = call.stream.read(MAX_DOCUMENT + 1)
    if len(data) > MAX_DOCUMENT:
        raise TooLarge(f"The request body is larger than {MAX_DOCUMENT} bytes.")
    return data


def _document(call: Call) -> object:
    data = _body(call)
    refuse_nul(data)
    try:
        return msgspec.json.decode(data)
    except MALFORMED_JSON as err:
        raise BadRequest("The request body is not valid JSON.") from err


def versions_document(base: str) -> Reply:
    """API versions: the newest is CURRENT."""
    versions = [
        {
            "id": f"v2.{minor}",
            "status": "CURRENT" if minor == NEWEST_MINOR else "SUPPORTED",
            "links": [{"rel": "self", "href": f"{base}/image/v2/"}],
        }
        for minor in range(NEWEST_MINOR, OLDEST_MINOR - 1, -1)
    ]
    return Reply({"versions": versions}, status=300)


def versions_listing(base: str) -> Reply:
    """The same with status 200."""
    return Reply(versions_document(base).body)


ROUTES: tuple[Route[Images], ...] = (
    Route("GET", "/images", list_images, "get_images"),
    Route("POST", "/images", create_image, "add_image", status=201, raw=True),
    Route("GET", "/images/{image_id}", show_image, "get_image", targeted=True),
    Route("PATCH", "/images/{image_id}", update_image, "modify_image", raw=True, targeted=True),
    Route("DELETE", "/images/{image_id}", delete_image, "delete_image", status=204, targeted=True),
    Route("POST", "/images/{image_id}/actions/deactivate", deactivate_image, "deactivate", status=204, targeted=True),
    Route("POST", "/images/{image_id}/actions/reactivate", reactivate_image, "reactivate", status=204, targeted=True),
    Route("PUT", "/images/{image_id}/tags/{tag}", add_tag, "modify_image", status=204, targeted=True),
    Route("DELETE", "/images/{image_id}/tags/{tag}", delete_tag, "modify_image", status=204, targeted=True),
    *data.ROUTES,
    *cache.ROUTES,
    *members.ROUTES,
    *imports.ROUTES,
    *locations.ROUTES,
    *stores.ROUTES,
    *tasks.ROUTES,
    *metadefs.ROUTES,
    *quotas.ROUTES,
    Route("GET", "/schemas/{schema}", show_schema, "get_images"),
)


def make_service(images: Images) -> Service[Images]:
    """The image API as a service."""
    return Service(
        "image",
        PREFIX,
        ROUTES,
        images,
        error_shape,
        exact_paths=True,
        documents={"/image": versions_document, "/image/versions": versions_listing},
    )
