"""The rules of directories: when they are read, who is let in, and that nobody writes to them."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import structlog

from pileus.identity.directories import mirror, store
from pileus.identity.directories.domain import Entry, Noun
from pileus.identity.directories.options import Options, options_of
from pileus.identity.domain import User
from pileus.identity.domain_config.service import DomainConfigs
from pileus.identity.generation import Generation
from pileus.identity.projects import store as projects_store
from pileus.identity.settings import IdentitySettings
from pileus.identity.users import store as users_store
from pileus.kernel.clock import Clock
from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import Forbidden, Unauthorized, Unavailable

if TYPE_CHECKING:
    from pileus.identity.directories.directory import Directory

log = structlog.get_logger("pileus.identity")

_DENIED = "The request you have made requires authentication."


class Directories:
    """Domains whose users are in LDAP. Thread-safe. Opens its own transactions: servers are asked outside of them.

    What is seen of a directory is written into the tables of users and groups (`mirror`), and read from there by
    everybody else. Lists are read again when older than `[identity] directory_refresh`; a user is read at each login.
    """

    def __init__(
        self, settings: IdentitySettings, clock: Clock, db: Database, generation: Generation, configs: DomainConfigs
    ) -> None:
        self._refresh = settings.directory_refresh
        self._clock = clock
        self._db = db
        self._generation = generation
        self._configs = configs
        self._lock = threading.Lock()
        self._known: tuple[int, frozenset[str]] | None = None
        self._open: dict[str, tuple[object, Directory]] = {}
        self._read_at: dict[tuple[str, str], float] = {}

    # --- which domains ---------------------------------------------------------------------------------------

    def domains(self, tx: Tx) -> frozenset[str]:
        """The domains whose users are in a directory; read once in each generation."""
        generation = self._generation.value
        known = self._known
        if known is None or known[0] != generation:
            self._known = known = generation, frozenset(store.domains(tx))
        return known[1]

    def are_none(self) -> bool:
        """Whether there is no such domain, told without a look at the database where that is known."""
        known = self._known
        if known is not None and known[0] == self._generation.value:
            return not known[1]
        with self._db.read() as tx:
            return not self.domains(tx)

    def _directory(self, domain_id: str) -> "Directory":
        """The directory of a domain, with its connections. Unavailable if it is not configured as it should be."""
        with self._db.read() as tx:
            config = self._configs.get(tx, domain_id).get("ldap", {})
        with self._lock:
            known = self._open.get(domain_id)
            if known is not None and known[0] == config:
                return known[1]
            made = _opened(options_of(config))
            self._open[domain_id] = config, made
        if known is not None:
            known[1].close()
        return made

    def _is_one(self, domain_id: str | None) -> bool:
        if domain_id is None or self.are_none():
            return False
        with self._db.read() as tx:
            return domain_id in self.domains(tx)

    def refuse_writes(self, tx: Tx, domain_id: str) -> None:
        """Forbidden if the domain's users and groups are in a directory."""
        if domain_id in self.domains(tx):
            raise Forbidden(
                "LDAP does not support write operations: this domain's users and groups are in a directory."
            )

    # --- reading ---------------------------------------------------------------------------------------------

    def refresh(self, domain_id: str | None, kind: Noun, name: str | None = None) -> None:
        """Read a domain's users or groups anew if that was not done lately; those of a name in any case."""
        if domain_id is None or not self._is_one(domain_id):
            return
        directory = self._directory(domain_id)
        read = directory.users if kind == "user" else directory.groups
        if name is not None:
            self._put(domain_id, kind, read(name=name), complete=False)
        elif self._is_due(domain_id, kind):
            self._put(domain_id, kind, read(), complete=True)
            self._read_at[domain_id, kind] = self._clock.monotonic()

    def refresh_groups_of(self, user_id: str) -> None:
        """Read a user of a directory, and which groups it is in, anew."""
        found = self._local("user", user_id)
        if found is None:
            return
        domain_id, local_id = found
        directory = self._directory(domain_id)
        entries = directory.users(local_id=local_id)
        if len(entries) == 1:
            self._see(domain_id, directory, entries[0])

    def refresh_members_of(self, group_id: str) -> None:
        """Read a group of a directory, and who is in it, anew."""
        found = self._local("group", group_id)
        if found is None:
            return
        domain_id, local_id = found
        self.refresh(domain_id, "user")
        directory = self._directory(domain_id)
        groups = directory.groups(local_id=local_id)
        column = "local_id" if directory.members_are_ids else "dn"
        members = [key for group in groups for key in directory.member_keys(group)]

        def write(tx: Tx) -> None:
            store.alone(tx, domain_id)
            ids = store.public_ids(tx, domain_id, "user", column, members)
            if store.set_members_of(tx, domain_id, group_id, ids):
                self._generation.advance(tx)

        self._put(domain_id, "group", groups, complete=False)
        self._db.transact(write)

    def _local(self, kind: Noun, thing_id: str) -> tuple[str, str] | None:
        """The domain of something in a directory, and what it is called there."""
        if self.are_none():
            return None
        with self._db.read() as tx:
            found = store.home_of(tx, thing_id)
            if found is None or found[0] not in self.domains(tx):
                return None
            return found[0], found[1].local_id

    def _is_due(self, domain_id: str, kind: Noun) -> bool:
        read_at = self._read_at.get((domain_id, kind))
        return read_at is None or self._clock.monotonic() - read_at >= self._refresh

    def _put(self, domain_id: str, kind: Noun, entries: list[Entry], *, complete: bool) -> None:
        def write(tx: Tx) -> None:
            if mirror.put(tx, domain_id, kind, entries, complete=complete):
                self._generation.advance(tx)

        if entries or complete:
            self._db.transact(write)

    def _see(self, domain_id: str, directory: "Directory", entry: Entry) -> User:
        """A user as it is in the directory now, with its groups."""
        groups = directory.groups_of(entry)

        def write(tx: Tx) -> User:
            changed = mirror.put(tx, domain_id, "user", [entry], complete=False)
            changed |= mirror.put(tx, domain_id, "group", groups, complete=False)
            user_id = store.known(tx, domain_id, "user")[entry.local_id].public_id
            group_ids = store.public_ids(tx, domain_id, "group", "local_id", [group.local_id for group in groups])
            if store.set_groups_of(tx, domain_id, user_id, group_ids) or changed:
                self._generation.advance(tx)
            user = users_store.USERS.get(tx, user_id)
            return user if user is not None else _gone()

        return self._db.transact(write)

    # --- logging in ------------------------------------------------------------------------------------------

    def login_by_id(self, user_id: str, password: str) -> User | None:
        """The user, if it is one of a directory and the password is right. Unauthorized if that is wrong."""
        found = self._local("user", user_id)
        if found is None:
            return None
        domain_id, local_id = found
        return self._login(domain_id, lambda directory: directory.users(local_id=local_id), password)

    def login_by_name(self, name: str, domain_id: str | None, domain_name: str | None, password: str) -> User | None:
        """The same by name, in the domain with this id or, without one, with this name."""
        if self.are_none():
            return None
        with self._db.read() as tx:
            if domain_id is None:
                domain = projects_store.by_name(tx, domain_name or "", "")
                domain_id = domain.id if domain else None
            if domain_id not in self.domains(tx):
                return None
        return self._login(domain_id or "", lambda directory: directory.users(name=name), password)

    def _login(self, domain_id: str, find: Callable[["Directory"], list[Entry]], password: str) -> User:
        directory = self._directory(domain_id)
        found = find(directory)
        entry = found[0] if len(found) == 1 else None
        right = directory.has_password(entry, password)
        if entry is None or not right or not entry.enabled:
            reason = "no such user" if entry is None else "disabled" if right else "wrong password"
            log.info("login refused", domain_id=domain_id, reason=reason)
            raise Unauthorized(_DENIED)
        return self._see(domain_id, directory, entry)


def _opened(options: Options) -> "Directory":
    try:
        from pileus.identity.directories.directory import Directory  # noqa: PLC0415 - an extra, and 3 MB
    except ImportError as err:
        log.exception("a domain has its users in LDAP, and python-ldap is not installed: pip install 'pileus[ldap]'")
        raise Unavailable("This cloud is not set up to read directories.") from err
    return Directory(options)


def _gone() -> NoReturn:
    raise Unavailable("The user was deleted just now.")
