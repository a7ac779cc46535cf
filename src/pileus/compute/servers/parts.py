"""What is below a server: addresses, metadata, tags, security groups, ports and the history of actions."""

from collections.abc import Callable, Mapping
from typing import Any

from pileus.compute.security_groups.service import remote_names
from pileus.compute.security_groups.views import render_group
from pileus.compute.servers import domain, schemas
from pileus.compute.servers.actions import load
from pileus.compute.servers.domain import Server
from pileus.compute.servers.policy import ACTION_EVENT_DETAILS, ACTION_EVENTS
from pileus.compute.servers.service import Servers
from pileus.compute.servers.views import ACTION_VIEW, addresses, render_event, render_interface
from pileus.kernel.clock import parse_iso
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, NotFound
from pileus.kernel.http import Call, Reply, Route
from pileus.kernel.paging import next_link, parse_limit
from pileus.kernel.versions import Version

_V2_21, _V2_51, _V2_58, _V2_66 = (Version(2, minor) for minor in (21, 51, 58, 66))
_META = "os_compute_api:server-metadata"
_TAGS = "os_compute_api:os-server-tags"


# --- addresses ----------------------------------------------------------------------------------------------


def _addresses(call: Call, svc: Servers) -> dict[str, list[dict[str, Any]]]:
    with call.read() as tx:
        server = load(call, svc, tx)
        return addresses(svc.ports(tx, [server.id]).get(server.id, ()), extended=False)


def list_addresses(call: Call, svc: Servers) -> dict[str, Any]:
    return {"addresses": _addresses(call, svc)}


def show_addresses(call: Call, svc: Servers) -> dict[str, Any]:
    label = call.params["network_label"]
    found = _addresses(call, svc)
    if label not in found:
        raise NotFound("Instance is not a member of specified network")
    return {label: found[label]}


# --- metadata -----------------------------------------------------------------------------------------------


def list_metadata(call: Call, svc: Servers) -> dict[str, Any]:
    with call.read() as tx:
        return {"metadata": load(call, svc, tx).metadata}


def show_metadata_item(call: Call, svc: Servers) -> dict[str, Any]:
    with call.read() as tx:
        return {"meta": _item(load(call, svc, tx), call.params["key"])}


def _item(server: Server, key: str) -> dict[str, str]:
    if key not in server.metadata:
        raise NotFound("Metadata item was not found")
    return {key: server.metadata[key]}


def _set_metadata(
    call: Call, svc: Servers, change: Callable[[Server], Mapping[str, str]], transition: domain.Transition
) -> dict[str, str]:
    def work(tx: Tx) -> Server:
        server = load(call, svc, tx)
        return svc.set_metadata(tx, call.actor, server, change(server), action=transition)

    return call.transact(work).metadata


def merge_metadata(call: Call, svc: Servers) -> dict[str, Any]:
    new = call.body.metadata
    return {"metadata": _set_metadata(call, svc, lambda server: server.metadata | new, domain.UPDATE_METADATA)}


def replace_metadata(call: Call, svc: Servers) -> dict[str, Any]:
    new = call.body.metadata
    return {"metadata": _set_metadata(call, svc, lambda _server: new, domain.UPDATE_METADATA)}


def set_metadata_item(call: Call, svc: Servers) -> dict[str, Any]:
    key, new = call.params["key"], call.body.meta
    if len(new) != 1:
        raise BadRequest("Request body contains too many items")
    if key not in new:
        raise BadRequest("Request body and URI mismatch")
    _set_metadata(call, svc, lambda server: server.metadata | new, domain.UPDATE_METADATA)
    return {"meta": new}


def delete_metadata_item(call: Call, svc: Servers) -> None:
    key = call.params["key"]

    def without(server: Server) -> dict[str, str]:
        _item(server, key)
        return {name: value for name, value in server.metadata.items() if name != key}

    _set_metadata(call, svc, without, domain.DELETE_METADATA)


# --- tags ---------------------------------------------------------------------------------------------------


def list_tags(call: Call, svc: Servers) -> dict[str, Any]:
    with call.read() as tx:
        return {"tags": load(call, svc, tx).tags}


