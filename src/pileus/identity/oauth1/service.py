"""The rules of OS-OAUTH1."""

import hashlib
import hmac
import secrets
import string
from collections.abc import Mapping, Sequence
from typing import Any

from pileus.identity.delegation import is_delegated
from pileus.identity.domain import Role, RoleRef
from pileus.identity.generation import Generation
from pileus.identity.keys import KeyRepository
from pileus.identity.oauth1 import store
from pileus.identity.oauth1.domain import AccessToken, Consumer, Issued
from pileus.identity.oauth1.signature import Parameters, SignedRequest, is_signed, parameters
from pileus.identity.projects.service import Projects
from pileus.identity.rest import Sent, changes, missing
from pileus.identity.roles.service import Roles
from pileus.identity.rows import Found, Wanted
from pileus.identity.settings import IdentitySettings
from pileus.kernel.auth import Actor
from pileus.kernel.clock import MICROSECONDS, Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Forbidden, PileusError, Unauthorized
from pileus.kernel.ids import new_hex

WINDOW = 600 * MICROSECONDS
"""How far a request's timestamp may be from our clock, either way."""

_LETTERS = string.ascii_letters + string.digits
_VERIFIER_LENGTH = 16
_INVALID = "The signature is invalid, or what it was made with is unknown, used or has ended."


