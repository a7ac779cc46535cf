"""Security groups and their rules over HTTP."""

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Route
from pileus.network.domain import SecurityGroup, SecurityGroupRule, owned_target
from pileus.network.security_groups.schemas import CREATE, CREATE_RULE, RULE_VIEW, UPDATE, UPDATE_RULE, VIEW
from pileus.network.service import Networks
from pileus.network.wire import owner_of, render_batch, render_list, render_one


def list_groups(call: Call, svc: Networks) -> dict[str, object]:
    """GET /security-groups: the caller's default group is made if it is not there yet"""
    groups = svc.security_groups
    request = groups.listing.parse(call.query)
    project_id = call.actor.owner
    with call.read() as tx:
        if not project_id or groups.has_default(tx, project_id):
            found, more = groups.page(tx, call.actor, request)
            return render_list(call, VIEW, "security_groups", found, request, more)
    call.transact(lambda tx: groups.ensure_default(tx, project_id))
    with call.read() as tx:
        found, more = groups.page(tx, call.actor, request)
    return render_list(call, VIEW, "security_groups", found, request, more)


def show_group(call: Call, svc: Networks) -> dict[str, object]:
    """GET /security-groups/{security_group_id}"""
    with call.read() as tx:
        group = svc.security_groups.get(tx, call.actor, call.params["security_group_id"])
    return render_one(call, VIEW, "security_group", group)


def create_groups(call: Call, svc: Networks) -> dict[str, object]:
    """POST /security-groups: one, or several at once"""
    owned = [(owner_of(call, item), item) for item in call.body.items]

    def work(tx: Tx) -> list[SecurityGroup]:
        return [svc.security_groups.create(tx, project_id, item) for project_id, item in owned]

    return render_batch(call, VIEW, CREATE, call.body, call.transact(work))


def update_group(call: Call, svc: Networks) -> dict[str, object]:
    """PUT /security-groups/{security_group_id}"""

    def work(tx: Tx) -> SecurityGroup:
        group = _own(call, svc, tx)
        return svc.security_groups.update(tx, call.actor, group, call.body)

    return render_one(call, VIEW, "security_group", call.transact(work))


def delete_group(call: Call, svc: Networks) -> None:
    """DELETE /security-groups/{security_group_id}"""

    def work(tx: Tx) -> None:
        svc.security_groups.delete(tx, call.actor, _own(call, svc, tx))

    call.transact(work)


def _own(call: Call, svc: Networks, tx: Tx) -> SecurityGroup:
    group = svc.security_groups.get(tx, call.actor, call.params["security_group_id"])
    call.authorize(owned_target(group.project_id))
    return group


def list_rules(call: Call, svc: Networks) -> dict[str, object]:
    """GET /security-group-rules"""
    request = svc.security_groups.rule_listing.parse(call.query)
    with call.read() as tx:
        rules, more = svc.security_groups.page_rules(tx, call.actor, request)
    return render_list(call, RULE_VIEW, "security_group_rules", rules, request, more)


def show_rule(call: Call, svc: Networks) -> dict[str, object]:
    """GET /security-group-rules/{security_group_rule_id}"""
    with call.read() as tx:
        rule = svc.security_groups.get_rule(tx, call.actor, call.params["security_group_rule_id"])
    return render_one(call, RULE_VIEW, "security_group_rule", rule)


def create_rules(call: Call, svc: Networks) -> dict[str, object]:
    """POST /security-group-rules: one, or several at once"""
    owned = [(owner_of(call, item), item) for item in call.body.items]

    def work(tx: Tx) -> list[SecurityGroupRule]:
        return [svc.security_groups.create_rule(tx, call.actor, project_id, item) for project_id, item in owned]

    return render_batch(call, RULE_VIEW, CREATE_RULE, call.body, call.transact(work))


def update_rule(call: Call, svc: Networks) -> dict[str, object]:
    """PUT /security-group-rules/{security_group_rule_id}: its description"""

    def work(tx: Tx) -> SecurityGroupRule:
        rule = _own_rule(call, svc, tx)
        return svc.security_groups.update_rule(tx, call.actor, rule, call.body)

    return render_one(call, RULE_VIEW, "security_group_rule", call.transact(work))


def delete_rule(call: Call, svc: Networks) -> None:
    """DELETE /security-group-rules/{security_group_rule_id}"""

    def work(tx: Tx) -> None:
        svc.security_groups.delete_rule(tx, _own_rule(call, svc, tx))

    call.transact(work)


def _own_rule(call: Call, svc: Networks, tx: Tx) -> SecurityGroupRule:
    rule = svc.security_groups.get_rule(tx, call.actor, call.params["security_group_rule_id"])
    group = svc.security_groups.get(tx, call.actor, rule.security_group_id)
    call.authorize(owned_target(group.project_id))
    return rule


_GROUPS, _GROUP = "/security-groups", "/security-groups/{security_group_id}"
_RULES, _RULE = "/security-group-rules", "/security-group-rules/{security_group_rule_id}"

ROUTES: tuple[Route[Networks], ...] = (
    Route("GET", _GROUPS, list_groups, "get_security_group"),
    Route("POST", _GROUPS, create_groups, "create_security_group", 201, CREATE),
    Route("GET", _GROUP, show_group, "get_security_group"),
    Route("PUT", _GROUP, update_group, "update_security_group", 200, UPDATE),
    Route("DELETE", _GROUP, delete_group, "delete_security_group", 204),
    Route("GET", _RULES, list_rules, "get_security_group_rule"),
    Route("POST", _RULES, create_rules, "create_security_group_rule", 201, CREATE_RULE),
    Route("GET", _RULE, show_rule, "get_security_group_rule"),
    Route("PUT", _RULE, update_rule, "update_security_group_rule", 200, UPDATE_RULE),
    Route("DELETE", _RULE, delete_rule, "delete_security_group_rule", 204),
)
