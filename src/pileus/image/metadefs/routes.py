"""Metadata definitions over HTTP."""

from collections.abc import Callable
from typing import Any, TypeVar

from pileus.image.metadefs import listing, schemas
from pileus.image.metadefs.documents import DOCUMENTS
from pileus.image.metadefs.domain import Namespace, prefixed
from pileus.image.metadefs.service import no_namespace
from pileus.image.service import Images
from pileus.kernel.db import Tx
from pileus.kernel.errors import Forbidden, NotFound
from pileus.kernel.http import Call, Reply, Route, parse_flag
from pileus.kernel.paging import next_link

T = TypeVar("T")

_NAMESPACES = "/v2/metadefs/namespaces"

# --- namespaces ---------------------------------------------------------------------------------------------


def list_namespaces(call: Call, images: Images) -> dict[str, Any]:
    """List namespaces, each with the resource types that it is for."""
    call.authorize(call.actor.credentials(), "list_metadef_resource_types")
    filters = listing.parse_filters(call.query, call.actor)
    page = listing.parse_page(call.query, images.settings)
    with call.read() as tx:
        found, more = images.metadefs.page(tx, call.actor, filters, page)
        seen = [one for one in found if call.may("get_metadef_namespace", one.target())]
        types = images.metadefs.associations.of(tx, seen)
    answer: dict[str, Any] = {
        "namespaces": [schemas.render_namespace(one, types.get(one.id, ())) for one in seen],
        "schema": "/v2/schemas/metadefs/namespaces",
        "first": listing.first_link(_NAMESPACES, call.query),
    }
    if more and found:
        answer["next"] = next_link(_NAMESPACES, call.query.pairs, found[-1].namespace)
    return answer


def create_namespace(call: Call, images: Images) -> Reply:
    """Create namespace, with all that it shall hold."""
    schemas.refuse_read_only(call.body)
    wanted = schemas.definition(call.body)
    _check_owner(call, wanted.values, call.actor.owner)
    for rule, held in (
        ("add_metadef_resource_type_association", wanted.associations),
        ("add_metadef_object", wanted.objects),
        ("add_metadef_property", wanted.properties),
        ("add_metadef_tag", wanted.tags),
    ):
        if held:
            call.authorize(call.actor.credentials(), rule)
    made = call.transact(lambda tx: images.metadefs.create(tx, call.actor.owner, wanted))
    address = call.base_url + schemas.link(made.namespace.namespace).removeprefix("/v2")
    return Reply(schemas.render_details(made), headers={"Location": address})


def show_namespace(call: Call, images: Images) -> dict[str, Any]:
    """Get namespace details; with `resource_type`, properties have the names that they have on such a resource."""
    with call.read() as tx:
        namespace = _namespace(call, images, tx)
        _authorize(call, namespace, "list_metadef_resource_types")
        _authorize(call, namespace, "get_metadef_objects")
        _authorize(call, namespace, "get_metadef_properties")
        _authorize(call, namespace, "get_metadef_tags")
        details = images.metadefs.details(tx, namespace)
    return schemas.render_details(prefixed(details, call.query.get("resource_type") or ""))


def update_namespace(call: Call, images: Images) -> dict[str, Any]:
    """Update namespace: replaces its own fields; what it holds is changed by itself."""
    schemas.refuse_read_only(call.body)
    values = schemas.definition(call.body).values

    def work(tx: Tx) -> Namespace:
        namespace = _namespace(call, images, tx)
        _check_owner(call, values, namespace.owner)
        return images.metadefs.update(tx, namespace, values)

    return schemas.render_namespace(call.transact(work))


def delete_namespace(call: Call, images: Images) -> None:
    """Delete namespace and all that it holds."""
    call.transact(lambda tx: images.metadefs.delete(tx, _namespace(call, images, tx)))


def _check_owner(call: Call, values: dict[str, Any], present: str) -> None:
    owner = values.get("owner", present)
    if owner not in (present, call.actor.owner) and not call.actor.is_admin:
        raise Forbidden(f"You are not permitted to give a namespace to the project {owner}.")


# --- objects ------------------------------------------------------------------------------------------------


