"""One LDAP server as the users and groups that are in it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ldap
import ldap.controls
import ldap.dn
import ldap.filter
import msgspec

from pileus.identity.directories.connections import Pool
from pileus.identity.directories.domain import Entry
from pileus.identity.directories.options import Enabled, Kind, Options

Raw = tuple[str, Mapping[str, Sequence[bytes]]]
"""An entry as it comes: its DN, and its attributes by their names in lower case."""
_PAGE = "1.2.840.113556.1.4.319"


class Directory:
    """Reads one directory. Thread-safe. Every method raises Unavailable if the server does not answer."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._pool = Pool(options, self._bind, options.pool_size, options.pool_lifetime)
        self._auth_pool = Pool(options, lambda _connection: None, options.auth_pool_size, options.auth_pool_lifetime)

    def _bind(self, connection: Any) -> None:
        if self._options.user:
            connection.simple_bind_s(self._options.user, self._options.password)

    @property
    def members_are_ids(self) -> bool:
        """Whether groups name their members by id, and not by DN."""
        return self._options.members_are_ids

    def member_keys(self, group: Entry) -> list[str]:
        """A group's members as entries of users are known: by id, or by DN in normal form."""
        return list(group.members) if self.members_are_ids else [normal_dn(member) for member in group.members]

    def close(self) -> None:
        """Close all connections that are not in use."""
        self._pool.close()
        self._auth_pool.close()

    # --- reading ---------------------------------------------------------------------------------------------

    def users(self, *, name: str | None = None, local_id: str | None = None) -> list[Entry]:
        """All users, or those of a name or an id."""
        enabled = self._options.enabled
        found = self._found(self._options.users, name, local_id, self._user)
        if not enabled.emulation_dn:
            return found
        allowed = self._emulated(enabled.emulation_dn)
        return [msgspec.structs.replace(one, enabled=one.dn in allowed) for one in found]

    def groups(self, *, name: str | None = None, local_id: str | None = None) -> list[Entry]:
        """All groups, or those of a name or an id."""
        return self._found(self._options.groups, name, local_id, self._group)

    def groups_of(self, user: Entry) -> list[Entry]:
        """The groups that a user is a member of."""
        member = user.local_id if self._options.members_are_ids else user.address
        wanted = f"({self._options.member_attribute}={_escaped(member)})"
        return self._entries(self._options.groups, wanted, self._group)

    def _found(
        self, kind: Kind, name: str | None, local_id: str | None, read: Callable[[Raw], Entry | None]
    ) -> list[Entry]:
        wanted = ""
        if name is not None:
            wanted += f"({kind.name_attribute}={_escaped(name)})"
        if local_id is not None:
            wanted += f"({kind.id_attribute}={_escaped(local_id)})"
        found = self._entries(kind, wanted, read)
        # Directories compare without regard to case: what is asked for is meant to the letter.
        return [one for one in found if name in (None, one.name) and local_id in (None, one.local_id)]

    def _entries(self, kind: Kind, wanted: str, read: Callable[[Raw], Entry | None]) -> list[Entry]:
        text = f"(&(objectClass={kind.object_class}){kind.filter}{wanted})"
        scope = ldap.SCOPE_SUBTREE if self._options.subtree else ldap.SCOPE_ONELEVEL
        raw: list[Raw] = self._pool.run(lambda connection: list(self._search(connection, kind.tree_dn, scope, text)))
        entries = [entry for one in raw if (entry := read(one)) is not None]
        return sorted(entries, key=lambda entry: entry.local_id)

    def _search(self, connection: Any, base: str, scope: int, text: str) -> Iterator[Raw]:
        """All that is found, in pages where a size is configured. A tree that is not there is empty."""
        size = self._options.page_size
        control = ldap.controls.SimplePagedResultsControl(True, size=size, cookie=b"") if size else None
        while True:
            try:
                number = connection.search_ext(base, scope, text, serverctrls=[control] if control else None)
                _, data, _, controls = connection.result3(number, timeout=self._options.timeout)
            except ldap.NO_SUCH_OBJECT:
                return
            for dn, attributes in data:
                if dn is not None:  # a referral has none, and is not followed
                    yield dn, {name.lower(): values for name, values in attributes.items()}
            cookies = [one.cookie for one in controls if one.controlType == _PAGE]
            if control is None or not cookies or not cookies[0]:
                return
            control.cookie = cookies[0]

    # --- entries ---------------------------------------------------------------------------------------------

    def _user(self, raw: Raw) -> Entry | None:
        kind, attributes = self._options.users, raw[1]
        entry = _entry(kind, raw)
        if entry is None:
            return None
        return msgspec.structs.replace(
            entry,
            email=_first(attributes, self._options.mail_attribute),
            default_project_id=_first(attributes, self._options.default_project_attribute),
            enabled=_is_enabled(self._options.enabled, attributes),
        )

    def _group(self, raw: Raw) -> Entry | None:
        entry = _entry(self._options.groups, raw)
        if entry is None:
            return None
        members = (_text(value) for value in raw[1].get(self._options.member_attribute, ()))
        return msgspec.structs.replace(entry, members=tuple(member for member in members if member))

    def _emulated(self, dn: str) -> set[str]:
        """The normal DNs of those whom the group of enabled users names."""
        everything = "(objectClass=*)"
        found: list[Raw] = self._pool.run(
            lambda connection: list(self._search(connection, dn, ldap.SCOPE_BASE, everything))
        )
        return {
            normal_dn(_text(value))
            for _, attributes in found
            for value in attributes.get(self._options.member_attribute, ())
        }

    # --- logging in ------------------------------------------------------------------------------------------

    def has_password(self, user: Entry | None, password: str) -> bool:
        """Whether the directory takes the password. For nobody it is asked all the same, about a name that is none."""
        if not password or "\0" in password:
            return False  # an empty password would be an anonymous bind, which succeeds
        address = user.address if user is not None else f"cn=nobody,{self._options.users.tree_dn}"

        def bind(connection: Any) -> bool:
            try:
                connection.simple_bind_s(address, password)
            except (
                ldap.INVALID_CREDENTIALS,
                ldap.INVALID_DN_SYNTAX,
                ldap.INAPPROPRIATE_AUTH,
                ldap.UNWILLING_TO_PERFORM,
                ldap.NO_SUCH_OBJECT,
                ldap.CONSTRAINT_VIOLATION,
            ):
                return False
            return True

        return bool(self._auth_pool.run(bind)) and user is not None


