"""What a project uses of the image service."""

from typing import Any

from pileus.image.service import Images
from pileus.kernel.http import Call, Route


def show_usage(call: Call, images: Images) -> dict[str, Any]:
    """Quota usage: of the caller's project"""
    with call.read() as tx:
        return {"usage": images.quotas.usage(tx, call.actor.owner)}


ROUTES: tuple[Route[Images], ...] = (Route("GET", "/info/usage", show_usage, "get_images"),)