def list_objects(call: Call, images: Images) -> dict[str, Any]:
    """List objects."""
    page = listing.parse_content_page(call.query)
    with call.read() as tx:
        namespace = _namespace(call, images, tx)
        found = images.metadefs.objects.page(tx, namespace, page)
    seen = found if call.may("get_metadef_object", namespace.target()) else []
    return {
        "objects": [schemas.render_object(namespace.namespace, one) for one in seen],
        "schema": "/v2/schemas/metadefs/objects",
    }


def create_object(call: Call, images: Images) -> dict[str, Any]:
    """Create object."""
    schemas.refuse_read_only(call.body)
    values = schemas.object_values(call.body)
    namespace, made = _written(call, images, lambda tx, found: images.metadefs.objects.add(tx, found, values))
    return schemas.render_object(namespace.namespace, made)


def show_object(call: Call, images: Images) -> dict[str, Any]:
    """Show object."""
    with call.read() as tx:
        namespace = _namespace(call, images, tx)
        found = images.metadefs.objects.get(tx, namespace, call.params["object_name"])
    return schemas.render_object(namespace.namespace, found)


def update_object(call: Call, images: Images) -> dict[str, Any]:
    """Update object: replaces all of it, and may rename it."""
    schemas.refuse_read_only(call.body)
    values, name = schemas.object_values(call.body), call.params["object_name"]
    namespace, one = _written(call, images, lambda tx, found: images.metadefs.objects.replace(tx, found, name, values))
    return schemas.render_object(namespace.namespace, one)


def delete_object(call: Call, images: Images) -> None:
    """Delete object."""
    _written(call, images, lambda tx, found: images.metadefs.objects.remove(tx, found, call.params["object_name"]))


def delete_objects(call: Call, images: Images) -> None:
    """Delete all objects."""
    _written(call, images, images.metadefs.objects.clear)


# --- properties ---------------------------------------------------------------------------------------------


def list_properties(call: Call, images: Images) -> dict[str, Any]:
    """List properties."""
    with call.read() as tx:
        namespace = _namespace(call, images, tx)
        found = images.metadefs.properties.all(tx, namespace)
    seen = found if call.may("get_metadef_property", namespace.target()) else []
    return {"properties": schemas.render_properties(seen)}


def create_property(call: Call, images: Images) -> dict[str, Any]:
    """Create property."""
    schemas.refuse_read_only(call.body)
    values = schemas.property_values(call.body)
    _, made = _written(call, images, lambda tx, found: images.metadefs.properties.add(tx, found, values))
    return schemas.render_property(made)


def show_property(call: Call, images: Images) -> dict[str, Any]:
    """Show property definition; with `resource_type`, by the name that it has on such a resource."""
    name, resource_type = call.params["property_name"], call.query.get("resource_type")
    with call.read() as tx:
        namespace = _namespace(call, images, tx)
        if resource_type:
            _authorize(call, namespace, "get_metadef_resource_type")
            prefix = images.metadefs.associations.get(tx, namespace, resource_type).prefix or ""
            if not name.startswith(prefix):
                raise NotFound(
                    f"Property {name} does not start with the expected resource type association prefix of '{prefix}'."
                )
            name = name.removeprefix(prefix)
        found = images.metadefs.properties.get(tx, namespace, name)
    return schemas.render_property(found)


def update_property(call: Call, images: Images) -> dict[str, Any]:
    """Update property definition: replaces all of it, and may rename it."""
    schemas.refuse_read_only(call.body)
    values, name = schemas.property_values(call.body), call.params["property_name"]
    _, one = _written(call, images, lambda tx, found: images.metadefs.properties.replace(tx, found, name, values))
    return schemas.render_property(one)


def delete_property(call: Call, images: Images) -> None:
    """Remove property definition."""
    name = call.params["property_name"]
    _written(call, images, lambda tx, found: images.metadefs.properties.remove(tx, found, name))


def delete_properties(call: Call, images: Images) -> None:
    """Remove all property definitions."""
    _written(call, images, images.metadefs.properties.clear)


# --- tags ---------------------------------------------------------------------------------------------------


def list_tags(call: Call, images: Images) -> dict[str, Any]:
    """List tags."""
    page = listing.parse_content_page(call.query)
    with call.read() as tx:
        namespace = _namespace(call, images, tx)
        found = images.metadefs.tags.page(tx, namespace, page)
    seen = found if call.may("get_metadef_tag", namespace.target()) else []
    return {"tags": [{"name": one.name} for one in seen]}


