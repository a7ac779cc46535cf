"""Signed requests of OAuth 1.0 (RFC 5849): the Authorization header, and the signature with HMAC.

Parameters of the protocol are taken from the header alone; bodies are never signed, as those of forms are not used.
"""

import base64
import hmac
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, unquote, urlsplit

import msgspec

from pileus.kernel.errors import BadRequest, Unauthorized

_DIGESTS = {"HMAC-SHA1": "sha1", "HMAC-SHA256": "sha256", "HMAC-SHA512": "sha512"}
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_PARAMETER = re.compile(r'\s*([^=",\s]+)="([^"]*)"\s*(?:,|$)')
_REQUIRED = ("oauth_consumer_key", "oauth_signature_method", "oauth_signature", "oauth_timestamp", "oauth_nonce")
_LONGEST = 255


class SignedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as its sender may have signed it.

    `urls`: the addresses, without query, under which the sender may know the resource.
    """

    method: str
    urls: tuple[str, ...]
    query: tuple[tuple[str, str], ...] = ()
    authorization: str | None = None


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of the protocol. `timestamp`: seconds since the epoch."""

    consumer_id: str
    token_id: str | None
    verifier: str | None
    timestamp: int
    nonce: str
    given: Mapping[str, str]


def parameters(request: SignedRequest) -> Parameters:
    """What the header says. Unauthorized if there is no such header; BadRequest if it is not as RFC 5849 wants it."""
    scheme, _, rest = (request.authorization or "").strip().partition(" ")
    if scheme.lower() != "oauth":
        raise Unauthorized("The request must be signed: an Authorization header of the scheme OAuth is missing.")
    given: dict[str, str] = {}
    end = 0
    while end < len(rest):
        found = _PARAMETER.match(rest, end)
        if found is None:
            raise BadRequest("The Authorization header is malformed.")
        name, value, end = unquote(found[1]), unquote(found[2]), found.end()
        if name in given:
            raise BadRequest(f"The parameter {name} must be there once.")
        if name.lower() != "realm":
            given[name] = value
    for name in _REQUIRED:
        if not given.get(name) or (name != "oauth_signature" and len(given[name]) > _LONGEST):
            raise BadRequest(f"The parameter {name} is missing, empty or too long.")
    if given["oauth_signature_method"] not in _DIGESTS or given.get("oauth_version", "1.0") != "1.0":
        raise BadRequest(f"Only version 1.0 and the signature methods {', '.join(_DIGESTS)} are supported.")
    if re.fullmatch(r"[0-9]{1,12}", given["oauth_timestamp"]) is None:
        raise BadRequest("The parameter oauth_timestamp must be a number of seconds.")
    return Parameters(
        consumer_id=given["oauth_consumer_key"],
        token_id=given.get("oauth_token"),
        verifier=given.get("oauth_verifier"),
        timestamp=int(given["oauth_timestamp"]),
        nonce=given["oauth_nonce"],
        given=given,
    )


def is_signed(request: SignedRequest, said: Parameters, consumer_secret: str, token_secret: str = "") -> bool:
    """Whether the holder of both secrets signed the request, under one of its addresses. Takes constant time."""
    right = False
    for url in request.urls:
        expected = signature(
            request.method, url, (*said.given.items(), *request.query), consumer_secret, token_secret
        ).encode()
        right |= hmac.compare_digest(expected, said.given["oauth_signature"].encode())
    return right


def signature(
    method: str, url: str, pairs: Iterable[tuple[str, str]], consumer_secret: str, token_secret: str = ""
) -> str:
    """The signature that belongs into `oauth_signature`, which `pairs` may hold already (RFC 5849, section 3.4)."""
    kept = [(name, value) for name, value in pairs if name != "oauth_signature"]
    digest = _DIGESTS[dict(kept)["oauth_signature_method"]]
    encoded = sorted((_encoded(name), _encoded(value)) for name, value in kept)
    normalized = "&".join(f"{name}={value}" for name, value in encoded)
    base = "&".join((method.upper(), _encoded(_base_url(url)), _encoded(normalized)))
    key = f"{_encoded(consumer_secret)}&{_encoded(token_secret)}"
    return base64.b64encode(hmac.new(key.encode(), base.encode(), digest).digest()).decode()


def _base_url(url: str) -> str:
    parts = urlsplit(url)
    scheme, host = parts.scheme.lower(), parts.netloc.lower()
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS.get(scheme, ''))}{parts.path or '/'}"


def _encoded(text: str) -> str:
    return quote(text, safe="~")
