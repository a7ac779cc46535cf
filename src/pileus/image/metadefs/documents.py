"""The JSON schemas of metadata definitions, which clients read to know what they may send."""

from typing import Any

from pileus.image.metadefs.domain import VISIBILITIES
from pileus.image.metadefs.schemas import PROPERTY_TYPES

Document = dict[str, Any]

_TEXT: Document = {"type": "string"}
_NAME: Document = {"type": "string", "maxLength": 80}
_BOOLEAN: Document = {"type": "boolean"}
_ANY_LIST: Document = {"type": "array"}
_TYPE: Document = {"type": "string", "enum": [*PROPERTY_TYPES, None]}
_SIZE: Document = {"$ref": "#/definitions/positiveInteger"}
_SIZE_FROM_0: Document = {"$ref": "#/definitions/positiveIntegerDefault0"}
_STRINGS: Document = {"$ref": "#/definitions/stringArray"}
_PROPERTIES: Document = {"$ref": "#/definitions/property"}
_READ_ONLY: Document = {"type": "string", "readOnly": True}
_MOMENT: Document = {"type": "string", "readOnly": True, "format": "date-time"}
_TIMES: Document = {"created_at": _MOMENT, "updated_at": _MOMENT}

_PROPERTY: Document = {
    "name": _NAME,
    "title": _TEXT,
    "description": _TEXT,
    "type": _TYPE,
    "operators": {"type": "array", "items": _TEXT},
    "default": {},
    "readonly": _BOOLEAN,
    "confidential": _BOOLEAN,
    "minimum": {"type": "number"},
    "maximum": {"type": "number"},
    "enum": _ANY_LIST,
    "pattern": {"type": "string", "format": "regex"},
    "minLength": _SIZE_FROM_0,
    "maxLength": _SIZE,
    "items": {"type": "object", "properties": {"type": _TYPE, "enum": _ANY_LIST}},
    "uniqueItems": {"type": "boolean", "default": False},
    "minItems": _SIZE_FROM_0,
    "maxItems": _SIZE,
    "additionalItems": _BOOLEAN,
    "required": _STRINGS,
}

_SIZES: Document = {
    "positiveInteger": {"type": "integer", "minimum": 0},
    "positiveIntegerDefault0": {"allOf": [_SIZE, {"default": 0}]},
    "stringArray": {"type": "array", "items": _TEXT, "uniqueItems": True},
}
_DEFINITIONS: Document = _SIZES | {
    "property": {
        "type": "object",
        "additionalProperties": {"type": "object", "properties": _PROPERTY, "required": ["title", "type"]},
    }
}

_ASSOCIATION: Document = {
    "name": _NAME | {"description": "The resource type, by the name that Heat gives it where it has one"},
    "prefix": _NAME | {"description": "Stands before the properties' names on such resources, with its separator"},
    "properties_target": _NAME | {"description": "Which of the resource's sets of properties is meant"},
    **_TIMES,
}
_OBJECT: Document = {
    "name": _NAME,
    "description": _TEXT,
    "required": _STRINGS,
    "properties": _PROPERTIES,
    "schema": _READ_ONLY,
    "self": _READ_ONLY,
    **_TIMES,
}


def _nested(fields: Document, *names: str) -> Document:
    return {"type": "array", "items": {"type": "object", "properties": {name: fields[name] for name in names}}}


_NAMESPACE: Document = {
    "namespace": _NAME | {"description": "The unique name of the namespace"},
    "display_name": _NAME | {"description": "The name that user interfaces show"},
    "description": {"type": "string", "maxLength": 500, "description": "What the namespace is about"},
    "visibility": {"type": "string", "enum": list(VISIBILITIES), "description": "Who sees the namespace"},
    "protected": {"type": "boolean", "description": "Whether the namespace cannot be deleted"},
    "owner": {"type": "string", "maxLength": 255, "description": "The project that owns the namespace"},
    "resource_type_associations": _nested(_ASSOCIATION, "name", "prefix", "properties_target"),
    "properties": _PROPERTIES,
    "objects": _nested(_OBJECT, "name", "description", "required", "properties"),
    "tags": _nested({"name": _NAME}, "name"),
    "schema": _READ_ONLY,
    "self": _READ_ONLY,
    **_TIMES,
}


def _one(name: str, fields: Document, *required: str) -> Document:
    return {"name": name, "properties": fields, "required": list(required), "additionalProperties": False}


def _many(name: str, items: Document) -> Document:
    return {
        "name": name,
        "properties": {name: items, "first": _TEXT, "next": _TEXT, "schema": _TEXT},
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


def _array(name: str, item: Document) -> Document:
    return _many(name, {"type": "array", "items": item})


_ONE_NAMESPACE = _one("namespace", _NAMESPACE, "namespace")
_ONE_OBJECT = _one("object", _OBJECT, "name")
_ONE_TYPE = _one("resource_type_association", _ASSOCIATION, "name")
_ONE_TAG = _one("tag", {"name": _NAME, **_TIMES}, "name")
_KEYED_PROPERTIES: Document = {
    "type": "object",
    "additionalProperties": _one("property", _PROPERTY, "title", "type"),
}

DOCUMENTS: dict[str, Document] = {
    "namespace": _ONE_NAMESPACE | {"definitions": _DEFINITIONS},
    "namespaces": _array("namespaces", _ONE_NAMESPACE) | {"definitions": _DEFINITIONS},
    "object": _ONE_OBJECT | {"definitions": _DEFINITIONS},
    "objects": _array("objects", _ONE_OBJECT) | {"definitions": _DEFINITIONS},
    "property": _one("property", _PROPERTY, "title", "type", "name") | {"definitions": _SIZES},
    "properties": _many("properties", _KEYED_PROPERTIES) | {"definitions": _SIZES},
    "resource_type": _ONE_TYPE,
    "resource_types": _array("resource_type_associations", _ONE_TYPE),
    "tag": _ONE_TAG,
    "tags": _array("tags", _ONE_TAG),
}
"""By the last step of their paths."""
