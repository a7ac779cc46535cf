"""The rules of metadata definitions, without HTTP and SQL.

Callers check the policy; here is who sees a namespace at all, that names are unique, and what is protected.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from pileus.image.metadefs import store
from pileus.image.metadefs.domain import (
    RESOURCE_TYPES,
    Association,
    Content,
    Definition,
    Details,
    Filters,
    Loading,
    MetadefObject,
    Namespace,
    Property,
    ResourceType,
    Tag,
)
from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import Conflict, Forbidden, NotFound
from pileus.kernel.ids import new_uuid
from pileus.kernel.paging import Page

T = TypeVar("T", bound=Content)

LOADED_BY = "admin"
"""The owner of a namespace that a file defines without naming one, as with Glance."""

_UNSAID = {"display_name": None, "description": None, "visibility": "private", "protected": False}
"""What a namespace is where nobody says otherwise, both when it is made and when it is replaced."""


class Contents(Generic[T]):
    """What namespaces hold of one kind. Callers have made sure that the namespace is one that they may see."""

    def __init__(self, kind: str, rows: store.Contents[T], clock: Clock) -> None:
        self._kind = kind
        self._rows = rows
        self._clock = clock

    def all(self, tx: Tx, namespace: Namespace) -> list[T]:
        """All that the namespace has, the oldest first."""
        return self._rows.all(tx, namespace.id)

    def of(self, tx: Tx, namespaces: Sequence[Namespace]) -> dict[str, list[T]]:
        """What each of several namespaces has, by the namespace's id; one query."""
        return self._rows.of_many(tx, [namespace.id for namespace in namespaces])

    def page(self, tx: Tx, namespace: Namespace, wanted: Page) -> list[T]:
        """A page of what the namespace has. NotFound if the marker names nothing."""
        marker = None if wanted.marker is None else self.get(tx, namespace, wanted.marker)
        return self._rows.page(tx, namespace.id, wanted, marker)[: wanted.limit]

    def get(self, tx: Tx, namespace: Namespace, name: str) -> T:
        """One by its name. NotFound."""
        found = self._rows.find(tx, namespace.id, name)
        if found is None:
            raise self._missing(namespace, name)
        return found

    def add(self, tx: Tx, namespace: Namespace, values: Mapping[str, Any]) -> T:
        """Add one. `values`: the columns, with the name. Conflict if the name is taken."""
        if self._rows.find(tx, namespace.id, values["name"]) is not None:
            raise self._duplicate(namespace, values["name"])
        made = self._made(values)
        self._rows.insert(tx, namespace.id, [made])
        return made

    def add_all(self, tx: Tx, namespace: Namespace, many: Sequence[Mapping[str, Any]]) -> list[T]:
        """Add several. Conflict if a name is taken, or comes twice among them."""
        if not many:
            return []
        names = Counter(values["name"] for values in many)
        names.update(self._rows.names(tx, namespace.id) & names.keys())
        twice = next((name for name, count in names.items() if count > 1), None)
        if twice is not None:
            raise self._duplicate(namespace, twice)
        made = [self._made(values) for values in many]
        self._rows.insert(tx, namespace.id, made)
        return made

    def merge(self, tx: Tx, namespace: Namespace, many: Sequence[Mapping[str, Any]], prefer_new: bool) -> None:
        """Add those whose names the namespace does not have; with `prefer_new`, replace the others by them."""
        there = self._rows.names(tx, namespace.id)
        self.add_all(tx, namespace, [values for values in many if values["name"] not in there])
        if prefer_new:
            for values in many:
                if values["name"] in there:
                    self.replace(tx, namespace, values["name"], values)

    def replace(self, tx: Tx, namespace: Namespace, name: str, values: Mapping[str, Any]) -> T:
        """Replace what is called `name` by `values`, which may rename it. NotFound; Conflict if the name is taken."""
        if values["name"] != name and self._rows.find(tx, namespace.id, values["name"]) is not None:
            raise self._duplicate(namespace, values["name"])
        if not self._rows.update(tx, namespace.id, name, {**values, "updated_at": self._clock.now()}):
            raise self._missing(namespace, name)
        return self.get(tx, namespace, values["name"])

    def remove(self, tx: Tx, namespace: Namespace, name: str) -> None:
        """Delete one. NotFound; Forbidden if the namespace is protected."""
        found = self.get(tx, namespace, name)
        if namespace.protected:
            raise Forbidden(
                f"Metadata definition {self._kind} {name} is protected and cannot be deleted. {_unprotect(namespace)}"
            )
        if not self._rows.delete(tx, namespace.id, found.name):
            raise self._missing(namespace, name)

    def clear(self, tx: Tx, namespace: Namespace) -> None:
        """Delete all that the namespace has. Forbidden if it is protected."""
        _refuse_protected(namespace)
        self._rows.clear(tx, namespace.id)

    def substitute(self, tx: Tx, namespace: Namespace, many: Sequence[Mapping[str, Any]]) -> list[T]:
        """Delete all that the namespace has and add these instead. Conflict if a name comes twice among them."""
        self._rows.clear(tx, namespace.id)
        return self.add_all(tx, namespace, many)

    def _made(self, values: Mapping[str, Any]) -> T:
        now = self._clock.now()
        return self._rows.shape(**values, created_at=now, updated_at=now)

    def _missing(self, namespace: Namespace, name: str) -> NotFound:
        return NotFound(
            f"The metadata definition {self._kind} with name={name} was not found in namespace={namespace.namespace}."
        )

    def _duplicate(self, namespace: Namespace, name: str) -> Conflict:
        return Conflict(
            f"A metadata definition {self._kind} with name={name} already exists in namespace={namespace.namespace}."
        )