def check_tag(call: Call, svc: Servers) -> None:
    with call.read() as tx:
        server = load(call, svc, tx)
    _has_tag(server, call.params["tag"])


def _has_tag(server: Server, tag: str) -> None:
    if tag not in server.tags:
        raise NotFound(f"Server {server.id} has no tag '{tag}'")


def replace_tags(call: Call, svc: Servers) -> dict[str, Any]:
    tags = sorted(set(call.body.tags))
    call.transact(lambda tx: svc.set_tags(tx, call.actor, load(call, svc, tx), tags))
    return {"tags": tags}


def add_tag(call: Call, svc: Servers) -> Reply:
    tag = call.params["tag"]
    if not 0 < len(tag) <= 60 or "," in tag:
        raise BadRequest(f"Tag '{tag}' is invalid. It must be a string without characters '/' and ','. Max length 60.")

    def work(tx: Tx) -> bool:
        server = load(call, svc, tx)
        new = tag not in server.tags
        if new:
            svc.set_tags(tx, call.actor, server, {*server.tags, tag})
        return new

    if not call.transact(work):
        return Reply(status=204)
    return Reply(status=201, headers={"Location": f"{call.base_url}/servers/{call.params['server_id']}/tags/{tag}"})


def delete_tag(call: Call, svc: Servers) -> None:
    tag = call.params["tag"]

    def work(tx: Tx) -> None:
        server = load(call, svc, tx)
        _has_tag(server, tag)
        svc.set_tags(tx, call.actor, server, {*server.tags} - {tag})

    call.transact(work)


def delete_tags(call: Call, svc: Servers) -> None:
    call.transact(lambda tx: svc.set_tags(tx, call.actor, load(call, svc, tx), ()))


# --- the guest's password -----------------------------------------------------------------------------------


def show_password(call: Call, svc: Servers) -> dict[str, Any]:
    with call.read() as tx:
        return {"password": svc.password(tx, load(call, svc, tx))}


def clear_password(call: Call, svc: Servers) -> None:
    call.transact(lambda tx: svc.clear_password(tx, load(call, svc, tx)))


# --- ports and their groups ---------------------------------------------------------------------------------


def list_groups(call: Call, svc: Servers) -> dict[str, Any]:
    with call.read() as tx:
        server = load(call, svc, tx)
        groups = svc.groups(tx, call.actor, server)
        names = remote_names(tx, svc.neighbours.networks.security_groups, call.actor, groups)
    return {"security_groups": [render_group(group, names) for group in groups]}


def list_interfaces(call: Call, svc: Servers) -> dict[str, Any]:
    with call.read() as tx:
        server = load(call, svc, tx)
        ports = svc.ports(tx, [server.id]).get(server.id, [])
    return {"interfaceAttachments": [render_interface(port, call.version) for port in ports]}


def show_interface(call: Call, svc: Servers) -> dict[str, Any]:
    with call.read() as tx:
        server = load(call, svc, tx)
        ports = svc.ports(tx, [server.id]).get(server.id, [])
    for port in ports:
        if port.id == call.params["port_id"]:
            return {"interfaceAttachment": render_interface(port, call.version)}
    raise NotFound(f"Instance {server.id} does not have a port with id {call.params['port_id']}")


# --- history ------------------------------------------------------------------------------------------------


def _load_any(call: Call, svc: Servers, tx: Tx) -> Server:
    """The server, from 2.21 also when it is deleted."""
    if call.version is None or call.version < _V2_21:
        return load(call, svc, tx)
    server = svc.get_any(tx, call.actor, call.params["server_id"])
    call.authorize({"project_id": server.project_id, "user_id": server.user_id})
    return server


def _instant(call: Call, name: str, since: Version) -> int | None:
    text = call.query.get(name)
    if text is None or call.version is None or call.version < since:
        return None
    try:
        return parse_iso(text)
    except ValueError as err:
        raise BadRequest(f"Invalid {name} value: {text} is not an ISO 8601 time.") from err


