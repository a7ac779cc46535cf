"""Why a rule allows or denies: the evaluation, written out as a tree."""

import re
from collections.abc import Iterator
from typing import Any

from pileus.kernel.auth import Actor
from pileus.kernel.policy import Credentials, Node, Policy, Target

_INDENT = "  "
_PLACE = re.compile(r"%\(([^)]*)\)s")


def explain(policy: Policy, rule: str, actor: Actor, target: Target | None = None) -> list[str]:
    """One line for each part of the rule, those of its parts below it: yes or no, and what was compared.

    Beside a rule's name stands whether its check is the default or the site's. Parts that were not needed for the
    decision are evaluated too.
    """
    credentials = actor.credentials()
    return list(
        _lines(
            policy,
            Node("rule", rule, lambda *_: policy.allows(rule, actor, target)),
            credentials if target is None else target,
            credentials,
            0,
        )
    )


def places(policy: Policy, rule: str) -> list[str]:
    """What a rule, with all that it refers to, wants to know of its target."""
    found: dict[str, None] = {}
    waiting, seen = [rule], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in policy.expressions:
            continue
        seen.add(name)
        expression = policy.expressions[name]
        found.update(dict.fromkeys(_PLACE.findall(expression)))
        waiting += re.findall(r"rule:([^\s()]+)", expression)
    return sorted(found)


def _lines(policy: Policy, node: Node, target: Target, credentials: Credentials, depth: int) -> Iterator[str]:
    answer = "yes" if node.check(target, credentials) else "no"
    if node.kind == "rule":
        yield f"{_INDENT * depth}{answer:<4}{node.text} ({_origin(policy, node.text)})"
        below = policy.node(node.text)
        parts: tuple[Node, ...] = () if below is None else (below,)
    else:
        detail = _compared(node.text, target, credentials) if node.kind == "check" else node.text
        yield f"{_INDENT * depth}{answer:<4}{detail}"
        parts = node.parts
    for part in parts:
        yield from _lines(policy, part, target, credentials, depth + 1)


def _origin(policy: Policy, name: str) -> str:
    if name not in policy.expressions:
        return "there is no such rule, which denies"
    default = policy.rules.get(name)
    if default is None:
        return "the site's own rule"
    return "default" if policy.expressions[name] == default.check else f"overridden; the default is {default.check!r}"


def _compared(text: str, target: Target, credentials: Credentials) -> str:
    """The check and the values of both sides."""
    if text in ("", "@"):
        return "always"
    if text == "!":
        return "never"
    kind, _, match = text.partition(":")
    wanted = _PLACE.sub(lambda place: _shown(target[place[1]]) if place[1] in target else f"<no {place[1]}>", match)
    if kind == "role":
        return f"{text}: the roles are {', '.join(sorted(credentials['roles'])) or 'none'}"
    left = kind if kind not in credentials else f"{kind} of the token is {_shown(credentials[kind])}"
    return f"{text}: {left}" + (f", the target's is {wanted}" if wanted != match else "")


def _shown(value: Any) -> str:
    return "empty" if value is None else str(value)
