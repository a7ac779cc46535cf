"""What the API says of metadata definitions and takes for them. Files of definitions are read by the same shapes."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec

from pileus.image.metadefs.domain import (
    VISIBILITIES,
    Association,
    Content,
    Definition,
    Details,
    MetadefObject,
    Namespace,
    Property,
)
from pileus.kernel.clock import iso
from pileus.kernel.errors import BadRequest, Forbidden
from pileus.kernel.fields import UNSET, Body, Field, Integer, Param, Text, UnsetType, View

NAME_LENGTH = 80
NAME: Any = Text(1, NAME_LENGTH, r"^(?!\.{1,2}\Z)[^/]*\Z")
"""Names stand in paths: none can hold a slash, or be one of the two that mean a place in a path."""

SHORT: Any = Text(0, NAME_LENGTH)
PROPERTY_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_TYPE: Any = Literal[PROPERTY_TYPES]
_SIZE: Any = Integer(0)

# --- requests -----------------------------------------------------------------------------------------------


class Items(msgspec.Struct, forbid_unknown_fields=True):
    """What the elements of a property of the type array are."""

    type: _TYPE | UnsetType = UNSET
    enum: list[Any] | UnsetType = UNSET


class PropertyShape(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The definition of a property: the part of JSON schema that Glance has."""

    title: str
    type: _TYPE
    description: str | UnsetType = UNSET
    operators: list[str] | UnsetType = UNSET
    default: Any = UNSET
    readonly: bool | UnsetType = UNSET
    confidential: bool | UnsetType = UNSET
    minimum: int | float | UnsetType = UNSET
    maximum: int | float | UnsetType = UNSET
    enum: list[Any] | UnsetType = UNSET
    pattern: str | UnsetType = UNSET
    min_length: _SIZE | UnsetType = UNSET
    max_length: _SIZE | UnsetType = UNSET
    items: Items | UnsetType = UNSET
    unique_items: bool | UnsetType = UNSET
    min_items: _SIZE | UnsetType = UNSET
    max_items: _SIZE | UnsetType = UNSET
    additional_items: bool | UnsetType = UNSET
    required: list[str] | UnsetType = UNSET


class InnerProperty(PropertyShape, kw_only=True):
    """A property in a namespace or object, where the key that it stands under is its name."""

    name: str | UnsetType = UNSET


INNER = Body(None, shape=InnerProperty, strict=True)
"""The properties of a namespace or object are decoded one by one, so that an error names the property."""


class NamedProperty(PropertyShape, kw_only=True):
    """A property by itself."""

    name: NAME
    created_at: Annotated[Any, msgspec.Meta(description="read-only")] = msgspec.field(default=UNSET, name="created_at")
    updated_at: Annotated[Any, msgspec.Meta(description="read-only")] = msgspec.field(default=UNSET, name="updated_at")


class ObjectShape(msgspec.Struct):
    """An object in a namespace. Other keys are those of an object that somebody read and sends back."""

    name: NAME
    description: str | None = None
    required: list[str] = []
    properties: dict[NAME, msgspec.Raw] = {}


class AssociationShape(msgspec.Struct):
    """A resource type that a namespace is for."""

    name: NAME
    prefix: SHORT | None = None
    properties_target: SHORT | None = None


class TagShape(msgspec.Struct):
    """A tag in a namespace."""

    name: NAME


_TIMES = (Param("created_at", Any), Param("updated_at", Any))
_READ_ONLY = (Param("self", Any, attr="self_link"), Param("schema", Any), *_TIMES)


def _namespace(*, description: Any, extra: bool) -> Body:
    return Body(
        None,
        Param("namespace", NAME, required=True),
        Param("display_name", SHORT, default=None),
        Param("description", description, default=None),
        Param("visibility", Literal[VISIBILITIES], default="private"),
        Param("protected", bool, default=False),
        Param("owner", Text(1, 255)),
        Param("resource_type_associations", list[AssociationShape], default=[]),
        Param("objects", list[ObjectShape], default=[]),
        Param("properties", dict[NAME, msgspec.Raw], default={}),
        Param("tags", list[TagShape], default=[]),
        *_READ_ONLY,
        extra=extra,
        strict=True,
    )


NAMESPACE = _namespace(description=Text(0, 500), extra=False)
NAMESPACE_FILE = _namespace(description=str, extra=True)
"""Files that come with OpenStack have descriptions longer than its API takes."""

OBJECT = Body(
    None,
    Param("name", NAME, required=True),
    Param("description", str, default=None),
    Param("required", list[str], default=[]),
    Param("properties", dict[NAME, msgspec.Raw], default={}),
    *_READ_ONLY,
    strict=True,
)
PROPERTY = Body(None, shape=NamedProperty, strict=True)
ASSOCIATION = Body(
    None,
    Param("name", NAME, required=True),
    Param("prefix", SHORT, default=None),
    Param("properties_target", SHORT, default=None),
    *_TIMES,
    strict=True,
)
TAG = Body(None, Param("name", NAME, required=True), *_TIMES, strict=True)
TAGS = Body(None, Param("tags", list[TagShape], required=True), *_TIMES, strict=True)


def refuse_read_only(body: Any) -> None:
    """Forbidden if the caller sent a field that only the cloud sets."""
    for name, attr in (("self", "self_link"), ("schema", "schema"), ("created_at", "created_at"),
                       ("updated_at", "updated_at")):  # fmt: skip
        if getattr(body, attr, UNSET) is not UNSET:
            raise Forbidden(f"Attribute '{name}' is read-only.")


