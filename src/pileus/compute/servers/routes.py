"""URLs of servers."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from pileus.compute.servers import requests, schemas
from pileus.compute.servers.actions import ACTIONS
from pileus.compute.servers.domain import Server
from pileus.compute.servers.filters import ListRequest
from pileus.compute.servers.parts import PARTS
from pileus.compute.servers.policy import (
    ALL_FILTERS,
    EXTENDED_ATTRIBUTES,
    FLAVOR_EXTRA_SPECS,
    HOST_STATUS,
    S,
)
from pileus.compute.servers.service import Servers
from pileus.compute.servers.views import (
    DETAIL_VIEW,
    FULL_UPDATE_SINCE,
    SHOW_VIEW,
    UPDATE_VIEW,
    Shown,
    links,
    render,
    render_brief,
)
from pileus.kernel.db import Tx
from pileus.kernel.fields import View
from pileus.kernel.http import Call, Reply, Route
from pileus.kernel.paging import next_link
from pileus.kernel.versions import Version

_V2_3, _V2_16 = Version(2, 3), Version(2, 16)


def target(server: Server) -> dict[str, Any]:
    """A server as policy checks see it."""
    return {"project_id": server.project_id, "user_id": server.user_id}


def _rendered(call: Call, svc: Servers, tx: Tx, servers: Sequence[Server], view: View) -> list[dict[str, Any]]:
    """Servers through a view, with a constant number of queries."""
    ids = [server.id for server in servers]
    ports = svc.ports(tx, ids)
    version = call.version or Version(2, 1)
    sees_host = call.may(EXTENDED_ATTRIBUTES)
    data = svc.user_data(tx, ids) if sees_host and version >= _V2_3 and ids else {}
    statuses: dict[str, str] = {}
    if version >= _V2_16 and call.may(HOST_STATUS):
        hosts = {server.host for server in servers if server.host is not None}
        statuses = {host: "UP" if svc.host_up(tx, host) else "UNKNOWN" for host in hosts}
    specs = call.may(FLAVOR_EXTRA_SPECS)
    may = cache(call.may)  # the same rules for every server of the list
    return [
        render(
            view,
            Shown(
                server,
                ports.get(server.id, ()),
                call.base_url,
                prefix=svc.settings.instance_name_prefix,
                extended=view is not UPDATE_VIEW,
                extra_specs=specs,
                details=sees_host,
                host_status=statuses.get(server.host or "", ""),
                user_data=data.get(server.id),
            ),
            call.version,
            may,
        )
        for server in servers
    ]


def _list(call: Call, svc: Servers, *, detail: bool) -> dict[str, Any]:
    actor = call.actor
    all_tenants = f"{S}detail:get_all_tenants" if detail else f"{S}index:get_all_tenants"
    wanted = ListRequest(
        call.query,
        call.version or Version(2, 1),
        project_id=actor.owner,
        is_admin=call.may(ALL_FILTERS),
        max_limit=svc.settings.max_limit,
        may_all=lambda: call.may(all_tenants),
    )
    with call.read() as tx:
        selection = svc.with_address(tx, wanted.selection, wanted.addresses) if wanted.addresses else wanted.selection
        found = [] if wanted.empty else svc.page(tx, selection, wanted.page)
        servers = found[: wanted.page.limit]
        rendered = (
            _rendered(call, svc, tx, servers, DETAIL_VIEW)
            if detail
            else [render_brief(server, call.base_url) for server in servers]
        )
    document: dict[str, Any] = {"servers": rendered}
    if len(found) > wanted.page.limit:
        path = f"{call.base_url}/servers{'/detail' if detail else ''}"
        document["servers_links"] = [{"rel": "next", "href": next_link(path, call.query.pairs, servers[-1].id)}]
    return document


def list_servers(call: Call, svc: Servers) -> dict[str, Any]:
    return _list(call, svc, detail=False)


def list_servers_detailed(call: Call, svc: Servers) -> dict[str, Any]:
    return _list(call, svc, detail=True)


def show_server(call: Call, svc: Servers) -> dict[str, Any]:
    with call.read() as tx:
        server = svc.get(tx, call.actor, call.params["server_id"])
        call.authorize(target(server))
        return {"server": _rendered(call, svc, tx, [server], SHOW_VIEW)[0]}


def create_servers(call: Call, svc: Servers) -> Reply:
    new = requests.new_servers(call.body, call.version or Version(2, 1))
    if isinstance(new.nics, tuple) and new.nics:
        call.authorize({"project_id": call.actor.project_id}, f"{S}create:attach_network")
    with call.read() as tx:
        plan = svc.plan(tx, call.actor, new, call.may)
    ids = call.transact(lambda tx: svc.create(tx, call.actor, plan, call.request_id))
    if call.body.wrapped.return_reservation_id:
        return Reply({"reservation_id": plan.reservation_id})
    href = f"{call.base_url}/servers/{ids[0]}"
    document = {
        "id": ids[0],
        "links": links(call.base_url, call.base_url.removesuffix("/v2.1"), "servers", ids[0]),
        "OS-DCF:diskConfig": "MANUAL" if new.auto_disk_config is False else "AUTO",
        "security_groups": [{"name": name} for name in plan.group_names],
        "adminPass": plan.admin_pass,
    }
    return Reply({"server": document}, headers={"Location": href})


def update_server(call: Call, svc: Servers) -> dict[str, Any]:
    update = requests.server_update(call.body)
    full = call.version is not None and call.version >= FULL_UPDATE_SINCE

    def work(tx: Tx) -> dict[str, Any]:
        server = svc.get(tx, call.actor, call.params["server_id"])
        call.authorize(target(server))
        changed = svc.update(tx, server, update)
        return _rendered(call, svc, tx, [changed], SHOW_VIEW if full else UPDATE_VIEW)[0]

    return {"server": call.transact(work)}


def delete_server(call: Call, svc: Servers) -> None:
    def work(tx: Tx) -> None:
        server = svc.get(tx, call.actor, call.params["server_id"])
        call.authorize(target(server))
        svc.delete(tx, call.actor, server, call.request_id)

    call.transact(work)


ROUTES: tuple[Route[Servers], ...] = (
    Route("GET", "/servers", list_servers, f"{S}index"),
    Route("POST", "/servers", create_servers, f"{S}create", status=202, body=schemas.CREATE),
    Route("GET", "/servers/detail", list_servers_detailed, f"{S}detail"),
    Route("GET", "/servers/{server_id}", show_server, f"{S}show"),
    Route("PUT", "/servers/{server_id}", update_server, f"{S}update", body=schemas.UPDATE),
    Route("DELETE", "/servers/{server_id}", delete_server, f"{S}delete", status=204),
    *ACTIONS,
    *PARTS,
)
