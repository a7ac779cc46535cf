"""The fields of images in requests and responses, and the JSON schemas that clients may ask for."""

from typing import Any

from pileus.image.domain import CONTAINER_FORMATS, DISK_FORMATS, VISIBILITIES, Image
from pileus.kernel.clock import iso
from pileus.kernel.errors import BadRequest, Forbidden
from pileus.kernel.fields import Field, View
from pileus.kernel.ids import is_uuid

IMAGE = View(
    Field("id", lambda i: i.id),
    Field("name", lambda i: i.name),
    Field("status", lambda i: i.status),
    Field("visibility", lambda i: i.visibility),
    Field("protected", lambda i: i.protected),
    Field("os_hidden", lambda i: i.os_hidden),
    Field("owner", lambda i: i.owner),
    Field("disk_format", lambda i: i.disk_format),
    Field("container_format", lambda i: i.container_format),
    Field("size", lambda i: i.size),
    Field("virtual_size", lambda i: i.virtual_size),
    Field("min_disk", lambda i: i.min_disk),
    Field("min_ram", lambda i: i.min_ram),
    Field("checksum", lambda i: i.checksum),
    Field("os_hash_algo", lambda i: i.os_hash_algo),
    Field("os_hash_value", lambda i: i.os_hash_value),
    Field("tags", lambda i: i.tags),
    Field("created_at", lambda i: iso(i.created_at)),
    Field("updated_at", lambda i: iso(i.updated_at)),
    Field("self", lambda i: f"/v2/images/{i.id}"),
    Field("file", lambda i: f"/v2/images/{i.id}/file"),
    Field("schema", lambda _: "/v2/schemas/image"),
)

BASE = IMAGE.names()
READ_ONLY = frozenset(
    {"status", "size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value", "created_at", "updated_at", "self",
     "file", "schema", "direct_url", "stores"}
)  # fmt: skip
RESERVED = frozenset({"deleted", "deleted_at", "locations", "os_glance_importing_to_stores", "os_glance_failed_import"})
INT_MAX = (1 << 31) - 1
_LONGEST_VALUE = 65535  # bytes


def render(image: Image) -> dict[str, Any]:
    """An image as the API shows it: custom properties stand beside the base fields, which win."""
    return {**image.properties, **_import_properties(image), **IMAGE.render(image)}


def _import_properties(image: Image) -> dict[str, str]:
    """How the image's import goes, as Glance shows it: properties that nobody can set. Empty texts once it is done."""
    shown = {} if image.import_task is None else {"os_glance_import_task": image.import_task}
    if image.import_state is not None:
        shown["os_glance_importing_to_stores"] = ",".join(image.import_state.importing)
        shown["os_glance_failed_import"] = ",".join(image.import_state.failed)
    return shown


def parse_create(document: object) -> dict[str, Any]:
    """The values of a new image from a request body. BadRequest or Forbidden names the field that is wrong."""
    if not isinstance(document, dict):
        raise BadRequest("The request body must be a JSON object.")
    values: dict[str, Any] = {}
    properties: dict[str, str] = {}
    for name, value in document.items():
        if name in READ_ONLY:
            raise Forbidden(f"Attribute '{name}' is read-only.")
        if name in RESERVED or name.startswith("os_glance_"):
            raise Forbidden(f"Attribute '{name}' is reserved.")
        if name in BASE:
            values[name] = check(name, value)
        else:
            properties[check_name(name)] = check_property(name, value)
    return {**values, "properties": properties}


def check_name(name: str) -> str:
    """A custom property's name."""
    if not 1 <= len(name) <= 255 or "\0" in name:
        raise BadRequest("The name of a property must have 1 to 255 characters, none of them U+0000.")
    return name


def check_property(name: str, value: object) -> str:
    """A custom property's value: any text that every database can keep."""
    if not isinstance(value, str) or len(value.encode()) > _LONGEST_VALUE or "\0" in value:
        raise BadRequest(
            f"Invalid input for property '{name}': it must be a text of at most {_LONGEST_VALUE} bytes without U+0000."
        )
    return value


