"""The rule language of mappings, as Keystone documents it ("Mapping Combinations"): checked here, and applied.

A rule holds if all its `remote` conditions do. Conditions that do not ask any_one_of or not_any_of yield their values
in order, as `{0}`, `{1}` and so on for the texts in `local`. All rules that hold count; of several users the first.

Values never become syntax: a claim that looks like a list, or has a semicolon in it, stays one value. Keystone joins
and parses texts there, which lets whoever chooses a claim's text choose groups.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Literal, NoReturn

import msgspec

from pileus.identity.federation.domain import AttributeMapping, Attributes
from pileus.kernel.errors import BadRequest, Unauthorized
from pileus.kernel.fields import MALFORMED_JSON

VERSIONS = ("1.0", "2.0", "3.0")
_PLACE = re.compile(r"\{(\d+)\}")
_MOST_VALUES = 1000
_JSON = "JSON:"


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the language has no word for is a mistake."""


class DomainRef(_Strict, frozen=True):
    """A domain by id or by name."""

    id: str | None = None
    name: str | None = None


class _User(_Strict, frozen=True):
    id: str | None = None
    name: str | None = None
    email: str | None = None
    domain: DomainRef | None = None
    type: Literal["ephemeral", "local"] | None = None


class _Group(_Strict, frozen=True):
    id: str | None = None
    name: str | None = None
    domain: DomainRef | None = None


class _Role(_Strict, frozen=True):
    name: str


class _Project(_Strict, frozen=True):
    name: str
    roles: list[_Role]
    domain: DomainRef | None = None


class _Local(_Strict, frozen=True):
    user: _User | None = None
    group: _Group | None = None
    groups: str | None = None
    group_ids: str | None = None
    domain: DomainRef | None = None
    projects: list[_Project] | str | None = None


class _Remote(_Strict, frozen=True):
    type: str
    any_one_of: list[str] | None = None
    not_any_of: list[str] | None = None
    blacklist: list[str] | None = None
    whitelist: list[str] | None = None
    regex: bool | None = None

    @property
    def wanted(self) -> Sequence[str]:
        """What the condition lists, whatever it asks."""
        return self.any_one_of or self.not_any_of or self.blacklist or self.whitelist or ()

    @property
    def yields(self) -> bool:
        """Whether its values can be referred to."""
        return self.any_one_of is None and self.not_any_of is None


class _Rule(_Strict, frozen=True):
    local: list[_Local]
    remote: list[_Remote]


# --- what comes out -----------------------------------------------------------------------------------------


class MappedUser(msgspec.Struct, frozen=True, kw_only=True):
    """The user that the rules make. `domain` None: the provider's."""

    id: str | None = None
    name: str | None = None
    email: str | None = None
    domain: DomainRef | None = None
    local: bool = False


class MappedGroup(msgspec.Struct, frozen=True):
    """A group by name."""

    name: str
    domain: DomainRef


class MappedProject(msgspec.Struct, frozen=True):
    """A project that the user shall have, with roles by name. `domain` None: the provider's."""

    name: str
    roles: tuple[str, ...]
    domain: DomainRef | None


