"""Which stores there are, and images' data in them, over HTTP."""

from typing import Any

from pileus.image.common import own_image
from pileus.image.service import Images
from pileus.image.stores.settings import StoreSettings
from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Route


def list_stores(_call: Call, images: Images) -> dict[str, Any]:
    """List stores."""
    return {"stores": [_shown(images, name) for name in _names(images)]}


def list_stores_detail(_call: Call, images: Images) -> dict[str, Any]:
    """List stores detail."""
    stores = images.stored.stores
    return {
        "stores": [
            {
                **_shown(images, name),
                "type": stores.get(name).kind,
                "weight": stores.weight(name),
                "properties": _properties(images, stores.settings[name]),
            }
            for name in _names(images)
        ]
    }


def _names(images: Images) -> list[str]:
    return [store.name for store in images.stored.stores.all()]


def _shown(images: Images, name: str) -> dict[str, Any]:
    """A store as everybody sees it, in Glance's spelling of what is true."""
    stores = images.stored.stores
    settings = stores.settings[name]
    shown: dict[str, Any] = {"id": name}
    if settings.description:
        shown["description"] = settings.description
    if stores.default.name == name:
        shown["default"] = "true"
    if stores.get(name).read_only:
        shown["read-only"] = "true"
    if settings.weight:
        shown["weight"] = settings.weight
    return shown


def _properties(images: Images, settings: StoreSettings) -> dict[str, Any]:
    """What Glance tells of a store of this kind."""
    match settings.kind:
        case "file":
            directory = images.settings.files_dir / settings.directory
            return {"data_dir": str(directory), "chunk_size": 1 << 20, "thin_provisioning": False}
        case "rbd":
            size = settings.rbd_object_size << 20
            return {"chunk_size": size, "pool": settings.rbd_pool, "thin_provisioning": False}
        case "s3":
            return {
                "s3_store_large_object_size": settings.s3_part_size,
                "s3_store_large_object_chunk_size": settings.s3_part_size,
                "s3_store_thread_pools": 1,
            }
        case _:
            return {}


def delete_from_store(call: Call, images: Images) -> None:
    """Delete image from store."""
    with call.read() as tx:
        found = own_image(call, images, tx)
    images.locations.check_unused(found, call.params["store_id"])

    def work(tx: Tx) -> None:
        image = own_image(call, images, tx)
        images.locations.remove_from_store(tx, call.actor, image.id, call.params["store_id"])

    call.transact(work)


ROUTES: tuple[Route[Images], ...] = (
    Route("GET", "/info/stores", list_stores, "get_images"),
    Route("GET", "/info/stores/detail", list_stores_detail, "stores_info_detail"),
    Route(
        "DELETE", "/stores/{store_id}/{image_id}", delete_from_store, "delete_image_location", status=204,
        targeted=True,
    ),
)  # fmt: skip
