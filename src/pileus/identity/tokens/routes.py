"""Operations on tokens, and what one's own token is good for."""

from typing import Any

from pileus.identity.multifactor.receipts import InsufficientMethods
from pileus.identity.oauth1.routes import signed
from pileus.identity.projects.routes import show as show_project
from pileus.identity.projects.schemas import DOMAIN
from pileus.identity.rest import PREFIX, many, one, target, wanted
from pileus.identity.rows import page_of
from pileus.identity.service import Identity
from pileus.identity.tokens.schemas import LOGIN, shown, shown_receipt
from pileus.identity.tokens.verified import Verified
from pileus.kernel.clock import iso_micro_z, parse_iso
from pileus.kernel.errors import BadRequest, Forbidden, NotFound, Unauthorized
from pileus.kernel.http import Call, Reply, Route
from pileus.kernel.policy import PUBLIC

_RECEIPT = "Openstack-Auth-Receipt"


def own_token(call: Call, svc: Identity) -> Verified:
    """The token that the caller calls with."""
    verified = svc.tokens.verify(call.header("X-Auth-Token") or "")
    if verified is None:
        raise Unauthorized("The token has ended.")
    return verified


def token_body(call: Call, svc: Identity, verified: Verified) -> dict[str, Any]:
    """A token as it is shown."""
    catalog = None
    if "nocatalog" not in call.query and verified.claims.scope != "unscoped":
        with call.read() as tx:
            catalog = svc.catalog.of(tx, verified.user.id, verified.actor.project_id)
    return {"token": shown(verified, catalog)}


def reply_with(call: Call, svc: Identity, token: str, verified: Verified) -> Reply:
    """A token and what it means, as the API shows it."""
    return Reply(token_body(call, svc, verified), headers={"X-Subject-Token": token, "Vary": "X-Auth-Token"})


def issue_token(call: Call, svc: Identity) -> Reply:
    """POST /auth/tokens"""
    try:
        token, verified = svc.tokens.issue(call.body, call.header(_RECEIPT), signed(call))
    except InsufficientMethods as insufficient:
        challenge = f'Keystone uri="{call.base_url.removesuffix("/v3")}"'
        headers = {_RECEIPT: insufficient.text, "Vary": "X-Auth-Token", "WWW-Authenticate": challenge}
        return Reply(shown_receipt(insufficient), status=insufficient.status, headers=headers)
    return reply_with(call, svc, token, verified)


def _subject(call: Call, svc: Identity) -> tuple[str, Verified]:
    """The token that is asked about. One that has ended is shown to services, which finish what was begun with it."""
    token = call.header("X-Subject-Token")
    if not token:
        raise BadRequest("Expecting to find the header X-Subject-Token.")
    allow_expired = call.query.flag("allow_expired") and call.may("service_or_admin")
    verified = svc.tokens.verify(token, allow_expired=allow_expired)
    if verified is None:
        raise NotFound("Could not find token.")
    call.authorize(target(token__user_id=verified.user.id))
    return token, verified


def show_token(call: Call, svc: Identity) -> Reply:
    """GET /auth/tokens"""
    return reply_with(call, svc, *_subject(call, svc))


def check_token(call: Call, svc: Identity) -> Reply:
    """HEAD /auth/tokens"""
    token, _ = _subject(call, svc)
    return Reply(headers={"X-Subject-Token": token, "Vary": "X-Auth-Token"})


def revoke_token(call: Call, svc: Identity) -> None:
    """DELETE /auth/tokens"""
    _, verified = _subject(call, svc)
    call.transact(lambda tx: svc.tokens.revoke(tx, verified.claims))


def show_catalog(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /auth/catalog"""
    actor = call.actor
    if actor.project_id is None and actor.domain_id is None and not actor.system:
        raise Forbidden("The token has no scope, and so there is no catalog for it.")
    with call.read() as tx:
        catalog = svc.catalog.of(tx, actor.user_id, actor.project_id)
    return {"catalog": catalog, "links": _self(call)}


def _self(call: Call) -> dict[str, str]:
    return {"self": call.base_url + call.path.removeprefix(PREFIX)}


def list_own_projects(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /auth/projects: what the caller could get a token for"""
    want = wanted(call, svc.max_limit, {"name": "name", "domain_id": "domain_id"}).but(enabled=True)
    with call.read() as tx:
        found = svc.roles.projects_of(tx, call.actor.user_id, want)
    return many(call, "projects", found, lambda project: show_project(call, project))


def list_own_domains(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /auth/domains"""
    want = wanted(call, svc.max_limit, {})
    with call.read() as tx:
        domains = svc.roles.domains_of(tx, call.actor.user_id)
    return many(call, "domains", page_of(domains, want), lambda domain: one(call, "domains", DOMAIN, domain))


def show_own_system(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /auth/system"""
    with call.read() as tx:
        has_system = svc.roles.has_system(tx, call.actor.user_id)
    return {"system": [{"all": True}] if has_system else [], "links": _self(call)}


def list_revocations(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-REVOKE/events: for those who verify tokens on their own"""
    since = call.query.get("since")
    try:
        instant = -1 if not since else parse_iso(since)
    except (ValueError, OverflowError) as err:
        raise BadRequest(f"since: '{since}' is no timestamp like 2026-11-21T10:00:00Z.") from err
    with call.read() as tx:
        found = svc.tokens.revoked_after(tx, instant)
    events = [
        {"audit_id": audit_id, "issued_before": iso_micro_z(at), "revoked_at": iso_micro_z(at)}
        for audit_id, at in found
    ]
    return {"events": events, "links": {**_self(call), "previous": None, "next": None}}


ROUTES: tuple[Route[Identity], ...] = (
    Route("POST", "/auth/tokens", issue_token, PUBLIC, 201, LOGIN),
    Route("GET", "/auth/tokens", show_token, "identity:validate_token", targeted=True),
    Route("HEAD", "/auth/tokens", check_token, "identity:check_token", targeted=True),
    Route("DELETE", "/auth/tokens", revoke_token, "identity:revoke_token", 204, targeted=True),
    Route("GET", "/OS-REVOKE/events", list_revocations, "identity:list_revoke_events"),
    Route("GET", "/auth/catalog", show_catalog, "identity:get_auth_catalog"),
    Route("GET", "/auth/projects", list_own_projects, "identity:get_auth_projects"),
    Route("GET", "/auth/domains", list_own_domains, "identity:get_auth_domains"),
    Route("GET", "/auth/system", show_own_system, "identity:get_auth_system"),
)