def create_tags(call: Call, images: Images) -> dict[str, Any]:
    """Create tags: instead of those that are there, or beside them with `X-Openstack-Append: True`.

    As with Glance, an empty list changes nothing: there is an operation of its own that deletes all tags.
    """
    schemas.refuse_read_only(call.body)
    wanted = [{"name": one.name} for one in call.body.tags]
    append = parse_flag("X-Openstack-Append", call.header("X-Openstack-Append") or "false")

    def work(tx: Tx, namespace: Namespace) -> None:
        tags = images.metadefs.tags
        if wanted:
            (tags.add_all if append else tags.substitute)(tx, namespace, wanted)

    _written(call, images, work)
    return {"tags": wanted}


def create_tag(call: Call, images: Images) -> dict[str, Any]:
    """Create tag definition."""
    values = {"name": schemas.check_name(call.params["tag_name"])}
    _, made = _written(call, images, lambda tx, found: images.metadefs.tags.add(tx, found, values))
    return schemas.render_named(made)


def show_tag(call: Call, images: Images) -> dict[str, Any]:
    """Get tag definition."""
    with call.read() as tx:
        found = images.metadefs.tags.get(tx, _namespace(call, images, tx), call.params["tag_name"])
    return schemas.render_named(found)


def update_tag(call: Call, images: Images) -> dict[str, Any]:
    """Update tag definition: renames it."""
    schemas.refuse_read_only(call.body)
    values, name = {"name": call.body.name}, call.params["tag_name"]
    _, one = _written(call, images, lambda tx, found: images.metadefs.tags.replace(tx, found, name, values))
    return schemas.render_named(one)


def delete_tag(call: Call, images: Images) -> None:
    """Delete tag definition."""
    _written(call, images, lambda tx, found: images.metadefs.tags.remove(tx, found, call.params["tag_name"]))


def delete_tags(call: Call, images: Images) -> None:
    """Delete all tag definitions."""

    def work(tx: Tx, namespace: Namespace) -> None:
        _authorize(call, namespace, "delete_metadef_tags")
        images.metadefs.tags.clear(tx, namespace)

    _written(call, images, work)


# --- resource types -----------------------------------------------------------------------------------------


def list_resource_types(call: Call, images: Images) -> dict[str, Any]:
    """List resource types."""
    with call.read() as tx:
        return {"resource_types": [schemas.render_named(one) for one in images.metadefs.resource_types(tx)]}


def list_associations(call: Call, images: Images) -> dict[str, Any]:
    """List resource type associations."""
    with call.read() as tx:
        found = images.metadefs.associations.all(tx, _namespace(call, images, tx))
    return {"resource_type_associations": [schemas.render_association(one) for one in found]}


def create_association(call: Call, images: Images) -> dict[str, Any]:
    """Create resource type association."""
    schemas.refuse_read_only(call.body)
    values = schemas.association_values(call.body)
    _, made = _written(call, images, lambda tx, found: images.metadefs.associate(tx, found, values))
    return schemas.render_association(made)


def delete_association(call: Call, images: Images) -> None:
    """Remove resource type association."""
    name = call.params["resource_type_name"]
    _written(call, images, lambda tx, found: images.metadefs.associations.remove(tx, found, name))


# --- common to all ------------------------------------------------------------------------------------------


def show_document(call: Call, _images: Images) -> dict[str, Any]:
    """Show a JSON schema of metadata definitions."""
    found = DOCUMENTS.get(call.params["schema"])
    if found is None:
        raise NotFound(f"There is no schema metadefs/{call.params['schema']}.")
    return found


def _written(call: Call, images: Images, work: Callable[[Tx, Namespace], T]) -> tuple[Namespace, T]:
    """Do `work` to the namespace of the path in a transaction."""

    def transaction(tx: Tx) -> tuple[Namespace, T]:
        namespace = _namespace(call, images, tx)
        return namespace, work(tx, namespace)

    return call.transact(transaction)


