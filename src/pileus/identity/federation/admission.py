"""What a login through an identity provider leaves in the database: the user, its groups and its projects.

A login finds or makes the user; puts it into the groups that the mapping says, for as long as the login lasts (or the
provider's authorization_ttl, if that is longer), and takes it out of those that the provider said before; and makes
the mapping's projects with the user's roles on them.
"""

from urllib.parse import quote

import msgspec

from pileus.identity.domain import Assignment, AssignmentFilter, Project, Role, User
from pileus.identity.federation import mapping as language
from pileus.identity.federation import store
from pileus.identity.federation.domain import Attributes, FederatedObject, IdentityProvider, Protocol
from pileus.identity.federation.mapping import DomainRef, Mapped, MappedProject, MappedUser
from pileus.identity.federation.service import Federation
from pileus.identity.generation import Generation
from pileus.identity.projects import store as projects_store
from pileus.identity.projects.service import Projects
from pileus.identity.rest import Sent
from pileus.identity.roles import store as roles_store
from pileus.identity.roles.service import Roles
from pileus.identity.rows import Wanted
from pileus.identity.settings import IdentitySettings
from pileus.identity.users import store as users_store
from pileus.identity.users.service import Users
from pileus.kernel.clock import MICROSECONDS, Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Conflict, Forbidden, Unauthorized
from pileus.kernel.ids import new_hex

_MINUTE = 60 * MICROSECONDS
_LONGEST_NAME = 255
REMOTE_USER = "REMOTE_USER"
"""The attribute that names the user where the mapping does not."""


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """A user whom a provider vouched for. `federated`: it is the provider's user, not one of this cloud's own."""

    user: User
    federated: bool