def list_actions(call: Call, svc: Servers) -> dict[str, Any]:
    paged = call.version is not None and call.version >= _V2_58
    limit = parse_limit(call.query.get("limit"), svc.settings.max_limit) if paged else None
    with call.read() as tx:
        server = _load_any(call, svc, tx)
        found = svc.actions(
            tx,
            server,
            limit=None if limit is None else limit + 1,
            marker=call.query.get("marker") if paged else None,
            since=_instant(call, "changes-since", _V2_58),
            before=_instant(call, "changes-before", _V2_66),
        )
    shown = found if limit is None else found[:limit]
    document: dict[str, Any] = {"instanceActions": [ACTION_VIEW.render(one, call.version) for one in shown]}
    if limit and len(found) > limit:
        path = f"{call.base_url}/servers/{server.id}/os-instance-actions"
        href = next_link(path, call.query.pairs, shown[-1].request_id)
        document["links"] = [{"rel": "next", "href": href}]
    return document


def show_action(call: Call, svc: Servers) -> dict[str, Any]:
    with call.read() as tx:
        server = _load_any(call, svc, tx)
        action, events = svc.action(tx, server, call.params["action_request_id"])
    document = ACTION_VIEW.render(action, call.version)
    administrator, details = call.may(ACTION_EVENTS), call.may(ACTION_EVENT_DETAILS)
    if administrator or (call.version is not None and call.version >= _V2_51):
        document["events"] = [
            render_event(one, action, call.version, administrator=administrator, details=details) for one in events
        ]
    return {"instanceAction": document}


PARTS: tuple[Route[Servers], ...] = (
    Route("GET", "/servers/{server_id}/ips", list_addresses, "os_compute_api:ips:index"),
    Route("GET", "/servers/{server_id}/ips/{network_label}", show_addresses, "os_compute_api:ips:show"),
    Route("GET", "/servers/{server_id}/metadata", list_metadata, f"{_META}:index"),
    Route("POST", "/servers/{server_id}/metadata", merge_metadata, f"{_META}:create", body=schemas.METADATA_BODY),
    Route("PUT", "/servers/{server_id}/metadata", replace_metadata, f"{_META}:update_all", body=schemas.METADATA_BODY),
    Route("GET", "/servers/{server_id}/metadata/{key}", show_metadata_item, f"{_META}:show"),
    Route(
        "PUT", "/servers/{server_id}/metadata/{key}", set_metadata_item, f"{_META}:update", body=schemas.METADATA_ITEM
    ),
    Route("DELETE", "/servers/{server_id}/metadata/{key}", delete_metadata_item, f"{_META}:delete", status=204),
    Route("GET", "/servers/{server_id}/tags", list_tags, f"{_TAGS}:index", since="2.26"),
    Route("PUT", "/servers/{server_id}/tags", replace_tags, f"{_TAGS}:update_all", body=schemas.TAGS, since="2.26"),
    Route("DELETE", "/servers/{server_id}/tags", delete_tags, f"{_TAGS}:delete_all", status=204, since="2.26"),
    Route("GET", "/servers/{server_id}/tags/{tag}", check_tag, f"{_TAGS}:show", status=204, since="2.26"),
    Route("PUT", "/servers/{server_id}/tags/{tag}", add_tag, f"{_TAGS}:update", status=201, since="2.26"),
    Route("DELETE", "/servers/{server_id}/tags/{tag}", delete_tag, f"{_TAGS}:delete", status=204, since="2.26"),
    Route("GET", "/servers/{server_id}/os-security-groups", list_groups, "os_compute_api:os-security-groups:list"),
    Route("GET", "/servers/{server_id}/os-server-password", show_password, "os_compute_api:os-server-password:show"),
    Route(
        "DELETE",
        "/servers/{server_id}/os-server-password",
        clear_password,
        "os_compute_api:os-server-password:clear",
        status=204,
    ),
    Route("GET", "/servers/{server_id}/os-interface", list_interfaces, "os_compute_api:os-attach-interfaces:list"),
    Route(
        "GET", "/servers/{server_id}/os-interface/{port_id}", show_interface, "os_compute_api:os-attach-interfaces:show"
    ),
    Route("GET", "/servers/{server_id}/os-instance-actions", list_actions, "os_compute_api:os-instance-actions:list"),
    Route(
        "GET",
        "/servers/{server_id}/os-instance-actions/{action_request_id}",
        show_action,
        "os_compute_api:os-instance-actions:show",
    ),
)
