"""One OpenID Connect provider, as a relying party sees it (OpenID Connect Core and Discovery 1.0).

What a token says is believed only if the provider's published keys say so: signed with one of the operator's chosen
algorithms (all asymmetric: a public key never serves as a secret, and "none" is none of them), by the issuer that the
operator named, for an audience that is ours, now. An opaque token is believed if the provider's introspection
(RFC 7662) says all of that.
"""

import base64
import hmac
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import jwt
import msgspec
import structlog

from pileus.identity.federation.oidc.http import Refused, Web, is_loopback
from pileus.identity.federation.oidc.kept import Kept
from pileus.identity.federation.oidc.settings import ALGORITHMS, OidcSettings
from pileus.kernel.clock import MICROSECONDS, Clock
from pileus.kernel.config import SettingsError
from pileus.kernel.errors import PileusError, Unauthorized, Unavailable

log = structlog.get_logger("pileus.identity")

Claims = dict[str, Any]
Jwk = dict[str, Any]
_DENIED = "The request you have made requires authentication."
_LONGEST_TOKEN = 65536


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider publishes of itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    introspection_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider gives for an authorization code. Never to be logged."""

    id_token: str
    access_token: str | None = None


class Provider:
    """Thread-safe. Knows the provider's metadata and keys for an hour; an unknown key makes it look again, at most
    once a minute, so that tokens with made-up keys do not make this cloud trouble the provider.

    Errors: Unauthorized for whatever is wrong with a token or a code, Unavailable if the provider does not answer.
    """

    def __init__(self, name: str, settings: OidcSettings, clock: Clock) -> None:
        """SettingsError if the section cannot be meant."""
        _check(name, settings)
        self.settings = settings
        self._name = name
        self._clock = clock
        self._web = Web(settings)
        self._metadata = Kept(clock, self._discover)
        self._keys = Kept(clock, self._published_keys)

    @property
    def metadata(self) -> Metadata:
        """What the provider publishes of itself."""
        return self._metadata.get()

    def _discover(self) -> Metadata:
        found = self._published(f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration")
        try:
            metadata = msgspec.convert(found, Metadata)
        except msgspec.ValidationError as err:
            raise Unavailable("The identity provider publishes no usable metadata.") from err
        if metadata.issuer != self.settings.issuer:
            log.error("identity provider calls itself otherwise", provider=self._name, issuer=metadata.issuer)
            raise Unavailable("The identity provider calls itself otherwise than configured.")
        return metadata

    def _published(self, url: str) -> Claims:
        try:
            return self._web.get(url)
        except Refused as err:
            raise Unavailable("The identity provider does not publish what is needed.") from err

    # --- keys ------------------------------------------------------------------------------------------------

    def _published_keys(self) -> tuple[Jwk, ...]:
        keys = self._published(self.metadata.jwks_uri).get("keys")
        return tuple(key for key in keys if isinstance(key, dict)) if isinstance(keys, list) else ()

    def _key(self, token: str) -> tuple[jwt.PyJWK, dict[str, Any]]:
        """The key that a token must be signed with, and the token's header."""
        header = jwt.get_unverified_header(token)
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in self.settings.algorithms:
            raise self._denied("algorithm")
        published = self._keys.get(lambda keys: _chosen(keys, key_id, algorithm) is not None)
        found = _chosen(published, key_id, algorithm)
        if found is None:
            raise self._denied("no such key")
        return jwt.PyJWK(found, algorithm), header

    # --- tokens ----------------------------------------------------------------------------------------------

    def vouched(self, token: str) -> Claims:
        """What a bearer token says: an ID token, an access token of RFC 9068's kind, or one that means nothing here."""
        if len(token) > _LONGEST_TOKEN or not token.isascii():
            raise self._denied("malformed")
        if token.count(".") != 2:
            return self._introspected(token)
        claims, header = self._verified(token, {self.settings.client_id, *self.settings.audiences})
        is_access_token = header.get("typ", "").lower().removeprefix("application/") == "at+jwt" or "scope" in claims
        return self._with_userinfo(claims, token) if is_access_token else claims

    def _verified(
        self, token: str, audiences: set[str], required: Sequence[str] = ("iss", "sub", "aud", "exp")
    ) -> tuple[Claims, dict[str, Any]]:
        try:
            key, header = self._key(token)
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=sorted(audiences),
                issuer=self.settings.issuer,
                options={
                    "require": list(required),
                    "verify_exp": False,  # time is the cloud's clock's, below
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.PyJWTError as err:
            raise self._denied(type(err).__name__) from err
        self._check_time(claims)
        return claims, header

    def _check_time(self, claims: Mapping[str, Any]) -> None:
        now = self._clock.now() / MICROSECONDS
        leeway = self.settings.leeway
        for name in ("exp", "nbf", "iat"):
            at = claims.get(name)
            if at is None:
                continue
            if isinstance(at, bool) or not isinstance(at, int | float):
                raise self._denied(name)
            if now >= at + leeway if name == "exp" else now < at - leeway:
                raise self._denied(name)

    def _introspected(self, token: str) -> Claims:
        endpoint = self.metadata.introspection_endpoint
        if endpoint is None:
            raise self._denied("opaque, and the provider has no introspection")
        try:
            claims = self._client_post(endpoint, {"token": token, "token_type_hint": "access_token"})
        except Refused as err:
            raise self._denied("introspection refused") from err
        audience = claims.get("aud", [])
        for_whom = {*(audience if isinstance(audience, list) else [audience]), claims.get("client_id")}
        ours = {self.settings.client_id, *self.settings.audiences}
        if claims.get("active") is not True or not for_whom & ours:
            raise self._denied("not active, or not for this cloud")
        if claims.setdefault("iss", self.settings.issuer) != self.settings.issuer:
            raise self._denied("iss")
        if not isinstance(claims.get("sub"), str) or not isinstance(claims.get("exp"), int | float):
            raise self._denied("no user, or no end")
        self._check_time(claims)
        return self._with_userinfo(claims, token)

    def _with_userinfo(self, claims: Claims, access_token: str) -> Claims:
        """The claims, and what userinfo adds to them: it is asked as the token's owner, and may say no."""
        endpoint = self.metadata.userinfo_endpoint
        if endpoint is None or not self.settings.userinfo:
            return claims
        try:
            more = self._web.get(endpoint, {"Authorization": f"Bearer {access_token}"})
        except Refused:
            return claims
        if "jwt" in more:
            more, _ = self._verified(more["jwt"], {self.settings.client_id}, ("iss", "sub", "aud"))
        if more.get("sub") != claims["sub"]:
            raise self._denied("userinfo of another user")
        return {**more, **claims}

    # --- logging in with a browser ---------------------------------------------------------------------------

    def authorization_url(self, *, redirect_uri: str, state: str, nonce: str, challenge: str) -> str:
        """Where the browser is sent. `challenge`: of PKCE, method S256."""
        endpoint = self.metadata.authorization_endpoint
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self.settings.client_id,
                "redirect_uri": redirect_uri,
                "scope": self.settings.scope,
                "state": state,
                "nonce": nonce,
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            }
        )
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{query}"

    def redeem(self, code: str, *, redirect_uri: str, verifier: str, nonce: str) -> Claims:
        """What the provider says of the user that an authorization code stands for."""
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        try:
            answer = self._client_post(self.metadata.token_endpoint, fields)
            tokens = msgspec.convert(answer, Tokens)
        except (Refused, msgspec.ValidationError) as err:
            raise self._denied("code not accepted") from err
        claims, _ = self._verified(tokens.id_token, {self.settings.client_id})
        if not isinstance(claims.get("nonce"), str) or not hmac.compare_digest(claims["nonce"], nonce):
            raise self._denied("nonce")
        audience = claims["aud"]
        azp = claims.get("azp")
        if (isinstance(audience, list) and len(audience) > 1 and azp is None) or azp not in (
            None,
            self.settings.client_id,
        ):
            raise self._denied("azp")
        return claims if tokens.access_token is None else self._with_userinfo(claims, tokens.access_token)

    def check_issuer(self, given: str | None) -> None:
        """The `iss` of an authorization response (RFC 9207): against providers that pass for one another."""
        if given is None and not self.metadata.authorization_response_iss_parameter_supported:
            return
        if given != self.settings.issuer:
            raise self._denied("answer of another issuer")

    def _client_post(self, url: str, fields: Mapping[str, str]) -> Claims:
        """Send a form as this cloud, in the way of proving that which the provider takes."""
        settings = self.settings
        if not settings.client_secret:
            return self._web.post(url, {**fields, "client_id": settings.client_id}, {})
        if "client_secret_basic" in self.metadata.token_endpoint_auth_methods_supported:
            pair = f"{quote(settings.client_id, safe='')}:{quote(settings.client_secret, safe='')}"
            basic = base64.b64encode(pair.encode()).decode()
            return self._web.post(url, fields, {"Authorization": f"Basic {basic}"})
        secret = {"client_id": settings.client_id, "client_secret": settings.client_secret}
        return self._web.post(url, {**fields, **secret}, {})

    def _denied(self, reason: str) -> PileusError:
        log.info("login refused", provider=self._name, reason=reason)
        return Unauthorized(_DENIED)


