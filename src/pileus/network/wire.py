"""What all resources' routes share: bodies of one or many, attributes as they were sent, fields not for all eyes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from pileus.kernel.clock import iso
from pileus.kernel.errors import BadRequest
from pileus.kernel.fields import MALFORMED_JSON, Body, Field, Param, Text, View
from pileus.kernel.http import Call
from pileus.kernel.policy import Target
from pileus.kernel.versions import Version
from pileus.network.lists import ListRequest, page_links, parse_fields

OWNER_PARAMS = (Param("project_id", Text(1, 36)), Param("tenant_id", Text(1, 36)))

_iso = lru_cache(4096)(iso)

STANDARD_VIEW = View(
    Field("id", attrgetter("id")),
    Field("tenant_id", attrgetter("project_id")),
    Field("project_id", attrgetter("project_id")),
    Field("description", attrgetter("description")),
    Field("tags", attrgetter("tags")),
    Field("created_at", lambda thing: _iso(thing.created_at)),
    Field("updated_at", lambda thing: _iso(thing.updated_at)),
    Field("revision_number", attrgetter("revision_number")),
)

STANDARD_PARAMS = (Param("name", Text()), Param("description", Text()))


def routes_of(pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """Routes as the API writes them."""
    return [{"destination": destination, "nexthop": nexthop} for destination, nexthop in pairs]


class Batch(msgspec.Struct, frozen=True):
    """What a POST asks to make. `many`: the answer is a list too."""

    items: tuple[dict[str, Any], ...]
    many: bool


class AttributesBody(Body):
    """A body that is read as the attributes it holds: `{"network": {...}}` gives the inner dict, no defaults filled."""

    def decode(self, data: bytes, version: Version | None = None) -> dict[str, Any]:
        """The attributes under their API names, each of its declared type."""
        attributes: dict[str, Any] = msgspec.to_builtins(super().decode(data, version))
        return attributes


class CreateBody(AttributesBody):
    """A POST body: one resource under its singular name, or a list under its plural name (bulk create)."""

    def __init__(self, single: str, plural: str, *params: Param) -> None:
        super().__init__(single, *params, *OWNER_PARAMS)
        self.single = single
        self.plural = plural

    def decode(self, data: bytes, version: Version | None = None) -> Any:
        """A Batch. BadRequest says which attribute is wrong."""
        try:
            document = msgspec.json.decode(data)
        except MALFORMED_JSON as err:
            raise BadRequest("The request body is not valid JSON.") from err
        if not isinstance(document, dict) or self.plural not in document:
            return Batch((super().decode(data, version),), many=False)
        items = document[self.plural]
        if len(document) != 1 or not isinstance(items, list) or not items:
            raise BadRequest(f"The body must hold '{self.single}' or a list '{self.plural}' with at least one item.")
        decode = super().decode
        return Batch(tuple(decode(msgspec.json.encode({self.single: item}), version) for item in items), many=True)


def owner_of(call: Call, attributes: Mapping[str, Any]) -> str:
    """The project that a new resource belongs to: the caller's, or for administrators the one they name."""
    named = attributes.get("project_id") or attributes.get("tenant_id")
    if named is None or named == call.actor.owner:
        return call.actor.owner
    if not call.actor.is_admin:
        raise BadRequest(
            "Specifying 'project_id' or 'tenant_id' other than the authenticated project in request "
            "requires admin privileges"
        )
    return str(named)


def authorize_attributes(
    call: Call, action: str, attributes: Mapping[str, Any], target: Target, defaults: Mapping[str, Any] | None = None
) -> None:
    """Check `action:attribute` for every attribute that was sent and has a rule of its own.

    On create, `defaults` holds what needs no permission to be said: an attribute sent with its default value.
    """
    for name, value in attributes.items():
        rule = f"{action}:{name}"
        if rule in call.policy.rules and not (defaults is not None and name in defaults and defaults[name] == value):
            call.authorize(target, rule)


def seen_by(call: Call) -> Callable[[str], bool]:
    """Whether the caller satisfies a field's rule, asked of policy once per request."""
    known: dict[str, bool] = {}

    def may(rule: str) -> bool:
        answer = known.get(rule)
        if answer is None:
            answer = known[rule] = call.may(rule)
        return answer

    return may


def render_one(call: Call, view: View, key: str, thing: Any) -> dict[str, Any]:
    """`{"network": {...}}`, cut down to the request's `fields`."""
    return {key: view.render(thing, may=seen_by(call), only=parse_fields(call.query))}


def render_batch(call: Call, view: View, body: CreateBody, batch: Batch, things: Sequence[Any]) -> dict[str, Any]:
    """The answer to a create: in the singular or the plural, as it was asked."""
    may = seen_by(call)
    rendered = [view.render(thing, may=may) for thing in things]
    return {body.plural: rendered} if batch.many else {body.single: rendered[0]}


def render_list(
    call: Call, view: View, plural: str, things: Iterable[Any], request: ListRequest, more: bool
) -> dict[str, Any]:
    """`{"networks": [...]}` with `networks_links` where there are neighbouring pages."""
    may = seen_by(call)
    listed = list(things)
    answer: dict[str, Any] = {plural: [view.render(thing, may=may, only=request.fields) for thing in listed]}
    path = call.path.rsplit("/", 1)[-1]
    links = page_links(f"{call.base_url}/{path}", call.query, request, [thing.id for thing in listed], more)
    if links:
        answer[f"{plural}_links"] = links
    return answer
