"""Requests for imports."""

from typing import Any

import msgspec

from pileus.image.imports.domain import Method
from pileus.kernel.errors import BadRequest
from pileus.kernel.fields import Body, Param, given
from pileus.kernel.ids import is_uuid

IMPORT = Body(
    None,
    Param("method", dict[str, Any], required=True),
    Param("stores", list[str]),
    Param("all_stores", bool),
    Param("all_stores_must_succeed", bool),
    extra=True,
    strict=True,
)


class Asked(msgspec.Struct, frozen=True):
    """What a caller asks for. `shown`: the request as the task shows it."""

    method: Method
    stores: list[str]
    every_store: bool
    must_succeed: bool
    uri: str
    region: str
    image_id: str
    interface: str
    shown: dict[str, Any]


def parse(body: Any, store_header: str | None, enabled: tuple[str, ...]) -> Asked:
    """The request. BadRequest says what is missing or wrong."""
    name = body.method.get("name")
    if not isinstance(name, str):
        raise BadRequest("An import needs the name of a method.")
    if name not in enabled:
        raise BadRequest(f"Unknown import method name '{name}'. It must be one of: {', '.join(enabled)}.")
    method = Method(name)
    stores, every = given(body.stores, []), given(body.all_stores, False)
    if store_header and stores:
        raise BadRequest("stores and the header x-image-meta-store cannot be given together.")
    if every and (store_header or stores):
        raise BadRequest("all_stores cannot be given together with stores or the header x-image-meta-store.")
    uri = _text(body.method, "uri", method is Method.WEB_DOWNLOAD)
    region = _text(body.method, "glance_region", method is Method.GLANCE_DOWNLOAD)
    image_id = _text(body.method, "glance_image_id", method is Method.GLANCE_DOWNLOAD)
    if method is Method.GLANCE_DOWNLOAD and not is_uuid(image_id):
        raise BadRequest(f"Remote image id does not look like a UUID: {image_id}")
    must_succeed = given(body.all_stores_must_succeed, True)
    shown: dict[str, Any] = {
        "method": body.method,
        **({"stores": stores} if stores else {}),
        **({"all_stores": True} if every else {}),
        "all_stores_must_succeed": must_succeed,
    }
    return Asked(
        method,
        [store_header] if store_header else stores,
        every,
        must_succeed,
        uri,
        region,
        image_id,
        _text(body.method, "glance_service_interface") or "public",
        shown,
    )


def _text(method: dict[str, Any], name: str, needed: bool = False) -> str:
    value = method.get(name)
    if value is None and not needed:
        return ""
    if not isinstance(value, str) or not value:
        raise BadRequest(f"The method '{method['name']}' needs '{name}', a text.")
    return value
