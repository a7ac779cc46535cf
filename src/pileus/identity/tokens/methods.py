"""The methods of logging in: each proves who the user is."""

from collections.abc import Callable
from typing import Any

import msgspec

from pileus.identity.application_credentials.domain import ApplicationCredential
from pileus.identity.application_credentials.service import ApplicationCredentials
from pileus.identity.delegation import is_delegated
from pileus.identity.domain import User
from pileus.identity.fernet import Claims
from pileus.identity.multifactor.service import Passcodes
from pileus.identity.oauth1.domain import AccessToken
from pileus.identity.oauth1.service import OAuth1
from pileus.identity.oauth1.signature import SignedRequest
from pileus.identity.projects import store as projects_store
from pileus.identity.tokens.verified import Verified
from pileus.identity.users.login import Logins
from pileus.identity.users.service import Users
from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import BadRequest, Forbidden, NotFound, Unauthorized
from pileus.kernel.fields import UNSET, given

OAUTH1 = "oauth1"
"""The method that has its proof in the request's header."""
DENIED = "The request you have made requires authentication."


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """Who has logged in, and how. `parent`: the claims of the token that was given, if one was."""

    user: User
    methods: tuple[str, ...]
    parent: Claims | None = None
    application_credential: ApplicationCredential | None = None
    access_token: AccessToken | None = None


class _Proved(msgspec.Struct, frozen=True):
    """What one method has proved."""

    user: User
    parent: Claims | None = None
    application_credential: ApplicationCredential | None = None
    access_token: AccessToken | None = None


class Methods:
    """Runs the methods of a login. Opens its own transactions: hashing a password must not hold one."""

    def __init__(
        self,
        db: Database,
        users: Users,
        logins: Logins,
        application_credentials: ApplicationCredentials,
        passcodes: Passcodes,
        oauth1: OAuth1,
        verify: Callable[[str], Verified | None],
    ) -> None:
        self._db = db
        self._users = users
        self._logins = logins
        self._application_credentials = application_credentials
        self._passcodes = passcodes
        self._oauth1 = oauth1
        self._verify = verify
        self._methods: dict[str, Callable[[Any], _Proved]] = {
            "password": self._by_password,
            "token": self._by_token,
            "application_credential": self._by_application_credential,
            "totp": self._by_passcode,
            OAUTH1: self._by_signature,
        }

    def identify(self, identity: Any, signed: SignedRequest | None = None) -> Login:
        """The user that all methods of the request agree on. `signed`: the request, as its sender may have signed it.

        Unauthorized if one of them fails; NotFound for a token that is not valid, Forbidden for one that cannot be
        exchanged; BadRequest if what a method needs is missing.
        """
        proved: list[_Proved] = []
        for method in dict.fromkeys(identity.methods):
            prove = self._methods.get(method)
            if prove is None:
                raise Unauthorized(f"Attempted to authenticate with an unsupported method: {method}.")
            sent = getattr(identity, method)
            if sent is UNSET:
                raise BadRequest(f"Expecting to find {method} in identity.")
            proved.append(prove(signed if method == OAUTH1 else sent))
        if not proved or any(one.user.id != proved[0].user.id for one in proved):
            raise Unauthorized(DENIED)
        parent = next((one.parent for one in proved if one.parent), None)
        methods = dict.fromkeys((*(parent.methods if parent else ()), *identity.methods))
        credential = next((one.application_credential for one in proved if one.application_credential), None)
        access = next((one.access_token for one in proved if one.access_token), None)
        return Login(
            user=proved[0].user,
            methods=tuple(methods),
            parent=parent,
            application_credential=credential,
            access_token=access,
        )

    # --- one by one ------------------------------------------------------------------------------------------

    def _by_password(self, sent: Any) -> _Proved:
        who = sent.user
        user_id, name, domain = _named(who)
        if user_id is not None:
            return _Proved(self._logins.by_id(user_id, who.password))
        return _Proved(self._logins.by_name(name, given(domain.id), given(domain.name), who.password))

    def _by_token(self, sent: Any) -> _Proved:
        verified = self._verify(sent.id)
        if verified is None:
            raise NotFound("Failed to validate token.")
        trust = verified.mandate.trust
        if is_delegated(verified.claims.methods, trust.id if trust else None):
            raise Forbidden("A token that was gained through a trust or a credential cannot be exchanged for another.")
        return _Proved(verified.user, parent=verified.claims)

    def _by_passcode(self, sent: Any) -> _Proved:
        who = sent.user
        with self._db.read() as tx:
            user = self._user(tx, who)
            match = self._passcodes.find(tx, user.id if user else "", who.passcode)
        fresh = match is not None and self._db.transact(lambda tx: self._passcodes.take(tx, match))
        return _Proved(self._logins.by_proof(user, str(_named(who)[:2]), fresh))

    def _by_signature(self, signed: SignedRequest | None) -> _Proved:
        if signed is None:
            raise Unauthorized(DENIED)
        token = self._db.transact(lambda tx: self._oauth1.login(tx, signed))
        with self._db.read() as tx:
            user = self._users.find(tx, token.user_id)
        if user is None or not user.enabled:
            raise Unauthorized(DENIED)
        return _Proved(user, access_token=token)

    def _by_application_credential(self, sent: Any) -> _Proved:
        credential_id, name, who = given(sent.id), given(sent.name), given(sent.user)
        with self._db.read() as tx:
            named = self._user(tx, who) if who is not None else None
            if credential_id is not None:
                credential, stored = self._application_credentials.of_login(tx, credential_id=credential_id)
            elif name is not None and who is not None:
                owner = named.id if named else ""
                credential, stored = self._application_credentials.of_login(tx, name=name, user_id=owner)
            else:
                raise BadRequest("Expecting to find the application credential's id, or its name and user.")
            owner_of = self._users.find(tx, credential.user_id if credential else "")
        right = self._application_credentials.verify(credential, stored, sent.secret)
        if not right or owner_of is None or not owner_of.enabled:
            raise Unauthorized(DENIED)
        if who is not None and (named is None or named.id != owner_of.id):
            raise Unauthorized(DENIED)
        return _Proved(owner_of, application_credential=credential)

    def _user(self, tx: Tx, who: Any) -> User | None:
        """The user that a request names."""
        user_id, name, domain = _named(who)
        if user_id is not None:
            return self._users.find(tx, user_id)
        return self._users.named(tx, name, domain_id_of(tx, given(domain.id), given(domain.name)) or "")


def _named(who: Any) -> tuple[str | None, str, Any]:
    """What a request names a user by: its id, or its name and domain. BadRequest if it does neither."""
    user_id, name, domain = given(who.id), given(who.name), given(who.domain)
    if not user_id and (name is None or domain is None):
        raise BadRequest("Expecting to find the user's id, or its name and domain.")
    return user_id or None, name or "", domain


def domain_id_of(tx: Tx, domain_id: str | None, name: str | None) -> str | None:
    """The id of a domain that is named by id or by name; an id is not looked up."""
    if domain_id is None and name is not None:
        domain = projects_store.by_name(tx, name, "")
        return domain.id if domain else None
    return domain_id
