"""Logging in through identity providers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from pileus.identity.domain import User
from pileus.identity.federation import store
from pileus.identity.federation.admission import Admission, Admitted
from pileus.identity.federation.oidc.claims import attributes_of
from pileus.identity.federation.websso import Flow, Flows
from pileus.identity.keys import KeyRepository
from pileus.identity.rows import Wanted
from pileus.identity.settings import IdentitySettings
from pileus.identity.tokens.verified import Verified
from pileus.kernel.clock import Clock
from pileus.kernel.db import Database
from pileus.kernel.errors import Conflict, NotFound, Unauthorized

if TYPE_CHECKING:
    from pileus.identity.federation.oidc.provider import Provider

log = structlog.get_logger("pileus.identity")

_DENIED = "The request you have made requires authentication."


class Issuer(Protocol):
    """Who makes tokens."""

    def issue_mapped(self, user: User, identity_provider: str, protocol: str) -> tuple[str, Verified]:
        """An unscoped token for a user whom a provider vouched for."""
        ...


class FederatedLogins:
    """Thread-safe. Opens its own transactions: providers are asked outside of them."""

    def __init__(
        self, settings: IdentitySettings, clock: Clock, db: Database, admission: Admission, tokens: Issuer
    ) -> None:
        """SettingsError if a provider's section cannot be meant."""
        self._db = db
        self._admission = admission
        self._tokens = tokens
        self._dashboards = frozenset(settings.trusted_dashboard)
        self._providers = _providers(settings, clock)
        self._flows = Flows(KeyRepository(settings.credential_keys), clock)

    def _provider(self, idp_id: str) -> "Provider":
        """The OpenID Connect provider that is configured behind an identity provider."""
        found = self._providers.get(idp_id)
        if found is None:
            raise NotFound(f"There is no OpenID Connect provider configured for the identity provider {idp_id}.")
        return found

    # --- with a token of the provider's ----------------------------------------------------------------------

    def by_bearer(self, idp_id: str, protocol_id: str, authorization: str | None) -> tuple[str, Verified]:
        """A token of ours for one of the provider's, as the Authorization header gives it.

        Unauthorized if that is not valid; else as `Admission.admit`.
        """
        kind, _, bearer = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not bearer.strip():
            raise Unauthorized(_DENIED)
        with self._db.read() as tx:
            self._admission.ways(tx, idp_id, protocol_id)
        return self._admit(idp_id, protocol_id, self._provider(idp_id).vouched(bearer.strip()))

    def _admit(self, idp_id: str, protocol_id: str, claims: Mapping[str, Any]) -> tuple[str, Verified]:
        attributes = attributes_of(claims)

        def admit() -> Admitted:
            return self._db.transact(lambda tx: self._admission.admit(tx, idp_id, protocol_id, attributes))

        try:
            admitted = admit()
        except Conflict:  # somebody logs in for the first time, twice at one moment: now the user is there
            admitted = admit()
        log.info("federated login", provider=idp_id, protocol=protocol_id, user_id=admitted.user.id)
        through = (idp_id, protocol_id) if admitted.federated else ("", "")
        return self._tokens.issue_mapped(admitted.user, *through)

    # --- with a browser --------------------------------------------------------------------------------------

    def check_origin(self, origin: str | None) -> str:
        """The dashboard that gets the token. Unauthorized unless it is, to the letter, one that is trusted."""
        if origin is None or origin not in self._dashboards:
            raise Unauthorized(f"{origin} is not a trusted dashboard host.")
        return origin

    def choices(self, protocol_id: str) -> list[str]:
        """The providers by which a browser can log in with the protocol."""
        with self._db.read() as tx:
            enabled = store.providers(tx, Wanted({"enabled": True})).things
            return [one.id for one in enabled if one.id in self._providers and store.protocol(tx, one.id, protocol_id)]

    def begin(self, idp_id: str, protocol_id: str, origin: str, redirect_uri: str) -> tuple[str, str]:
        """Where the browser goes to log in, and the cookie that it takes along."""
        with self._db.read() as tx:
            self._admission.ways(tx, idp_id, protocol_id)
        flow = self._flows.begin(idp_id, protocol_id, self.check_origin(origin))
        provider = self._provider(idp_id)
        address = provider.authorization_url(
            redirect_uri=redirect_uri, state=flow.state, nonce=flow.nonce, challenge=flow.challenge
        )
        return address, self._flows.seal(flow)

    def resume(self, sealed: str | None, state: str | None, idp_id: str, protocol_id: str) -> Flow:
        """The login that a browser comes back from. Unauthorized unless it is one of ours."""
        flow = self._flows.resume(sealed, state, idp_id, protocol_id)
        self.check_origin(flow.origin)
        return flow

    def end(self, flow: Flow, code: str | None, issuer: str | None, redirect_uri: str) -> tuple[str, Verified]:
        """A token for the user whom the provider's code stands for. Unauthorized if the provider gave none."""
        provider = self._provider(flow.idp_id)
        provider.check_issuer(issuer)
        if not code:
            raise Unauthorized("The identity provider has not let the user in.")
        claims = provider.redeem(code, redirect_uri=redirect_uri, verifier=flow.verifier, nonce=flow.nonce)
        return self._admit(flow.idp_id, flow.protocol_id, claims)


def _providers(settings: IdentitySettings, clock: Clock) -> "dict[str, Provider]":
    if not settings.oidc:
        return {}
    from pileus.identity.federation.oidc.provider import Provider  # noqa: PLC0415 - clouds without do without PyJWT

    return {name: Provider(name, section, clock) for name, section in settings.oidc.items()}
