"""The rules of trusts."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from pileus.identity.domain import Project, RoleRef, User
from pileus.identity.generation import Generation
from pileus.identity.projects.service import Projects
from pileus.identity.rest import RoleReference, Sent, future, missing
from pileus.identity.roles.service import Roles
from pileus.identity.rows import Found, Wanted
from pileus.identity.settings import IdentitySettings
from pileus.identity.trusts import store
from pileus.identity.trusts.domain import Trust
from pileus.identity.users.service import Users
from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Forbidden
from pileus.kernel.ids import new_hex


class Trusts:
    """Trusts and what they give.

    A trust gives its roles or nothing: as soon as the first trustor of its chain has lost one of them, it is dead.
    """

    def __init__(
        self,
        settings: IdentitySettings,
        clock: Clock,
        generation: Generation,
        users: Users,
        projects: Projects,
        roles: Roles,
    ) -> None:
        self._max_depth = settings.max_redelegation_count
        self._clock = clock
        self._generation = generation
        self._users = users
        self._projects = projects
        self._roles = roles

    # --- the resource ----------------------------------------------------------------------------------------

    def find(self, tx: Tx, trust_id: str) -> Trust | None:
        """A trust, whether it can still be used or not."""
        return store.get(tx, trust_id)

    def get(self, tx: Tx, trust_id: str) -> Trust:
        """A trust. NotFound also for one that has ended or is used up."""
        trust = store.get(tx, trust_id)
        if trust is None or not self.is_usable(trust):
            raise missing("trust", trust_id)
        return trust

    def page(self, tx: Tx, wanted: Wanted) -> Found[Trust]:
        """A page of trusts, without their roles."""
        return store.page(tx, wanted)

    def create(self, tx: Tx, actor: Actor, held: Sequence[RoleRef], sent: Sent) -> Trust:
        """Make a trust; with a token that was gained through one, hand that one on.

        `held`: the roles of the caller's token: where it was gained with an application credential, the trust must be
        for that one's project, and have no other roles. NotFound for a trustee, project or role that is not there, also
        if it is a role that the trustor does not have. Forbidden for what redelegation does not allow.
        """
        asked = sent.known
        if self._users.find(tx, asked["trustee_user_id"]) is None:
            raise missing("user", asked["trustee_user_id"])
        handed_on = None if actor.trust_id is None else self.get(tx, actor.trust_id)
        trust = Trust(
            id=new_hex(),
            trustor_user_id=asked["trustor_user_id"],
            trustee_user_id=asked["trustee_user_id"],
            impersonation=asked["impersonation"],
            project_id=sent.get("project_id"),
            expires_at=future(self._clock, sent.get("expires_at")),
            remaining_uses=sent.get("remaining_uses"),
            redelegation_count=self._count(sent),
            roles=self._granted(tx, asked["trustor_user_id"], handed_on, sent),
        )
        if actor.application_credential_id is not None:
            _refuse_beyond(trust, actor, {role.id for role in held})
        if handed_on is not None:
            trust = self._handed_on(tx, trust, handed_on, sent)
        store.insert(tx, trust)
        return trust

    def _count(self, sent: Sent) -> int:
        """How often a new trust may be handed on."""
        count: int | None = sent.get("redelegation_count")
        if not sent.get("allow_redelegation", False) or count == 0:
            return 0
        if sent.get("remaining_uses") is not None:
            raise BadRequest("remaining_uses must not be set if redelegation is allowed.")
        if count is not None and count > self._max_depth:
            raise Forbidden(f"Requested redelegation depth of {count} is greater than allowed {self._max_depth}.")
        return self._max_depth if count is None else count

    def _granted(self, tx: Tx, trustor_id: str, handed_on: Trust | None, sent: Sent) -> tuple[str, ...]:
        """The ids of the roles that a new trust gives."""
        references: Sequence[RoleReference] = sent.get("roles", ())
        project_id = sent.get("project_id")
        if project_id is None:
            return ()
        if not references:
            raise Forbidden("At least one role should be specified.")
        project = self._projects.find(tx, project_id)
        if project is None:
            raise missing("project", project_id)
        wanted = dict.fromkeys(self._roles.named(tx, references))
        source = trustor_id if handed_on is None else self.source(tx, handed_on)
        have = self._roles.all_on_project(tx, source, project)
        for role_id in wanted:
            if role_id not in have:
                raise missing("role", role_id)
        return tuple(sorted(wanted))

    def _handed_on(self, tx: Tx, trust: Trust, source: Trust, sent: Sent) -> Trust:
        """The trust as one that hands on `source`. Forbidden if it would give more than that, or any before it."""
        count = source.redelegation_count - 1
        if sent.get("redelegation_count") not in (None, 0, count):
            raise Forbidden("redelegation_count must not be changed when a trust is handed on. Leave it out.")
        for link in self._chain(tx, source):
            if not 0 < link.redelegation_count <= self._max_depth:
                raise Forbidden(f"The trust {link.id} may not be handed on, or not any further.")
            _refuse_more(trust, link)
        return msgspec.structs.replace(
            trust,
            redelegated_trust_id=source.id,
            redelegation_count=count if trust.redelegation_count else 0,
            expires_at=source.expires_at if trust.expires_at is None else trust.expires_at,
        )

    def delete(self, tx: Tx, trust: Trust) -> None:
        """Delete a trust and those that hand it on; tokens that were gained through them are void at once."""
        store.TRUSTS.delete(tx, trust.id)
        self._generation.advance(tx)

    # --- what a trust gives ----------------------------------------------------------------------------------

    def is_usable(self, trust: Trust) -> bool:
        """Whether a token can be gained through it, as far as its end and its uses go."""
        ended = trust.expires_at is not None and trust.expires_at <= self._clock.now()
        return not ended and trust.remaining_uses != 0

    def trustor(self, tx: Tx, trust: Trust) -> User | None:
        """Who gives the trust; None unless all who handed it on are enabled."""
        trustors = [self._users.find(tx, link.trustor_user_id) for link in self._chain(tx, trust)]
        if any(trustor is None or not trustor.enabled for trustor in trustors):
            return None
        return trustors[0]

    def source(self, tx: Tx, trust: Trust) -> str:
        """The user whose roles a trust gives: the first trustor of its chain."""
        *_, first = self._chain(tx, trust)
        return first.trustor_user_id

    def roles_of(self, tx: Tx, trust: Trust, project: Project) -> tuple[RoleRef, ...]:
        """What a token gained through the trust has: its roles and what they imply; nothing if one is lost."""
        given = self._roles.implied_by(tx, trust.roles)
        have = self._roles.all_on_project(tx, self.source(tx, trust), project)
        return given if {role.id for role in given} | set(trust.roles) <= have else ()

    def use(self, tx: Tx, trust: Trust) -> None:
        """Count a token that is gained. Forbidden if none is left, or the trust went meanwhile."""
        if not store.use(tx, trust.id):
            raise Forbidden(f"The trust {trust.id} cannot be used any more.")

    def _chain(self, tx: Tx, trust: Trust) -> Iterator[Trust]:
        """The trust, the one that it hands on, and so on to the first."""
        link: Trust | None = trust
        while link is not None:
            yield link
            link = None if link.redelegated_trust_id is None else store.get(tx, link.redelegated_trust_id)


def _refuse_beyond(trust: Trust, actor: Actor, held: Collection[str]) -> None:
    if trust.project_id != actor.project_id or not set(trust.roles) <= set(held):
        raise Forbidden("A trust cannot give more than the application credential that it is made with.")


def _refuse_more(trust: Trust, source: Trust) -> None:
    """Forbidden if a trust would give more than one that it hands on."""
    if source.remaining_uses is not None:
        raise Forbidden("A trust with remaining_uses cannot be handed on.")
    if source.expires_at is not None and trust.expires_at is not None and trust.expires_at > source.expires_at:
        raise Forbidden("A trust cannot end later than the one that it hands on.")
    if trust.impersonation and not source.impersonation:
        raise Forbidden("Impersonation is not allowed, because the trust that is handed on does not allow it.")
    if trust.project_id != source.project_id or not set(trust.roles) <= set(source.roles):
        raise Forbidden("Some of the requested roles are not in the trust that is handed on.")


def target_of(trust: Trust) -> dict[str, Any]:
    """What rules may ask about a trust."""
    return {
        "target.trust.trustor_user_id": trust.trustor_user_id,
        "target.trust.trustee_user_id": trust.trustee_user_id,
    }
