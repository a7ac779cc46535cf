"""What all of identity's collections do alike: bodies that keep unknown attributes, filters, pages, links, targets."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from pileus.identity.domain import Thing
from pileus.identity.multifactor.rules import RULES as MFA_RULES
from pileus.identity.multifactor.rules import checked_rules
from pileus.identity.rows import BY_ID, Found, Wanted
from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock, parse_iso
from pileus.kernel.errors import BadRequest, Forbidden, NotFound
from pileus.kernel.fields import MALFORMED_JSON, UNSET, Body, Param, Text, View
from pileus.kernel.http import Call, parse_flag
from pileus.kernel.paging import next_link, parse_limit, parse_sort
from pileus.kernel.versions import Version

T = TypeVar("T", bound=Thing)

PREFIX = "/identity/v3"
_COMPARATORS = ("contains", "icontains", "startswith", "istartswith", "endswith", "iendswith")
_NEVER_EXTRA = frozenset({"id", "links", "password", "original_password"})


def NameText(maximum: int) -> Any:  # noqa: N802 - a type, like fields.Text
    """A name: not empty, not blank."""
    return Text(minimum=1, maximum=maximum, pattern=r"\S")


LongText = Text(maximum=None)
Id: Any = Text(minimum=1, maximum=36)
_RoleName: Any = NameText(255)


class RoleReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A role in a request: by its id, or a global one by its name."""

    id: Id | None = None
    name: _RoleName | None = None


class Sent(msgspec.Struct, frozen=True):
    """A request body: the attributes of the API that were sent, by name, and all others."""

    known: Mapping[str, Any]
    extra: Mapping[str, Any]
    sent_id: str | None = None

    def get(self, name: str, default: Any = None) -> Any:
        """The attribute's value, or the default if it was not sent or is null."""
        value = self.known.get(name)
        return default if value is None else value


class Attributes(Body):
    """The body of a resource: unknown attributes are kept as the resource's `extra`, as Keystone does."""

    def __init__(self, wrapper: str, *params: Param) -> None:
        super().__init__(wrapper, *params, extra=True, strict=True)
        self._wrapper = wrapper
        self._names = self.names()

    def decode(self, data: bytes, version: Version | None = None) -> Sent:
        """A `Sent`. BadRequest as `Body`."""
        struct = super().decode(data, version)
        if b"\\u0000" in data:
            raise BadRequest("The body holds a NUL character, which cannot be stored.")
        known = {param.name: getattr(struct, param.attr) for param in self.params}
        try:
            everything = msgspec.json.decode(data)[self._wrapper]
        except MALFORMED_JSON as err:  # what the fields above do not name was not looked at before
            raise BadRequest("The request body is not valid JSON.") from err
        sent_id = everything.get("id")
        if sent_id is not None and (not isinstance(sent_id, str) or not 0 < len(sent_id) <= 255):
            raise BadRequest("An id is a text of 1 to 255 characters.")
        return Sent(
            {name: value for name, value in known.items() if value is not UNSET},
            {name: value for name, value in everything.items() if name not in self._names | _NEVER_EXTRA},
            sent_id,
        )


def future(clock: Clock, text: str | None) -> int | None:
    """The instant at which something shall end. BadRequest if it is past, or none at all."""
    if text is None:
        return None
    try:
        instant = parse_iso(text)
    except (ValueError, OverflowError) as err:
        raise BadRequest(
            f"expires_at must be an ISO 8601 time, such as 2038-01-19T03:14:07.000000Z: '{text}'."
        ) from err
    if instant <= clock.now():
        raise BadRequest("expires_at must be in the future.")
    return instant


