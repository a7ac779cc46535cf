"""A verified token: its claims, and what the database says about them."""

import threading
from collections import OrderedDict

import msgspec

from pileus.identity.application_credentials.domain import ApplicationCredential
from pileus.identity.domain import Project, RoleRef, User
from pileus.identity.fernet import Claims
from pileus.identity.oauth1.domain import AccessToken
from pileus.identity.trusts.domain import Trust
from pileus.kernel.access_rules import AccessRule
from pileus.kernel.auth import Actor

_SHOW_TOKEN = AccessRule("identity", "GET", "/v3/auth/tokens")
"""Always allowed: services ask this way what a token is."""


class Mandate(msgspec.Struct, frozen=True):
    """Whom a token speaks for, and what it was gained with if not the user's own login."""

    user: User
    trust: Trust | None = None
    application_credential: ApplicationCredential | None = None
    access_token: AccessToken | None = None


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """`place`: the project or domain that the token is for; `place_domain`: the domain of that project.

    `groups`: of a federated user, those that the identity provider says. `lasts_until`: when the token ends, or a
    membership does on which its roles may rest, so that it must be looked at again.
    """

    claims: Claims
    mandate: Mandate
    user_domain: Project
    place: Project | None
    place_domain: Project | None
    roles: tuple[RoleRef, ...]
    actor: Actor
    groups: tuple[str, ...] = ()
    lasts_until: int

    @property
    def user(self) -> User:
        """Whom the token speaks for."""
        return self.mandate.user


def actor_of(
    claims: Claims,
    mandate: Mandate,
    user_domain: Project,
    place: Project | None,
    home: Project | None,
    roles: tuple[RoleRef, ...],
) -> Actor:
    """The caller that a token stands for; `is_admin` is left to the policy."""
    on_project = claims.scope == "project" and place is not None and home is not None
    on_domain = claims.scope == "domain" and place is not None
    credential = mandate.application_credential
    return Actor(
        user_id=mandate.user.id,
        user_name=mandate.user.name,
        user_domain_id=user_domain.id,
        user_domain_name=user_domain.name,
        project_id=place.id if on_project and place else None,
        project_name=place.name if on_project and place else None,
        project_domain_id=home.id if on_project and home else None,
        project_domain_name=home.name if on_project and home else None,
        domain_id=place.id if on_domain and place else None,
        domain_name=place.name if on_domain and place else None,
        system=claims.scope == "system",
        roles=frozenset(role.name.lower() for role in roles),
        token_id=claims.audit_ids[0],
        expires_at=claims.expires_at,
        methods=frozenset(claims.methods),
        trust_id=mandate.trust.id if mandate.trust else None,
        application_credential_id=credential.id if credential else None,
        unrestricted=credential.unrestricted if credential else False,
        access_rules=_access_rules(credential) if credential and credential.rules else None,
    )


def _access_rules(credential: ApplicationCredential) -> tuple[AccessRule, ...]:
    return (*(AccessRule(rule.service, rule.method, rule.path) for rule in credential.rules), _SHOW_TOKEN)


class Cache:
    """Verified tokens by digest, each with the generation in which it was read. Bounded; thread-safe."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, tuple[int, Verified]] = OrderedDict()

    def get(self, digest: bytes, generation: int, now: int) -> Verified | None:
        """The token, if it was verified in this generation and that still holds."""
        entry = self._entries.get(digest)
        if entry is None or entry[0] != generation or entry[1].lasts_until <= now:
            return None
        return entry[1]

    def put(self, digest: bytes, generation: int, verified: Verified) -> None:
        """Remember a token that was verified with what the database held in `generation` or later."""
        with self._lock:
            self._entries[digest] = (generation, verified)
            self._entries.move_to_end(digest)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)

    def __len__(self) -> int:
        return len(self._entries)
