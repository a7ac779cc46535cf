"""URLs of security groups and their rules, up to version 2.35."""

from typing import Any

from pileus.compute.query_strings import part_of_list
from pileus.compute.security_groups.policy import GROUPS
from pileus.compute.security_groups.schemas import CREATE, CREATE_RULE, UPDATE
from pileus.compute.security_groups.service import SecurityGroups
from pileus.compute.security_groups.views import render_group, render_rule
from pileus.kernel.db import Tx
from pileus.kernel.fields import UNSET, given
from pileus.kernel.http import Call, Route
from pileus.network.domain import SecurityGroup

_LAST = "2.35"


def _own(call: Call, svc: SecurityGroups, tx: Tx, group_id: str) -> SecurityGroup:
    group = svc.get(tx, call.actor, group_id)
    call.authorize({"project_id": group.project_id})
    return group


def list_groups(call: Call, svc: SecurityGroups) -> dict[str, Any]:
    part = part_of_list(call)
    everywhere = call.query.flag("all_tenants")
    with call.read() as tx:
        ready = svc.ready(tx, call.actor)
    if not ready:
        call.transact(lambda tx: svc.prepare(tx, call.actor))
    with call.read() as tx:
        groups = svc.all(tx, call.actor, all_projects=everywhere)[part]
        names = svc.names(tx, call.actor, groups)
    return {"security_groups": [render_group(group, names) for group in groups]}


def show_group(call: Call, svc: SecurityGroups) -> dict[str, Any]:
    with call.read() as tx:
        group = _own(call, svc, tx, call.params["security_group_id"])
        return {"security_group": render_group(group, svc.names(tx, call.actor, [group]))}


def create_group(call: Call, svc: SecurityGroups) -> dict[str, Any]:
    name, description = call.body.name, given(call.body.description, "")
    return {"security_group": render_group(call.transact(lambda tx: svc.create(tx, call.actor, name, description)), {})}


def update_group(call: Call, svc: SecurityGroups) -> dict[str, Any]:
    sent = {"name": call.body.name, "description": call.body.description}
    changes = {key: value or "" for key, value in sent.items() if value is not UNSET}

    def work(tx: Tx) -> dict[str, Any]:
        group = _own(call, svc, tx, call.params["security_group_id"])
        changed = svc.update(tx, call.actor, group, changes)
        return render_group(changed, svc.names(tx, call.actor, [changed]))

    return {"security_group": call.transact(work)}


def delete_group(call: Call, svc: SecurityGroups) -> None:
    def work(tx: Tx) -> None:
        svc.delete(tx, call.actor, _own(call, svc, tx, call.params["security_group_id"]))

    call.transact(work)


def create_rule(call: Call, svc: SecurityGroups) -> dict[str, Any]:
    body = call.body
    low, high = (None if port is None else int(port) for port in (body.from_port, body.to_port))

    def work(tx: Tx) -> dict[str, Any]:
        group = _own(call, svc, tx, body.parent_group_id)
        rule = svc.create_rule(
            tx,
            call.actor,
            group,
            protocol=body.ip_protocol,
            ports=(low, high),
            cidr=body.cidr,
            source_id=body.group_id,
        )
        names = {} if body.group_id is None else {body.group_id: svc.get(tx, call.actor, body.group_id).name}
        return render_rule(rule, names)

    return {"security_group_rule": call.transact(work)}


def delete_rule(call: Call, svc: SecurityGroups) -> None:
    def work(tx: Tx) -> None:
        rule = svc.rule(tx, call.actor, call.params["security_group_rule_id"])
        _own(call, svc, tx, rule.security_group_id)
        svc.delete_rule(tx, rule)

    call.transact(work)


_GROUP = "/os-security-groups/{security_group_id}"

ROUTES: tuple[Route[SecurityGroups], ...] = (
    Route("GET", "/os-security-groups", list_groups, f"{GROUPS}get", until=_LAST),
    Route("POST", "/os-security-groups", create_group, f"{GROUPS}create", body=CREATE, until=_LAST),
    Route("GET", _GROUP, show_group, f"{GROUPS}show", until=_LAST),
    Route("PUT", _GROUP, update_group, f"{GROUPS}update", body=UPDATE, until=_LAST),
    Route("DELETE", _GROUP, delete_group, f"{GROUPS}delete", status=202, until=_LAST),
    Route("POST", "/os-security-group-rules", create_rule, f"{GROUPS}rule:create", body=CREATE_RULE, until=_LAST),
    Route(
        "DELETE",
        "/os-security-group-rules/{security_group_rule_id}",
        delete_rule,
        f"{GROUPS}rule:delete",
        status=202,
        until=_LAST,
    ),
)
