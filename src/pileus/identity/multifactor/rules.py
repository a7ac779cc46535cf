"""A user's rules on several methods: the options `multi_factor_auth_enabled` and `multi_factor_auth_rules`.

A rule is a list of methods; whoever has logged in with all methods of any one rule may have a token. A rule that names
a method which nobody can log in with is one that nobody satisfies: better a user who must ask an administrator than a
login with less than was asked for.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pileus.identity.domain import User
from pileus.kernel.errors import BadRequest

ENABLED = "multi_factor_auth_enabled"
RULES = "multi_factor_auth_rules"


def checked_rules(value: Any) -> list[list[str]]:
    """The option's value. BadRequest unless it is a list of lists of texts, none empty and none twice."""
    if not isinstance(value, list) or not all(_is_rule(rule) for rule in value):
        raise BadRequest(f"The option '{RULES}' must be a list of lists of methods, each of them once.")
    if len({frozenset(rule) for rule in value}) < len(value):
        raise BadRequest(f"The option '{RULES}' has a rule twice.")
    return value


def _is_rule(rule: Any) -> bool:
    texts = isinstance(rule, list) and bool(rule) and all(isinstance(method, str) for method in rule)
    return texts and len(set(rule)) == len(rule)


def rules_of(user: User) -> Sequence[Sequence[str]]:
    """The rules that a user's logins must satisfy; none if any method will do."""
    options: Mapping[str, Any] = user.options
    rules: Sequence[Sequence[str]] = options.get(RULES) or ()
    return rules if options.get(ENABLED) else ()


def is_enough(user: User, methods: Collection[str]) -> bool:
    """Whether a user who has logged in with these methods may have a token."""
    rules = rules_of(user)
    return not rules or any(set(methods).issuperset(rule) for rule in rules)
