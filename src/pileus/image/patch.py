"""JSON patch as Glance reads it (RFC 6902, members of the image's top level and single locations)."""

import re
from typing import Any, NamedTuple

import msgspec

from pileus.image import schemas
from pileus.image.domain import Image
from pileus.kernel.errors import BadRequest, Conflict, Forbidden, UnsupportedMediaType
from pileus.kernel.fields import MALFORMED_JSON, refuse_nul

MEDIA_TYPES = ("application/openstack-images-v2.1-json-patch", "application/openstack-images-v2.0-json-patch")
OPERATIONS = ("add", "replace", "remove")
LOCATIONS = "locations"
_POSITION = re.compile(rf"/{LOCATIONS}/(-|[0-9]{{1,6}})")
_REQUIRED = frozenset({"visibility", "protected", "os_hidden", "min_disk", "min_ram", "id", "owner"})


class Operation(NamedTuple):
    """One change. `kind` is one of OPERATIONS; `position`: of a location, `-` (the end) or digits."""

    kind: str
    name: str
    value: Any
    position: str | None = None


def parse(data: bytes, content_type: str | None) -> list[Operation]:
    """The patch. UnsupportedMediaType, BadRequest."""
    refuse_nul(data)
    media_type = (content_type or "").split(";", 1)[0].strip().lower()
    if media_type not in MEDIA_TYPES:
        raise UnsupportedMediaType(f"Changing an image needs the content type {MEDIA_TYPES[0]}.")
    try:
        document = msgspec.json.decode(data)
    except MALFORMED_JSON as err:
        raise BadRequest("The request body is not valid JSON.") from err
    if not isinstance(document, list):
        raise BadRequest("The request body must be a JSON array of operation objects.")
    return [_operation(item, old=media_type == MEDIA_TYPES[1]) for item in document]


def split(operations: list[Operation]) -> tuple[list[Operation], list[Operation]]:
    """Those that change locations, and all others: neither depends on the other."""
    return [each for each in operations if each.name == LOCATIONS], [
        each for each in operations if each.name != LOCATIONS
    ]


def _operation(item: Any, *, old: bool) -> Operation:
    if not isinstance(item, dict):
        raise BadRequest("Operations must be JSON objects.")
    if old:  # the draft's form: {"replace": "/name", "value": ...}
        named = [name for name in OPERATIONS if name in item]
        if len(named) != 1:
            raise BadRequest("Operation objects must contain exactly one of: add, replace, remove.")
        operation: Any = named[0]
        path: Any = item[operation]
    else:
        operation, path = item.get("op"), item.get("path")
    if operation not in OPERATIONS:
        raise BadRequest(f"Operations must be one of {', '.join(OPERATIONS)}, not {operation!r}.")
    if operation != "remove" and "value" not in item:
        raise BadRequest(f"Operation '{operation}' needs a value.")
    if not isinstance(path, str) or not path.startswith("/"):
        raise BadRequest("Pointer must start with '/': a path such as /name.")
    if path == f"/{LOCATIONS}":
        return Operation(operation, LOCATIONS, item.get("value"))
    if position := _POSITION.fullmatch(path):
        return Operation(operation, LOCATIONS, item.get("value"), position[1])
    return Operation(operation, _name(path), item.get("value"))


def _name(path: str) -> str:
    """The member that a JSON pointer names (RFC 6901's escapes undone)."""
    name = path[1:]
    if not name or "/" in name:
        raise BadRequest(f"'{path}' does not name a member of the image's top level.")
    if "~" in name.replace("~0", "").replace("~1", ""):
        raise BadRequest(f"'{path}' holds '~' that is not part of an escape sequence.")
    return name.replace("~1", "/").replace("~0", "~")


def apply(image: Image, operations: list[Operation]) -> dict[str, Any]:
    """The image's fields that the patch changes, with their new values. Locations are not among them."""
    values: dict[str, Any] = {}
    properties = dict(image.properties)
    for operation, name, value, _ in operations:
        if name in schemas.READ_ONLY or name == "id":
            raise Forbidden(f"Attribute '{name}' is read-only.")
        if name in schemas.RESERVED or name.startswith("os_glance_"):
            raise Forbidden(f"Attribute '{name}' is reserved.")
        if name in schemas.BASE:
            values[name] = _base(operation, name, value)
        else:
            _property(properties, operation, name, value)
    if properties != image.properties:
        values["properties"] = properties
    return values


def _base(operation: str, name: str, value: Any) -> Any:
    if operation != "remove":
        return schemas.check(name, value)
    if name in _REQUIRED:
        raise Forbidden(f"Property {name} may not be removed.")
    return [] if name == "tags" else None


def _property(properties: dict[str, str], operation: str, name: str, value: Any) -> None:
    if operation != "add" and name not in properties:
        raise Conflict(f"Property {name} does not exist.")
    if operation == "remove":
        del properties[name]
    else:
        properties[schemas.check_name(name)] = schemas.check_property(name, value)
