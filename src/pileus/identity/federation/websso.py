"""Logging in with a browser: the authorization code flow, with PKCE, `state` and `nonce`.

Nothing is kept on the server between the redirect to the provider and the way back. What must be remembered is sealed
in a cookie that lives for minutes, so only the browser that began a login can end it, once the provider's answer
carries the `state` in the cookie.
"""

import base64
import hashlib
import hmac
import secrets
from html import escape

import msgspec

from pileus.identity.keys import KeyRepository
from pileus.kernel.clock import MICROSECONDS, Clock
from pileus.kernel.errors import Unauthorized
from pileus.kernel.fields import MALFORMED_JSON

COOKIE = "pileus-websso"
_SECONDS = 600
_PURPOSE = b"websso:"
_DENIED = "The login was not begun by this browser, or has taken too long. Begin again."


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """A login under way. `verifier`: of PKCE, the secret whose digest the provider got."""

    idp_id: str
    protocol_id: str
    origin: str
    state: str
    nonce: str
    verifier: str
    ends_at: int

    @property
    def challenge(self) -> str:
        """What the provider is told of the verifier (RFC 7636, S256)."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Flows:
    """Begins and resumes logins."""

    def __init__(self, keys: KeyRepository, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock

    def begin(self, idp_id: str, protocol_id: str, origin: str) -> Flow:
        """A new login."""
        return Flow(
            idp_id=idp_id,
            protocol_id=protocol_id,
            origin=origin,
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            ends_at=self._clock.now() + _SECONDS * MICROSECONDS,
        )

    def seal(self, flow: Flow) -> str:
        """The cookie's value."""
        return self._keys.encrypt(_PURPOSE + msgspec.json.encode(flow), self._clock.now() // MICROSECONDS).decode()

    def resume(self, sealed: str | None, state: str | None, idp_id: str, protocol_id: str) -> Flow:
        """The login that a browser comes back from. Unauthorized unless it began here, lately, with this state."""
        data = self._keys.decrypt(sealed.encode()) if sealed and sealed.isascii() else None
        if data is None or not data.startswith(_PURPOSE):
            raise Unauthorized(_DENIED)
        try:
            flow = msgspec.json.decode(data.removeprefix(_PURPOSE), type=Flow)
        except MALFORMED_JSON as err:
            raise Unauthorized(_DENIED) from err
        same = hmac.compare_digest(flow.state.encode(), (state or "").encode())
        if not same or flow.ends_at <= self._clock.now() or (flow.idp_id, flow.protocol_id) != (idp_id, protocol_id):
            raise Unauthorized(_DENIED)
        return flow


def cookie(value: str, path: str, *, secure: bool) -> str:
    """The header that sets the cookie; with an empty value, the one that removes it.

    SameSite=Lax: the provider's redirect, a plain navigation, brings it along.
    """
    lifetime = _SECONDS if value else 0
    attributes = [f"{COOKIE}={value}", f"Path={path}", f"Max-Age={lifetime}", "HttpOnly", "SameSite=Lax"]
    return "; ".join([*attributes, "Secure"] if secure else attributes)


def sent_cookie(header: str | None) -> str | None:
    """The cookie's value in a request's header."""
    for part in (header or "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return None


_SCRIPT = "document.forms[0].submit()"
_SCRIPT_DIGEST = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": f"default-src 'none'; script-src 'sha256-{_SCRIPT_DIGEST}'; frame-ancestors 'none'",
}


def page(origin: str, token: str) -> str:
    """The page that posts the token to the dashboard, by itself where scripts run."""
    return (
        '<!DOCTYPE html><html><head><meta charset="utf-8"><title>Keystone WebSSO redirect</title></head><body>'
        f'<form id="sso" name="sso" action="{escape(origin)}" method="post">'
        f'<input type="hidden" name="token" value="{escape(token)}">'
        '<noscript><input type="submit" value="Continue"></noscript></form>'
        f"<script>{_SCRIPT}</script></body></html>"
    )


def choice(links: list[tuple[str, str]]) -> str:
    """The page that asks by which provider to log in. `links`: address and name."""
    items = "".join(f'<li><a href="{escape(address)}">{escape(name)}</a></li>' for address, name in links)
    return (
        '<!DOCTYPE html><html><head><meta charset="utf-8"><title>Log in</title></head><body>'
        f"<p>Log in by:</p><ul>{items}</ul></body></html>"
    )