def changes(thing: Thing, sent: Sent, columns: Iterable[str], nulls: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The columns that an update sets. `nulls`: what a null means where the column cannot hold one.

    BadRequest if the body names another id than the path.
    """
    if sent.sent_id is not None and sent.sent_id != thing.id:
        raise BadRequest(f"Cannot change the id: the body says '{sent.sent_id}', the path '{thing.id}'.")
    values: dict[str, Any] = {name: sent.known[name] for name in columns if name in sent.known}
    for name, meaning in (nulls or {}).items():
        if name in values and values[name] is None:
            values[name] = meaning
    if sent.extra:
        values["extra"] = {**thing.extra, **sent.extra}
    return values


def merge_options(old: Mapping[str, Any], given: Mapping[str, Any] | None, allowed: frozenset[str]) -> dict[str, Any]:
    """Resource options after an update: null removes one. BadRequest for what is no option, or not of its type."""
    merged = dict(old)
    for name, value in (given or {}).items():
        if name not in allowed:
            raise BadRequest(f"'{name}' is not an option of this resource. Options: {', '.join(sorted(allowed))}.")
        if value is None:
            merged.pop(name, None)
        elif name == MFA_RULES:
            merged[name] = checked_rules(value)
        elif isinstance(value, bool):
            merged[name] = value
        else:
            raise BadRequest(f"The option '{name}' must be true, false or null.")
    return merged


def refuse_immutable(
    options: Mapping[str, Any], noun: str, thing_id: str, new: Mapping[str, Any] | None = None
) -> None:
    """Forbidden if the resource is immutable, unless the update does nothing but end that (`new`: its new options)."""
    if options.get("immutable") and (new is None or new.get("immutable", True)):
        raise Forbidden(f"Cannot change or delete the {noun} {thing_id}: its option 'immutable' is set.")


def wanted(
    call: Call,
    max_limit: int,
    columns: Mapping[str, str],
    flags: Iterable[str] = (),
    alike: Iterable[str] = ("name",),
    sortable: Iterable[str] = (),
) -> Wanted:
    """Filters, order and page from the query string. What else is asked for is ignored.

    `columns`: parameter -> column. `sortable`: the columns that lists can be in the order of; without any it is that of
    the ids.
    """
    equal: dict[str, Any] = {}
    for parameter, column in columns.items():
        value = call.query.get(parameter)
        if value is not None:
            equal[column] = value
    for name in flags:
        value = call.query.get(name)
        if value is not None:
            equal[name] = value == "" or parse_flag(name, value)
    inexact = tuple(
        (name, comparator, text)
        for name in alike
        for comparator in _COMPARATORS
        if (text := call.query.get(f"{name}__{comparator}")) is not None
    )
    sort = BY_ID
    if sortable:
        keys = {name: name for name in ("id", *sortable)}
        sort = parse_sort(call.query.all("sort_key"), call.query.all("sort_dir"), keys, BY_ID, "asc")
    limit = call.query.get("limit")
    page_size = parse_limit(limit, max_limit) if limit else None
    return Wanted(equal, inexact, page_size, call.query.get("marker"), sort)


def asked(call: Call, name: str) -> bool:
    """A flag of the query string that also counts as set when it is there without a value."""
    return name in call.query and (call.query.get(name) == "" or call.query.flag(name))


def within_own_domain(want: Wanted, actor: Actor) -> Wanted:
    """A token for a domain sees, in lists, only what is in the domain."""
    if actor.domain_id is None:
        return want
    asked = want.equal.get("domain_id", actor.domain_id)
    return want.but(domain_id=actor.domain_id if asked == actor.domain_id else "")


def one(call: Call, collection: str, view: View, thing: Thing) -> dict[str, Any]:
    """A resource as the API shows it."""
    links = {"self": f"{call.base_url}/{collection}/{thing.id}"}
    return {**thing.extra, **view.render(thing), "links": links}


def many(call: Call, key: str, found: Found[T], show: Callable[[T], Any]) -> dict[str, Any]:
    """A list as the API shows it, with the link to its next page."""
    here = call.base_url + call.path.removeprefix(PREFIX)
    following = next_link(here, call.query.pairs, found.things[-1].id) if found.more and found.things else None
    own = f"{here}?{urlencode(call.query.pairs)}" if call.query.pairs else here
    return {
        key: [show(thing) for thing in found.things],
        "links": {"self": own, "previous": None, "next": following},
    }


def target(**values: Any) -> dict[str, Any]:
    """A policy target: `user__domain_id=x` is `target.user.domain_id`. None is left out: it must match nothing."""
    return {f"target.{name.replace('__', '.')}": value for name, value in values.items() if value is not None}


def permitted(call: Call, thing: T | None, noun: str, thing_id: str, policy_target: Mapping[str, Any]) -> T:
    """The thing, once the route's rule allows it for the target.

    Forbidden comes before NotFound, so that only those who may see all such things learn whether one exists.
    """
    call.authorize(policy_target)
    if thing is None:
        raise missing(noun, thing_id)
    return thing


def missing(noun: str, thing_id: str) -> NotFound:
    """The error for an id that does not exist."""
    return NotFound(f"Could not find {noun}: {thing_id}.")
