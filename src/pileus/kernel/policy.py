"""Who may do what: oslo.policy's rule language, compiled to closures.

Operators' `policy.yaml` files carry over. The library itself costs 190 to 380 us a check and 20 MB; a closure costs
about one microsecond. Equality with the library is a test.

Grammar (oslo.policy's documentation, "Policy rule expressions"): `role:admin`, `rule:name`,
`project_id:%(project_id)s`, `'literal':%(target.key)s`, `@` (always), `!` (never), `and`, `or`, `not`,
parentheses; the empty string is always.
"""

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pileus.kernel.auth import Actor
from pileus.kernel.errors import Forbidden

Target = Mapping[str, Any]
Credentials = Mapping[str, Any]
Check = Callable[[Target, Credentials], bool]

PUBLIC = "public"
"""The rule of routes that need no token: version documents, logging in."""


class PolicyError(ValueError):
    """A rule that cannot be understood, or that refers to itself."""


@dataclass(frozen=True)
class Node:
    """A check as it is written: `kind` is or, and, not, rule (a reference: `text` is its name) or check."""

    kind: str
    text: str
    check: Check
    parts: tuple["Node", ...] = ()


@dataclass(frozen=True)
class Rule:
    """A default rule: the check in force unless the operator's policy file overrides it."""

    name: str
    check: str
    description: str


class Policy:
    """All rules of the cloud, compiled. A name that is not there denies."""

    def __init__(self, rules: Iterable[Rule], overrides: Mapping[str, str] | None = None) -> None:
        self.rules = {rule.name: rule for rule in rules}
        self.expressions = {name: rule.check for name, rule in self.rules.items()} | dict(overrides or {})
        self._checks: dict[str, Check] = {}
        self._by_expression: dict[str, Node] = {}  # most rules share a few
        for name in self.expressions:
            self._compiled(name, ())

    def allows(self, rule: str, actor: Actor, target: Target | None = None) -> bool:
        """Whether the actor satisfies the rule for the target; without a target, for what is the actor's own."""
        check = self._checks.get(rule)
        if check is None:
            return False
        credentials = actor.credentials()
        return check(credentials if target is None else target, credentials)

    def enforce(self, rule: str, actor: Actor, target: Target | None = None) -> None:
        """Forbidden unless the actor satisfies the rule."""
        if not self.allows(rule, actor, target):
            raise Forbidden(f"Policy doesn't allow {rule} to be performed.", rule=rule)

    def _compiled(self, name: str, path: tuple[str, ...]) -> Check:
        done = self._checks.get(name)
        if done is not None:
            return done
        if name in path:
            raise PolicyError(f"policy rule {name!r} refers to itself: {' -> '.join((*path, name))}")
        if name not in self.expressions:
            return _never
        expression = self.expressions[name]
        node = self._by_expression.get(expression)
        if node is None:
            node = _Parser(expression, lambda other: self._compiled(other, (*path, name))).parse()
            self._by_expression[expression] = node
        self._checks[name] = node.check
        return node.check

    def node(self, name: str) -> Node | None:
        """How the check of a rule is made up, for those who explain it; None if there is no such rule."""
        expression = self.expressions.get(name)
        return None if expression is None else self._by_expression[expression]


def load_overrides(path: Path) -> dict[str, str]:
    """The operator's policy file: a YAML mapping of rule names to checks. PolicyError if it is anything else."""
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as err:
        raise PolicyError(f"{path}: {err}") from err
    if not isinstance(loaded, dict) or not all(isinstance(k, str) and isinstance(v, str) for k, v in loaded.items()):
        raise PolicyError(f"{path}: must be a mapping of rule names to check strings")
    return loaded


def load_service_overrides(directory: Path, rules_of: Mapping[str, Iterable[Rule]]) -> dict[str, str]:
    """The files `<service>.yaml` of a directory, as operators have one for each service of OpenStack.

    `rules_of`: each service's own rules. A file changes those alone, and may have further rules that its own refer to:
    PolicyError if it changes what another service or another file relies on.
    """
    owner = {rule.name: service for service, rules in rules_of.items() for rule in rules}
    overrides: dict[str, str] = {}
    for path in sorted(directory.glob("*.yaml")):
        if path.stem not in rules_of:
            raise PolicyError(f"{path}: there is no service '{path.stem}', only {', '.join(rules_of)}")
        for name, check in load_overrides(path).items():
            if owner.get(name, path.stem) != path.stem:
                raise PolicyError(f"{path}: the rule {name!r} belongs to {owner[name]}")
            if overrides.get(name, check) != check:
                raise PolicyError(f"{path}: the rule {name!r} says something else in another file")
            overrides[name] = check
    return overrides


