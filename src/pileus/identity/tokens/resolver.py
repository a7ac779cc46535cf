"""What a token's claims mean by what the database says now."""

import msgspec

from pileus.identity.application_credentials.service import ApplicationCredentials
from pileus.identity.domain import Project, RoleRef, User
from pileus.identity.federation import store as federation_store
from pileus.identity.fernet import Claims
from pileus.identity.oauth1.service import OAuth1
from pileus.identity.projects import store as projects_store
from pileus.identity.roles.service import Roles
from pileus.identity.tokens import store
from pileus.identity.tokens.verified import Mandate, Verified, actor_of
from pileus.identity.trusts.service import Trusts
from pileus.identity.users.service import Users
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.policy import Policy


class Resolver:
    """Reads everything that a token's meaning depends on.

    When a token ends, or its trust, application credential or access token, is not looked at: a token never outlives
    these, and says itself when it ends.
    """

    def __init__(
        self,
        policy: Policy,
        users: Users,
        roles: Roles,
        trusts: Trusts,
        application_credentials: ApplicationCredentials,
        oauth1: OAuth1,
        clock: Clock,
    ) -> None:
        self._policy = policy
        self._users = users
        self._roles = roles
        self._trusts = trusts
        self._application_credentials = application_credentials
        self._oauth1 = oauth1
        self._clock = clock

    def resolve(self, tx: Tx, claims: Claims) -> Verified | None:
        """The meaning of claims; None if they are void."""
        login = self._users.find(tx, claims.user_id)
        if login is None or not login.enabled or login.epoch != claims.user_epoch:
            return None
        mandate = self._mandate(tx, claims, login)
        if mandate is None or store.is_revoked(tx, claims.audit_ids[0]):
            return None
        wanted = {login.domain_id, mandate.user.domain_id, claims.scope_id} - {""}
        found = {one.id: one for one in projects_store.PROJECTS.some(tx, projects_store.ids_in(sorted(wanted)))}
        if not all(domain_id in found and found[domain_id].enabled for domain_id in wanted - {claims.scope_id}):
            return None
        user_domain, place = found.get(mandate.user.domain_id), found.get(claims.scope_id)
        if user_domain is None:
            return None
        home = None
        if claims.scope in ("project", "domain"):
            if place is None or not place.enabled or place.epoch != claims.scope_epoch:
                return None
            home = found.get(place.home) or projects_store.PROJECTS.get(tx, place.home)
            if home is None or not home.enabled:
                return None
        if claims.identity_provider and not _vouched(tx, claims):
            return None
        roles = self._held(tx, mandate, claims, place)
        if not roles and claims.scope != "unscoped":
            return None
        source = mandate.user.id if mandate.trust is None else self._trusts.source(tx, mandate.trust)
        ending = federation_store.memberships(tx, source, self._clock.now())
        actor = actor_of(claims, mandate, user_domain, place, home, roles)
        if self._policy.allows("context_is_admin", actor):
            actor = msgspec.structs.replace(actor, is_admin=True)
        return Verified(
            claims=claims,
            mandate=mandate,
            user_domain=user_domain,
            place=place,
            place_domain=home,
            roles=roles,
            actor=actor,
            groups=tuple(group_id for group_id, idp_id, _ in ending if idp_id == claims.identity_provider),
            lasts_until=min((claims.expires_at, *(ends for _, _, ends in ending))),
        )

    def _mandate(self, tx: Tx, claims: Claims, login: User) -> Mandate | None:
        """Whom a token speaks for; None if what it was gained with is void."""
        if claims.delegation == "trust":
            trust = self._trusts.find(tx, claims.delegation_id)
            if trust is None or trust.trustee_user_id != login.id or (trust.project_id or "") != claims.scope_id:
                return None
            trustor = self._trusts.trustor(tx, trust)
            if trustor is None or trustor.epoch != claims.delegator_epoch:
                return None
            return Mandate(trustor if trust.impersonation else login, trust=trust)
        if claims.delegation == "application_credential":
            credential = self._application_credentials.find(tx, claims.delegation_id, login.id)
            if credential is None or credential.project_id != claims.scope_id:
                return None
            return Mandate(login, application_credential=credential)
        if claims.delegation == "oauth1":
            token = self._oauth1.find(tx, claims.delegation_id)
            if token is None or (token.user_id, token.project_id) != (login.id, claims.scope_id):
                return None
            return Mandate(login, access_token=token)
        return Mandate(login)

    def _held(self, tx: Tx, mandate: Mandate, claims: Claims, place: Project | None) -> tuple[RoleRef, ...]:
        user_id = mandate.user.id
        if claims.scope == "system":
            return self._roles.on_system(tx, user_id)
        if place is None:
            return ()
        if claims.scope == "domain":
            return self._roles.on_domain(tx, user_id, place.id)
        if mandate.trust is not None:
            return self._trusts.roles_of(tx, mandate.trust, place)
        held = self._roles.on_project(tx, user_id, place)
        if mandate.application_credential is not None:
            return self._application_credentials.roles_of(tx, mandate.application_credential, held)
        if mandate.access_token is not None:
            return self._oauth1.roles_of(tx, mandate.access_token, held)
        return held


def _vouched(tx: Tx, claims: Claims) -> bool:
    """Whether the identity provider through which the user came may still vouch for users."""
    provider = federation_store.PROVIDERS.get(tx, claims.identity_provider)
    if provider is None or not provider.enabled:
        return False
    return federation_store.protocol(tx, provider.id, claims.protocol) is not None
