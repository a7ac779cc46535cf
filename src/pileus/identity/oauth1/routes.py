"""Operations of OS-OAUTH1."""

from typing import Any

from pileus.identity.oauth1.domain import AccessToken, Consumer, Issued
from pileus.identity.oauth1.schemas import ACCESS_TOKEN, AUTHORIZE, CONSUMER, CONSUMER_CREATE, CONSUMER_UPDATE
from pileus.identity.oauth1.service import refuse_delegated
from pileus.identity.oauth1.signature import SignedRequest
from pileus.identity.rest import PREFIX, many, missing, one, wanted
from pileus.identity.roles.routes import show as show_a_role
from pileus.identity.rows import Wanted, page_of
from pileus.identity.service import Identity
from pileus.kernel.clock import iso_micro_z
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call, Reply, Route
from pileus.kernel.policy import PUBLIC

_FORM = "application/x-www-form-urlencoded"


def signed(call: Call) -> SignedRequest:
    """The request as its sender may have signed it: with the cloud's address, or the one that it used."""
    urls = [call.base_url + call.path.removeprefix(PREFIX)]
    host = call.header("Host")
    if host:
        urls += [f"{scheme}://{host}{call.path}" for scheme in ("http", "https")]
    return SignedRequest(
        method=call.method,
        urls=tuple(dict.fromkeys(urls)),
        query=tuple(call.query.pairs),
        authorization=call.header("Authorization"),
    )


def show_consumer_of(call: Call, consumer: Consumer) -> dict[str, Any]:
    """A consumer in a response."""
    return one(call, "OS-OAUTH1/consumers", CONSUMER, consumer)


def show_token(call: Call, token: AccessToken) -> dict[str, Any]:
    """An access token in a response: never with its secret."""
    shown = one(call, f"users/{token.user_id}/OS-OAUTH1/access_tokens", ACCESS_TOKEN, token)
    shown["links"]["roles"] = f"{shown['links']['self']}/roles"
    return shown


def _page(call: Call, svc: Identity) -> Wanted:
    return wanted(call, svc.max_limit, {}, alike=())


# --- consumers ----------------------------------------------------------------------------------------------


