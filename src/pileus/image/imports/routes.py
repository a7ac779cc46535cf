"""Staging and importing over HTTP."""

import contextlib
from typing import Any

from pileus.image.common import own_image
from pileus.image.data.routes import announced_size, check_body, chunks_of
from pileus.image.domain import Image
from pileus.image.imports import schemas
from pileus.image.imports.domain import Method, Remote
from pileus.image.imports.schemas import Asked
from pileus.image.service import Images
from pileus.kernel.db import Tx
from pileus.kernel.errors import NotFound, Unavailable
from pileus.kernel.http import Call, Reply, Route


def stage_image(call: Call, images: Images) -> None:
    """Stage binary image data."""
    check_body(call, images)
    size = announced_size(call)
    with call.read() as tx:
        image = own_image(call, images, tx)
    images.imports.stage(image, chunks_of(call), size)


def import_image(call: Call, images: Images) -> Reply:
    """Import an image."""
    asked = schemas.parse(call.body, call.header("X-Image-Meta-Store"), images.imports.methods())

    def begin(tx: Tx) -> None:
        image = images.hold(tx, call.actor, call.params["image_id"])
        call.authorize(image.target(), "copy_image" if asked.method is Method.COPY_IMAGE else call.rule)
        images.imports.check(image, asked.method)
        stores = images.imports.choose_stores(image, asked.stores, asked.every_store, asked.method)
        images.imports.start(
            tx,
            call.actor,
            image,
            asked.method,
            request_id=call.request_id,
            stores=stores,
            shown={"image_id": image.id, "import_req": asked.shown, "backend": stores},
            must_succeed=asked.must_succeed,
            uri=asked.uri or None,
            remote=_remote(call, images, tx, asked) if asked.method is Method.GLANCE_DOWNLOAD else None,
        )

    if asked.uri:
        check_uri(images, asked.uri)
    call.transact(begin)
    return Reply(status=202, content_type="text/plain")  # of nothing: glanceclient reads JSON wherever it is said


def check_uri(images: Images, uri: str) -> None:
    """BadRequest if it is sure already that the URI may not be fetched; a name that does not resolve now may later."""
    with contextlib.suppress(Unavailable):
        images.imports.fetcher.check(uri)


def _remote(call: Call, images: Images, tx: Tx, asked: Asked) -> Remote:
    """The image to download. What the caller may do in this region is decided now; in another one, their token does."""
    here = asked.region == images.imports.regions.own
    token = None if here else images.imports.seal.close(call.header("X-Auth-Token") or "")
    permitted = here and _may_download(call, images, tx, asked)
    return Remote(call.actor, asked.region, asked.image_id, asked.interface, permitted, token)


def _may_download(call: Call, images: Images, tx: Tx, asked: Asked) -> bool:
    try:
        source: Image = images.get(tx, call.actor, asked.image_id)
    except NotFound:
        return False
    return call.may("download_image", source.target())


def show_import_methods(_call: Call, images: Images) -> dict[str, Any]:
    """Import methods and values discovery."""
    value = list(images.imports.methods())
    return {"import-methods": {"description": "Import methods available.", "type": "array", "value": value}}


ROUTES: tuple[Route[Images], ...] = (
    Route("PUT", "/images/{image_id}/stage", stage_image, "modify_image", status=204, raw=True, targeted=True),
    Route(
        "POST", "/images/{image_id}/import", import_image, "modify_image", status=202, body=schemas.IMPORT,
        targeted=True,
    ),
    Route("GET", "/info/import", show_import_methods, "get_images"),
)  # fmt: skip