_KINDS = {"RS": ("RSA", None), "PS": ("RSA", None), "Ed": ("OKP", None)}
_CURVES = {"ES256": ("EC", "P-256"), "ES384": ("EC", "P-384"), "ES512": ("EC", "P-521")}


def _chosen(keys: Sequence[Jwk], key_id: str | None, algorithm: str) -> Jwk | None:
    """The key of this id and of the algorithm's kind; for a token that names none, the only one of that kind."""
    fitting = [key for key in keys if _fits(key, algorithm) and (key_id is None or key.get("kid") == key_id)]
    return fitting[0] if len(fitting) == 1 else None


def _fits(key: Jwk, algorithm: str) -> bool:
    kind, curve = _CURVES.get(algorithm) or _KINDS[algorithm[:2]]
    return (
        key.get("kty") == kind
        and curve in (None, key.get("crv"))
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
    )


def _check(name: str, settings: OidcSettings) -> None:
    where = f"identity.oidc.{name}"
    problems = []
    parts = urlsplit(settings.issuer)
    secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    if not secure or not parts.hostname or parts.query or parts.fragment:
        problems.append(f"{where}: issuer must be an https address without query and fragment")
    if not settings.client_id:
        problems.append(f"{where}: client_id is missing")
    unknown = sorted(set(settings.algorithms) - set(ALGORITHMS))
    if unknown or not settings.algorithms:
        problems.append(
            f"{where}: algorithms must be some of {', '.join(ALGORITHMS)}, not {', '.join(unknown) or 'none'}"
        )
    if "openid" not in settings.scope.split():
        problems.append(f"{where}: scope must contain openid")
    if problems:
        raise SettingsError(problems)
