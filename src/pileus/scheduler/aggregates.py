"""What host aggregates ask of servers, and flavors of aggregates: filters by metadata.

The names are those of Nova's filters (its documentation, "Compute schedulers"), with one difference: all of them are
always on, so an extra spec speaks of aggregates only if it says so by its prefix.
"""

import operator
from collections.abc import Callable, Collection, Mapping

from pileus.scheduler.domain import AggregateMetadata, HostRequest, HostView

EXTRA_SPEC = "aggregate_instance_extra_specs:"
TENANTS = "filter_tenant_id"
"""Metadata keys that begin with this list the only projects whose servers the hosts take."""

_NUMBERS: Mapping[str, Callable[[float, float], bool]] = {
    "=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
}
_TEXTS: Mapping[str, Callable[[str, str], bool]] = {
    "s==": operator.eq,
    "s!=": operator.ne,
    "s<": operator.lt,
    "s<=": operator.le,
    "s>": operator.gt,
    "s>=": operator.ge,
}


def matches(value: str, wanted: str) -> bool:
    """Whether a value satisfies an extra spec: a text to be equal to, or an operator and what it works on.

    `= 4` (at least), `== 4`, `!= 4`, `>= 4`, `<= 4` compare numbers, the same with an `s` before them (and `s<`, `s>`)
    texts; `<in> x` is part of the value, `<all-in> x y` all are, `<or> x <or> y` one of them is equal to it.
    """
    words = wanted.split()
    if not words:
        return value == wanted
    first, rest = words[0], words[1:]
    if first == "<or>":
        return value in [word for word in words if word != "<or>"]
    if first == "<in>":
        return all(word in value for word in rest[:1])
    if first == "<all-in>":
        return all(word in value for word in rest)
    if not rest:
        return value == wanted
    if first in _TEXTS:
        return _TEXTS[first](value, rest[0])
    if first in _NUMBERS:
        try:
            return _NUMBERS[first](float(value), float(rest[0]))
        except ValueError:
            return False
    return value == wanted


def asks_for_metadata(request: HostRequest) -> bool:
    """Whether the flavor has an extra spec that speaks of aggregates."""
    return any(key.startswith(EXTRA_SPEC) for key in request.extra_specs)


def has_metadata(host: HostView, request: HostRequest) -> bool:
    """Whether the host's aggregates are as the flavor wants them."""
    return all(
        any(matches(value, wanted) for value in host.metadata.get(key.removeprefix(EXTRA_SPEC), ()))
        for key, wanted in request.extra_specs.items()
        if key.startswith(EXTRA_SPEC)
    )


def takes_properties(host: HostView, request: HostRequest) -> bool:
    """Whether the image's properties are among the values that the host's aggregates name for them."""
    return all(value in host.metadata[key] for key, value in request.image_properties.items() if key in host.metadata)


def projects_of(metadata: AggregateMetadata) -> frozenset[str] | None:
    """The only projects whose servers a host with this metadata takes; None: any."""
    lists: list[Collection[str]] = [values for key, values in metadata.items() if key.startswith(TENANTS)]
    return frozenset().union(*lists) if lists else None
