"""Logging in, verifying tokens, revoking them."""

import hashlib
from typing import Any

import msgspec

from pileus.identity.domain import Project, RoleRef, User
from pileus.identity.federation import store as federation_store
from pileus.identity.fernet import Claims, ScopeKind, new_audit_id
from pileus.identity.generation import Generation, Watch
from pileus.identity.projects import store as projects_store
from pileus.identity.roles.service import Roles
from pileus.identity.settings import IdentitySettings
from pileus.identity.tokens import store
from pileus.identity.tokens.formats import token_format
from pileus.identity.tokens.verified import Cache, Verified, actor_of
from pileus.identity.users.login import Logins
from pileus.identity.users.service import Users
from pileus.kernel.auth import Actor
from pileus.kernel.clock import MICROSECONDS, Clock
from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import BadRequest, NotFound, Unauthorized
from pileus.kernel.fields import UNSET, given
from pileus.kernel.policy import Policy

_DENIED = "The request you have made requires authentication."


class Place(msgspec.Struct, frozen=True):
    """What a token is asked for, found in the database."""

    kind: ScopeKind
    project: Project | None = None


class Tokens:
    """Issues and verifies tokens. Thread-safe.

    Opens its own transactions: hashing a password must not hold one, and verifying mostly needs none.
    """

    def __init__(
        self,
        settings: IdentitySettings,
        clock: Clock,
        db: Database,
        policy: Policy,
        generation: Generation,
        users: Users,
        logins: Logins,
        roles: Roles,
    ) -> None:
        self._lifetime = settings.token_lifetime * MICROSECONDS
        self._clock = clock
        self._db = db
        self._policy = policy
        self._generation = generation
        self._users = users
        self._logins = logins
        self._roles = roles
        self._format = token_format(settings)
        self._cache = Cache(settings.cached_tokens)
        self._watch = Watch(db, clock, generation)

    # --- verifying -------------------------------------------------------------------------------------------

    def verify(self, token: str) -> Verified | None:
        """What a token means; None if it is not ours, has ended or is revoked.

        A token that was verified in the present generation costs no look at the database.
        """
        self._watch.look()
        generation = self._generation.value
        now = self._clock.now()
        digest = _digest(token)
        known = self._cache.get(digest, generation, now)
        if known is not None:
            return known
        claims = self._format.unseal(token)
        if claims is None or claims.expires_at <= now:
            return None
        with self._db.read() as tx:
            verified = self._resolve(tx, claims)
        if verified is not None:
            self._cache.put(digest, generation, verified)
        return verified

    def _resolve(self, tx: Tx, claims: Claims) -> Verified | None:
        """The meaning of claims by what the database says now; None if they are void."""
        user = self._users.find(tx, claims.user_id)
        if user is None or not user.enabled or user.epoch != claims.user_epoch:
            return None
        if store.is_revoked(tx, claims.audit_ids[0]):
            return None
        wanted = {user.domain_id, claims.scope_id} - {""}
        found = {one.id: one for one in projects_store.PROJECTS.some(tx, projects_store.ids_in(sorted(wanted)))}
        user_domain, place = found.get(user.domain_id), found.get(claims.scope_id)
        if user_domain is None or not user_domain.enabled:
            return None
        home = None
        if claims.scope in ("project", "domain"):
            if place is None or not place.enabled or place.epoch != claims.scope_epoch:
                return None
            home = found.get(place.home) or projects_store.PROJECTS.get(tx, place.home)
            if home is None or not home.enabled:
                return None
        if claims.identity_provider and not self._vouched(tx, claims):
            return None
        roles = self._held(tx, user, claims.scope, place)
        if not roles and claims.scope != "unscoped":
            return None
        ending = federation_store.memberships(tx, user.id, self._clock.now())
        actor = actor_of(claims, user, user_domain, place, home, roles)
        if self._policy.allows("context_is_admin", actor):
            actor = msgspec.structs.replace(actor, is_admin=True)
        return Verified(
            claims=claims,
            user=user,
            user_domain=user_domain,
            place=place,
            place_domain=home,
            roles=roles,
            actor=actor,
            groups=tuple(group_id for group_id, idp_id, _ in ending if idp_id == claims.identity_provider),
            lasts_until=min((claims.expires_at, *(ends for _, _, ends in ending))),
        )

    @staticmethod
    def _vouched(tx: Tx, claims: Claims) -> bool:
        """Whether the identity provider through which the user came may still vouch for users."""
        provider = federation_store.PROVIDERS.get(tx, claims.identity_provider)
        return (
            provider is not None
            and provider.enabled
            and federation_store.protocol(tx, provider.id, claims.protocol) is not None
        )

    def _held(self, tx: Tx, user: User, scope: ScopeKind, place: Project | None) -> tuple[RoleRef, ...]:
        if scope == "system":
            return self._roles.on_system(tx, user.id)
        if place is None:
            return ()
        if scope == "domain":
            return self._roles.on_domain(tx, user.id, place.id)
        return self._roles.on_project(tx, user.id, place)

    def authenticate(self, token: str) -> Actor:
        """The caller that a token stands for. Unauthorized if it is not valid."""
        verified = self.verify(token)
        if verified is None:
            raise Unauthorized(_DENIED)
        return verified.actor

    # --- logging in ------------------------------------------------------------------------------------------

    def issue(self, request: Any) -> tuple[str, Verified]:
        """Log in, as the decoded body of POST /auth/tokens says: a token and its meaning.

        Unauthorized if a credential is wrong or the user has no role where the token shall be for. NotFound if the
        token that is given in place of a password is not valid.
        """
        user, methods, parent = self._identify(request.identity)
        generation = self._generation.value
        with self._db.read() as tx:
            place = self._place(tx, user, given(request.scope))
            now = self._clock.now() // MICROSECONDS * MICROSECONDS
            audit_ids = (new_audit_id(),) if parent is None else (new_audit_id(), parent.audit_ids[-1])
            claims = Claims(
                user_id=user.id,
                user_epoch=user.epoch,
                methods=methods,
                scope=place.kind,
                scope_id=place.project.id if place.project else "",
                scope_epoch=place.project.epoch if place.project else 0,
                audit_ids=audit_ids,
                issued_at=now,
                expires_at=now + self._lifetime if parent is None else parent.expires_at,
                identity_provider=parent.identity_provider if parent else "",
                protocol=parent.protocol if parent else "",
            )
            verified = self._resolve(tx, claims)
        if verified is None:
            raise Unauthorized(_no_access(user, place))
        token = self._format.seal(claims)
        self._cache.put(_digest(token), generation, verified)
        return token, verified

    def issue_mapped(self, user: User, identity_provider: str, protocol: str) -> tuple[str, Verified]:
        """An unscoped token for a user whom an identity provider vouched for just now.

        Provider and protocol are empty where that made one of this cloud's own users of them.
        """
        generation = self._generation.value
        now = self._clock.now() // MICROSECONDS * MICROSECONDS
        claims = Claims(
            user_id=user.id,
            user_epoch=user.epoch,
            methods=("mapped",),
            audit_ids=(new_audit_id(),),
            issued_at=now,
            expires_at=now + self._lifetime,
            identity_provider=identity_provider,
            protocol=protocol,
        )
        with self._db.read() as tx:
            verified = self._resolve(tx, claims)
        if verified is None:
            raise Unauthorized(_DENIED)
        token = self._format.seal(claims)
        self._cache.put(_digest(token), generation, verified)
        return token, verified

    def _identify(self, identity: Any) -> tuple[User, tuple[str, ...], Claims | None]:
        """The user that all methods agree on, the methods, and the claims of the token if one was given."""
        user: User | None = None
        parent: Claims | None = None
        if not identity.methods:
            raise Unauthorized(_DENIED)
        for method in dict.fromkeys(identity.methods):
            if method == "password":
                found = self._by_password(identity.password)
            elif method == "token":
                verified = self._by_token(identity.token)
                found, parent = verified.user, verified.claims
            else:
                raise Unauthorized(f"Attempted to authenticate with an unsupported method: {method}.")
            if user is not None and user.id != found.id:
                raise Unauthorized(_DENIED)
            user = found
        methods = dict.fromkeys((*(parent.methods if parent else ()), *identity.methods))
        if user is None:
            raise Unauthorized(_DENIED)
        return user, tuple(methods), parent

    def _by_password(self, given_password: Any) -> User:
        if given_password is UNSET:
            raise BadRequest("Expecting to find password in identity.")
        who = given_password.user
        user_id, name, domain = given(who.id), given(who.name), given(who.domain)
        if user_id:
            return self._logins.by_id(user_id, who.password)
        if name is None or domain is None:
            raise BadRequest("Expecting to find the user's id, or its name and domain.")
        return self._logins.by_name(name, given(domain.id), given(domain.name), who.password)

    def _by_token(self, given_token: Any) -> Verified:
        if given_token is UNSET:
            raise BadRequest("Expecting to find token in identity.")
        verified = self.verify(given_token.id)
        if verified is None:
            raise NotFound("Failed to validate token.")
        return verified

    def _domain_id(self, tx: Tx, reference: Any) -> str | None:
        domain_id, name = given(reference.id), given(reference.name)
        if domain_id is None and name is not None:
            domain = projects_store.by_name(tx, name, "")
            return domain.id if domain else None
        found: str | None = domain_id
        return found

    # --- scopes ----------------------------------------------------------------------------------------------

    def _place(self, tx: Tx, user: User, scope: Any) -> Place:
        """What the token shall be for. BadRequest if the scope makes no sense; Unauthorized if it does not exist."""
        if scope == "unscoped":
            return Place("unscoped")
        if not scope:
            return self._default_place(tx, user)
        if not isinstance(scope, dict) or len(scope) != 1:
            raise BadRequest("scope must be 'unscoped', or name one of project, domain and system.")
        kind, value = next(iter(scope.items()))
        if not isinstance(value, dict):
            raise BadRequest(f"scope.{kind} must be an object.")
        if kind == "system":
            if value.get("all") is not True:
                raise BadRequest("scope.system must be {'all': true}.")
            return Place("system")
        if kind == "domain":
            return Place("domain", self._found_domain(tx, user, value))
        if kind == "project":
            return Place("project", self._found_project(tx, user, value))
        raise BadRequest(f"Tokens cannot be scoped to '{kind}'.")

    def _default_place(self, tx: Tx, user: User) -> Place:
        """The user's default project where the user has a role on it, else nothing."""
        project = projects_store.PROJECTS.get(tx, user.default_project_id) if user.default_project_id else None
        if project is None or not project.enabled or not self._roles.on_project(tx, user.id, project):
            return Place("unscoped")
        domain = projects_store.PROJECTS.get(tx, project.home)
        return Place("project", project) if domain is not None and domain.enabled else Place("unscoped")

    def _found_domain(self, tx: Tx, user: User, value: dict[str, Any]) -> Project:
        reference = _reference(value, "scope.domain")
        found = (
            projects_store.PROJECTS.get(tx, reference.id)
            if reference.id is not None
            else projects_store.by_name(tx, reference.name or "", "")
        )
        if found is None or not found.is_domain:
            raise Unauthorized(f"User {user.id} has no access to domain {reference.id or reference.name}.")
        return found

    def _found_project(self, tx: Tx, user: User, value: dict[str, Any]) -> Project:
        reference = _reference(value, "scope.project")
        if reference.id is not None:
            found = projects_store.PROJECTS.get(tx, reference.id)
        else:
            domain = value.get("domain")
            if not isinstance(domain, dict):
                raise BadRequest("A project is named by its id, or by its name and domain.")
            domain_id = self._domain_id(tx, _reference(domain, "scope.project.domain"))
            found = projects_store.by_name(tx, reference.name or "", domain_id) if domain_id else None
        if found is None:
            raise Unauthorized(f"User {user.id} has no access to project {reference.id or reference.name}.")
        return found

    # --- revoking --------------------------------------------------------------------------------------------

    def revoke(self, tx: Tx, claims: Claims) -> None:
        """Revoke one token; those gained from it stay valid."""
        store.revoke(tx, claims.audit_ids[0], claims.expires_at, self._clock.now())
        self._generation.advance(tx)


class _Reference(msgspec.Struct, frozen=True):
    id: str | None = None
    name: str | None = None


def _reference(value: dict[str, Any], where: str) -> _Reference:
    thing_id, name = value.get("id"), value.get("name")
    if not isinstance(thing_id, str) and not isinstance(name, str):
        raise BadRequest(f"{where} must have an id or a name.")
    return _Reference(thing_id if isinstance(thing_id, str) else None, name if isinstance(name, str) else None)


def _digest(token: str) -> bytes:
    """What the cache knows a token by, so that memory holds no tokens."""
    return hashlib.blake2b(token.encode(), digest_size=16).digest()


def _no_access(user: User, place: Place) -> str:
    if place.kind == "unscoped":
        return _DENIED
    return f"User {user.id} has no access to {place.kind} {place.project.id if place.project else 'all'}."
