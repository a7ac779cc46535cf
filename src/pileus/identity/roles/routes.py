"""Operations on roles, implied roles and assignments."""

from collections.abc import Mapping
from typing import Any

from pileus.identity.domain import SYSTEM, ActorKind, Assignment, AssignmentFilter, Role, TargetKind
from pileus.identity.projects.routes import target_of as project_target
from pileus.identity.rest import PREFIX, asked, many, missing, one, target, wanted
from pileus.identity.roles import listing
from pileus.identity.roles.graph import Graph
from pileus.identity.roles.schemas import ROLE, ROLE_CREATE, ROLE_NAME, ROLE_UPDATE
from pileus.identity.rows import Found
from pileus.identity.service import Identity
from pileus.identity.users.routes import target_of as actor_target
from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Route


def show(call: Call, role: Role) -> dict[str, Any]:
    """A role in a response."""
    return one(call, "roles", ROLE, role)


def _domain_rule(rule: str, domain_id: str | None) -> str:
    """Roles of domains have rules of their own: identity:get_domain_role beside identity:get_role."""
    return rule if domain_id is None else rule.replace("_role", "_domain_role")


def list_roles(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /roles: the global ones, or those of one domain"""
    domain_id = call.query.get("domain_id")
    call.authorize({}, _domain_rule(call.rule, domain_id))
    with call.read() as tx:
        found = svc.roles.page(tx, wanted(call, svc.max_limit, {"name": "name"}).but(domain_id=domain_id))
    return many(call, "roles", found, lambda role: show(call, role))


def create_role(call: Call, svc: Identity) -> dict[str, Any]:
    """POST /roles"""
    call.authorize({}, _domain_rule(call.rule, call.body.get("domain_id")))
    return {"role": show(call, call.transact(lambda tx: svc.roles.create(tx, call.body)))}


def _role(call: Call, svc: Identity, tx: Tx, name: str = "role_id") -> Role:
    role_id = call.params[name]
    role = svc.roles.find(tx, role_id)
    about = target(role__name=role.name) if role else {}
    call.authorize(about, _domain_rule(call.rule, role.domain_id if role else None))
    if role is None:
        raise missing("role", role_id)
    return role


def show_role(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /roles/{role_id}"""
    with call.read() as tx:
        return {"role": show(call, _role(call, svc, tx))}


def update_role(call: Call, svc: Identity) -> dict[str, Any]:
    """PATCH /roles/{role_id}"""
    role = call.transact(lambda tx: svc.roles.update(tx, _role(call, svc, tx), call.body))
    return {"role": show(call, role)}


def delete_role(call: Call, svc: Identity) -> None:
    """DELETE /roles/{role_id}"""
    call.transact(lambda tx: svc.roles.delete(tx, _role(call, svc, tx)))


# --- implied roles ------------------------------------------------------------------------------------------


def _pair(call: Call, svc: Identity, tx: Tx) -> tuple[Role, Role]:
    found = [svc.roles.find(tx, call.params[name]) for name in ("role_id", "implied_role_id")]
    for role, name in zip(found, ("role_id", "implied_role_id"), strict=True):
        if role is None:
            raise missing("role", call.params[name])
    prior, implied = (role for role in found if role is not None)
    return prior, implied


def _named(call: Call, role: Role) -> dict[str, Any]:
    return one(call, "roles", ROLE_NAME, role)


def _inference(call: Call, graph: Graph, prior_id: str) -> dict[str, Any]:
    implied = [graph.roles[role_id] for role_id in graph.implied.get(prior_id, ())]
    return {"prior_role": _named(call, graph.roles[prior_id]), "implies": [_named(call, role) for role in implied]}


def _self(call: Call) -> dict[str, str]:
    return {"self": call.base_url + call.path.removeprefix(PREFIX)}


def list_implied(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /roles/{role_id}/implies"""
    with call.read() as tx:
        graph = svc.roles.graph(tx)
    if call.params["role_id"] not in graph.roles:
        raise missing("role", call.params["role_id"])
    return {"role_inference": _inference(call, graph, call.params["role_id"]), "links": _self(call)}


def list_inferences(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /role_inferences"""
    with call.read() as tx:
        graph = svc.roles.graph(tx)
    return {"role_inferences": [_inference(call, graph, prior) for prior in graph.implied], "links": _self(call)}


def imply(call: Call, svc: Identity) -> dict[str, Any]:
    """PUT /roles/{role_id}/implies/{implied_role_id}"""

    def create(tx: Tx) -> tuple[Role, Role]:
        pair = _pair(call, svc, tx)
        svc.roles.imply(tx, *pair)
        return pair

    return _implication(call, *call.transact(create))


def _implication(call: Call, prior: Role, implied: Role) -> dict[str, Any]:
    pair = {"prior_role": _named(call, prior), "implies": _named(call, implied)}
    return {"role_inference": pair, "links": _self(call)}


def show_implied(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /roles/{role_id}/implies/{implied_role_id}"""
    with call.read() as tx:
        pair = _pair(call, svc, tx)
        svc.roles.check_implied(tx, *pair)
    return _implication(call, *pair)


def check_implied(call: Call, svc: Identity) -> None:
    """HEAD /roles/{role_id}/implies/{implied_role_id}"""
    show_implied(call, svc)


def delete_implied(call: Call, svc: Identity) -> None:
    """DELETE /roles/{role_id}/implies/{implied_role_id}"""
    call.transact(lambda tx: svc.roles.no_longer_imply(tx, *_pair(call, svc, tx)))


# --- assignments --------------------------------------------------------------------------------------------


def _place(call: Call) -> tuple[ActorKind, str, TargetKind, str]:
    params = call.params
    actor: tuple[ActorKind, str] = ("user", params["user_id"]) if "user_id" in params else ("group", params["group_id"])
    if "project_id" in params:
        return (*actor, "project", params["project_id"])
    if "domain_id" in params:
        return (*actor, "domain", params["domain_id"])
    return (*actor, "system", SYSTEM)


def _authorized(call: Call, svc: Identity, tx: Tx, role: Role | None = None) -> str | None:
    """Check the rule for user or group, target and role; NotFound if one of them does not exist.

    Answers the domain of the target.
    """
    actor_kind, actor_id, target_kind, target_id = _place(call)
    user = svc.users.find(tx, actor_id) if actor_kind == "user" else None
    group = svc.users.find_group(tx, actor_id) if actor_kind == "group" else None
    place = svc.projects.find(tx, target_id) if target_kind != "system" else None
    if place is not None and target_kind == "domain" and not place.is_domain:
        place = None
    about: dict[str, Any] = {**actor_target(user, group)}
    if place is not None:
        about |= project_target(place) if target_kind == "project" else target(domain__id=place.id)
    if role is not None:
        about |= {"target.role.name": role.name, "target.role.domain_id": role.domain_id}
    call.authorize(about)
    if user is None and group is None:
        raise missing(actor_kind, actor_id)
    if place is None and target_kind != "system":
        raise missing(target_kind, target_id)
    return place.home if place is not None else None


def _assignment(call: Call) -> Assignment:
    actor_kind, actor_id, target_kind, target_id = _place(call)
    return Assignment(
        actor_kind=actor_kind,
        actor_id=actor_id,
        target_kind=target_kind,
        target_id=target_id,
        role_id=call.params["role_id"],
        inherited=call.path.endswith("/inherited_to_projects"),
    )


def _granted_role(call: Call, svc: Identity, tx: Tx) -> tuple[Role, str | None]:
    role = svc.roles.find(tx, call.params["role_id"])
    home = _authorized(call, svc, tx, role)
    if role is None:
        raise missing("role", call.params["role_id"])
    return role, home


def grant(call: Call, svc: Identity) -> None:
    """PUT .../roles/{role_id}"""

    def work(tx: Tx) -> None:
        role, home = _granted_role(call, svc, tx)
        svc.roles.grant(tx, _assignment(call), role, home)

    call.transact(work)


def check_grant(call: Call, svc: Identity) -> None:
    """HEAD and GET .../roles/{role_id}"""
    with call.read() as tx:
        _granted_role(call, svc, tx)
        svc.roles.check_grant(tx, _assignment(call))


def revoke_grant(call: Call, svc: Identity) -> None:
    """DELETE .../roles/{role_id}"""

    def work(tx: Tx) -> None:
        _granted_role(call, svc, tx)
        svc.roles.revoke(tx, _assignment(call))

    call.transact(work)


def list_grants(call: Call, svc: Identity) -> dict[str, Any]:
    """GET .../roles and .../roles/inherited_to_projects"""
    with call.read() as tx:
        _authorized(call, svc, tx)
        actor_kind, actor_id, target_kind, target_id = _place(call)
        place = svc.projects.find(tx, target_id) if target_kind == "project" else None
        roles = svc.roles.granted(
            tx,
            AssignmentFilter(
                user_id=actor_id if actor_kind == "user" else None,
                group_id=actor_id if actor_kind == "group" else None,
                projects=[place] if place is not None else None,
                domain_id=target_id if target_kind == "domain" else None,
                system=target_kind == "system",
                inherited=call.path.endswith("/inherited_to_projects"),
            ),
        )
    return many(call, "roles", Found(roles), lambda role: show(call, role))


def list_assignments(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /role_assignments"""
    query = call.query
    question = listing.Question(
        user_id=query.get("user.id"),
        group_id=query.get("group.id"),
        role_id=query.get("role.id"),
        project_id=query.get("scope.project.id"),
        domain_id=query.get("scope.domain.id"),
        system="scope.system" in query,
        inherited="scope.OS-INHERIT:inherited_to" in query,
        effective=asked(call, "effective"),
        include_names=asked(call, "include_names"),
        include_subtree=asked(call, "include_subtree"),
        within=call.actor.domain_id,
        at=svc.clock.now(),
    )
    with call.read() as tx:
        _authorize_listing(call, svc, tx, question)
        rendered = listing.render(tx, listing.answer(tx, question), call.base_url, question.include_names)
    return {"role_assignments": rendered, "links": {**_self(call), "previous": None, "next": None}}


def _authorize_listing(call: Call, svc: Identity, tx: Tx, question: listing.Question) -> None:
    if not question.include_subtree:
        call.authorize(target(domain_id=call.actor.domain_id))
        return
    project = svc.projects.find(tx, question.project_id or "")
    call.authorize(project_target(project), "identity:list_role_assignments_for_tree")


_ROLE = "/roles/{role_id}"
_IMPLIES = f"{_ROLE}/implies"
_IMPLIED = f"{_IMPLIES}/{{implied_role_id}}"


def _grant_routes() -> tuple[Route[Identity], ...]:
    routes: list[Route[Identity]] = []
    rules: Mapping[str, str] = {
        "list": "list_grants",
        "check": "check_grant",
        "grant": "create_grant",
        "revoke": "revoke_grant",
    }
    for actor in ("users/{user_id}", "groups/{group_id}"):
        for place in ("projects/{project_id}", "domains/{domain_id}"):
            routes += _grants(f"/{place}/{actor}/roles", "", rules)
            routes += _grants(f"/OS-INHERIT/{place}/{actor}/roles", "/inherited_to_projects", rules)
        kind = "user" if actor.startswith("users") else "group"
        routes += _grants(
            f"/system/{actor}/roles",
            "",
            {
                "list": f"list_system_grants_for_{kind}",
                "check": f"check_system_grant_for_{kind}",
                "grant": f"create_system_grant_for_{kind}",
                "revoke": f"revoke_system_grant_for_{kind}",
            },
        )
    return tuple(routes)


def _grants(path: str, end: str, rules: Mapping[str, str]) -> list[Route[Identity]]:
    of_role = f"{path}/{{role_id}}{end}"
    return [
        Route("GET", path + end, list_grants, f"identity:{rules['list']}", targeted=True),
        Route("GET", of_role, check_grant, f"identity:{rules['check']}", 204, targeted=True),
        Route("PUT", of_role, grant, f"identity:{rules['grant']}", 204, targeted=True),
        Route("DELETE", of_role, revoke_grant, f"identity:{rules['revoke']}", 204, targeted=True),
    ]


ROUTES: tuple[Route[Identity], ...] = (
    Route("GET", "/roles", list_roles, "identity:list_roles", targeted=True),
    Route("POST", "/roles", create_role, "identity:create_role", 201, ROLE_CREATE, targeted=True),
    Route("GET", _ROLE, show_role, "identity:get_role", targeted=True),
    Route("PATCH", _ROLE, update_role, "identity:update_role", body=ROLE_UPDATE, targeted=True),
    Route("DELETE", _ROLE, delete_role, "identity:delete_role", 204, targeted=True),
    Route("GET", "/role_inferences", list_inferences, "identity:list_role_inference_rules"),
    Route("GET", _IMPLIES, list_implied, "identity:list_implied_roles"),
    Route("GET", _IMPLIED, show_implied, "identity:get_implied_role"),
    Route("HEAD", _IMPLIED, check_implied, "identity:check_implied_role", 204),
    Route("PUT", _IMPLIED, imply, "identity:create_implied_role", 201),
    Route("DELETE", _IMPLIED, delete_implied, "identity:delete_implied_role", 204),
    Route("GET", "/role_assignments", list_assignments, "identity:list_role_assignments", targeted=True),
    *_grant_routes(),
)
