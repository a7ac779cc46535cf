"""URLs of hypervisors."""

from collections.abc import Sequence
from typing import Any

import msgspec

from pileus.compute.hypervisors.policy import HYPERVISORS
from pileus.compute.hypervisors.schemas import BRIEF, DETAIL, servers, uptime
from pileus.compute.hypervisors.service import Hypervisors
from pileus.compute.query_strings import page_size, refuse_unknown
from pileus.hosts.domain import Host
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call, Route
from pileus.kernel.ids import is_uuid
from pileus.kernel.paging import next_link
from pileus.kernel.versions import Version

_PAGED, _BY_UUID, _ALWAYS_SERVERS, _UPTIME = Version(2, 33), Version(2, 53), Version(2, 75), Version(2, 88)
_PATTERN, _WITH_SERVERS = "hypervisor_hostname_pattern", "with_servers"


def _version(call: Call) -> Version:
    return call.version or Version(2, 1)


def _with_servers(call: Call) -> bool:
    return _version(call) >= _BY_UUID and call.query.flag(_WITH_SERVERS)


def _selected(call: Call, svc: Hypervisors, tx: Tx, path: str) -> tuple[list[Host], dict[str, Any]]:
    """The hosts of a list, and what the document has beside them."""
    query, version = call.query, _version(call)
    pattern = query.get(_PATTERN) if version >= _BY_UUID else None
    if version < _PAGED:
        return svc.page(tx, limit=None, marker=None, by_number=True), {}
    if pattern is not None:
        if "limit" in query or "marker" in query:
            raise BadRequest(f"Paging over hypervisors with the {_PATTERN} query parameter is not supported.")
        return svc.search(tx, pattern), {}
    limit, by_number = page_size(call, svc.settings.max_limit), version < _BY_UUID
    found = svc.page(tx, limit=limit, marker=query.get("marker") or None, by_number=by_number)
    if len(found) <= limit:
        return found, {}
    hosts = found[:limit]
    marker = str(hosts[-1].number) if by_number else hosts[-1].id
    href = next_link(f"{call.base_url}{path}", query.pairs, marker)
    return hosts, {"hypervisors_links": [{"rel": "next", "href": href}]}


def _show_servers(call: Call, document: dict[str, Any], hosted: Sequence[Any] | None) -> dict[str, Any]:
    """Add a hypervisor's servers. Versions before 2.75 leave an empty list out."""
    if hosted or (hosted is not None and _version(call) >= _ALWAYS_SERVERS):
        document["servers"] = servers(hosted)
    return document


def list_hypervisors(call: Call, svc: Hypervisors) -> dict[str, Any]:
    refuse_unknown(call, {"limit", "marker", _PATTERN, _WITH_SERVERS}, _BY_UUID)
    with call.read() as tx:
        hosts, beside = _selected(call, svc, tx, "/os-hypervisors")
        there = svc.with_servers(tx, hosts) if _with_servers(call) else {}
    listed = [_show_servers(call, BRIEF.render(host, call.version), there.get(host.name)) for host in hosts]
    return {"hypervisors": listed, **beside}


def _detailed(call: Call, svc: Hypervisors, tx: Tx, hosts: Sequence[Host]) -> list[dict[str, Any]]:
    rendered = []
    for one in svc.detailed(tx, hosts, servers=_with_servers(call)):
        document = _show_servers(call, DETAIL.render(one, call.version), one.servers)
        if _version(call) >= _UPTIME:
            document["uptime"] = uptime(one.host, svc.now())
        rendered.append(document)
    return rendered


def list_hypervisors_detailed(call: Call, svc: Hypervisors) -> dict[str, Any]:
    refuse_unknown(call, {"limit", "marker", _PATTERN, _WITH_SERVERS}, _BY_UUID)
    with call.read() as tx:
        hosts, beside = _selected(call, svc, tx, "/os-hypervisors/detail")
        return {"hypervisors": _detailed(call, svc, tx, hosts), **beside}


def _named(call: Call, svc: Hypervisors, tx: Tx) -> Host:
    by_number = _version(call) < _BY_UUID
    hypervisor_id = call.params["hypervisor_id"]
    if not by_number and not is_uuid(hypervisor_id):
        raise BadRequest(f"Invalid uuid {hypervisor_id}")
    return svc.get(tx, hypervisor_id, by_number=by_number)


def show_hypervisor(call: Call, svc: Hypervisors) -> dict[str, Any]:
    refuse_unknown(call, {_WITH_SERVERS}, _BY_UUID)
    with call.read() as tx:
        return {"hypervisor": _detailed(call, svc, tx, [_named(call, svc, tx)])[0]}


def show_uptime(call: Call, svc: Hypervisors) -> dict[str, Any]:
    with call.read() as tx:
        host = _named(call, svc, tx)
    since = uptime(host, svc.now())
    if since is None:
        raise BadRequest(f"Compute service of {host.name} is unavailable at this time.")
    return {"hypervisor": {**BRIEF.render(host, call.version), "uptime": since}}


def search_hypervisors(call: Call, svc: Hypervisors) -> dict[str, Any]:
    with call.read() as tx:
        hosts = svc.search(tx, call.params["hypervisor_id"])
    return {"hypervisors": [BRIEF.render(host, call.version) for host in hosts]}


def list_hypervisor_servers(call: Call, svc: Hypervisors) -> dict[str, Any]:
    with call.read() as tx:
        hosts = svc.search(tx, call.params["hypervisor_id"])
        there = svc.with_servers(tx, hosts)
    return {"hypervisors": [_show_servers(call, BRIEF.render(host, call.version), there[host.name]) for host in hosts]}


def show_statistics(call: Call, svc: Hypervisors) -> dict[str, Any]:
    with call.read() as tx:
        return {"hypervisor_statistics": msgspec.structs.asdict(svc.statistics(tx))}


_ALL, _ONE = "/os-hypervisors", "/os-hypervisors/{hypervisor_id}"

ROUTES: tuple[Route[Hypervisors], ...] = (
    Route("GET", _ALL, list_hypervisors, f"{HYPERVISORS}list"),
    Route("GET", f"{_ALL}/detail", list_hypervisors_detailed, f"{HYPERVISORS}list-detail"),
    Route("GET", f"{_ALL}/statistics", show_statistics, f"{HYPERVISORS}statistics", until="2.87"),
    Route("GET", _ONE, show_hypervisor, f"{HYPERVISORS}show"),
    Route("GET", f"{_ONE}/uptime", show_uptime, f"{HYPERVISORS}uptime", until="2.87"),
    Route("GET", f"{_ONE}/search", search_hypervisors, f"{HYPERVISORS}search", until="2.52"),
    Route("GET", f"{_ONE}/servers", list_hypervisor_servers, f"{HYPERVISORS}servers", until="2.52"),
)
