"""Operations by which users of identity providers log in."""

from urllib.parse import quote, urlencode, urlsplit

from pileus.identity.federation.websso import PAGE_HEADERS, choice, cookie, page, sent_cookie
from pileus.identity.service import Identity
from pileus.identity.tokens.routes import reply_with
from pileus.kernel.errors import NotFound
from pileus.kernel.http import Call, Reply, Route
from pileus.kernel.policy import PUBLIC

_HTML = "text/html; charset=utf-8"
_AUTH = "/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/auth"
_WEBSSO = "/auth/OS-FEDERATION/websso/{protocol_id}"
_WEBSSO_OF = "/auth/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/websso"
_WEBSSO_AS_DOCUMENTED = "/auth/OS-FEDERATION/identity_providers/{idp_id}/protocol/{protocol_id}/websso"
_REDIRECT = "/auth/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/redirect_uri"


def authenticate(call: Call, svc: Identity) -> Reply:
    """GET and POST /OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/auth: an unscoped token"""
    idp_id, protocol_id = call.params["idp_id"], call.params["protocol_id"]
    return reply_with(call, svc, *svc.federated_logins.by_bearer(idp_id, protocol_id, call.header("Authorization")))


def _at(call: Call, path: str, idp_id: str, protocol_id: str) -> str:
    return call.base_url + path.format(idp_id=quote(idp_id, safe=""), protocol_id=quote(protocol_id, safe=""))


def _to_provider(call: Call, svc: Identity, idp_id: str, protocol_id: str, origin: str) -> Reply:
    redirect_uri = _at(call, _REDIRECT, idp_id, protocol_id)
    address, sealed = svc.federated_logins.begin(idp_id, protocol_id, origin, redirect_uri)
    return Reply(
        status=302,
        headers={"Location": address, "Cache-Control": "no-store", "Set-Cookie": _cookie(redirect_uri, sealed)},
    )


def _cookie(redirect_uri: str, value: str) -> str:
    parts = urlsplit(redirect_uri)
    return cookie(value, parts.path, secure=parts.scheme == "https")


def websso(call: Call, svc: Identity) -> Reply:
    """GET and POST /auth/OS-FEDERATION/websso/{protocol_id}?origin=: by the only provider, or by one of several"""
    protocol_id = call.params["protocol_id"]
    origin = svc.federated_logins.check_origin(call.query.get("origin"))
    choices = svc.federated_logins.choices(protocol_id)
    if not choices:
        raise NotFound(f"There is no identity provider to log in by with the protocol {protocol_id}.")
    if len(choices) == 1:
        return _to_provider(call, svc, choices[0], protocol_id, origin)
    query = urlencode({"origin": origin})
    links = [(f"{_at(call, _WEBSSO_OF, idp_id, protocol_id)}?{query}", idp_id) for idp_id in choices]
    return Reply(choice(links), headers=PAGE_HEADERS, content_type=_HTML)


def websso_of_provider(call: Call, svc: Identity) -> Reply:
    """GET and POST /auth/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/websso?origin="""
    origin = svc.federated_logins.check_origin(call.query.get("origin"))
    return _to_provider(call, svc, call.params["idp_id"], call.params["protocol_id"], origin)


def come_back(call: Call, svc: Identity) -> Reply:
    """GET .../redirect_uri: the browser comes back from the provider, and takes a token to the dashboard"""
    idp_id, protocol_id = call.params["idp_id"], call.params["protocol_id"]
    sealed = sent_cookie(call.header("Cookie"))
    flow = svc.federated_logins.resume(sealed, call.query.get("state"), idp_id, protocol_id)
    redirect_uri = _at(call, _REDIRECT, idp_id, protocol_id)
    token, _ = svc.federated_logins.end(flow, call.query.get("code"), call.query.get("iss"), redirect_uri)
    headers = {**PAGE_HEADERS, "Set-Cookie": _cookie(redirect_uri, "")}
    return Reply(page(flow.origin, token), headers=headers, content_type=_HTML)


ROUTES: tuple[Route[Identity], ...] = (
    *(Route(method, _AUTH, authenticate, PUBLIC, 201) for method in ("GET", "POST")),
    *(Route(method, _WEBSSO, websso, PUBLIC) for method in ("GET", "POST")),
    *(
        Route(method, path, websso_of_provider, PUBLIC)
        for path in (_WEBSSO_OF, _WEBSSO_AS_DOCUMENTED)
        for method in ("GET", "POST")
    ),
    Route("GET", _REDIRECT, come_back, PUBLIC),
)
