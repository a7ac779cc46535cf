"""Cache management: the cache of the machine that answers."""

from typing import Any

from pileus.image.service import Images
from pileus.kernel.clock import MICROSECONDS
from pileus.kernel.db import Row
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call, Route

TARGET = "x-image-cache-clear-target"


def show_cache(call: Call, images: Images) -> dict[str, Any]:
    """Query cache status."""
    with call.read() as tx:
        cached, queued = images.cache.entries(tx)
    return {"cached_images": [_render(row) for row in cached], "queued_images": queued}


def queue_image(call: Call, images: Images) -> None:
    """Queue image."""

    def work(tx: Any) -> None:
        images.cache.queue(tx, images.get(tx, call.actor, call.params["image_id"]))

    call.transact(work)


def delete_from_cache(call: Call, images: Images) -> None:
    """Delete image from cache."""
    call.transact(lambda tx: images.cache.delete(tx, call.params["image_id"]))


def clear_cache(call: Call, images: Images) -> None:
    """Clear images from cache."""
    target = (call.header(TARGET) or "").lower()
    if target not in ("", "cache", "queue"):
        raise BadRequest(f"The header {TARGET} must be 'cache' or 'queue', or absent for both, not '{target}'.")
    call.transact(lambda tx: images.cache.clear(tx, cache=target != "queue", queue=target != "cache"))


def clean_cache(_call: Call, images: Images) -> None:
    """Clean invalid cached images."""
    images.cache.clean()


def prune_cache(_call: Call, images: Images) -> dict[str, int]:
    """Prune image cache directory."""
    freed, files = images.cache.prune()
    return {"total_bytes_pruned": freed, "total_files_pruned": files}


def _render(row: Row) -> dict[str, Any]:
    """Instants are seconds since the epoch; 0 of a copy that was never read."""
    return {
        "image_id": row.image_id,
        "hits": row.hits,
        "last_accessed": (row.last_accessed or 0) / MICROSECONDS,
        "last_modified": row.last_modified / MICROSECONDS,
        "size": row.size,
    }


ROUTES: tuple[Route[Images], ...] = (
    Route("GET", "/cache", show_cache, "cache_list"),
    Route("DELETE", "/cache", clear_cache, "cache_delete", status=204),
    Route("POST", "/cache/clean", clean_cache, "cache_clean", raw=True),
    Route("POST", "/cache/prune", prune_cache, "cache_prune", raw=True),
    Route("PUT", "/cache/{image_id}", queue_image, "cache_image", status=202, raw=True),
    Route("DELETE", "/cache/{image_id}", delete_from_cache, "cache_delete", status=204),
)