def normal_dn(dn: str) -> str:
    """A DN in one way of writing it, so that two can be compared."""
    try:
        return str(ldap.dn.dn2str(ldap.dn.str2dn(dn))).lower()
    except ldap.DECODING_ERROR:
        return dn.lower()


def _escaped(text: str) -> str:
    return str(ldap.filter.escape_filter_chars(text))


def _entry(kind: Kind, raw: Raw) -> Entry | None:
    """An entry, if it has an id and a name that are texts."""
    dn, attributes = raw
    local_id, name = _first(attributes, kind.id_attribute), _first(attributes, kind.name_attribute)
    if not local_id or not name:
        return None
    extra = {here: value for there, here in kind.extra.items() if (value := _first(attributes, there))}
    return Entry(
        local_id=local_id,
        name=name,
        dn=normal_dn(dn),
        address=dn,
        description=_first(attributes, kind.description_attribute),
        extra=extra,
    )


def _first(attributes: Mapping[str, Sequence[bytes]], name: str) -> str:
    values = attributes.get(name) if name else None
    return _text(values[0]) if values else ""


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return ""


def _is_enabled(enabled: Enabled, attributes: Mapping[str, Sequence[bytes]]) -> bool:
    """By a bit that means disabled, by a boolean, or by a boolean that means locked."""
    text = _first(attributes, enabled.attribute)
    if enabled.mask:
        value = text or enabled.default
        return not (value.lstrip("-").isdecimal() and int(value) & enabled.mask == enabled.mask)
    return ((text or enabled.default).lower() == "true") != enabled.invert
