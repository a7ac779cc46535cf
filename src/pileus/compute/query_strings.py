"""What all lists of compute do with their query strings."""

from collections.abc import Collection

from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call
from pileus.kernel.paging import parse_limit
from pileus.kernel.versions import Version

STRICT_SINCE = Version(2, 75)


def refuse_unknown(call: Call, known: Collection[str], since: Version = STRICT_SINCE) -> None:
    """BadRequest for a parameter that is not `known`. Versions before `since` ignore such parameters."""
    if call.version is None or call.version < since:
        return
    for name in call.query.keys():  # noqa: SIM118 - not a dict
        if name not in known:
            raise BadRequest(f"Additional properties are not allowed ('{name}' was unexpected)")


def page_size(call: Call, maximum: int) -> int:
    """The `limit` of a query string, at most `maximum`."""
    return parse_limit(call.query.get("limit"), maximum)


def number(call: Call, name: str, refusal: str) -> int | None:
    """A parameter that is a number, or None if it is not there. BadRequest says `refusal`."""
    text = call.query.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError as err:
        raise BadRequest(refusal) from err


def part_of_list(call: Call) -> slice:
    """The part of a list that `offset` and `limit` ask for, which the oldest lists of compute have."""
    offset = number(call, "offset", "offset param must be an integer") or 0
    limit = number(call, "limit", "limit param must be an integer")
    if offset < 0 or (limit is not None and limit < 0):
        raise BadRequest(f"{'offset' if offset < 0 else 'limit'} param must be positive")
    return slice(offset, None if not limit else offset + limit)
