"""Property protections: which roles may create, read, update and delete which custom properties.

The operator's file has the form of Glance's property-protections.conf: each section's name is a regular expression,
the first that matches a property's name decides, and a property that none matches is nobody's.
"""

import configparser
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pileus.image.domain import Image
from pileus.kernel.auth import Actor
from pileus.kernel.errors import Forbidden

EVERYBODY, NOBODY = "@", "!"


class Operation(StrEnum):
    """What can be done to a property."""

    CREATE = "create"
    READ = "read"
    UPDATE = "update"
    DELETE = "delete"


class ProtectionError(ValueError):
    """The file of property protections is wrong. The message names the section."""


Allows = Callable[[str, Actor], bool]
"""(name of a policy rule, caller)."""


@dataclass(frozen=True)
class _Section:
    expression: re.Pattern[str]
    permitted: Mapping[Operation, frozenset[str]]


class Protection:
    """What callers may do to custom properties. Without sections everything is allowed to everybody."""

    def __init__(self, sections: tuple[_Section, ...] = (), allows: Allows | None = None) -> None:
        """`allows`: the sections name policy rules, not roles."""
        self._sections = sections
        self._allows = allows

    def permits(self, actor: Actor, operation: Operation, name: str) -> bool:
        """Whether the caller may do that to a property of this name."""
        if not self._sections:
            return True
        section = next((section for section in self._sections if section.expression.search(name)), None)
        permitted = section.permitted[operation] if section is not None else frozenset({NOBODY})
        if EVERYBODY in permitted or NOBODY in permitted:
            return EVERYBODY in permitted
        if self._allows is not None:
            return all(self._allows(rule, actor) for rule in permitted)
        return not permitted.isdisjoint({role.lower() for role in actor.roles})

    def readable(self, actor: Actor, image: Image) -> Image:
        """The image without the properties that the caller may not read."""
        if not self._sections:
            return image
        seen = {name: value for name, value in image.properties.items() if self.permits(actor, Operation.READ, name)}
        return image.replaced({"properties": seen})

    def check(self, actor: Actor, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        """Forbidden if the caller may not make these properties of those."""
        for name in before.keys() | after.keys():
            operation = _operation(before.get(name), after.get(name))
            if operation is not None and not self.permits(actor, operation, name):
                raise Forbidden(f"Property '{name}' is protected: you may not {operation} it.")


def _operation(before: str | None, after: str | None) -> Operation | None:
    if before == after:
        return None
    if before is None:
        return Operation.CREATE
    return Operation.DELETE if after is None else Operation.UPDATE


def load_protection(path: Path, allows: Allows | None = None) -> Protection:
    """Read the operator's file. `allows`: its entries are policy rules. ProtectionError."""
    parser = configparser.RawConfigParser(dict_type=dict, default_section="\0", strict=True)
    try:
        parser.read_string(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, configparser.Error) as err:
        raise ProtectionError(f"The property protections cannot be read: {err}") from err
    return Protection(tuple(_section(parser, name, policies=allows is not None) for name in parser.sections()), allows)


def _section(parser: configparser.RawConfigParser, name: str, *, policies: bool) -> _Section:
    try:
        expression = re.compile(name)
    except re.error as err:
        raise ProtectionError(f"[{name}] is not a regular expression: {err}") from err
    wrong = {key for key, _ in parser.items(name)} ^ set(Operation)
    if wrong:
        raise ProtectionError(f"[{name}] must say who may create, read, update and delete: {', '.join(sorted(wrong))}")
    permitted = {operation: _permitted(name, operation, parser.get(name, operation)) for operation in Operation}
    if policies and any(len(rules) != 1 for rules in permitted.values()):
        raise ProtectionError(f"[{name}] may name one policy rule for each operation only")
    return _Section(expression, permitted)


def _permitted(name: str, operation: str, text: str) -> frozenset[str]:
    permitted = frozenset(part.strip().lower() for part in text.split(",") if part.strip())
    if {EVERYBODY, NOBODY} <= permitted:
        raise ProtectionError(f"[{name}] {operation}: @ and ! exclude each other")
    return permitted or frozenset({NOBODY})