class MetadefService:
    """Namespaces of metadata definitions and, by kind, what they hold."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.associations: Contents[Association] = Contents("resource type association", store.ASSOCIATIONS, clock)
        self.objects: Contents[MetadefObject] = Contents("object", store.OBJECTS, clock)
        self.properties: Contents[Property] = Contents("property", store.PROPERTIES, clock)
        self.tags: Contents[Tag] = Contents("tag", store.TAGS, clock)

    # --- reading --------------------------------------------------------------------------------------------

    def get(self, tx: Tx, actor: Actor, name: str) -> Namespace:
        """A namespace that the caller may see: public, or its own, or any for an administrator. NotFound."""
        found = store.find(tx, name)
        if found is None or not (actor.is_admin or found.visibility == "public" or found.owner == actor.owner):
            raise no_namespace(name)
        return found

    def page(self, tx: Tx, actor: Actor, filters: Filters, wanted: Page) -> tuple[list[Namespace], bool]:
        """A page of namespaces, and whether there are more. NotFound if the marker names none that is seen."""
        marker = None if wanted.marker is None else self.get(tx, actor, wanted.marker)
        found = store.page(tx, filters, wanted, marker)
        return found[: wanted.limit], len(found) > wanted.limit

    def all(self, tx: Tx) -> list[Namespace]:
        """All namespaces by name, whoever may see them."""
        return store.every(tx)

    def details(self, tx: Tx, namespace: Namespace) -> Details:
        """The namespace with all that it holds."""
        return Details(
            namespace=namespace,
            associations=self.associations.all(tx, namespace),
            objects=self.objects.all(tx, namespace),
            properties=self.properties.all(tx, namespace),
            tags=self.tags.all(tx, namespace),
        )

    def resource_types(self, tx: Tx) -> list[ResourceType]:
        """All resource types that are known."""
        return store.resource_types(tx)

    # --- changing -------------------------------------------------------------------------------------------

    def create(self, tx: Tx, owner: str, wanted: Definition) -> Details:
        """Make a namespace and what it shall hold. `owner`: where the definition names none. Conflict."""
        now = self._clock.now()
        values = {**_UNSAID, "owner": owner, **wanted.values}
        if store.find(tx, values["namespace"]) is not None:
            raise Conflict(f"The metadata definition namespace={values['namespace']} already exists.")
        namespace = Namespace(**values, id=new_uuid(), created_at=now, updated_at=now)
        store.insert(tx, namespace)
        self._know_types(tx, wanted)
        return Details(
            namespace=namespace,
            associations=self.associations.add_all(tx, namespace, wanted.associations),
            objects=self.objects.add_all(tx, namespace, wanted.objects),
            properties=self.properties.add_all(tx, namespace, wanted.properties),
            tags=self.tags.add_all(tx, namespace, wanted.tags),
        )

    def update(self, tx: Tx, namespace: Namespace, values: Mapping[str, Any]) -> Namespace:
        """Replace a namespace's own fields: what is not given becomes what it is in a new one, the owner excepted.

        It may be renamed. Conflict if the name is taken.
        """
        if values["namespace"] != namespace.namespace and store.find(tx, values["namespace"]) is not None:
            raise Conflict(f"The metadata definition namespace={values['namespace']} already exists.")
        changed = {**_UNSAID, "owner": namespace.owner, **values, "updated_at": self._clock.now()}
        if not store.update(tx, namespace.id, changed):
            raise no_namespace(namespace.namespace)
        return Namespace(**changed, id=namespace.id, created_at=namespace.created_at)

    def delete(self, tx: Tx, namespace: Namespace) -> None:
        """Delete a namespace and all that it holds. Forbidden if it is protected."""
        _refuse_protected(namespace)
        if not store.delete(tx, namespace.id):
            raise no_namespace(namespace.namespace)

    def associate(self, tx: Tx, namespace: Namespace, values: Mapping[str, Any]) -> Association:
        """Say that the namespace is for a resource type, which becomes known by that. Conflict if it is already."""
        store.add_resource_types(tx, {values["name"]}, self._clock.now())
        return self.associations.add(tx, namespace, values)

    def load(self, tx: Tx, wanted: Definition, loading: Loading) -> str:
        """Take over a definition from a file. Answers what was done: loaded, kept, merged or overwritten."""
        there = store.find(tx, wanted.values["namespace"])
        if there is None:
            self.create(tx, LOADED_BY, wanted)
            return "loaded"
        if loading == Loading.KEEP:
            return "kept"
        if loading == Loading.OVERWRITE:
            store.delete(tx, there.id)
            self.create(tx, LOADED_BY, wanted)
            return "overwritten"
        prefer_new = loading == Loading.PREFER_NEW
        if prefer_new:
            self.update(tx, there, wanted.values)
        self._know_types(tx, wanted)
        self.associations.merge(tx, there, wanted.associations, prefer_new)
        self.objects.merge(tx, there, wanted.objects, prefer_new)
        self.properties.merge(tx, there, wanted.properties, prefer_new)
        self.tags.merge(tx, there, wanted.tags, prefer_new)
        return "merged"

    def bootstrap(self, tx: Tx) -> None:
        """Make sure that the resource types are known that every cloud has."""
        store.add_resource_types(tx, RESOURCE_TYPES, self._clock.now())

    def _know_types(self, tx: Tx, wanted: Definition) -> None:
        store.add_resource_types(tx, {one["name"] for one in wanted.associations}, self._clock.now())


def no_namespace(name: str) -> NotFound:
    """The error for a namespace that is not there, or that the caller may not know of."""
    return NotFound(f"Metadata definition namespace={name} was not found.")


def _refuse_protected(namespace: Namespace) -> None:
    if namespace.protected:
        name = namespace.namespace
        raise Forbidden(
            f"Metadata definition namespace {name} is protected and cannot be deleted. {_unprotect(namespace)}"
        )


def _unprotect(namespace: Namespace) -> str:
    return f"Set protected to false on namespace {namespace.namespace} first."