class Admission:
    """Lets users in by what a provider says of them."""

    def __init__(
        self,
        settings: IdentitySettings,
        federation: Federation,
        projects: Projects,
        users: Users,
        roles: Roles,
        generation: Generation,
        clock: Clock,
    ) -> None:
        self._lifetime = settings.token_lifetime * MICROSECONDS
        self._ttl = settings.default_authorization_ttl
        self._remote_id_attribute = settings.remote_id_attribute
        self._federation = federation
        self._projects = projects
        self._users = users
        self._roles = roles
        self._generation = generation
        self._clock = clock

    def ways(self, tx: Tx, idp_id: str, protocol_id: str) -> tuple[IdentityProvider, Protocol]:
        """A provider that may vouch, and its protocol. NotFound; Forbidden if the provider is disabled."""
        provider = self._federation.provider(tx, idp_id)
        protocol = self._federation.protocol(tx, idp_id, protocol_id)
        if not provider.enabled:
            raise Forbidden(f"Identity Provider {idp_id} is disabled.")
        return provider, protocol

    def admit(self, tx: Tx, idp_id: str, protocol_id: str, attributes: Attributes) -> Admitted:
        """The user that the attributes, which must be verified, are mapped to.

        Forbidden if they are of another provider than this one; BadRequest and Unauthorized if the mapping makes no
        user of them that may log in.
        """
        provider, protocol = self.ways(tx, idp_id, protocol_id)
        self._check_remote_id(provider, protocol, attributes)
        mapped = language.apply(self._federation.mapping(tx, protocol.mapping_id), attributes)
        if mapped.user.local:
            return Admitted(user=self._local(tx, mapped.user), federated=False)
        user = self._shadow(tx, provider, protocol, mapped.user, attributes)
        if not user.enabled:
            raise Unauthorized("The user is disabled.")
        self._join(tx, provider, user, mapped)
        self._grant(tx, provider, user, mapped)
        return Admitted(user=user, federated=True)

    def _check_remote_id(self, provider: IdentityProvider, protocol: Protocol, attributes: Attributes) -> None:
        name = protocol.remote_id_attribute or self._remote_id_attribute
        if not provider.remote_ids:
            return
        found = attributes.get(name)
        if not found:
            raise BadRequest("Could not find Identity Provider identifier in environment.")
        if len(found) != 1 or found[0] not in provider.remote_ids:
            raise Forbidden("Incoming identity provider identifier not included among the accepted identifiers.")

    # --- the user --------------------------------------------------------------------------------------------

    def _local(self, tx: Tx, mapped: MappedUser) -> User:
        user: User | None = None
        if mapped.id is not None:
            user = self._users.find(tx, mapped.id)
        elif mapped.name is not None and mapped.domain is not None:
            domain = self._domain(tx, mapped.domain)
            found = users_store.USERS.named(tx, mapped.name, domain_id=domain.id)
            user = self._users.seen(found) if found is not None else None
        if user is None or not user.enabled:
            raise Unauthorized("Could not map user.")
        return user

    def _shadow(
        self,
        tx: Tx,
        provider: IdentityProvider,
        protocol: Protocol,
        mapped: MappedUser,
        attributes: Attributes,
    ) -> User:
        name = mapped.name or next(iter(attributes.get(REMOTE_USER, ())), None) or mapped.id
        if not name:
            raise Unauthorized("Could not map user.")
        unique_id = quote(mapped.id or name, safe="")
        if len(name) > _LONGEST_NAME or len(unique_id) > _LONGEST_NAME:
            raise Unauthorized("Could not map user: the name is too long.")
        who = FederatedObject(idp_id=provider.id, protocol_id=protocol.id, unique_id=unique_id)
        user_id = store.user_of(tx, who)
        if user_id is None:
            return self._new_user(tx, provider, who, name, mapped)
        user = self._users.find(tx, user_id)
        if user is None:
            raise Conflict("The user was deleted just now.")
        return self._refreshed(tx, user, who, name, mapped)

    def _new_user(
        self, tx: Tx, provider: IdentityProvider, who: FederatedObject, name: str, mapped: MappedUser
    ) -> User:
        domain_id = self._domain(tx, mapped.domain).id if mapped.domain is not None else provider.domain_id
        extra = {"email": mapped.email} if mapped.email else {}
        user = User(id=new_hex(), name=_free_name(tx, domain_id, name, who), domain_id=domain_id, extra=extra)
        users_store.USERS.insert(tx, user)
        store.add_user(tx, who, user.id)
        return user

    def _refreshed(self, tx: Tx, user: User, who: FederatedObject, name: str, mapped: MappedUser) -> User:
        """The user with today's name and address."""
        values: dict[str, object] = {}
        if user.name not in (name, _long_name(name, who)):
            values["name"] = _free_name(tx, user.domain_id, name, who)
        if mapped.email and user.extra.get("email") != mapped.email:
            values["extra"] = {**user.extra, "email": mapped.email}
        if not values:
            return user
        users_store.change_user(tx, user.id, values)
        self._generation.advance(tx)
        return msgspec.structs.replace(user, **values)

    def _domain(self, tx: Tx, reference: DomainRef) -> Project:
        found = (
            self._projects.find_domain(tx, reference.id)
            if reference.id is not None
            else projects_store.by_name(tx, reference.name or "", "")
        )
        if found is None or not found.enabled:
            raise Unauthorized("The mapping names a domain that does not exist or is disabled.")
        return found

    # --- groups ----------------------------------------------------------------------------------------------

    def _join(self, tx: Tx, provider: IdentityProvider, user: User, mapped: Mapped) -> None:
        group_ids = list(mapped.group_ids)
        for group_id in group_ids:
            if self._users.find_group(tx, group_id) is None:
                raise Unauthorized(f"Group {group_id} returned by the mapping was not found.")
        for group in mapped.groups:
            domain = self._domain(tx, group.domain)
            found = users_store.GROUPS.named(tx, group.name, domain_id=domain.id)
            if found is not None:  # providers know groups that matter to others alone
                group_ids.append(found.id)
        now = self._clock.now()
        minutes = self._ttl if provider.authorization_ttl is None else provider.authorization_ttl
        expires_at = now + max(self._lifetime, minutes * _MINUTE)
        if store.replace_memberships(tx, user.id, provider.id, group_ids, expires_at, now):
            self._generation.advance(tx)

    # --- projects --------------------------------------------------------------------------------------------

    def _grant(self, tx: Tx, provider: IdentityProvider, user: User, mapped: Mapped) -> None:
        wanted: set[Assignment] = set()
        for mapped_project in mapped.projects:
            project = self._project(tx, provider, mapped_project)
            for name in mapped_project.roles:
                role = self._role(tx, name, project)
                assignment = Assignment(
                    actor_kind="user", actor_id=user.id, target_kind="project", target_id=project.id, role_id=role.id
                )
                self._roles.grant(tx, assignment, role, project.home)
                wanted.add(assignment)
        if mapped.projects_are_all:
            for held in roles_store.assignments(tx, AssignmentFilter(user_id=user.id)):
                if held.target_kind == "project" and not held.inherited and held not in wanted:
                    self._roles.revoke(tx, held)

    def _project(self, tx: Tx, provider: IdentityProvider, mapped: MappedProject) -> Project:
        domain_id = self._domain(tx, mapped.domain).id if mapped.domain is not None else provider.domain_id
        found = projects_store.by_name(tx, mapped.name, domain_id)
        if found is not None:
            return found
        if not mapped.name.strip() or len(mapped.name) > 64:
            raise BadRequest("The mapping makes a project whose name is empty or longer than 64 characters.")
        sent = Sent({"name": mapped.name}, {})
        return self._projects.create_project(tx, self._projects.domain(tx, domain_id), sent)

    def _role(self, tx: Tx, name: str, project: Project) -> Role:
        for domain_id in (None, project.home):
            found = self._roles.page(tx, Wanted({"name": name, "domain_id": domain_id})).things
            if found:
                return found[0]
        raise BadRequest(f"The mapping names the role {name}, which does not exist.")


def _long_name(name: str, who: FederatedObject) -> str:
    return f"{name} ({who.unique_id})"[:_LONGEST_NAME]


def _free_name(tx: Tx, domain_id: str, name: str, who: FederatedObject) -> str:
    """The name, or a longer one where another user of the domain has it: providers may give a name to many."""
    taken = users_store.USERS.named(tx, name, domain_id=domain_id) is not None
    return _long_name(name, who) if taken else name