def check_name(name: str) -> str:
    """A name that came in a path. BadRequest."""
    if not 1 <= len(name) <= NAME_LENGTH or "\0" in name:
        raise BadRequest(f"A name must have 1 to {NAME_LENGTH} characters, none of them U+0000.")
    return name


def definition(body: Any) -> Definition:
    """A decoded body of NAMESPACE or NAMESPACE_FILE as the service takes it. BadRequest."""
    values = {
        "namespace": body.namespace,
        "display_name": body.display_name,
        "description": body.description,
        "visibility": body.visibility,
        "protected": body.protected,
    }
    if body.owner is not UNSET:
        values["owner"] = body.owner
    return Definition(
        values=values,
        associations=[association_values(one) for one in body.resource_type_associations],
        objects=[object_values(one) for one in body.objects],
        properties=[{"name": name, "definition": one} for name, one in _schemas("Property", body.properties).items()],
        tags=[{"name": one.name} for one in body.tags],
    )


def association_values(body: Any) -> dict[str, Any]:
    """The columns of an association."""
    return {"name": body.name, "prefix": body.prefix, "properties_target": body.properties_target}


def object_values(body: Any) -> dict[str, Any]:
    """The columns of an object. BadRequest if it requires a property twice."""
    if len(set(body.required)) != len(body.required):
        raise BadRequest(f"The object {body.name} names a property twice in 'required'.")
    return {
        "name": body.name,
        "description": body.description,
        "required": body.required,
        "properties": _schemas(f"Object {body.name}, property", body.properties),
    }


def property_values(body: NamedProperty) -> dict[str, Any]:
    """The columns of a property."""
    return {"name": body.name, "definition": _schema(body)}


def _schemas(what: str, properties: Mapping[str, msgspec.Raw]) -> dict[str, dict[str, Any]]:
    schemas: dict[str, dict[str, Any]] = {}
    for name, raw in properties.items():
        try:
            schemas[name] = _schema(INNER.decode(bytes(raw)))
        except BadRequest as err:
            raise BadRequest(f"{what} {name}: {err.message}") from err
    return schemas


def _schema(body: PropertyShape) -> dict[str, Any]:
    keys: dict[str, Any] = msgspec.to_builtins(body)
    keys.pop("name", None)
    return keys


# --- responses ----------------------------------------------------------------------------------------------

_CREATED = Field("created_at", lambda c: iso(c.created_at))
_UPDATED = Field("updated_at", lambda c: iso(c.updated_at))

_NAMESPACE = View(
    Field("namespace", lambda n: n.namespace),
    Field("display_name", lambda n: n.display_name),
    Field("description", lambda n: n.description),
    Field("visibility", lambda n: n.visibility),
    Field("protected", lambda n: n.protected),
    Field("owner", lambda n: n.owner),
    _CREATED,
    _UPDATED,
    Field("self", lambda n: link(n.namespace)),
    Field("schema", lambda _: "/v2/schemas/metadefs/namespace"),
)
_OBJECT = View(
    Field("name", lambda o: o.name),
    Field("description", lambda o: o.description),
    Field("required", lambda o: o.required),
    Field("properties", lambda o: o.properties),
    _CREATED,
    _UPDATED,
    Field("schema", lambda _: "/v2/schemas/metadefs/object"),
)
_ASSOCIATION = View(
    Field("name", lambda a: a.name),
    Field("prefix", lambda a: a.prefix),
    Field("properties_target", lambda a: a.properties_target),
    _CREATED,
    _UPDATED,
)
_NAMED = View(Field("name", lambda c: c.name), _CREATED, _UPDATED)


def link(namespace: str, *steps: str) -> str:
    """The path of a namespace or of something in it. Colons, of which names are full, stay as they are."""
    return "/v2/metadefs/namespaces/" + "/".join(quote(step, safe=":") for step in (namespace, *steps))


def _shown(view: View, thing: object) -> dict[str, Any]:
    """As Glance shows things: without the fields that have no value."""
    return {name: value for name, value in view.render(thing).items() if value is not None}


def render_namespace(namespace: Namespace, associations: Iterable[Association] = ()) -> dict[str, Any]:
    """A namespace, and what it is for if it is for anything."""
    shown = _shown(_NAMESPACE, namespace)
    types = [render_association(one) for one in associations]
    return shown | ({"resource_type_associations": types} if types else {})


def render_details(details: Details) -> dict[str, Any]:
    """A namespace with what it holds; a kind of which it holds nothing is left out."""
    name = details.namespace.namespace
    held = {
        "objects": [render_object(name, one) for one in details.objects],
        "properties": render_properties(details.properties),
        "tags": [{"name": one.name} for one in details.tags],
    }
    return render_namespace(details.namespace, details.associations) | {key: all_ for key, all_ in held.items() if all_}


def render_object(namespace: str, one: MetadefObject) -> dict[str, Any]:
    """An object of a namespace."""
    return _shown(_OBJECT, one) | {"self": link(namespace, "objects", one.name)}


def render_property(one: Property) -> dict[str, Any]:
    """A property by itself."""
    return {"name": one.name, **one.definition}


def render_properties(many: Iterable[Property]) -> Mapping[str, dict[str, Any]]:
    """Properties under their names."""
    return {one.name: one.definition for one in many}


def render_association(one: Association) -> dict[str, Any]:
    """What a namespace is for."""
    return _shown(_ASSOCIATION, one)


def render_named(one: Content) -> dict[str, Any]:
    """A tag or a resource type."""
    return _NAMED.render(one)
