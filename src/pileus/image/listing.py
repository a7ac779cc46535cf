"""The query string of an image list: filters with operators, sorting, paging."""

import csv
from dataclasses import dataclass
from io import StringIO
from typing import Any

from pileus.image.domain import MEMBER_STATUSES, Filters
from pileus.image.schemas import INT_MAX
from pileus.image.settings import ImageSettings
from pileus.kernel.auth import Actor
from pileus.kernel.clock import parse_iso
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Query, parse_flag
from pileus.kernel.paging import Page, parse_limit, parse_sort

SORT_KEYS = {
    name: name
    for name in (
        "name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at", "min_ram",
        "min_disk", "visibility", "owner",
    )
}  # fmt: skip
DEFAULT_SORT = (("created_at", "desc"), ("id", "desc"))
_LISTS = frozenset({"id", "name", "status", "container_format", "disk_format"})  # may be given as in:a,b
_EQUAL = frozenset({"owner", "checksum", "os_hash_algo", "os_hash_value"})
_FLAGS = frozenset({"protected", "os_hidden"})
_NUMBERS = {name: (name, "eq") for name in ("size", "virtual_size", "min_ram", "min_disk")} | {
    "size_min": ("size", "gte"),
    "size_max": ("size", "lte"),
}
_LARGEST = (1 << 63) - 1
_LARGEST_OF = {"min_ram": INT_MAX, "min_disk": INT_MAX}
_TIMES = frozenset({"created_at", "updated_at"})
_PAGING = frozenset({"limit", "marker", "sort", "sort_key", "sort_dir", "member_status"})
_COMPARISONS = frozenset({"gt", "gte", "lt", "lte", "eq", "neq"})
_MOST_FILTERS = 32  # planning a query of 128 takes PostgreSQL seconds
_MOST_VALUES = 1000  # of one `in:`


@dataclass
class _Collected:
    visibility: str | None
    equal: dict[str, Any]
    within: dict[str, list[str]]
    compare: list[tuple[str, str, Any]]
    tags: list[str]
    properties: dict[str, str]


def parse_filters(query: Query, actor: Actor) -> Filters:
    """What the list is narrowed by. BadRequest names the parameter that is wrong."""
    given = [(name, value) for name, value in query.pairs if name not in _PAGING]
    if len(given) > _MOST_FILTERS:
        raise BadRequest(f"A list takes {_MOST_FILTERS} filters at most, not {len(given)}.")
    found = _Collected(None, {"os_hidden": False}, {}, [], [], {})
    for name, value in given:
        _collect(found, name, value)
    return Filters(
        visible_to=None if actor.is_admin else actor.owner,
        visibility=found.visibility,
        member_status=_member_status(query),
        equal=found.equal,
        within=found.within,
        compare=found.compare,
        tags=found.tags,
        properties=found.properties,
    )


def _member_status(query: Query) -> tuple[str, ...]:
    wanted = query.get("member_status", "accepted")
    if wanted == "all":
        return MEMBER_STATUSES
    if wanted not in MEMBER_STATUSES:
        raise BadRequest(f"Invalid status: {wanted}. It must be one of: {', '.join((*MEMBER_STATUSES, 'all'))}.")
    return (wanted,)


def _collect(found: _Collected, name: str, value: str) -> None:
    if name == "visibility":
        if value not in ("public", "private", "shared", "community", "all"):
            raise BadRequest(f"Invalid visibility value: {value}")
        found.visibility = value
    elif name == "tag":
        found.tags.append(value)
    elif name in _FLAGS:
        found.equal[name] = parse_flag(name, value)
    elif name in _NUMBERS:
        column, operator = _NUMBERS[name]
        found.compare.append((column, operator, _number(name, value)))
    elif name in _TIMES:
        found.compare.append((name, *_moment(name, value)))
    elif name in _LISTS and value.startswith("in:"):
        found.within[name] = _values(name, value.removeprefix("in:"))
    elif name in _LISTS or name in _EQUAL:
        found.equal[name] = _plain(value)
    else:
        found.properties[name] = value


def _values(name: str, text: str) -> list[str]:
    try:
        values = next(csv.reader(StringIO(text)), [])
    except csv.Error as err:
        raise BadRequest(f"The values of {name} are not understood: {err}.") from err
    if len(values) > _MOST_VALUES:
        raise BadRequest(f"{name} takes {_MOST_VALUES} values at most, not {len(values)}.")
    return values


def _plain(value: str) -> str:
    """A value that may be quoted, so that it can hold a colon."""
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value


def _number(name: str, value: str) -> int:
    try:
        number = int(value)
    except ValueError as err:
        raise BadRequest(f"{name} must be an integer, not '{value}'.") from err
    largest = _LARGEST_OF.get(name, _LARGEST)
    if not 0 <= number <= largest:
        raise BadRequest(f"{name} must not be negative, or larger than {largest}.")
    return number


def _moment(name: str, value: str) -> tuple[str, int]:
    operator, colon, text = value.partition(":")
    if not colon or operator not in _COMPARISONS:
        operator, text = "eq", value
    try:
        return operator, parse_iso(text)
    except ValueError as err:
        raise BadRequest(
            f"{name} must be a time as in ISO 8601, with an operator such as 'gte:', not '{value}'."
        ) from err


def parse_page(query: Query, settings: ImageSettings) -> Page:
    """Which page, in which order. `sort=name:asc,size` is the newer form of sort_key and sort_dir."""
    limit = parse_limit(query.get("limit"), settings.page_limit, settings.page_default)
    keys, directions = query.all("sort_key"), query.all("sort_dir")
    combined = query.get("sort")
    if combined is not None:
        if keys or directions:
            raise BadRequest("Old and new sorting syntax cannot be combined.")
        pairs = [item.partition(":") for item in combined.split(",")]
        keys = [key for key, _, _ in pairs]
        directions = [direction or "desc" for _, _, direction in pairs]
    if len(directions) > max(len(keys), 1):
        raise BadRequest("There are more sort directions than sort keys.")
    if directions and not keys:
        keys = ["created_at"]
    directions = directions * len(keys) if len(directions) == 1 else directions
    return Page(limit, query.get("marker") or None, parse_sort(keys, directions, SORT_KEYS, DEFAULT_SORT))
