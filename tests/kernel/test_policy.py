"""Policy checks give the same answers as oslo.policy."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oslo_config import cfg
from oslo_policy import policy as oslo

from pileus.kernel.auth import Actor
from pileus.kernel.errors import Forbidden
from pileus.kernel.policy import Policy, PolicyError, Rule

BASE = {
    "context_is_admin": "role:admin",
    "owner": "project_id:%(project_id)s",
    "admin_or_owner": "rule:context_is_admin or rule:owner",
}

ATOMS = [
    "role:admin", "role:member", "role:Reader", "rule:context_is_admin", "rule:owner", "rule:admin_or_owner",
    "rule:unknown", "project_id:%(project_id)s", "user_id:%(user_id)s", "user_id:%(target.user.id)s", "@", "!",
    "'public':%(visibility)s", "True:%(shared)s", "None:%(domain)s", "system_scope:all", "role:%(wanted)s",
    "is_admin:True", "project_id:p1",
]  # fmt: skip


def expressions() -> st.SearchStrategy[str]:
    return st.recursive(
        st.sampled_from(ATOMS),
        lambda inner: st.one_of(
            st.tuples(inner, inner).map(lambda pair: f"({pair[0]} and {pair[1]})"),
            st.tuples(inner, inner).map(lambda pair: f"{pair[0]} or {pair[1]}"),
            inner.map(lambda one: f"not {one}"),
        ),
        max_leaves=6,
    )


ACTORS = st.builds(
    Actor,
    user_id=st.sampled_from(["u1", "u2"]),
    project_id=st.sampled_from(["p1", "p2", None]),
    roles=st.sets(st.sampled_from(["admin", "member", "reader"])).map(frozenset),
    system=st.booleans(),
    is_admin=st.booleans(),
)
TARGETS = st.fixed_dictionaries(
    {},
    optional={
        "project_id": st.sampled_from(["p1", "p2"]),
        "user_id": st.sampled_from(["u1", "u2"]),
        "target.user.id": st.sampled_from(["u1", "u2"]),
        "visibility": st.sampled_from(["public", "private"]),
        "shared": st.booleans(),
        "domain": st.none(),
        "wanted": st.sampled_from(["admin", "member"]),
    },
)


def library(expression: str, target: dict[str, Any], actor: Actor) -> bool:
    enforcer = oslo.Enforcer(cfg.ConfigOpts(), use_conf=False, rules=oslo.Rules.from_dict({**BASE, "x": expression}))
    enforcer.load_rules = lambda *_: None
    credentials = {**actor.credentials(), "roles": sorted(actor.roles)}
    return bool(enforcer.enforce("x", target, credentials))


@settings(max_examples=150, deadline=None)
@given(expressions(), TARGETS, ACTORS)
def test_equal_to_the_library(expression: str, target: dict[str, Any], actor: Actor) -> None:
    ours = Policy([Rule(name, check, "") for name, check in {**BASE, "x": expression}.items()])
    assert ours.allows("x", actor, target) == library(expression, target, actor)


def test_unknown_rules_deny() -> None:
    assert not Policy([]).allows("nothing", Actor(user_id="u", roles=frozenset({"admin"})))


def test_overrides_win() -> None:
    policy = Policy([Rule("x", "!", "")], {"x": "role:member"})
    assert policy.allows("x", Actor(user_id="u", roles=frozenset({"member"})))
    with pytest.raises(Forbidden, match="x"):
        policy.enforce("x", Actor(user_id="u"))


@pytest.mark.parametrize("check", ["(role:a", "role:a)", "role", "role:a and", "or role:a", "role:a role:b"])
def test_malformed_checks_are_refused(check: str) -> None:
    with pytest.raises(PolicyError):
        Policy([Rule("x", check, "")])


def test_circles_are_refused() -> None:
    with pytest.raises(PolicyError, match="refers to itself"):
        Policy([Rule("a", "rule:b", ""), Rule("b", "rule:a", "")])
