"""Operations on EC2 credentials, and on signatures that were made with them."""

from typing import Any

from pileus.identity.credentials.routes import MANAGE, target_of
from pileus.identity.delegation import refuse_restricted
from pileus.identity.domain import Credential
from pileus.identity.ec2.domain import Ec2Credential, opened
from pileus.identity.ec2.schemas import CREATE, EC2_CREDENTIAL, SIGNED, signed_request, signed_text
from pileus.identity.rest import many, missing, permitted, target
from pileus.identity.rows import Found
from pileus.identity.service import Identity
from pileus.identity.tokens.routes import reply_with, token_body
from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Reply, Route


def show(call: Call, credential: Ec2Credential) -> dict[str, Any]:
    """An EC2 credential in a response."""
    path = f"{call.base_url}/users/{credential.user_id}/credentials/OS-EC2/{credential.access}"
    return {**EC2_CREDENTIAL.render(credential), "links": {"self": path}}


def _shown(call: Call, credential: Credential) -> dict[str, Any]:
    ec2 = opened(credential)
    if ec2 is None:
        raise missing("credential", call.params.get("credential_id", ""))
    return {"credential": show(call, ec2)}


def _of_user(call: Call) -> str:
    user_id = call.params["user_id"]
    call.authorize({"user_id": user_id, **target(credential__user_id=user_id)})
    return user_id


def list_credentials(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /users/{user_id}/credentials/OS-EC2"""
    user_id = _of_user(call)
    with call.read() as tx:
        found = svc.ec2.of_user(tx, call.actor, user_id)
    return many(call, "credentials", Found(found), lambda credential: show(call, credential))


def create_credential(call: Call, svc: Identity) -> dict[str, Any]:
    """POST /users/{user_id}/credentials/OS-EC2"""
    user_id = _of_user(call)
    refuse_restricted(call.actor, MANAGE, through_trust=True)
    return _shown(call, call.transact(lambda tx: svc.ec2.create(tx, call.actor, user_id, call.body.tenant_id)))


def _credential(call: Call, svc: Identity, tx: Tx) -> Credential:
    access = call.params["credential_id"]
    credential = svc.ec2.find(tx, call.params["user_id"], access)
    own = call.params["user_id"] == call.actor.user_id and credential is None
    policy_target = target(credential__user_id=call.actor.user_id) if own else target_of(call.actor, credential)
    return permitted(call, credential, "credential", access, policy_target)


def show_credential(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /users/{user_id}/credentials/OS-EC2/{credential_id}"""
    with call.read() as tx:
        return _shown(call, _credential(call, svc, tx))


def delete_credential(call: Call, svc: Identity) -> None:
    """DELETE /users/{user_id}/credentials/OS-EC2/{credential_id}"""
    refuse_restricted(call.actor, MANAGE, through_trust=True)
    call.transact(lambda tx: svc.ec2.delete(tx, _credential(call, svc, tx)))


def authenticate(call: Call, svc: Identity) -> Reply:
    """POST /ec2tokens: for services that were sent a signed request"""
    return reply_with(call, svc, *svc.ec2.login(signed_request(call.body)))


def authenticate_s3(call: Call, svc: Identity) -> dict[str, Any]:
    """POST /s3tokens: who signed a request to an S3 gateway; the token itself is not given away"""
    return token_body(call, svc, svc.ec2.s3_login(*signed_text(call.body)))


_ALL = "/users/{user_id}/credentials/OS-EC2"
_ONE = f"{_ALL}/{{credential_id}}"
ROUTES: tuple[Route[Identity], ...] = (
    Route("GET", _ALL, list_credentials, "identity:ec2_list_credentials", targeted=True),
    Route("POST", _ALL, create_credential, "identity:ec2_create_credential", 201, CREATE, targeted=True),
    Route("GET", _ONE, show_credential, "identity:ec2_get_credential", targeted=True),
    Route("DELETE", _ONE, delete_credential, "identity:ec2_delete_credential", 204, targeted=True),
    Route("POST", "/ec2tokens", authenticate, "identity:ec2tokens_validate", body=SIGNED),
    Route("POST", "/s3tokens", authenticate_s3, "identity:s3tokens_validate", body=SIGNED),
)
