"""The operation of OS-OAUTH2: a token for an application credential, in the words of RFC 6749.

A client is an application credential: its id and secret are sent with HTTP's Basic scheme, or in the form. The token is
the one that POST /auth/tokens gives; it is shown as a bearer token.
"""

import base64
import binascii
from urllib.parse import parse_qs

from pileus.identity.service import Identity
from pileus.identity.tokens.schemas import LOGIN
from pileus.kernel.clock import MICROSECONDS
from pileus.kernel.errors import BadRequest, PileusError, Unauthorized
from pileus.kernel.fields import encode
from pileus.kernel.http import Call, Reply, Route
from pileus.kernel.policy import PUBLIC

_GRANT = "client_credentials"
_LONGEST = 16384


def create_token(call: Call, svc: Identity) -> Reply:
    """POST /OS-OAUTH2/token"""
    try:
        form = _form(call)
    except BadRequest as err:
        return _refused(call, 400, "invalid_request", err.message)
    grant = form.get("grant_type")
    if grant != _GRANT:
        if not grant:
            return _refused(call, 400, "invalid_request", "The parameter grant_type is required.")
        return _refused(call, 400, "unsupported_grant_type", f"The parameter grant_type must be {_GRANT}.")
    client_id, secret = _basic(call.header("Authorization")) or (form.get("client_id"), form.get("client_secret"))
    if not client_id or not secret:
        return _refused(call, 401, "invalid_client", "Client authentication failed.")
    credential = {"id": client_id, "secret": secret}
    identity = {"methods": ["application_credential"], "application_credential": credential}
    try:
        token, verified = svc.tokens.issue(LOGIN.decode(encode({"auth": {"identity": identity}})))
    except Unauthorized as err:
        return _refused(call, 401, "invalid_client", err.message)
    except BadRequest as err:
        return _refused(call, 400, "invalid_request", err.message)
    except PileusError as err:
        return _refused(call, err.status, "other_error", err.message)
    lifetime = (verified.claims.expires_at - verified.claims.issued_at) // MICROSECONDS
    shown = {"access_token": token, "token_type": "Bearer", "expires_in": lifetime}
    return Reply(shown, headers={"Cache-Control": "no-store", "Pragma": "no-cache"})


def _refused(call: Call, status: int, error: str, why: str) -> Reply:
    headers = {"Cache-Control": "no-store"}
    if status == Unauthorized.status:
        headers["WWW-Authenticate"] = f'Keystone uri="{call.base_url.removesuffix("/v3")}"'
    return Reply({"error": error, "error_description": why}, status=status, headers=headers)


def _form(call: Call) -> dict[str, str]:
    """The request's form. BadRequest if it is too long, not text, or has a parameter twice."""
    data = call.stream.read(_LONGEST + 1)
    if len(data) > _LONGEST:
        raise BadRequest("The form is too long.")
    try:
        found = parse_qs(data.decode())
    except UnicodeDecodeError as err:
        raise BadRequest("The form is not UTF-8.") from err
    if any(len(values) > 1 for values in found.values()):
        raise BadRequest("A parameter must be there once.")
    return {name: values[0] for name, values in found.items()}


def _basic(header: str | None) -> tuple[str, str] | None:
    """Name and password of HTTP's Basic scheme; None if the header is of another, or malformed."""
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if colon else None


ROUTES: tuple[Route[Identity], ...] = (Route("POST", "/OS-OAUTH2/token", create_token, PUBLIC, 200),)
