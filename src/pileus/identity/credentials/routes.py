"""Operations on credentials and policy documents."""

from collections.abc import Mapping
from typing import Any

from pileus.identity.credentials.schemas import (
    CREDENTIAL,
    CREDENTIAL_CREATE,
    CREDENTIAL_UPDATE,
    POLICY,
    POLICY_CREATE,
    POLICY_UPDATE,
)
from pileus.identity.credentials.service import is_within
from pileus.identity.delegation import refuse_restricted
from pileus.identity.domain import Credential, PolicyDocument
from pileus.identity.rest import many, one, permitted, target, wanted
from pileus.identity.rows import Found
from pileus.identity.service import Identity
from pileus.kernel.auth import Actor
from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Route

MANAGE = "make, change or delete credentials"


def show(call: Call, credential: Credential) -> dict[str, Any]:
    """A credential in a response."""
    return one(call, "credentials", CREDENTIAL, credential)


def target_of(actor: Actor, credential: Credential | None) -> Mapping[str, Any]:
    """What rules may ask about a credential; a caller who may not handle it as its owner's learns no owner."""
    if credential is None or not is_within(actor, credential):
        return {}
    return target(credential__user_id=credential.user_id)


def list_credentials(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /credentials: all of them, or one's own"""
    own = {"target.credential.user_id": call.actor.user_id}
    call.authorize(own)
    owner = None if call.may(call.rule, {}) else call.actor.user_id
    want = wanted(call, svc.max_limit, {"user_id": "user_id", "type": "type"}, alike=())
    with call.read() as tx:
        found = svc.credentials.page(tx, want, owner)
    if owner is not None:
        found = Found([credential for credential in found.things if is_within(call.actor, credential)], found.more)
    return many(call, "credentials", found, lambda credential: show(call, credential))


def create_credential(call: Call, svc: Identity) -> dict[str, Any]:
    """POST /credentials"""
    call.authorize(target(credential__user_id=call.body.known["user_id"]))
    refuse_restricted(call.actor, MANAGE, through_trust=True)
    credential = call.transact(lambda tx: svc.credentials.create(tx, call.actor, call.body))
    return {"credential": show(call, credential)}


def _credential(call: Call, svc: Identity, tx: Tx) -> Credential:
    credential_id = call.params["credential_id"]
    credential = svc.credentials.find(tx, credential_id)
    return permitted(call, credential, "credential", credential_id, target_of(call.actor, credential))


def show_credential(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /credentials/{credential_id}"""
    with call.read() as tx:
        return {"credential": show(call, _credential(call, svc, tx))}


def update_credential(call: Call, svc: Identity) -> dict[str, Any]:
    """PATCH /credentials/{credential_id}"""
    refuse_restricted(call.actor, MANAGE, through_trust=True)
    credential = call.transact(lambda tx: svc.credentials.update(tx, _credential(call, svc, tx), call.body))
    return {"credential": show(call, credential)}


def delete_credential(call: Call, svc: Identity) -> None:
    """DELETE /credentials/{credential_id}"""
    refuse_restricted(call.actor, MANAGE, through_trust=True)
    call.transact(lambda tx: svc.credentials.delete(tx, _credential(call, svc, tx)))


def show_a_policy(call: Call, document: PolicyDocument) -> dict[str, Any]:
    """A policy document in a response."""
    return one(call, "policies", POLICY, document)


def list_policies(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /policies"""
    with call.read() as tx:
        found = svc.credentials.policies(tx, wanted(call, svc.max_limit, {"type": "type"}, alike=()))
    return many(call, "policies", found, lambda document: show_a_policy(call, document))


def create_policy(call: Call, svc: Identity) -> dict[str, Any]:
    """POST /policies"""
    return {"policy": show_a_policy(call, call.transact(lambda tx: svc.credentials.create_policy(tx, call.body)))}


def _policy(call: Call, svc: Identity, tx: Tx) -> PolicyDocument:
    return svc.credentials.policy(tx, call.params["policy_id"])


def show_policy(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /policies/{policy_id}"""
    with call.read() as tx:
        return {"policy": show_a_policy(call, _policy(call, svc, tx))}


def update_policy(call: Call, svc: Identity) -> dict[str, Any]:
    """PATCH /policies/{policy_id}"""
    document = call.transact(lambda tx: svc.credentials.update_policy(tx, _policy(call, svc, tx), call.body))
    return {"policy": show_a_policy(call, document)}


def delete_policy(call: Call, svc: Identity) -> None:
    """DELETE /policies/{policy_id}"""
    call.transact(lambda tx: svc.credentials.delete_policy(tx, _policy(call, svc, tx)))


_ONE = "/credentials/{credential_id}"
_POLICY = "/policies/{policy_id}"
ROUTES: tuple[Route[Identity], ...] = (
    Route("GET", "/credentials", list_credentials, "identity:list_credentials", targeted=True),
    Route(
        "POST", "/credentials", create_credential, "identity:create_credential", 201, CREDENTIAL_CREATE, targeted=True
    ),
    Route("GET", _ONE, show_credential, "identity:get_credential", targeted=True),
    Route("PATCH", _ONE, update_credential, "identity:update_credential", body=CREDENTIAL_UPDATE, targeted=True),
    Route("DELETE", _ONE, delete_credential, "identity:delete_credential", 204, targeted=True),
    Route("GET", "/policies", list_policies, "identity:list_policies"),
    Route("POST", "/policies", create_policy, "identity:create_policy", 201, POLICY_CREATE),
    Route("GET", _POLICY, show_policy, "identity:get_policy"),
    Route("PATCH", _POLICY, update_policy, "identity:update_policy", body=POLICY_UPDATE),
    Route("DELETE", _POLICY, delete_policy, "identity:delete_policy", 204),
)
