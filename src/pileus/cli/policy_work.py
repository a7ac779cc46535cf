"""The work of `pileus policy`."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pileus.api import services
from pileus.cli.context import opened_database
from pileus.identity.fernet import ScopeKind
from pileus.identity.projects import store as projects_store
from pileus.identity.tokens.scopes import Place
from pileus.identity.users import store as users_store
from pileus.kernel.auth import Actor
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, NotFound
from pileus.kernel.http import Route
from pileus.kernel.policy import PUBLIC, Policy
from pileus.kernel.policy_explained import explain, places
from pileus.settings import Settings
from pileus.wiring import Cloud, build, cloud_secret, make_policy


@dataclass(frozen=True)
class Scope:
    """Who would ask, and what the token would be for."""

    user: str | None
    user_domain: str
    project: str | None
    project_domain: str
    domain: str | None
    system: bool


def listing(settings: Settings, prefixes: tuple[str, ...], *, overridden: bool) -> Iterator[str]:
    """The rules as lines of a policy file."""
    policy = make_policy(settings)
    for name, check in policy.expressions.items():
        default = policy.rules.get(name)
        changed = default is None or default.check != check
        if (prefixes and not name.startswith(prefixes)) or (overridden and not changed):
            continue
        yield f"# {default.description}" if default else "# A rule of this site"
        if default and changed:
            yield f"# default: {json.dumps(default.check)}"
        yield f"{'' if changed else '#'}{json.dumps(name)}: {json.dumps(check)}"
        yield ""


def check(
    settings: Settings, what: Sequence[str], token: str | None, scope: Scope, target: Sequence[str], action: str | None
) -> tuple[bool, list[str]]:
    """Whether it is allowed, and the explanation in lines. BadRequest if the question makes no sense."""
    with opened_database(settings):  # for a word about a database that is not ready
        cloud = build(settings, cloud_secret(settings))
    try:
        lines, rule, targeted = _rule(cloud, settings, what, action)
        if rule == PUBLIC:
            return True, [*lines, "Everybody may do this, without a token."]
        actor = cloud.identity.authenticate(token) if token else _supposed(cloud, scope)
        given = _target(target)
        lines += [_introduced(actor), *_about(cloud.policy, rule, given, targeted=targeted)]
        seen = given if given or targeted else None
        lines += explain(cloud.policy, rule, actor, seen)
        return cloud.policy.allows(rule, actor, seen), lines
    finally:
        cloud.close()


def _rule(cloud: Cloud, settings: Settings, what: Sequence[str], action: str | None) -> tuple[list[str], str, bool]:
    """The rule in question, how it was found, and whether only the operation itself knows what it is acting on."""
    if len(what) == 1:
        if what[0] not in cloud.policy.expressions:
            raise BadRequest(f"There is no rule {what[0]} (`pileus policy list` prints them).")
        return [], what[0], False
    if len(what) != 2:
        raise BadRequest("Give the name of a rule, or a method and a path.")
    method, path = what[0].upper(), what[1]
    found = [
        route
        for service in services(cloud, cloud_secret(settings))
        for route in service.routes
        if route.method == method and _matches(service.prefix + route.path, path) and action in (None, route.action)
    ]
    actions = sorted({route.action for route in found if route.action})
    if len(actions) > 1:
        raise BadRequest(f"Which action (--action)? {', '.join(actions)}")
    if not found:
        raise BadRequest(f"There is no operation {method} {path}.")
    route: Route[Any] = found[-1]  # the newest version of it
    return [f"{method} {path} is decided by {route.rule}."], route.rule, route.targeted


def _matches(template: str, path: str) -> bool:
    pattern = re.sub(r"\\\{[^/]*?\\\}", "[^/]+", re.escape(template))
    return re.fullmatch(pattern, path.partition("?")[0].rstrip("/")) is not None


def _supposed(cloud: Cloud, scope: Scope) -> Actor:
    if scope.user is None:
        raise BadRequest("Whoever asks is missing: give --token, or --user and a scope.")
    with cloud.db.read() as tx:
        user = users_store.USERS.get(tx, scope.user)
        user = user or users_store.USERS.named(tx, scope.user, domain_id=scope.user_domain)
        if user is None:
            raise NotFound(f"Could not find user: {scope.user}.")
        place = _place(tx, scope)
    return cloud.identity.tokens.mint(user, ("password",), place)[1].actor


def _place(tx: Tx, scope: Scope) -> Place:
    if scope.system:
        return Place("system")
    kind: ScopeKind = "project" if scope.project else "domain"
    wanted, namespace = (scope.project, scope.project_domain) if scope.project else (scope.domain, "")
    if wanted is None:
        return Place("unscoped")
    found = projects_store.get(tx, wanted) or projects_store.by_name(tx, wanted, namespace)
    if found is None:
        raise NotFound(f"Could not find {kind}: {wanted}.")
    return Place(kind, found)


def _target(pairs: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise BadRequest(f"{pair} is not of the form name=value.")
        found[name] = value
    return found


def _introduced(actor: Actor) -> str:
    scope = (
        f"project {actor.project_name} ({actor.project_id})" if actor.project_id
        else f"domain {actor.domain_name} ({actor.domain_id})" if actor.domain_id
        else "the system" if actor.system
        else "nothing"
    )  # fmt: skip
    roles = ", ".join(sorted(actor.roles)) or "none"
    return f"User {actor.user_name} ({actor.user_id}), token for {scope}, roles: {roles}."


def _about(policy: Policy, rule: str, given: dict[str, Any], *, targeted: bool) -> Iterator[str]:
    wanted = [place for place in places(policy, rule) if place not in given]
    if not wanted:
        return
    if targeted or given:
        yield f"Not known of what is acted on (--target): {', '.join(wanted)}."
    else:
        yield "Without --target, what is acted on is taken to be the caller's own."