def _namespace(call: Call, images: Images, tx: Tx) -> Namespace:
    """The namespace of the path, if the caller may do to it what the route does."""
    namespace = images.metadefs.get(tx, call.actor, call.params["namespace_name"])
    _authorize(call, namespace)
    return namespace


def _authorize(call: Call, namespace: Namespace, rule: str | None = None) -> None:
    """Forbidden, or NotFound if the caller may not even see the namespace."""
    target = namespace.target()
    if not call.may("get_metadef_namespace", target):
        raise no_namespace(namespace.namespace)
    call.authorize(target, rule)


_ALL = "/metadefs/namespaces"
_NS = f"{_ALL}/{{namespace_name}}"
_OBJECTS, _OBJECT = f"{_NS}/objects", f"{_NS}/objects/{{object_name}}"
_PROPERTIES, _PROPERTY = f"{_NS}/properties", f"{_NS}/properties/{{property_name}}"
_TAGS, _TAG = f"{_NS}/tags", f"{_NS}/tags/{{tag_name}}"
_TYPES, _TYPE = f"{_NS}/resource_types", f"{_NS}/resource_types/{{resource_type_name}}"

ROUTES: tuple[Route[Images], ...] = (
    Route("GET", _ALL, list_namespaces, "get_metadef_namespaces"),
    Route("POST", _ALL, create_namespace, "add_metadef_namespace", status=201, body=schemas.NAMESPACE),
    Route("GET", _NS, show_namespace, "get_metadef_namespace", targeted=True),
    Route("PUT", _NS, update_namespace, "modify_metadef_namespace", body=schemas.NAMESPACE, targeted=True),
    Route("DELETE", _NS, delete_namespace, "delete_metadef_namespace", status=204, targeted=True),
    Route("GET", _OBJECTS, list_objects, "get_metadef_objects", targeted=True),
    Route("POST", _OBJECTS, create_object, "add_metadef_object", status=201, body=schemas.OBJECT, targeted=True),
    Route("DELETE", _OBJECTS, delete_objects, "delete_metadef_namespace", status=204, targeted=True),
    Route("GET", _OBJECT, show_object, "get_metadef_object", targeted=True),
    Route("PUT", _OBJECT, update_object, "modify_metadef_object", body=schemas.OBJECT, targeted=True),
    Route("DELETE", _OBJECT, delete_object, "delete_metadef_object", status=204, targeted=True),
    Route("GET", _PROPERTIES, list_properties, "get_metadef_properties", targeted=True),
    Route("POST", _PROPERTIES, create_property, "add_metadef_property", status=201, body=schemas.PROPERTY,
          targeted=True),
    Route("DELETE", _PROPERTIES, delete_properties, "delete_metadef_namespace", status=204, targeted=True),
    Route("GET", _PROPERTY, show_property, "get_metadef_property", targeted=True),
    Route("PUT", _PROPERTY, update_property, "modify_metadef_property", body=schemas.PROPERTY, targeted=True),
    Route("DELETE", _PROPERTY, delete_property, "remove_metadef_property", status=204, targeted=True),
    Route("GET", _TAGS, list_tags, "get_metadef_tags", targeted=True),
    Route("POST", _TAGS, create_tags, "add_metadef_tags", status=201, body=schemas.TAGS, targeted=True),
    Route("DELETE", _TAGS, delete_tags, "delete_metadef_namespace", status=204, targeted=True),
    Route("GET", _TAG, show_tag, "get_metadef_tag", targeted=True),
    Route("POST", _TAG, create_tag, "add_metadef_tag", status=201, targeted=True),
    Route("PUT", _TAG, update_tag, "modify_metadef_tag", body=schemas.TAG, targeted=True),
    Route("DELETE", _TAG, delete_tag, "delete_metadef_tag", status=204, targeted=True),
    Route("GET", "/metadefs/resource_types", list_resource_types, "list_metadef_resource_types"),
    Route("GET", _TYPES, list_associations, "get_metadef_resource_type", targeted=True),
    Route("POST", _TYPES, create_association, "add_metadef_resource_type_association", status=201,
          body=schemas.ASSOCIATION, targeted=True),
    Route("DELETE", _TYPE, delete_association, "remove_metadef_resource_type_association", status=204, targeted=True),
    Route("GET", "/schemas/metadefs/{schema}", show_document, "metadef_default"),
)  # fmt: skip
