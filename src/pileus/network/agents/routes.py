"""Agents, availability zones and service providers over HTTP. All are few and in no table: lists are cut in memory."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pileus.kernel.errors import BadRequest
from pileus.kernel.fields import View
from pileus.kernel.http import Call, Query, Route, parse_flag
from pileus.kernel.paging import parse_sort
from pileus.network.agents.schemas import AGENT, PROVIDER, ZONE
from pileus.network.agents.service import PROVIDERS
from pileus.network.errors import not_found
from pileus.network.lists import parse_fields
from pileus.network.service import Networks

T = TypeVar("T")
Shown = dict[str, Any]

_RESERVED = frozenset({"fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse"})


def list_agents(call: Call, svc: Networks) -> dict[str, object]:
    """GET /agents: empty for those who may see none"""
    call.authorized = True  # nothing is kept from anybody but the agents themselves
    with call.read() as tx:
        agents = svc.agents.all(tx) if call.may("get_agent") else []
    return {"agents": _listed(AGENT, agents, call.query)}


def show_agent(call: Call, svc: Networks) -> dict[str, object]:
    """GET /agents/{agent_id}"""
    if not call.may("get_agent"):
        raise not_found("agent", call.params["agent_id"])
    call.authorize({})
    with call.read() as tx:
        agent = svc.agents.get(tx, call.params["agent_id"])
    return {"agent": AGENT.render(agent, only=parse_fields(call.query))}


def list_availability_zones(call: Call, svc: Networks) -> dict[str, object]:
    """GET /availability_zones"""
    with call.read() as tx:
        zones = svc.agents.zones(tx)
    return {"availability_zones": _listed(ZONE, zones, call.query)}


def list_service_providers(call: Call, _svc: Networks) -> dict[str, object]:
    """GET /service-providers"""
    return {"service_providers": _listed(PROVIDER, PROVIDERS, call.query)}


def _listed(view: View, things: Sequence[T], query: Query) -> list[Shown]:
    """What the query asks for, in its order. BadRequest names what cannot be filtered or sorted by."""
    names = {field.name: field.name for field in view.fields}
    filters = {name: query.all(name) for name, _ in query.pairs if name not in _RESERVED}
    for name in filters:
        if name not in names:
            raise BadRequest(f"'{name}' is invalid attribute for filtering")
    first = next(iter(names))
    order = parse_sort(query.all("sort_key"), query.all("sort_dir"), names, ((first, "asc"),), default_direction="asc")
    shown = [one for one in map(view.render, things) if _matches(one, filters.items())]
    for name, direction in reversed(order):
        shown.sort(key=lambda one, name=name: str(one[name]), reverse=direction == "desc")  # type: ignore[misc]
    fields = parse_fields(query)
    return shown if fields is None else [{name: one[name] for name in one if name in fields} for one in shown]


def _matches(one: Shown, filters: Iterable[tuple[str, Sequence[str]]]) -> bool:
    for name, texts in filters:
        value = one[name]
        if isinstance(value, bool):
            if value not in [parse_flag(name, text) for text in texts]:
                return False
        elif ("" if value is None else str(value)) not in texts:
            return False
    return True


ROUTES: tuple[Route[Networks], ...] = (
    Route("GET", "/agents", list_agents, "get_agent", targeted=True),
    Route("GET", "/agents/{agent_id}", show_agent, "get_agent", targeted=True),
    Route("GET", "/availability_zones", list_availability_zones, "get_availability_zone"),
    Route("GET", "/service-providers", list_service_providers, "get_service_provider"),
)
