"""Operations on application credentials and access rules."""

from typing import Any

from pileus.identity.application_credentials.domain import ApplicationCredential, StoredRule
from pileus.identity.application_credentials.schemas import CREATE, CREDENTIAL, ROLE, RULE
from pileus.identity.delegation import refuse_restricted
from pileus.identity.rest import many, missing, one, target, wanted
from pileus.identity.roles.graph import Graph
from pileus.identity.service import Identity
from pileus.identity.tokens.routes import own_token
from pileus.kernel.db import Tx
from pileus.kernel.errors import Forbidden
from pileus.kernel.http import Call, Route

_MANAGE = "make or delete application credentials"


def _own(call: Call) -> str:
    """The user in the path, once the rule allows it for that user."""
    user_id = call.params["user_id"]
    call.authorize({"user_id": user_id, **target(user__id=user_id)})
    return user_id


def show(call: Call, credential: ApplicationCredential, graph: Graph) -> dict[str, Any]:
    """A credential in a response."""
    shown = one(call, f"users/{credential.user_id}/application_credentials", CREDENTIAL, credential)
    shown["roles"] = [ROLE.render(graph.roles[role_id]) for role_id in credential.roles if role_id in graph.roles]
    if credential.rules:
        shown["access_rules"] = [RULE.render(rule) for rule in credential.rules]
    return shown


def show_a_rule(call: Call, rule: StoredRule) -> dict[str, Any]:
    """An access rule in a response."""
    return one(call, f"users/{rule.user_id}/access_rules", RULE, rule)


def list_credentials(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /users/{user_id}/application_credentials"""
    user_id = _own(call)
    with call.read() as tx:
        found = svc.application_credentials.page(tx, user_id, wanted(call, svc.max_limit, {"name": "name"}))
        graph = svc.roles.graph(tx)
    return many(call, "application_credentials", found, lambda credential: show(call, credential, graph))


def create_credential(call: Call, svc: Identity) -> dict[str, Any]:
    """POST /users/{user_id}/application_credentials"""
    if _own(call) != call.actor.user_id:
        raise Forbidden("Cannot create an application credential for another user.")
    refuse_restricted(call.actor, _MANAGE)
    held = own_token(call, svc).roles
    secret = svc.application_credentials.secret(call.body)

    def create(tx: Tx) -> dict[str, Any]:
        credential = svc.application_credentials.create(tx, call.actor, held, call.body, secret)
        return show(call, credential, svc.roles.graph(tx))

    return {"application_credential": {**call.transact(create), "secret": secret[0]}}


def _credential(call: Call, svc: Identity, tx: Tx) -> ApplicationCredential:
    credential_id = call.params["application_credential_id"]
    credential = svc.application_credentials.find(tx, credential_id, _own(call))
    if credential is None:
        raise missing("application credential", credential_id)
    return credential


def show_credential(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /users/{user_id}/application_credentials/{application_credential_id}"""
    with call.read() as tx:
        return {"application_credential": show(call, _credential(call, svc, tx), svc.roles.graph(tx))}


def delete_credential(call: Call, svc: Identity) -> None:
    """DELETE /users/{user_id}/application_credentials/{application_credential_id}"""

    def delete(tx: Tx) -> None:
        credential = _credential(call, svc, tx)
        refuse_restricted(call.actor, _MANAGE)
        svc.application_credentials.delete(tx, credential)

    call.transact(delete)


def list_rules(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /users/{user_id}/access_rules"""
    user_id = _own(call)
    want = wanted(call, svc.max_limit, {"service": "service", "path": "path", "method": "method"}, alike=())
    with call.read() as tx:
        found = svc.application_credentials.rules(tx, user_id, want)
    return many(call, "access_rules", found, lambda rule: show_a_rule(call, rule))


def show_rule(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /users/{user_id}/access_rules/{access_rule_id}"""
    user_id = _own(call)
    with call.read() as tx:
        rule = svc.application_credentials.rule(tx, user_id, call.params["access_rule_id"])
    return {"access_rule": show_a_rule(call, rule)}


def delete_rule(call: Call, svc: Identity) -> None:
    """DELETE /users/{user_id}/access_rules/{access_rule_id}"""
    user_id = _own(call)

    def delete(tx: Tx) -> None:
        rule = svc.application_credentials.rule(tx, user_id, call.params["access_rule_id"])
        svc.application_credentials.delete_rule(tx, rule)

    call.transact(delete)


_ALL = "/users/{user_id}/application_credentials"
_ONE = f"{_ALL}/{{application_credential_id}}"
_RULES = "/users/{user_id}/access_rules"
_RULE = f"{_RULES}/{{access_rule_id}}"
_CREATE = "identity:create_application_credential"
ROUTES: tuple[Route[Identity], ...] = (
    Route("GET", _ALL, list_credentials, "identity:list_application_credentials", targeted=True),
    Route("POST", _ALL, create_credential, _CREATE, 201, CREATE, targeted=True),
    Route("GET", _ONE, show_credential, "identity:get_application_credential", targeted=True),
    Route("DELETE", _ONE, delete_credential, "identity:delete_application_credential", 204, targeted=True),
    Route("GET", _RULES, list_rules, "identity:list_access_rules", targeted=True),
    Route("GET", _RULE, show_rule, "identity:get_access_rule", targeted=True),
    Route("DELETE", _RULE, delete_rule, "identity:delete_access_rule", 204, targeted=True),
)