class OAuth1:
    """Consumers, and what users grant them.

    A signed request counts once: its nonce is stored in the transaction that acts on it, for as long as its timestamp
    would be taken. Secrets are encrypted at rest; verifiers are stored as digests.
    """

    def __init__(
        self, settings: IdentitySettings, clock: Clock, generation: Generation, projects: Projects, roles: Roles
    ) -> None:
        self._request_duration = settings.oauth1_request_token_duration * MICROSECONDS
        self._access_duration = settings.oauth1_access_token_duration * MICROSECONDS
        self._keys = KeyRepository(settings.credential_keys)
        self._clock = clock
        self._generation = generation
        self._projects = projects
        self._roles = roles

    # --- consumers -------------------------------------------------------------------------------------------

    def consumer(self, tx: Tx, consumer_id: str) -> Consumer:
        """A consumer, or NotFound."""
        found = store.CONSUMERS.get(tx, consumer_id)
        if found is None:
            raise missing("consumer", consumer_id)
        return found

    def consumers(self, tx: Tx, wanted: Wanted) -> Found[Consumer]:
        """A page of consumers."""
        return store.CONSUMERS.page(tx, wanted)

    def create_consumer(self, tx: Tx, sent: Sent) -> tuple[Consumer, str]:
        """Create a consumer; it, and its secret, which is told this once."""
        consumer = Consumer(id=new_hex(), description=sent.get("description"), extra=sent.extra)
        secret = secrets.token_hex(16)
        store.CONSUMERS.insert(tx, consumer, encrypted_secret=self._sealed(secret))
        return consumer, secret

    def update_consumer(self, tx: Tx, consumer: Consumer, sent: Sent) -> Consumer:
        """Change a consumer. BadRequest for its secret, which cannot be chosen."""
        if "secret" in sent.known:
            raise BadRequest("The secret of a consumer cannot be changed.")
        store.CONSUMERS.change(tx, consumer.id, changes(consumer, sent, ("description",)))
        return self.consumer(tx, consumer.id)

    def delete_consumer(self, tx: Tx, consumer: Consumer) -> None:
        """Delete a consumer with all that it was granted: tokens that it logged in for are void at once."""
        store.CONSUMERS.delete(tx, consumer.id)
        self._generation.advance(tx)

    # --- from a request to a grant ---------------------------------------------------------------------------

    def create_request_token(self, tx: Tx, request: SignedRequest, project_id: str) -> Issued:
        """Note that a consumer wants to act on a project.

        Unauthorized for a wrong signature; after that, NotFound for a project that does not exist.
        """
        said = parameters(request)
        self._verify(tx, request, said, None)
        project = self._projects.find(tx, project_id)
        if project is None:
            raise missing("project", project_id)
        issued = self._issued(self._request_duration)
        token = store.RequestToken(
            id=issued.id,
            consumer_id=said.consumer_id,
            project_id=project.id,
            encrypted_secret=self._sealed(issued.secret),
            expires_at=issued.expires_at,
        )
        store.REQUEST_TOKENS.insert(tx, token)
        return issued

    def authorize(self, tx: Tx, actor: Actor, token_id: str, wanted: Sequence[Mapping[str, Any]]) -> str:
        """Let a consumer act for the caller with these roles, each named by `id` or `name`; answers the verifier.

        The user tells the consumer the verifier, and nothing else proves to it that this user has agreed. Unauthorized
        if the user lacks one of the roles on the project, or the consumer's request has ended. Forbidden for a caller
        that has not logged in as the user itself.
        """
        refuse_delegated(actor)
        token = store.REQUEST_TOKENS.get(tx, token_id)
        if token is None:
            raise missing("request token", token_id)
        project = self._projects.find(tx, token.project_id)
        if self._has_ended(token.expires_at) or project is None:
            raise Unauthorized("The request token has expired.")
        role_ids = _chosen(wanted, self._roles.on_project(tx, actor.user_id, project))
        verifier = "".join(secrets.choice(_LETTERS) for _ in range(_VERIFIER_LENGTH))
        store.authorize(tx, token.id, actor.user_id, role_ids, _digest(verifier))
        return verifier

    def create_access_token(self, tx: Tx, request: SignedRequest) -> Issued:
        """Exchange a request token that a user has authorised for an access token. Unauthorized else."""
        said = parameters(request)
        for name in ("oauth_token", "oauth_verifier"):
            if not said.given.get(name):
                raise BadRequest(f"The parameter {name} is missing.")
        token = store.REQUEST_TOKENS.get(tx, said.token_id or "")
        ours = token is not None and token.consumer_id == said.consumer_id
        self._verify(tx, request, said, token.encrypted_secret if token is not None and ours else "")
        if token is None or self._has_ended(token.expires_at) or token.user_id is None or token.role_ids is None:
            raise Unauthorized("The request token has expired, or no user has authorised it.")
        if not hmac.compare_digest(token.verifier_hash or "", _digest(said.verifier or "")):
            raise Unauthorized("The verifier is wrong.")
        if not store.consume(tx, token.id):
            raise Unauthorized(_INVALID)
        issued = self._issued(self._access_duration)
        access = store.SealedAccessToken(
            id=issued.id,
            consumer_id=token.consumer_id,
            user_id=token.user_id,
            project_id=token.project_id,
            role_ids=token.role_ids,
            expires_at=issued.expires_at,
            encrypted_secret=self._sealed(issued.secret),
        )
        store.SEALED_ACCESS_TOKENS.insert(tx, access)
        return issued

    # --- what was granted ------------------------------------------------------------------------------------

    def access_tokens(self, tx: Tx, user_id: str, wanted: Wanted) -> Found[AccessToken]:
        """A page of what a user has granted."""
        return store.tokens_of_user(tx, user_id, wanted)

    def access_token(self, tx: Tx, user_id: str, token_id: str) -> AccessToken:
        """An access token that a user has granted, or NotFound."""
        token = store.ACCESS_TOKENS.get(tx, token_id)
        if token is None or token.user_id != user_id:
            raise missing("access token", token_id)
        return token

    def granted_roles(self, tx: Tx, token: AccessToken) -> list[Role]:
        """The roles that an access token names, of those that exist still."""
        found = (self._roles.find(tx, role_id) for role_id in sorted(token.role_ids))
        return [role for role in found if role is not None]

    def delete_access_token(self, tx: Tx, token: AccessToken) -> None:
        """Take back what a user has granted: tokens that the consumer logged in for are void at once."""
        store.ACCESS_TOKENS.delete(tx, token.id)
        self._generation.advance(tx)

    # --- logging in ------------------------------------------------------------------------------------------

    def login(self, tx: Tx, request: SignedRequest) -> AccessToken:
        """The access token that a login is signed with. Unauthorized if it or the signature is not valid."""
        said = parameters(request)
        if not said.token_id:
            raise BadRequest("The parameter oauth_token is missing.")
        token = store.SEALED_ACCESS_TOKENS.get(tx, said.token_id)
        ours = token is not None and token.consumer_id == said.consumer_id
        self._verify(tx, request, said, token.encrypted_secret if token is not None and ours else "")
        if token is None or self._has_ended(token.expires_at):
            raise Unauthorized(_INVALID)
        return token

    def find(self, tx: Tx, token_id: str) -> AccessToken | None:
        """An access token; it may have ended."""
        return store.ACCESS_TOKENS.get(tx, token_id)

    def roles_of(self, tx: Tx, token: AccessToken, held: Sequence[RoleRef]) -> tuple[RoleRef, ...]:
        """The roles that an access token gives: those it names and what they imply, as far as the user holds them."""
        named = {role.id for role in self._roles.implied_by(tx, token.role_ids)}
        return tuple(role for role in held if role.id in named)

    def _verify(self, tx: Tx, request: SignedRequest, said: Parameters, sealed: str | None) -> None:
        """Unauthorized unless the request is signed, fresh and new.

        `sealed`: the secret of the token that it must be signed with too; empty for a token that is not valid; None if
        there is none to sign with. An unknown consumer or token is refused in the same words as a wrong signature.
        """
        now = self._clock.now()
        secret = store.secret_of(tx, said.consumer_id)
        known = secret is not None and sealed != ""
        right = is_signed(
            request,
            said,
            self._opened(secret) if secret is not None else secrets.token_hex(16),
            self._opened(sealed) if sealed else "",
        )
        moment = said.timestamp * MICROSECONDS
        if not known or not right or abs(now - moment) > WINDOW:
            raise Unauthorized(_INVALID)
        store.forget(tx, now)
        whole = "\0".join((said.consumer_id, said.token_id or "", str(said.timestamp), said.nonce))
        if not store.spend_nonce(tx, _digest(whole), moment + WINDOW):
            raise Unauthorized(_INVALID)

    def _issued(self, duration: int) -> Issued:
        expires_at = self._clock.now() + duration if duration else None
        return Issued(id=new_hex(), secret=secrets.token_hex(16), expires_at=expires_at)

    def _has_ended(self, expires_at: int | None) -> bool:
        return expires_at is not None and expires_at <= self._clock.now()

    def _sealed(self, secret: str) -> str:
        return self._keys.encrypt(secret.encode(), self._clock.now() // MICROSECONDS).decode()

    def _opened(self, sealed: str) -> str:
        secret = self._keys.decrypt(sealed.encode())
        if secret is None:
            raise PileusError("A secret of OAuth cannot be decrypted with the keys of this cloud.")
        return secret.decode()


def refuse_delegated(actor: Actor) -> None:
    """Forbidden unless the caller has logged in as the user itself."""
    if is_delegated(actor.methods, actor.trust_id):
        raise Forbidden("A token that was gained through delegation says nothing about what its user grants others.")


def _chosen(wanted: Sequence[Mapping[str, Any]], held: Sequence[RoleRef]) -> list[str]:
    """The ids of the roles that are asked for. Unauthorized if one of them is not held."""
    if not wanted:
        raise BadRequest("At least one role must be named.")
    by_id = {role.id: role.id for role in held}
    by_name = {role.name: role.id for role in held}
    chosen = []
    for reference in wanted:
        role_id, name = reference.get("id"), reference.get("name")
        if not isinstance(role_id, str) and not isinstance(name, str):
            raise BadRequest("A role is named by its id or its name.")
        found = by_id.get(role_id) if isinstance(role_id, str) else by_name.get(str(name))
        if found is None:
            raise Unauthorized("The authorizing user does not have a role that is asked for.")
        chosen.append(found)
    return sorted(set(chosen))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