def _always(_target: Target, _credentials: Credentials) -> bool:
    return True


def _never(_target: Target, _credentials: Credentials) -> bool:
    return False


_TOKEN = re.compile(r"\s*(\(|\)|(?:'[^']*'|\"[^\"]*\"|%\([^)]*\)s|[^\s()])+)")


class _Parser:
    """Recursive descent over `or` < `and` < `not` < check."""

    def __init__(self, text: str, rule: Callable[[str], Check]) -> None:
        self._text = text
        self._rule = rule
        self._tokens = [match.group(1) for match in _TOKEN.finditer(text)]
        self._next = 0

    def parse(self) -> Node:
        if not self._tokens:
            return Node("check", "", _always)
        node = self._either()
        if self._next != len(self._tokens):
            raise PolicyError(f"policy check {self._text!r}: unexpected {self._tokens[self._next]!r}")
        return node

    def _peek(self) -> str | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take(self) -> str:
        token = self._peek()
        if token is None:
            raise PolicyError(f"policy check {self._text!r} ends too early")
        self._next += 1
        return token

    def _word(self, word: str) -> bool:
        token = self._peek()
        if token is not None and token.lower() == word:
            self._next += 1
            return True
        return False

    def _either(self) -> Node:
        parts = [self._both()]
        while self._word("or"):
            parts.append(self._both())
        if len(parts) == 1:
            return parts[0]
        checks = tuple(part.check for part in parts)
        return Node(
            "or",
            "or",
            lambda target, credentials: any(check(target, credentials) for check in checks),
            tuple(parts),
        )

    def _both(self) -> Node:
        parts = [self._negation()]
        while self._word("and"):
            parts.append(self._negation())
        if len(parts) == 1:
            return parts[0]
        checks = tuple(part.check for part in parts)
        return Node(
            "and",
            "and",
            lambda target, credentials: all(check(target, credentials) for check in checks),
            tuple(parts),
        )

    def _negation(self) -> Node:
        if self._word("not"):
            part = self._negation()
            return Node("not", "not", lambda target, credentials: not part.check(target, credentials), (part,))
        return self._check()

    def _check(self) -> Node:
        token = self._take()
        if token == "(":  # noqa: S105 - a parenthesis
            node = self._either()
            if self._take() != ")":
                raise PolicyError(f"policy check {self._text!r}: a parenthesis is not closed")
            return node
        if token == "@":  # noqa: S105
            return Node("check", token, _always)
        if token == "!":  # noqa: S105
            return Node("check", token, _never)
        kind, colon, match = token.partition(":")
        if not colon:
            raise PolicyError(f"policy check {self._text!r}: {token!r} is not of the form kind:value")
        if kind == "rule":
            return Node("rule", match, self._rule(match))
        return Node("check", token, _role(match) if kind == "role" else _attribute(kind, match))


_PLACE = re.compile(r"%\(([^)]*)\)s")


def _value_of(match: str) -> Callable[[Target], str | None]:
    """What the right side of a check is for a target; None where the target lacks the key."""
    places = _PLACE.findall(match)
    if not places:
        return lambda _target: match
    whole = match == f"%({places[0]})s"
    key = places[0]
    if whole:
        return lambda target: str(target[key]) if key in target else None

    def substitute(target: Target) -> str | None:
        if any(place not in target for place in places):
            return None
        return _PLACE.sub(lambda found: str(target[found.group(1)]), match)

    return substitute


def _role(match: str) -> Check:
    value_of = _value_of(match.lower())

    def has_role(target: Target, credentials: Credentials) -> bool:
        role = value_of(target)
        return role is not None and role in credentials["roles"]

    return has_role


def _attribute(kind: str, match: str) -> Check:
    value_of = _value_of(match)
    try:
        literal = str(ast.literal_eval(kind))
    except (ValueError, SyntaxError):
        path = tuple(kind.split("."))
        return lambda target, credentials: _matches(credentials, path, value_of(target))
    return lambda target, _credentials: value_of(target) == literal


def _matches(credentials: Credentials, path: tuple[str, ...], wanted: str | None) -> bool:
    if wanted is None:
        return False
    found: Any = credentials
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return False
        found = found[key]
    if isinstance(found, list | tuple | frozenset | set):
        return any(str(item) == wanted for item in found)
    return str(found) == wanted
