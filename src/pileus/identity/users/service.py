"""The rules of users, passwords, groups and memberships."""

import msgspec

from pileus.identity.domain import USER_OPTIONS, Group, User
from pileus.identity.generation import Generation
from pileus.identity.passwords import Passwords
from pileus.identity.projects.service import Projects
from pileus.identity.rest import Sent, changes, merge_options, missing
from pileus.identity.rows import Found, Wanted
from pileus.identity.users import store
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Conflict, Forbidden, Unauthorized
from pileus.kernel.ids import new_hex


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What logging in looks at: None where there is no such user, or no password. Never to be logged."""

    user: User | None
    hash: str | None


class Users:
    """Users and groups.

    Hashing a password takes tens of milliseconds and so happens before a transaction: methods that store one take the
    hash, made with `hashed`.
    """

    def __init__(self, projects: Projects, passwords: Passwords, generation: Generation, clock: Clock) -> None:
        self._projects = projects
        self._passwords = passwords
        self._generation = generation
        self._clock = clock

    def hashed(self, sent: Sent) -> str | None:
        """The hash of the password in a body, if there is one. BadRequest if it is too long."""
        password = sent.get("password")
        return None if password is None else self._hash(password)

    def _hash(self, password: str) -> str:
        if len(password) > self._passwords.max_length:
            raise BadRequest(f"A password has at most {self._passwords.max_length} characters.")
        return self._passwords.hash(password)

    def find(self, tx: Tx, user_id: str) -> User | None:
        """A user."""
        return store.USERS.get(tx, user_id)

    def page(self, tx: Tx, wanted: Wanted) -> Found[User]:
        """A page of users."""
        return store.USERS.page(tx, wanted)

    def create(self, tx: Tx, domain_id: str, sent: Sent, hashed: str | None) -> User:
        """Create a user. Conflict if its domain has one of that name, NotFound if there is no such domain."""
        self._projects.domain(tx, domain_id)
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
        store.USERS.insert(tx, user)
        if hashed is not None:
            store.set_password(tx, user.id, hashed, self._clock.now())
        return self._read(tx, user.id)

    def update(self, tx: Tx, user: User, sent: Sent, hashed: str | None) -> User:
        """Change a user. A new password, or being disabled, voids the user's tokens."""
        if sent.known.get("domain_id", user.domain_id) != user.domain_id:
            raise BadRequest("Cannot change the domain of a user.")
        if "default_project_id" in sent.known and sent.known["default_project_id"] != user.default_project_id:
            self._check_default_project(tx, sent.known["default_project_id"])
        values = changes(user, sent, ("name", "enabled", "default_project_id"))
        if "options" in sent.known:
            values["options"] = merge_options(user.options, sent.known["options"], USER_OPTIONS)
        store.change_user(tx, user.id, values)
        if "password" in sent.known:
            store.set_password(tx, user.id, hashed, self._clock.now())
        if user.enabled and not sent.get("enabled", True):
            store.revoke(tx, user.id)
        self._generation.advance(tx)
        return self._read(tx, user.id)

    def _check_default_project(self, tx: Tx, project_id: str | None) -> None:
        """Keystone takes any id and ignores at login what does not exist, but never a domain."""
        if project_id is not None and self._projects.find_domain(tx, project_id) is not None:
            raise BadRequest("A user's default project must not be a domain.")

    def _read(self, tx: Tx, user_id: str) -> User:
        user = store.USERS.get(tx, user_id)
        if user is None:
            raise missing("user", user_id)
        return user

    def delete(self, tx: Tx, user: User) -> None:
        """Delete a user with everything that it holds."""
        store.delete_user(tx, user.id)
        self._generation.advance(tx)

    # --- passwords -------------------------------------------------------------------------------------------

    def account(self, tx: Tx, user_id: str) -> Account:
        """A user and the password's hash, to be verified outside the transaction."""
        user = store.USERS.get(tx, user_id)
        return self._account(tx, user)

    def account_by_name(self, tx: Tx, name: str, domain_id: str) -> Account:
        """The same by name. Costs the same queries for a user that does not exist."""
        return self._account(tx, store.USERS.named(tx, name, domain_id=domain_id))

    @staticmethod
    def _account(tx: Tx, user: User | None) -> Account:
        stored = store.password_of(tx, user.id if user else "")
        return Account(user=user, hash=stored.hash if stored else None)

    def verify(self, account: Account, password: str) -> User:
        """The user, if the password is right and the user may log in.

        Unauthorized otherwise, always after the same time: an unknown user, one without a password, a wrong password
        and a disabled user cannot be told apart.
        """
        right = self._passwords.verify(account.hash, password)
        if not right or account.user is None or not account.user.enabled:
            raise Unauthorized("The request you have made requires authentication.")
        return account.user

    def renewed(self, account: Account, password: str) -> str | None:
        """A hash of today's kind and cost for a password that was verified, if the stored one is of another."""
        return self._hash(password) if account.hash and self._passwords.is_outdated(account.hash) else None

    def renew(self, tx: Tx, account: Account, hashed: str) -> None:
        """Store the renewed hash; tokens stay valid."""
        if account.user is not None and account.hash is not None:
            store.renew_hash(tx, account.user.id, account.hash, hashed)

    def changed_hash(self, account: Account, original: str, new: str) -> str:
        """The hash of a user's new password, if `original` is the present one and the user may change it."""
        user = self.verify(account, original)
        if user.options.get("lock_password"):
            raise Forbidden("This user's password can only be changed by an administrator.")
        return self._hash(new)

    def change_password(self, tx: Tx, user_id: str, account: Account, hashed: str) -> None:
        """Store a new hash, if the password is still the one that was verified, and void the user's tokens."""
        stored = store.password_of(tx, user_id)
        if stored is None or stored.hash != account.hash:
            raise Conflict("The password was changed by somebody else just now.")
        store.set_password(tx, user_id, hashed, self._clock.now())
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
        if sent.known.get("domain_id", group.domain_id) != group.domain_id:
            raise BadRequest("Cannot change the domain of a group.")
        store.GROUPS.change(tx, group.id, changes(group, sent, ("name", "description"), {"description": ""}))
        return store.GROUPS.get(tx, group.id) or group

    def delete_group(self, tx: Tx, group: Group) -> None:
        """Delete a group; its members lose the roles they held through it at once."""
        store.delete_group(tx, group.id)
        self._generation.advance(tx)

    def add_member(self, tx: Tx, group: Group, user: User) -> None:
        """Put a user into a group."""
        if store.add_member(tx, group.id, user.id):
            self._generation.advance(tx)

    def check_member(self, tx: Tx, group: Group, user: User) -> None:
        """NotFound unless the user is in the group."""
        if not store.is_member(tx, group.id, user.id):
            raise missing("user in group", f"{user.id} in {group.id}")

    def remove_member(self, tx: Tx, group: Group, user: User) -> None:
        """Take a user out of a group. NotFound if it was not in it."""
        if not store.remove_member(tx, group.id, user.id):
            raise missing("user in group", f"{user.id} in {group.id}")
        self._generation.advance(tx)

    def members(self, tx: Tx, group: Group, wanted: Wanted) -> Found[User]:
        """A page of a group's users."""
        return store.members(tx, group.id, wanted)

    def groups_of(self, tx: Tx, user: User, wanted: Wanted) -> Found[Group]:
        """A page of a user's groups."""
        return store.groups_of(tx, user.id, wanted)