def list_consumers(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-OAUTH1/consumers"""
    with call.read() as tx:
        found = svc.oauth1.consumers(tx, _page(call, svc))
    return many(call, "consumers", found, lambda consumer: show_consumer_of(call, consumer))


def create_consumer(call: Call, svc: Identity) -> dict[str, Any]:
    """POST /OS-OAUTH1/consumers: the one answer with the secret"""
    consumer, secret = call.transact(lambda tx: svc.oauth1.create_consumer(tx, call.body))
    return {"consumer": {**show_consumer_of(call, consumer), "secret": secret}}


def _consumer(call: Call, svc: Identity, tx: Tx) -> Consumer:
    return svc.oauth1.consumer(tx, call.params["consumer_id"])


def show_consumer(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-OAUTH1/consumers/{consumer_id}"""
    with call.read() as tx:
        return {"consumer": show_consumer_of(call, _consumer(call, svc, tx))}


def update_consumer(call: Call, svc: Identity) -> dict[str, Any]:
    """PATCH /OS-OAUTH1/consumers/{consumer_id}"""
    consumer = call.transact(lambda tx: svc.oauth1.update_consumer(tx, _consumer(call, svc, tx), call.body))
    return {"consumer": show_consumer_of(call, consumer)}


def delete_consumer(call: Call, svc: Identity) -> None:
    """DELETE /OS-OAUTH1/consumers/{consumer_id}"""
    call.transact(lambda tx: svc.oauth1.delete_consumer(tx, _consumer(call, svc, tx)))


# --- granting -----------------------------------------------------------------------------------------------


def _issued(issued: Issued) -> Reply:
    text = f"oauth_token={issued.id}&oauth_token_secret={issued.secret}"
    if issued.expires_at is not None:
        text += f"&oauth_expires_at={iso_micro_z(issued.expires_at)}"
    return Reply(text, content_type=_FORM)


def create_request_token(call: Call, svc: Identity) -> Reply:
    """POST /OS-OAUTH1/request_token: the signature is the proof"""
    project_id = call.header("Requested-Project-Id")
    if not project_id:
        raise BadRequest("Expecting to find the header Requested-Project-Id.")
    return _issued(call.transact(lambda tx: svc.oauth1.create_request_token(tx, signed(call), project_id)))


def authorize(call: Call, svc: Identity) -> dict[str, Any]:
    """PUT /OS-OAUTH1/authorize/{request_token_id}"""
    token_id = call.params["request_token_id"]
    verifier = call.transact(lambda tx: svc.oauth1.authorize(tx, call.actor, token_id, call.body.roles))
    return {"token": {"oauth_verifier": verifier}}


def create_access_token(call: Call, svc: Identity) -> Reply:
    """POST /OS-OAUTH1/access_token: the signature is the proof"""
    return _issued(call.transact(lambda tx: svc.oauth1.create_access_token(tx, signed(call))))


# --- what users have granted --------------------------------------------------------------------------------


def list_access_tokens(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /users/{user_id}/OS-OAUTH1/access_tokens"""
    refuse_delegated(call.actor)
    with call.read() as tx:
        found = svc.oauth1.access_tokens(tx, call.params["user_id"], _page(call, svc))
    return many(call, "access_tokens", found, lambda token: show_token(call, token))


def _token(call: Call, svc: Identity, tx: Tx) -> AccessToken:
    return svc.oauth1.access_token(tx, call.params["user_id"], call.params["access_token_id"])


def show_access_token(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /users/{user_id}/OS-OAUTH1/access_tokens/{access_token_id}"""
    with call.read() as tx:
        return {"access_token": show_token(call, _token(call, svc, tx))}


def delete_access_token(call: Call, svc: Identity) -> None:
    """DELETE /users/{user_id}/OS-OAUTH1/access_tokens/{access_token_id}"""
    call.transact(lambda tx: svc.oauth1.delete_access_token(tx, _token(call, svc, tx)))


def list_token_roles(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /users/{user_id}/OS-OAUTH1/access_tokens/{access_token_id}/roles"""
    with call.read() as tx:
        roles = svc.oauth1.granted_roles(tx, _token(call, svc, tx))
    return many(call, "roles", page_of(roles, _page(call, svc)), lambda role: show_a_role(call, role))


def show_token_role(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /users/{user_id}/OS-OAUTH1/access_tokens/{access_token_id}/roles/{role_id}"""
    with call.read() as tx:
        roles = svc.oauth1.granted_roles(tx, _token(call, svc, tx))
    for role in roles:
        if role.id == call.params["role_id"]:
            return {"role": show_a_role(call, role)}
    raise missing("role", call.params["role_id"])


_CONSUMERS = "/OS-OAUTH1/consumers"
_CONSUMER = f"{_CONSUMERS}/{{consumer_id}}"
_TOKENS = "/users/{user_id}/OS-OAUTH1/access_tokens"
_TOKEN = f"{_TOKENS}/{{access_token_id}}"
ROUTES: tuple[Route[Identity], ...] = (
    Route("GET", _CONSUMERS, list_consumers, "identity:list_consumers"),
    Route("POST", _CONSUMERS, create_consumer, "identity:create_consumer", 201, CONSUMER_CREATE),
    Route("GET", _CONSUMER, show_consumer, "identity:get_consumer"),
    Route("PATCH", _CONSUMER, update_consumer, "identity:update_consumer", body=CONSUMER_UPDATE),
    Route("DELETE", _CONSUMER, delete_consumer, "identity:delete_consumer", 204),
    Route("POST", "/OS-OAUTH1/request_token", create_request_token, PUBLIC, 201),
    Route(
        "PUT",
        "/OS-OAUTH1/authorize/{request_token_id}",
        authorize,
        "identity:authorize_request_token",
        body=AUTHORIZE,
    ),
    Route("POST", "/OS-OAUTH1/access_token", create_access_token, PUBLIC, 201),
    Route("GET", _TOKENS, list_access_tokens, "identity:list_access_tokens"),
    Route("GET", _TOKEN, show_access_token, "identity:get_access_token"),
    Route("DELETE", _TOKEN, delete_access_token, "identity:delete_access_token", 204),
    Route("GET", f"{_TOKEN}/roles", list_token_roles, "identity:list_access_token_roles"),
    Route("GET", f"{_TOKEN}/roles/{{role_id}}", show_token_role, "identity:get_access_token_role"),
)
