"""The rules of application credentials and access rules."""

from collections.abc import Sequence

from pileus.identity.application_credentials import secrets, store
from pileus.identity.application_credentials.domain import ApplicationCredential, StoredRule
from pileus.identity.application_credentials.schemas import AskedRule
from pileus.identity.domain import RoleRef
from pileus.identity.generation import Generation
from pileus.identity.passwords import Passwords
from pileus.identity.rest import RoleReference, Sent, future, missing
from pileus.identity.roles.service import Roles
from pileus.identity.rows import Found, Wanted
from pileus.identity.settings import IdentitySettings
from pileus.kernel.access_rules import AccessRule
from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Forbidden
from pileus.kernel.ids import new_hex


class ApplicationCredentials:
    """Application credentials and access rules.

    A credential gives no more than its roles, and of these no more than its owner has at the time. When a role is taken
    away from the owner in the project, or the owner is disabled, the credential is deleted: it must not come back to
    life when the role does.
    """

    def __init__(
        self, settings: IdentitySettings, clock: Clock, generation: Generation, passwords: Passwords, roles: Roles
    ) -> None:
        self._maximum = settings.max_application_credentials
        self._clock = clock
        self._generation = generation
        self._passwords = passwords
        self._roles = roles

    # --- credentials -----------------------------------------------------------------------------------------

    def find(self, tx: Tx, credential_id: str, user_id: str | None = None) -> ApplicationCredential | None:
        """A credential, or one of a certain user."""
        credential = store.get(tx, credential_id)
        return credential if credential is None or user_id in (None, credential.user_id) else None

    def page(self, tx: Tx, user_id: str, wanted: Wanted) -> Found[ApplicationCredential]:
        """A page of a user's credentials."""
        return store.page(tx, wanted.but(user_id=user_id))

    def secret(self, sent: Sent) -> tuple[str, str]:
        """The secret of a new credential and its hash, to be made outside the transaction."""
        secret = sent.get("secret") or secrets.new_secret()
        return secret, secrets.hashed(self._passwords, secret)

    def create(
        self, tx: Tx, actor: Actor, held: Sequence[RoleRef], sent: Sent, secret: tuple[str, str]
    ) -> ApplicationCredential:
        """Make a credential for the caller's project. `held`: the roles of the caller's token, which it may pass on.

        BadRequest for other roles, for a token without a project, and for an end that is past. Conflict if the caller
        has one of that name. Forbidden if the caller has too many.
        """
        if actor.project_id is None:
            raise BadRequest("An application credential can only be made with a token for a project.")
        if self._maximum and store.count_locked(tx, actor.user_id) >= self._maximum:
            raise Forbidden(f"A user may have {self._maximum} application credentials at most.")
        credential = ApplicationCredential(
            id=new_hex(),
            user_id=actor.user_id,
            project_id=actor.project_id,
            name=sent.known["name"],
            description=sent.get("description"),
            unrestricted=sent.get("unrestricted", False),
            expires_at=future(self._clock, sent.get("expires_at")),
            roles=self._passed_on(tx, held, sent.get("roles", ())),
            rules=self._rules(tx, actor.user_id, sent.get("access_rules", ())),
        )
        store.insert(tx, credential, secret[1])
        return credential

    def _passed_on(self, tx: Tx, held: Sequence[RoleRef], asked: Sequence[RoleReference]) -> tuple[str, ...]:
        """The ids of the roles that are asked for, or of all that are held."""
        wanted = dict.fromkeys(self._roles.named(tx, asked)) if asked else {role.id: None for role in held}
        if not wanted.keys() <= {role.id for role in held}:
            raise BadRequest("Cannot create an application credential with unassigned role.")
        return tuple(sorted(wanted))

    def delete(self, tx: Tx, credential: ApplicationCredential) -> None:
        """Delete a credential; tokens that were gained with it are void at once."""
        store.CREDENTIALS.delete(tx, credential.id)
        self._generation.advance(tx)

    # --- access rules ----------------------------------------------------------------------------------------

    def _rules(self, tx: Tx, user_id: str, asked: Sequence[AskedRule]) -> tuple[StoredRule, ...]:
        """The rules that are asked for, each once; those that are new are made."""
        found = [self._rule(tx, user_id, one) for one in asked]
        return tuple(rule for _, rule in sorted({rule.id: rule for rule in found}.items()))

    def _rule(self, tx: Tx, user_id: str, asked: AskedRule) -> StoredRule:
        """A rule by its id, or by what it says."""
        if asked.id is not None:
            return self.rule(tx, user_id, asked.id)
        if asked.service is None or asked.method is None or asked.path is None:
            raise BadRequest("An access rule has a service, a method and a path.")
        return store.rule(tx, user_id, AccessRule(asked.service, asked.method, asked.path))

    def rules(self, tx: Tx, user_id: str, wanted: Wanted) -> Found[StoredRule]:
        """A page of a user's access rules."""
        return store.RULES.page(tx, wanted.but(user_id=user_id))

    def rule(self, tx: Tx, user_id: str, rule_id: str) -> StoredRule:
        """A user's access rule, or NotFound."""
        found = store.RULES.get(tx, rule_id)
        if found is None or found.user_id != user_id:
            raise missing("access rule", rule_id)
        return found

    def delete_rule(self, tx: Tx, rule: StoredRule) -> None:
        """Delete an access rule. Forbidden while a credential has it."""
        if store.is_used(tx, rule.id):
            raise Forbidden(f"The access rule {rule.id} is in use by an application credential.")
        store.RULES.delete(tx, rule.id)

    # --- logging in ------------------------------------------------------------------------------------------

    def of_login(
        self, tx: Tx, *, credential_id: str | None = None, name: str | None = None, user_id: str = ""
    ) -> tuple[ApplicationCredential | None, str | None]:
        """The credential that a login names by its id, or by name and user, and its hash: None for one unknown."""
        by_id = credential_id is not None
        credential = store.get(tx, credential_id or "") if by_id else store.named(tx, user_id, name or "")
        return credential, store.hash_of(tx, credential.id if credential else "")

    def verify(self, credential: ApplicationCredential | None, stored: str | None, secret: str) -> bool:
        """Whether the secret is right and the credential has not ended. Takes as long for one that is unknown."""
        right = secrets.verify(self._passwords, stored, secret)
        return right and credential is not None and not self.has_ended(credential)

    def has_ended(self, credential: ApplicationCredential) -> bool:
        """Whether it is past the credential's end."""
        return credential.expires_at is not None and credential.expires_at <= self._clock.now()

    def roles_of(self, tx: Tx, credential: ApplicationCredential, held: Sequence[RoleRef]) -> tuple[RoleRef, ...]:
        """What a token gained with the credential has: its roles and what they imply, as far as the owner has them."""
        have = {role.id for role in held}
        return tuple(role for role in self._roles.implied_by(tx, credential.roles) if role.id in have)