class Mapped(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules make of a user's attributes.

    `projects_are_all`: roles of the user on projects that are not listed are to be taken away (schema 3.0).
    """

    user: MappedUser
    group_ids: tuple[str, ...]
    groups: tuple[MappedGroup, ...]
    projects: tuple[MappedProject, ...]
    projects_are_all: bool = False


# --- checking -----------------------------------------------------------------------------------------------


def check(rules: object, version: str) -> None:
    """BadRequest, with the place of the mistake, unless these are rules of the schema version."""
    if version not in VERSIONS:
        raise BadRequest(f"There is no schema version {version} of mappings. Versions: {', '.join(VERSIONS)}.")
    decoded = _decoded(rules)
    if not decoded:
        raise BadRequest("A mapping must have a rule.")
    for number, rule in enumerate(decoded):
        where = f"rules[{number}]"
        if not rule.remote:
            raise BadRequest(f"{where}: remote must have a condition.")
        for at, remote in enumerate(rule.remote):
            _check_remote(remote, f"{where}.remote[{at}]")
        yielded = sum(remote.yields for remote in rule.remote)
        for at, local in enumerate(rule.local):
            _check_local(local, version, yielded, f"{where}.local[{at}]")


def _decoded(rules: object) -> list[_Rule]:
    try:
        return msgspec.convert(rules, list[_Rule])
    except msgspec.ValidationError as err:
        raise BadRequest(f"Invalid rules: {err}.") from err


def _check_remote(remote: _Remote, where: str) -> None:
    lists = (remote.any_one_of, remote.not_any_of, remote.blacklist, remote.whitelist)
    asked = sum(one is not None for one in lists)
    if asked > 1:
        raise BadRequest(f"{where}: any_one_of, not_any_of, whitelist and blacklist exclude each other.")
    if remote.regex is not None and not asked:
        raise BadRequest(f"{where}: regex says how another condition is meant, and there is none.")
    for text in remote.wanted if remote.regex else ():
        try:
            re.compile(text)
        except re.error as err:
            raise BadRequest(f"{where}: '{text}' is not a regular expression: {err}.") from err


def _check_local(local: _Local, version: str, yielded: int, where: str) -> None:
    group = local.group
    if group is not None and (group.id is None) == (group.name is None or group.domain is None):
        raise BadRequest(f"{where}.group: name an id, or a name and its domain.")
    if isinstance(local.projects, str) and version != "3.0":
        raise BadRequest(f"{where}.projects: a text is understood from schema version 3.0 on.")
    if isinstance(local.projects, list) and version == "1.0" and any(one.domain for one in local.projects):
        raise BadRequest(f"{where}.projects: a domain is understood from schema version 2.0 on.")
    for text in _texts(msgspec.to_builtins(local)):
        highest = max((int(place) for place in _PLACE.findall(text)), default=-1)
        if highest >= yielded:
            raise BadRequest(f"{where}: '{text}' refers to {{{highest}}}, and remote yields {yielded} value(s).")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)


# --- applying -----------------------------------------------------------------------------------------------


def apply(mapping: AttributeMapping, attributes: Attributes) -> Mapped:
    """What the rules make of the attributes. BadRequest if none holds, or if one that holds makes no sense of them."""
    user: MappedUser | None = None
    group_ids: list[str] = []
    groups: list[MappedGroup] = []
    projects: list[MappedProject] = []
    whole = False
    any_held = False
    for rule in _decoded(mapping.rules):
        values = _yielded(rule, attributes)
        if values is None:
            continue
        any_held = True
        for local in rule.local:
            if user is None and local.user is not None:
                user = _user(local, mapping.schema_version, values)
            group_ids += _group_ids(local, values)
            groups += _groups(local, values)
            if local.projects is not None:
                projects += _projects(local, mapping.schema_version, values)
                whole = mapping.schema_version == "3.0"
    if not any_held:
        raise BadRequest("Could not map any federated user properties to identity values: no rule holds.")
    return Mapped(
        user=user or MappedUser(),
        group_ids=tuple(dict.fromkeys(group_ids)),
        groups=tuple(groups),
        projects=tuple(projects),
        projects_are_all=whole,
    )


Values = list[tuple[str, ...]]


def _yielded(rule: _Rule, attributes: Attributes) -> Values | None:
    """The values that the rule's conditions yield; None if one of them does not hold."""
    yielded: Values = []
    for remote in rule.remote:
        values = attributes.get(remote.type)
        if not values:
            return None
        found = [value for value in values if _matches(remote, value)]
        if remote.any_one_of is not None:
            if not found:
                return None
        elif remote.not_any_of is not None:
            if found:
                return None
        elif remote.whitelist is not None:
            yielded.append(tuple(found))
        elif remote.blacklist is not None:
            yielded.append(tuple(value for value in values if value not in found))
        else:
            yielded.append(tuple(values))
    return yielded


def _matches(remote: _Remote, value: str) -> bool:
    if remote.regex:
        return any(re.search(text, value) for text in remote.wanted)
    return value in remote.wanted


def _filled(text: str, values: Values) -> list[str]:
    """The text with its places filled: once for each value where a place has several, not at all where it has none."""
    results = [""]
    for number, part in enumerate(_PLACE.split(text)):
        choices = values[int(part)] if number % 2 else (part,)
        results = [done + choice for done in results for choice in choices]
        if len(results) > _MOST_VALUES:
            raise BadRequest(f"The mapping makes more than {_MOST_VALUES} values.")
    return results


def _one(text: str | None, values: Values) -> str | None:
    """The text with its places filled, where no more than one value makes sense."""
    if text is None:
        return None
    filled = _filled(text, values)
    if len(filled) > 1:
        raise Unauthorized("Could not map user: an attribute that the mapping expects to have one value has several.")
    return filled[0] if filled and filled[0] else None


def _domain(domain: DomainRef | None, values: Values) -> DomainRef | None:
    if domain is None:
        return None
    filled = DomainRef(id=_one(domain.id, values), name=_one(domain.name, values))
    return filled if filled.id or filled.name else None


def _user(local: _Local, version: str, values: Values) -> MappedUser:
    user = local.user or _User()
    domain = _domain(user.domain, values)
    if version != "1.0":
        domain = domain or _domain(local.domain, values)
    return MappedUser(
        id=_one(user.id, values),
        name=_one(user.name, values),
        email=_one(user.email, values),
        # In schema 1.0 a domain says where a local user is, and nothing of others.
        domain=domain if version != "1.0" or user.type == "local" else None,
        local=user.type == "local",
    )


def _group_ids(local: _Local, values: Values) -> Iterator[str]:
    if local.group is not None and local.group.id is not None:
        yield from _filled(local.group.id, values)
    if local.group_ids is not None:
        yield from _listed(local.group_ids, values)


def _groups(local: _Local, values: Values) -> Iterator[MappedGroup]:
    if local.group is not None and local.group.name is not None:
        domain = _domain(local.group.domain, values) or _no_domain(local.group.name)
        for name in _filled(local.group.name, values):
            yield MappedGroup(name, domain)
    if local.groups is None:
        return
    domain_of_all = _domain(local.domain, values)
    for text in _listed(local.groups, values):
        if domain_of_all is not None:
            yield MappedGroup(text, domain_of_all)
        elif text.startswith(_JSON):
            yield _from_json(text.removeprefix(_JSON))
        else:
            _no_domain(text)


def _no_domain(group: str) -> NoReturn:
    raise BadRequest(f"The mapping names the group '{group}' and no domain for it.")


def _from_json(text: str) -> MappedGroup:
    """A group that the provider names together with its domain; only where the rule itself names no domain."""
    try:
        group = msgspec.json.decode(text, type=_Group)
    except MALFORMED_JSON as err:
        raise BadRequest("A group that the provider sends as JSON cannot be understood.") from err
    return MappedGroup(group.name or "", group.domain or _no_domain(group.name or ""))


def _listed(text: str, values: Values) -> list[str]:
    """Filled texts; a text without places may be a list in itself, written by who wrote the rule: "['a', 'b']"."""
    if _PLACE.search(text) is None:
        try:
            literal = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return [text]
        return [str(item) for item in literal] if isinstance(literal, list) else [text]
    return _filled(text, values)


def _projects(local: _Local, version: str, values: Values) -> Iterator[MappedProject]:
    default = _domain(local.domain, values) if version != "1.0" else None
    if isinstance(local.projects, str):
        for text in _filled(local.projects, values):
            for project in _projects_from_json(text):
                roles = tuple(role.name for role in project.roles)
                yield MappedProject(project.name, roles, project.domain or default)
        return
    for project in local.projects or ():
        role_names = tuple(name for role in project.roles for name in _filled(role.name, values))
        for name in _filled(project.name, values):
            yield MappedProject(name, role_names, _domain(project.domain, values) or default)


def _projects_from_json(text: str) -> list[_Project]:
    try:
        return msgspec.json.decode(text, type=list[_Project])
    except MALFORMED_JSON as err:
        raise BadRequest("The projects that the provider sends as JSON cannot be understood.") from err