def check(name: str, value: Any) -> Any:
    """A base field's value, checked."""
    allowed = {"disk_format": DISK_FORMATS, "container_format": CONTAINER_FORMATS, "visibility": VISIBILITIES}
    match name:
        case "id":
            good = isinstance(value, str) and is_uuid(value) and len(value) == 36
        case "name":
            good = value is None or (isinstance(value, str) and len(value) <= 255)
        case "owner":
            good = isinstance(value, str) and 0 < len(value) <= 36
        case "protected" | "os_hidden":
            good = isinstance(value, bool)
        case "min_disk" | "min_ram":
            good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= INT_MAX
        case "tags":
            return [check_tag(tag) for tag in _texts(value)]
        case "visibility":
            good = value in VISIBILITIES
        case _:
            good = value is None or value in allowed[name]
    if not good:
        hint = f" It must be one of: {', '.join(allowed[name])}." if name in allowed else ""
        raise BadRequest(f"Invalid value {value!r} for attribute '{name}'.{hint}")
    return value


def check_tag(tag: str) -> str:
    """A tag's text."""
    if not 1 <= len(tag) <= 255 or "\0" in tag:
        raise BadRequest("A tag must have 1 to 255 characters, none of them U+0000.")
    return tag


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadRequest("Tags must be a list of texts.")
    return list(dict.fromkeys(value))


_TEXT = {"type": ["null", "string"], "maxLength": 255}
_INTEGER = {"type": "integer", "minimum": 0, "maximum": INT_MAX}
_MOMENT = {"type": "string", "readOnly": True}
_SCHEMA_OF: dict[str, dict[str, Any]] = {
    "id": {"type": "string", "description": "An identifier for the image"},
    "name": _TEXT,
    "status": {
        "type": "string",
        "readOnly": True,
        "enum": ["queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete",
                 "deactivated"],
    },
    "visibility": {"type": "string", "enum": list(VISIBILITIES)},
    "protected": {"type": "boolean"},
    "os_hidden": {"type": "boolean"},
    "owner": _TEXT,
    "disk_format": {"type": ["null", "string"], "enum": [None, *DISK_FORMATS]},
    "container_format": {"type": ["null", "string"], "enum": [None, *CONTAINER_FORMATS]},
    "size": {"type": ["null", "integer"], "readOnly": True},
    "virtual_size": {"type": ["null", "integer"], "readOnly": True},
    "min_disk": _INTEGER,
    "min_ram": _INTEGER,
    "checksum": {"type": ["null", "string"], "readOnly": True, "maxLength": 32},
    "os_hash_algo": {"type": ["null", "string"], "readOnly": True, "maxLength": 64},
    "os_hash_value": {"type": ["null", "string"], "readOnly": True, "maxLength": 128},
    "tags": {"type": "array", "items": {"type": "string", "maxLength": 255}},
    "created_at": _MOMENT,
    "updated_at": _MOMENT,
    "self": {"type": "string", "readOnly": True},
    "file": {"type": "string", "readOnly": True},
    "schema": {"type": "string", "readOnly": True},
    "stores": {"type": "string", "readOnly": True},
    "direct_url": {"type": "string", "readOnly": True},
    "locations": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "url": {"type": "string", "maxLength": 2048},
                "metadata": {"type": "object"},
                "validation_data": {
                    "type": "object",
                    "writeOnly": True,
                    "additionalProperties": False,
                    "properties": {
                        "checksum": {"type": "string", "minLength": 32, "maxLength": 32},
                        "os_hash_algo": {"type": "string", "maxLength": 64},
                        "os_hash_value": {"type": "string", "maxLength": 128},
                    },
                    "required": ["os_hash_algo", "os_hash_value"],
                },
            },
            "required": ["url", "metadata"],
        },
    },
}  # fmt: skip

IMAGE_SCHEMA: dict[str, Any] = {
    "name": "image",
    "properties": _SCHEMA_OF,
    "additionalProperties": {"type": "string"},
    "links": [
        {"rel": "self", "href": "{self}"},
        {"rel": "enclosure", "href": "{file}"},
        {"rel": "describedby", "href": "{schema}"},
    ],
}

IMAGES_SCHEMA: dict[str, Any] = {
    "name": "images",
    "properties": {
        "images": {"type": "array", "items": IMAGE_SCHEMA},
        "first": {"type": "string"},
        "next": {"type": "string"},
        "schema": {"type": "string"},
    },
    "links": [
        {"rel": "first", "href": "{first}"},
        {"rel": "next", "href": "{next}"},
        {"rel": "describedby", "href": "{schema}"},
    ],
}
