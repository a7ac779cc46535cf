"""The rules of roles and assignments."""

from collections.abc import Iterable, Sequence

from pileus.identity.application_credentials import store as application_credentials
from pileus.identity.domain import RESOURCE_OPTIONS, SYSTEM, Assignment, AssignmentFilter, Project, Role, RoleRef
from pileus.identity.generation import Generation
from pileus.identity.projects import store as projects_store
from pileus.identity.rest import RoleReference, Sent, changes, merge_options, missing, refuse_immutable
from pileus.identity.roles import store
from pileus.identity.roles.graph import Graph, Graphs, read_graph
from pileus.identity.rows import Found, Wanted
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Forbidden, NotFound
from pileus.kernel.ids import new_hex

ADMIN = "admin"


class Roles:
    """Roles, implications, assignments and what follows from them."""

    def __init__(self, generation: Generation, clock: Clock) -> None:
        self._generation = generation
        self._clock = clock
        self._graphs = Graphs(generation)

    # --- roles -----------------------------------------------------------------------------------------------

    def find(self, tx: Tx, role_id: str) -> Role | None:
        """A role."""
        return store.ROLES.get(tx, role_id)

    def page(self, tx: Tx, wanted: Wanted) -> Found[Role]:
        """A page of roles."""
        return store.ROLES.page(tx, wanted)

    def create(self, tx: Tx, sent: Sent) -> Role:
        """Create a role. Conflict if there is one of that name (in the same domain)."""
        role = Role(
            id=new_hex(),
            name=sent.known["name"],
            domain_id=sent.get("domain_id"),
            description=sent.get("description"),
            options=merge_options({}, sent.get("options"), RESOURCE_OPTIONS),
            extra=sent.extra,
        )
        if role.domain_id is not None:
            domain = projects_store.get(tx, role.domain_id)
            if domain is None or not domain.is_domain:
                raise missing("domain", role.domain_id)
        store.ROLES.insert(tx, role, namespace=role.domain_id or "")
        self._generation.advance(tx)
        return role

    def update(self, tx: Tx, role: Role, sent: Sent) -> Role:
        """Change a role."""
        if sent.known.get("domain_id", role.domain_id) != role.domain_id:
            raise BadRequest("Cannot change the domain of a role.")
        options = merge_options(role.options, sent.get("options"), RESOURCE_OPTIONS)
        refuse_immutable(role.options, "role", role.id, options)
        values = changes(role, sent, ("name", "description"))
        store.ROLES.change(tx, role.id, {**values, "options": options})
        self._generation.advance(tx)
        return store.ROLES.get(tx, role.id) or role

    def delete(self, tx: Tx, role: Role) -> None:
        """Delete a role; who held it loses it at once."""
        refuse_immutable(role.options, "role", role.id)
        store.ROLES.delete(tx, role.id)
        self._generation.advance(tx)

    def named(self, tx: Tx, references: Sequence[RoleReference]) -> list[str]:
        """The ids of the roles that a request names. BadRequest for a reference that is neither id nor name."""
        roles = self._graphs.present(tx).roles
        by_name = {role.name: role.id for role in roles.values() if role.domain_id is None}
        found = []
        for reference in references:
            if (reference.id is None) == (reference.name is None):
                raise BadRequest("A role is named by its id or by its name.")
            role_id = reference.id or by_name.get(reference.name or "")
            if role_id is None or role_id not in roles:
                raise missing("role", reference.id or reference.name or "")
            found.append(role_id)
        return found

    # --- implications ----------------------------------------------------------------------------------------

    def graph(self, tx: Tx) -> Graph:
        """All roles and implications, as of now."""
        return read_graph(tx)

    def imply(self, tx: Tx, prior: Role, implied: Role) -> None:
        """Let a role imply another. Forbidden where a global role would imply a domain's, or any the role admin."""
        if prior.domain_id is None and implied.domain_id is not None:
            raise Forbidden(f"The global role {prior.id} cannot imply the domain-specific role {implied.id}.")
        if implied.name.lower() == ADMIN and implied.domain_id is None:
            raise Forbidden(f"The role {implied.name} cannot be implied by another role.")
        store.imply(tx, prior.id, implied.id)
        self._generation.advance(tx)

    def check_implied(self, tx: Tx, prior: Role, implied: Role) -> None:
        """NotFound unless the one role implies the other directly."""
        if (prior.id, implied.id) not in store.implications(tx):
            raise missing("implied role", f"{prior.id} implies {implied.id}")

    def no_longer_imply(self, tx: Tx, prior: Role, implied: Role) -> None:
        """End an implication. NotFound if there is none."""
        if not store.no_longer_imply(tx, prior.id, implied.id):
            raise missing("implied role", f"{prior.id} implies {implied.id}")
        self._generation.advance(tx)

    # --- assignments -----------------------------------------------------------------------------------------

    def grant(self, tx: Tx, assignment: Assignment, role: Role, home: str | None) -> None:
        """Assign a role; again changes nothing. `home`: the target's domain.

        Forbidden for a domain's role outside its domain.
        """
        if role.domain_id is not None and role.domain_id != home:
            raise Forbidden(f"The role {role.id} belongs to another domain than the target.")
        if store.assign(tx, assignment):
            self._generation.advance(tx)

    def check_grant(self, tx: Tx, assignment: Assignment) -> None:
        """NotFound unless the role is assigned."""
        if not store.is_assigned(tx, assignment):
            raise _not_assigned(assignment)

    def revoke(self, tx: Tx, assignment: Assignment) -> None:
        """Take a role away: at once, also from tokens that exist. NotFound if it is not assigned.

        What the user's programs log in to the project with is deleted: it must not revive with the role.
        """
        if not store.unassign(tx, assignment):
            raise _not_assigned(assignment)
        if assignment.actor_kind == "user" and assignment.target_kind == "project" and not assignment.inherited:
            application_credentials.delete_of(tx, [assignment.actor_id], assignment.target_id)
        self._generation.advance(tx)

    def granted(self, tx: Tx, wanted: AssignmentFilter) -> list[Role]:
        """The roles that are assigned, as they are: nothing inherited or implied."""
        ids = {assignment.role_id for assignment in store.assignments(tx, wanted)}
        roles = self._graphs.present(tx).roles
        return [roles[role_id] for role_id in sorted(ids) if role_id in roles]

    def implied_by(self, tx: Tx, role_ids: Iterable[str]) -> tuple[RoleRef, ...]:
        """What a token shows for these roles: they and all they imply."""
        return self._graphs.present(tx).effective(role_ids)

    # --- what a user has -------------------------------------------------------------------------------------

    def on_project(self, tx: Tx, user_id: str, project: Project) -> tuple[RoleRef, ...]:
        """All roles of a user on a project: own, through groups, inherited and implied."""
        wanted = AssignmentFilter(user_id=user_id, groups_at=self._clock.now(), projects=[project], with_inherited=True)
        return self._effective(tx, wanted)

    def all_on_project(self, tx: Tx, user_id: str, project: Project) -> frozenset[str]:
        """The ids of the same, and of the domains' roles that tokens do not show."""
        wanted = AssignmentFilter(user_id=user_id, groups_at=self._clock.now(), projects=[project], with_inherited=True)
        graph = self._graphs.present(tx)
        held = {assignment.role_id for assignment in store.assignments(tx, wanted)}
        return frozenset(role_id for start in held for role_id in graph.closure(start))

    def on_domain(self, tx: Tx, user_id: str, domain_id: str) -> tuple[RoleRef, ...]:
        """All roles of a user on a domain."""
        return self._effective(
            tx, AssignmentFilter(user_id=user_id, groups_at=self._clock.now(), domain_id=domain_id, inherited=False)
        )

    def on_system(self, tx: Tx, user_id: str) -> tuple[RoleRef, ...]:
        """All roles of a user on the system."""
        return self._effective(
            tx, AssignmentFilter(user_id=user_id, groups_at=self._clock.now(), system=True, inherited=False)
        )

    def _effective(self, tx: Tx, wanted: AssignmentFilter) -> tuple[RoleRef, ...]:
        held = dict.fromkeys(assignment.role_id for assignment in store.assignments(tx, wanted))
        return self._graphs.present(tx).effective(held)

    def projects_of(self, tx: Tx, user_id: str, wanted: Wanted) -> Found[Project]:
        """A page of the projects on which a user has a role in any way."""
        held = self._useful(tx, user_id)
        return projects_store.page_reached(
            tx,
            wanted,
            direct=[one.target_id for one in held if one.target_kind == "project" and not one.inherited],
            whole_domains=[one.target_id for one in held if one.target_kind == "domain" and one.inherited],
            subtrees=[one.target_id for one in held if one.target_kind == "project" and one.inherited],
        )

    def reaches(self, tx: Tx, user_id: str, projects: Sequence[Project]) -> list[Project]:
        """Those of the projects on which a user has a role in any way."""
        held = [one for one in self._useful(tx, user_id) if one.target_kind != SYSTEM]
        direct = {one.target_id for one in held if one.target_kind == "project" and not one.inherited}
        above = {one.target_id for one in held if one.inherited}
        return [one for one in projects if one.id in direct or not above.isdisjoint(one.ancestors)]

    def domains_of(self, tx: Tx, user_id: str) -> list[Project]:
        """The enabled domains on which a user has a role."""
        held = self._useful(tx, user_id)
        ids = sorted({one.target_id for one in held if one.target_kind == "domain" and not one.inherited})
        return [domain for domain in projects_store.of_ids(tx, ids) if domain.enabled]

    def has_system(self, tx: Tx, user_id: str) -> bool:
        """Whether a user has a role on the system."""
        return any(one.target_kind == SYSTEM for one in self._useful(tx, user_id))

    def _useful(self, tx: Tx, user_id: str) -> Sequence[Assignment]:
        graph = self._graphs.present(tx)
        held = store.assignments(tx, AssignmentFilter(user_id=user_id, groups_at=self._clock.now()))
        return [one for one in held if graph.effective([one.role_id])]


def _not_assigned(assignment: Assignment) -> NotFound:
    return missing("role assignment", f"{assignment.role_id} of {assignment.actor_id} on {assignment.target_id}")
