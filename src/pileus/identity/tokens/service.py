"""Logging in, verifying tokens, revoking them."""

import hashlib
from typing import Any

from pileus.identity.application_credentials.service import ApplicationCredentials
from pileus.identity.domain import User
from pileus.identity.fernet import Claims, DelegationKind, new_audit_id
from pileus.identity.generation import Generation, Watch
from pileus.identity.multifactor.receipts import InsufficientMethods, Receipts
from pileus.identity.multifactor.rules import is_enough, rules_of
from pileus.identity.multifactor.service import Passcodes
from pileus.identity.oauth1.service import OAuth1
from pileus.identity.oauth1.signature import SignedRequest
from pileus.identity.projects import store as projects_store
from pileus.identity.roles.service import Roles
from pileus.identity.settings import IdentitySettings
from pileus.identity.tokens import store
from pileus.identity.tokens.formats import token_format
from pileus.identity.tokens.methods import DENIED, Login, Methods
from pileus.identity.tokens.resolver import Resolver
from pileus.identity.tokens.scopes import Place, Scopes
from pileus.identity.tokens.verified import Cache, Verified
from pileus.identity.trusts.service import Trusts
from pileus.identity.users.login import Logins
from pileus.identity.users.service import Users
from pileus.kernel.auth import Actor
from pileus.kernel.clock import MICROSECONDS, Clock
from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import Forbidden, Unauthorized
from pileus.kernel.fields import given
from pileus.kernel.policy import Policy


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
        *,
        users: Users,
        logins: Logins,
        roles: Roles,
        trusts: Trusts,
        application_credentials: ApplicationCredentials,
        passcodes: Passcodes,
        oauth1: OAuth1,
    ) -> None:
        self._lifetime = settings.token_lifetime * MICROSECONDS
        self._expired_window = settings.allow_expired_window * MICROSECONDS
        self._clock = clock
        self._db = db
        self._generation = generation
        self._trusts = trusts
        self._resolver = Resolver(policy, users, roles, trusts, application_credentials, oauth1, clock)
        self._methods = Methods(db, users, logins, application_credentials, passcodes, oauth1, self.verify)
        self._scopes = Scopes(roles, trusts)
        self._receipts = Receipts(settings, clock)
        self._format = token_format(settings)
        self._cache = Cache(settings.cached_tokens)
        self._watch = Watch(db, clock, generation)

    # --- verifying -------------------------------------------------------------------------------------------

    def verify(self, token: str, *, allow_expired: bool = False) -> Verified | None:
        """What a token means; None if it is not ours, has ended or is revoked.

        A token that was verified in the present generation costs no look at the database. `allow_expired`: also one
        that ended not long ago, for services that finish what was begun with it.
        """
        self._watch.look()
        generation = self._generation.value
        now = self._clock.now()
        digest = _digest(token)
        known = self._cache.get(digest, generation, now)
        if known is not None:
            return known
        claims = self._format.unseal(token)
        if claims is None or claims.expires_at + (self._expired_window if allow_expired else 0) <= now:
            return None
        with self._db.read() as tx:
            verified = self._resolver.resolve(tx, claims)
        if verified is not None and claims.expires_at > now:
            self._cache.put(digest, generation, verified)
        return verified

    def authenticate(self, token: str) -> Actor:
        """The caller that a token stands for. Unauthorized if it is not valid."""
        verified = self.verify(token)
        if verified is None:
            raise Unauthorized(DENIED)
        return verified.actor

    # --- logging in ------------------------------------------------------------------------------------------

    def issue(
        self, request: Any, receipt: str | None = None, signed: SignedRequest | None = None
    ) -> tuple[str, Verified]:
        """Log in, as the decoded body of POST /auth/tokens says: a token and its meaning.

        `receipt`: of an earlier login with some of the methods that the user's rules ask for. `signed`: the request, as
        an OAuth consumer may have signed it. Unauthorized if a credential is wrong or the user has no role where the
        token shall be for; InsufficientMethods, with a receipt, if the rules ask for more. NotFound if the token that
        is given in place of a password is not valid.
        """
        login = self._methods.identify(request.identity, signed)
        methods = self._sufficient(login, receipt)
        with self._db.read() as tx:
            place = self._scopes.place(tx, login, given(request.scope))
        return self.mint(login.user, methods, place, login.parent)

    def _sufficient(self, login: Login, sent_receipt: str | None) -> tuple[str, ...]:
        """All methods that the user has logged in with, now or by the receipt; InsufficientMethods if too few."""
        methods = login.methods
        if sent_receipt is not None:
            methods = tuple(dict.fromkeys((*methods, *self._receipts.verify(sent_receipt, login.user).methods)))
        if is_enough(login.user, methods):
            return methods
        if login.application_credential is not None or login.access_token is not None:
            # A receipt would not carry on what the credential forbids.
            raise Unauthorized(f"The user's rules do not allow logging in with {', '.join(methods)} alone.")
        with self._db.read() as tx:
            domain = projects_store.PROJECTS.get(tx, login.user.domain_id)
        if domain is None:
            raise Unauthorized(DENIED)
        receipt, text = self._receipts.issue(login.user, methods)
        rules = tuple(tuple(rule) for rule in rules_of(login.user))
        raise InsufficientMethods(receipt, text, login.user, domain, rules)

    def mint(
        self,
        user: User,
        methods: tuple[str, ...],
        place: Place,
        parent: Claims | None = None,
        *,
        through: tuple[str, str] = ("", ""),
    ) -> tuple[str, Verified]:
        """A token for a user who has logged in, and its meaning. `parent`: of the token that it is exchanged for.
        `through`: the identity provider and protocol of a federated user, if the parent does not say.

        It ends at the latest with its parent, its trust, its application credential or its access token. Unauthorized
        if the user has no role there; Forbidden if a trust does not give what it should, or is used up.
        """
        generation = self._generation.value
        if parent is not None:
            through = (parent.identity_provider, parent.protocol)
        with self._db.read() as tx:
            claims = self._claims(tx, user, methods, place, parent, through)
            verified = self._resolver.resolve(tx, claims)
        trust = place.trust
        if verified is None:
            if trust is not None:
                raise Forbidden("Trustee has no delegated roles.")
            raise Unauthorized(_no_access(user, place))
        if trust is not None:
            self._db.transact(lambda tx: self._trusts.use(tx, trust))
        token = self._format.seal(claims)
        self._cache.put(_digest(token), generation, verified)
        return token, verified

    def issue_mapped(self, user: User, identity_provider: str, protocol: str) -> tuple[str, Verified]:
        """An unscoped token for a user whom an identity provider vouched for just now.

        Provider and protocol are empty where that made one of this cloud's own users of them.
        """
        return self.mint(user, ("mapped",), Place("unscoped"), through=(identity_provider, protocol))

    def _claims(
        self,
        tx: Tx,
        user: User,
        methods: tuple[str, ...],
        place: Place,
        parent: Claims | None,
        through: tuple[str, str],
    ) -> Claims:
        now = self._clock.now() // MICROSECONDS * MICROSECONDS
        limited_by = (parent, place.trust, place.application_credential, place.access_token)
        limits = [limit.expires_at for limit in limited_by if limit]
        ends = min(limit for limit in (now + self._lifetime, *limits) if limit is not None)
        kind: DelegationKind = ""
        delegation_id, delegator_epoch = "", 0
        if place.trust is not None:
            trustor = self._trusts.trustor(tx, place.trust)
            if trustor is None:
                raise Forbidden("Trustor is disabled.")
            kind, delegation_id, delegator_epoch = "trust", place.trust.id, trustor.epoch
        elif place.application_credential is not None:
            kind, delegation_id = "application_credential", place.application_credential.id
        elif place.access_token is not None:
            kind, delegation_id = "oauth1", place.access_token.id
        return Claims(
            user_id=user.id,
            user_epoch=user.epoch,
            methods=methods,
            scope=place.kind,
            scope_id=place.project.id if place.project else "",
            scope_epoch=place.project.epoch if place.project else 0,
            audit_ids=(new_audit_id(),) if parent is None else (new_audit_id(), parent.audit_ids[-1]),
            issued_at=now,
            expires_at=ends // MICROSECONDS * MICROSECONDS,
            identity_provider=through[0],
            protocol=through[1],
            delegation=kind,
            delegation_id=delegation_id,
            delegator_epoch=delegator_epoch,
        )

    # --- revoking --------------------------------------------------------------------------------------------

    def revoke(self, tx: Tx, claims: Claims) -> None:
        """Revoke one token; those gained from it stay valid."""
        now = self._clock.now()
        store.revoke(tx, claims.audit_ids[0], claims.expires_at, now, now - self._expired_window)
        self._generation.advance(tx)

    def revoked_after(self, tx: Tx, instant: int) -> list[tuple[str, int]]:
        """The audit ids of tokens that were revoked on their own after an instant, and when.

        What voids all tokens of a user or a project is no list of tokens, and not in it.
        """
        return store.revoked_after(tx, instant)


def _digest(token: str) -> bytes:
    """What the cache knows a token by, so that memory holds no tokens."""
    return hashlib.blake2b(token.encode(), digest_size=16).digest()


def _no_access(user: User, place: Place) -> str:
    if place.kind == "unscoped":
        return DENIED
    return f"User {user.id} has no access to {place.kind} {place.project.id if place.project else 'all'}."
