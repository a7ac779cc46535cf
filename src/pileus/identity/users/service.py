"""The rules of users, passwords, groups and memberships."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pileus.identity.directories.service import Directories
from pileus.identity.domain import USER_OPTIONS, Comparator, Group, User
from pileus.identity.generation import Generation
from pileus.identity.passwords import Passwords
from pileus.identity.projects.service import Projects
from pileus.identity.rest import Sent, changes, merge_options, missing
from pileus.identity.rows import Found, Wanted
from pileus.identity.users import store
from pileus.identity.users.compliance import Compliance
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.ids import new_hex

Expiring = Sequence[tuple[Comparator, int]]
"""When a user's password expires, compared with instants: all must hold."""


class Users:
    """Users and groups.

    Hashing a password takes tens of milliseconds and so happens before a transaction: methods that store one take the
    hash, made with `hashed`.
    """

    def __init__(
        self,
        projects: Projects,
        passwords: Passwords,
        compliance: Compliance,
        generation: Generation,
        clock: Clock,
        directories: Directories,
    ) -> None:
        self._directories = directories
        self._projects = projects
        self._passwords = passwords
        self._compliance = compliance
        self._generation = generation
        self._clock = clock

    def hashed(self, sent: Sent, *, checked: bool = True) -> str | None:
        """The hash of the password in a body, if there is one. BadRequest if it is too long or too weak."""
        password = sent.get("password")
        if password is None:
            return None
        self._passwords.refuse_long(password)
        if checked:
            self._compliance.require_strong(password)
        return self._passwords.hash(password)

    def find(self, tx: Tx, user_id: str) -> User | None:
        """A user; not enabled if it has been inactive for too long."""
        user = store.USERS.get(tx, user_id)
        return None if user is None else self.seen(user)

    def named(self, tx: Tx, name: str, domain_id: str) -> User | None:
        """A user by its name in a domain, as `find` has it."""
        user = store.USERS.named(tx, name, domain_id=domain_id)
        return None if user is None else self.seen(user)

    def seen(self, user: User) -> User:
        """A user as it was stored, as all others see it: not enabled if it has been inactive for too long."""
        return self._compliance.seen(user, user.enabled, self._clock.now())

    def page(
        self, tx: Tx, wanted: Wanted, expiring: Expiring = (), came_by: Mapping[str, str] | None = None
    ) -> Found[User]:
        """A page of users. `came_by`: through which provider, by which protocol, under which id there."""
        return self._page(tx, wanted, expiring, *([store.came_by(came_by)] if came_by else []))

    def _page(self, tx: Tx, wanted: Wanted, expiring: Expiring, *conditions: Any) -> Found[User]:
        equal = dict(wanted.equal)
        enabled = equal.pop("enabled", None)
        if enabled is not None:
            since = self._compliance.active_since(self._clock.now()) if self._compliance.idle_limit else None
            active = store.is_enabled(since)
            conditions = (*conditions, active if enabled else ~active)
        conditions = (*conditions, *(store.expires(comparator, instant) for comparator, instant in expiring))
        found = store.USERS.page(tx, msgspec.structs.replace(wanted, equal=equal), *conditions)
        return Found([self.seen(user) for user in found.things], found.more)

    def create(self, tx: Tx, domain_id: str, sent: Sent, hashed: str | None) -> User:
        """Create a user. Conflict if its domain has one of that name, NotFound if there is no such domain."""
        self._projects.domain(tx, domain_id)
        self._directories.refuse_writes(tx, domain_id)
        user = User(
            id=new_hex(),
            name=sent.known["name"],
            domain_id=domain_id,
            enabled=sent.get("enabled", True),
            default_project_id=sent.get("default_project_id"),
            options=merge_options({}, sent.get("options"), USER_OPTIONS),
            extra=sent.extra,
        )
        self._check_default_project(tx, user.default_project_id)
        active_at = self._compliance.activity(user, self._clock.now())
        store.USERS.insert(tx, msgspec.structs.replace(user, last_active_at=active_at))
        if hashed is not None:
            self._set_password(tx, user, hashed)
        return self._read(tx, user.id)

    def _set_password(self, tx: Tx, user: User, hashed: str | None) -> None:
        """Set the password as an administrator."""
        now = self._clock.now()
        store.set_password(
            tx,
            user.id,
            hashed,
            now,
            expires_at=self._compliance.expiry(user, now, self_service=False),
            self_service=False,
            remembered=self._compliance.remembered,
        )

    def update(self, tx: Tx, user: User, sent: Sent, hashed: str | None) -> User:
        """Change a user. A new password, or being disabled, voids the user's tokens.

        Being disabled also ends the user's application credentials, for good. To enable a user also ends what an
        inactivity or wrong passwords did to it.
        """
        self._directories.refuse_writes(tx, user.domain_id)
        if sent.known.get("domain_id", user.domain_id) != user.domain_id:
            raise BadRequest("Cannot change the domain of a user.")
        if "default_project_id" in sent.known and sent.known["default_project_id"] != user.default_project_id:
            self._check_default_project(tx, sent.known["default_project_id"])
        values = changes(user, sent, ("name", "enabled", "default_project_id"))
        if "options" in sent.known:
            values["options"] = merge_options(user.options, sent.known["options"], USER_OPTIONS)
        changed = msgspec.structs.replace(user, options=values.get("options", user.options))
        if sent.get("enabled", False):
            store.forget_all_failures(tx, user.id)
        if sent.get("enabled", False) or changed.options != user.options:
            values["last_active_at"] = self._compliance.activity(changed, self._clock.now())
        store.change_user(tx, user.id, values)
        if "password" in sent.known:
            self._set_password(tx, changed, hashed)
        if user.enabled and not sent.get("enabled", True):
            store.disabled(tx, user.id)
        self._generation.advance(tx)
        return self._read(tx, user.id)

    def _check_default_project(self, tx: Tx, project_id: str | None) -> None:
        """Keystone takes any id and ignores at login what does not exist, but never a domain."""
        if project_id is not None and self._projects.find_domain(tx, project_id) is not None:
            raise BadRequest("A user's default project must not be a domain.")

    def _read(self, tx: Tx, user_id: str) -> User:
        user = self.find(tx, user_id)
        if user is None:
            raise missing("user", user_id)
        return user

    def delete(self, tx: Tx, user: User) -> None:
        """Delete a user with everything that it holds."""
        self._directories.refuse_writes(tx, user.domain_id)
        store.delete_user(tx, user.id)
        self._generation.advance(tx)

    def revoke_tokens(self, tx: Tx, user: User) -> None:
        """Void all tokens of a user."""
        store.revoke(tx, user.id)
        self._generation.advance(tx)

    # --- groups ----------------------------------------------------------------------------------------------

    def find_group(self, tx: Tx, group_id: str) -> Group | None:
        """A group."""
        return store.GROUPS.get(tx, group_id)

    def groups(self, tx: Tx, wanted: Wanted) -> Found[Group]:
        """A page of groups."""
        return store.GROUPS.page(tx, wanted)

    def create_group(self, tx: Tx, domain_id: str, sent: Sent) -> Group:
        """Create a group. Conflict if its domain has one of that name."""
        self._projects.domain(tx, domain_id)
        self._directories.refuse_writes(tx, domain_id)
        group = Group(
            id=new_hex(),
            name=sent.known["name"],
            domain_id=domain_id,
            description=sent.get("description", ""),
            extra=sent.extra,
        )
        store.GROUPS.insert(tx, group)
        return group

    def update_group(self, tx: Tx, group: Group, sent: Sent) -> Group:
        """Change a group."""
        self._directories.refuse_writes(tx, group.domain_id)
        if sent.known.get("domain_id", group.domain_id) != group.domain_id:
            raise BadRequest("Cannot change the domain of a group.")
        store.GROUPS.change(tx, group.id, changes(group, sent, ("name", "description"), {"description": ""}))
        return store.GROUPS.get(tx, group.id) or group

    def delete_group(self, tx: Tx, group: Group) -> None:
        """Delete a group; its members lose the roles they held through it at once."""
        self._directories.refuse_writes(tx, group.domain_id)
        store.delete_group(tx, group.id)
        self._generation.advance(tx)

    def add_member(self, tx: Tx, group: Group, user: User) -> None:
        """Put a user into a group."""
        for domain_id in (group.domain_id, user.domain_id):
            self._directories.refuse_writes(tx, domain_id)
        if store.add_member(tx, group.id, user.id):
            self._generation.advance(tx)

    def check_member(self, tx: Tx, group: Group, user: User) -> None:
        """NotFound unless the user is in the group."""
        if not store.is_member(tx, group.id, user.id, self._clock.now()):
            raise missing("user in group", f"{user.id} in {group.id}")

    def remove_member(self, tx: Tx, group: Group, user: User) -> None:
        """Take a user out of a group. NotFound if it was not in it."""
        for domain_id in (group.domain_id, user.domain_id):
            self._directories.refuse_writes(tx, domain_id)
        if not store.remove_member(tx, group.id, user.id):
            raise missing("user in group", f"{user.id} in {group.id}")
        self._generation.advance(tx)

    def members(self, tx: Tx, group: Group, wanted: Wanted, expiring: Expiring = ()) -> Found[User]:
        """A page of a group's users."""
        return self._page(tx, wanted, expiring, store.in_group(group.id, self._clock.now()))

    def groups_of(self, tx: Tx, user: User, wanted: Wanted) -> Found[Group]:
        """A page of a user's groups."""
        return store.groups_of(tx, user.id, wanted, self._clock.now())

    def ends_of_memberships(self, tx: Tx, user: User) -> Mapping[str, int]:
        """When a user's memberships end that an identity provider vouches for, by group."""
        return store.ends_of_memberships(tx, user.id, self._clock.now())
