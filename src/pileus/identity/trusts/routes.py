"""Operations on trusts."""

from typing import Any

from pileus.identity.delegation import refuse_restricted
from pileus.identity.rest import many, missing, one, target, wanted
from pileus.identity.roles.graph import Graph
from pileus.identity.roles.routes import show as show_role
from pileus.identity.service import Identity
from pileus.identity.tokens.routes import own_token
from pileus.identity.trusts.domain import Trust
from pileus.identity.trusts.schemas import CREATE, TRUST
from pileus.identity.trusts.service import target_of
from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Route

_PATH = "OS-TRUST/trusts"


def show(call: Call, trust: Trust, graph: Graph) -> dict[str, Any]:
    """A trust in a response of its own, with its roles."""
    roles = f"{call.base_url}/{_PATH}/{trust.id}/roles"
    return {
        **one(call, _PATH, TRUST, trust),
        "roles": [show_role(call, graph.roles[role_id]) for role_id in trust.roles if role_id in graph.roles],
        "roles_links": {"self": roles, "next": None, "previous": None},
    }


def list_trusts(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-TRUST/trusts: all of them, or those of a trustor or trustee"""
    sides = ("trustor_user_id", "trustee_user_id")
    asked = {side: call.query.get(side) for side in sides if call.query.get(side)}
    if not asked:
        call.authorize({})
    for side, user_id in asked.items():
        call.authorize({f"target.trust.{side}": user_id}, f"identity:list_trusts_for_{side.split('_')[0]}")
    with call.read() as tx:
        found = svc.trusts.page(tx, wanted(call, svc.max_limit, {side: side for side in sides}, alike=()))
    return many(call, "trusts", found, lambda trust: one(call, _PATH, TRUST, trust))


def create_trust(call: Call, svc: Identity) -> dict[str, Any]:
    """POST /OS-TRUST/trusts"""
    call.authorize(target(trust__trustor_user_id=call.body.known["trustor_user_id"]))
    refuse_restricted(call.actor, "make trusts", through_trust=True)
    held = own_token(call, svc).roles

    def create(tx: Tx) -> dict[str, Any]:
        return show(call, svc.trusts.create(tx, call.actor, held, call.body), svc.roles.graph(tx))

    return {"trust": call.transact(create)}


def _trust(call: Call, svc: Identity, tx: Tx) -> Trust:
    """The trust in the path: whoever asks learns whether there is such a trust, as from Keystone."""
    trust = svc.trusts.get(tx, call.params["trust_id"])
    call.authorize(target_of(trust))
    return trust


def show_trust(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-TRUST/trusts/{trust_id}"""
    with call.read() as tx:
        return {"trust": show(call, _trust(call, svc, tx), svc.roles.graph(tx))}


def delete_trust(call: Call, svc: Identity) -> None:
    """DELETE /OS-TRUST/trusts/{trust_id}"""

    def delete(tx: Tx) -> None:
        trust = _trust(call, svc, tx)
        refuse_restricted(call.actor, "delete trusts", through_trust=True)
        svc.trusts.delete(tx, trust)

    call.transact(delete)


def list_roles(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-TRUST/trusts/{trust_id}/roles"""
    with call.read() as tx:
        shown = show(call, _trust(call, svc, tx), svc.roles.graph(tx))
    return {"roles": shown["roles"], "links": shown["roles_links"]}


def show_trust_role(call: Call, svc: Identity) -> dict[str, Any]:
    """GET and HEAD /OS-TRUST/trusts/{trust_id}/roles/{role_id}"""
    role_id = call.params["role_id"]
    with call.read() as tx:
        trust, graph = _trust(call, svc, tx), svc.roles.graph(tx)
    if role_id not in trust.roles or role_id not in graph.roles:
        raise missing("role", role_id)
    return {"role": show_role(call, graph.roles[role_id])}


_ALL = f"/{_PATH}"
_ONE = f"{_ALL}/{{trust_id}}"
ROUTES: tuple[Route[Identity], ...] = (
    Route("GET", _ALL, list_trusts, "identity:list_trusts", targeted=True),
    Route("POST", _ALL, create_trust, "identity:create_trust", 201, CREATE, targeted=True),
    Route("GET", _ONE, show_trust, "identity:get_trust", targeted=True),
    Route("DELETE", _ONE, delete_trust, "identity:delete_trust", 204, targeted=True),
    Route("GET", f"{_ONE}/roles", list_roles, "identity:list_roles_for_trust", targeted=True),
    Route("GET", f"{_ONE}/roles/{{role_id}}", show_trust_role, "identity:get_role_for_trust", targeted=True),
)
