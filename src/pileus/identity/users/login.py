"""Logging in with a password, and changing one's own.

Nobody learns from a refusal whether an account exists, is locked or is disabled, or whether the password was right:
each of them costs the same hash and the same statements, and gets the same answer. Only who gives the right password of
an account that may log in learns that it has expired.
"""

from collections.abc import Callable
from typing import NoReturn

import msgspec
import structlog

from pileus.identity.directories.service import Directories
from pileus.identity.domain import User
from pileus.identity.generation import Generation
from pileus.identity.passwords import Passwords
from pileus.identity.projects import store as projects_store
from pileus.identity.users import store
from pileus.identity.users.compliance import Compliance, Failures, StoredPassword, decoy, passcodes_of
from pileus.identity.users.service import Users
from pileus.kernel.clock import Clock
from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import BadRequest, Conflict, Forbidden, Unauthorized

log = structlog.get_logger("pileus.identity")

_DENIED = "The request you have made requires authentication."


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What logging in looks at. `user` and `stored` are None where there is no such user, or no password.

    `key` counts its wrong passwords. Never to be logged.
    """

    key: str
    user: User | None
    stored: StoredPassword | None


class Logins:
    """Verifies passwords. Thread-safe. Opens its own transactions, because hashing must not hold one."""

    def __init__(
        self,
        db: Database,
        users: Users,
        passwords: Passwords,
        compliance: Compliance,
        generation: Generation,
        clock: Clock,
        directories: Directories,
    ) -> None:
        self._directories = directories
        self._db = db
        self._users = users
        self._passwords = passwords
        self._compliance = compliance
        self._generation = generation
        self._clock = clock

    def by_id(self, user_id: str, password: str) -> User:
        """The user with this id. Unauthorized unless the password is right and the user may log in."""
        in_directory = self._directories.login_by_id(user_id, password)
        if in_directory is not None:
            return in_directory
        return self._login(lambda tx: self._account(tx, user_id), password)

    def by_name(self, name: str, domain_id: str | None, domain_name: str | None, password: str) -> User:
        """The same by name, in the domain with this id or, without one, with this name."""
        in_directory = self._directories.login_by_name(name, domain_id, domain_name, password)
        if in_directory is not None:
            return in_directory
        return self._login(lambda tx: self._account_by_name(tx, name, domain_id, domain_name), password)

    def by_proof(self, user: User | None, nobody: str, right: bool) -> User:
        """The user, if another proof than a password is right and the user may log in. Unauthorized otherwise.

        Wrong proofs lock an account like wrong passwords, though they are counted apart: a passcode has six digits.
        `nobody`: what they are counted under where there is no such user.
        """
        key = passcodes_of(user.id if user else nobody)
        account = Account(key=key, user=user, stored=None)
        failures = self._failures(account)
        locked = self._compliance.counts_failures and self._compliance.is_locked(user, failures, self._clock.now())
        if user is None or not user.enabled or not right or locked:
            self._refuse(account, locked)
        if failures is not None:
            self._db.transact(lambda tx: store.forget_failures(tx, key))
        return user

    def has_password(self, tx: Tx, user: User, password: str) -> bool:
        """Whether this is the user's password: for the cloud's own commands, and counted as no login."""
        stored = store.password_of(tx, user.id)
        return self._passwords.verify(stored.hash if stored else None, password)

    def change_password(self, user_id: str, original: str, new: str) -> None:
        """Change one's own password, also an expired one, and void all tokens of the user.

        Unauthorized as for a login; BadRequest if the user may not have the new password, or none now.
        """
        if self._directories.login_by_id(user_id, original) is not None:
            raise Forbidden("LDAP does not support write operations: the password is changed in the directory.")
        account = self._verified(lambda tx: self._account(tx, user_id), original)
        user, present = account.user, account.stored
        if user is None or present is None:
            raise Unauthorized(_DENIED)
        self._passwords.refuse_long(new)
        self._compliance.require_strong(new)
        if user.options.get("lock_password"):
            raise BadRequest(
                "You cannot change your password at this time due to password policy disallowing password changes."
                " Please contact your administrator to reset your password."
            )
        self._compliance.require_old_enough(present, self._clock.now())
        self._refuse_repetition(user, new)
        hashed = self._passwords.hash(new)
        self._db.transact(lambda tx: self._replace(tx, user, present, hashed))

    def _refuse_repetition(self, user: User, new: str) -> None:
        if not self._compliance.compared:
            return
        with self._db.read() as tx:
            before = store.passwords_of(tx, user.id, self._compliance.compared)
        if any(self._passwords.verify(one.hash, new) for one in before):
            raise self._compliance.refuse_repetition()

    def _replace(self, tx: Tx, user: User, present: StoredPassword, hashed: str) -> None:
        stored = store.password_of(tx, user.id)
        if stored is None or stored.created_at != present.created_at:
            raise Conflict("The password was changed by somebody else just now.")
        now = self._clock.now()
        store.set_password(
            tx,
            user.id,
            hashed,
            now,
            expires_at=self._compliance.expiry(user, now, self_service=True),
            self_service=True,
            remembered=self._compliance.remembered,
        )
        self._generation.advance(tx)

    # --- accounts --------------------------------------------------------------------------------------------

    def _account(self, tx: Tx, user_id: str) -> Account:
        user = self._users.find(tx, user_id)
        return self._with_password(tx, user, decoy(user_id))

    def _account_by_name(self, tx: Tx, name: str, domain_id: str | None, domain_name: str | None) -> Account:
        if domain_id is None:
            domain = projects_store.by_name(tx, domain_name or "", "")
            domain_id = domain.id if domain else ""
        user = store.USERS.named(tx, name, domain_id=domain_id)
        return self._with_password(tx, self._users.seen(user) if user else None, decoy(domain_id, name))

    @staticmethod
    def _with_password(tx: Tx, user: User | None, nobody: str) -> Account:
        stored = store.password_of(tx, user.id if user else "")
        return Account(key=user.id if user else nobody, user=user, stored=stored)

    # --- verifying -------------------------------------------------------------------------------------------

    def _login(self, find: Callable[[Tx], Account], password: str) -> User:
        account = self._verified(find, password)
        user = account.user
        if user is None:
            raise Unauthorized(_DENIED)
        if self._compliance.has_expired(user, self._clock.now()):
            raise Unauthorized(f"The password is expired and needs to be changed for user: {user.id}.")
        return user

    def _verified(self, find: Callable[[Tx], Account], password: str) -> Account:
        """The account, with a user and a password, if the password is right. Unauthorized otherwise."""
        with self._db.read() as tx:
            account = find(tx)
        right = self._passwords.verify(account.stored.hash if account.stored else None, password)
        failures = self._failures(account)  # only now, so that guesses at the same moment count for one another
        now = self._clock.now()
        locked = self._compliance.counts_failures and self._compliance.is_locked(account.user, failures, now)
        if account.user is None or account.stored is None or not account.user.enabled or not right or locked:
            self._refuse(account, locked)
        self._note(account.user, account.stored, password, failures)
        return account

    def _failures(self, account: Account) -> Failures | None:
        if not self._compliance.counts_failures:
            return None
        with self._db.read() as tx:
            return store.failures_of(tx, account.key)

    def _refuse(self, account: Account, locked: bool) -> NoReturn:
        if self._compliance.counts_failures:
            self._count_failure(account.key)
        user = account.user
        if user is None:
            reason = "no such user"
        elif not user.enabled:
            reason = "disabled"
        else:
            wrong = "wrong passcode, or no password" if account.stored is None else "wrong password"
            reason = "locked" if locked else wrong
        log.info("login refused", user_id=user.id if user else None, reason=reason)
        raise Unauthorized(_DENIED)

    def _count_failure(self, key: str) -> None:
        def count(tx: Tx) -> bool:
            failures = self._compliance.one_more(store.held_failures_of(tx, key), self._clock.now())
            return store.set_failures(tx, key, failures)

        while not self._db.transact(count):
            continue

    def _note(self, user: User, stored: StoredPassword, password: str, failures: Failures | None) -> None:
        """What a login leaves behind, in one transaction if there is anything: mostly there is nothing."""
        now = self._clock.now()
        renewed = self._passwords.hash(password) if self._passwords.is_outdated(stored.hash) else None
        active = self._compliance.has_news(user, now)

        def write(tx: Tx) -> None:
            if failures is not None:
                store.forget_failures(tx, user.id)
            if renewed is not None:
                store.renew_hash(tx, user.id, stored.hash, renewed)
            if active:
                store.change_user(tx, user.id, {"last_active_at": self._compliance.activity(user, now)})

        if failures is not None or renewed is not None or active:
            self._db.transact(write)
