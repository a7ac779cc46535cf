"""The explanation of a decision, and policy files for single services."""

from pathlib import Path

import pytest

from pileus.kernel.auth import Actor
from pileus.kernel.policy import Policy, PolicyError, Rule, load_service_overrides
from pileus.kernel.policy_explained import explain, places

RULES = (
    Rule("admin", "role:admin", "An administrator"),
    Rule("owner", "user_id:%(target.user.id)s", "The user in question"),
    Rule("get", "rule:admin or (rule:owner and not role:guest)", "Show"),
    Rule("never", "!", "Nobody"),
    Rule("always", "", "Everybody"),
)
ANN = Actor(user_id="ann", roles=frozenset({"member", "reader"}))


def test_every_part_says_what_it_compared() -> None:
    policy = Policy(RULES, {"admin": "role:boss"})
    assert explain(policy, "get", ANN, {"target.user.id": "ann"}) == [
        "yes get (default)",
        "  yes or",
        "    no  admin (overridden; the default is 'role:admin')",
        "      no  role:boss: the roles are member, reader",
        "    yes and",
        "      yes owner (default)",
        "        yes user_id:%(target.user.id)s: user_id of the token is ann, the target's is ann",
        "      yes not",
        "        no  role:guest: the roles are member, reader",
    ]


@pytest.mark.parametrize(
    ("rule", "last"),
    [
        ("owner", "  no  user_id:%(target.user.id)s: user_id of the token is ann, the target's is <no target.user.id>"),
        ("never", "  no  never"),
        ("always", "  yes always"),
        ("absent", "no  absent (there is no such rule, which denies)"),
        ("own", "  yes 'ann':%(user_id)s: 'ann', the target's is ann"),
    ],
)
def test_leaves(rule: str, last: str) -> None:
    policy = Policy(RULES, {"own": "'ann':%(user_id)s"})
    lines = explain(policy, rule, ANN)
    assert lines[-1] == last
    assert lines[0].startswith("yes") == policy.allows(rule, ANN)


def test_what_a_rule_wants_to_know_of_its_target() -> None:
    assert places(Policy(RULES), "get") == ["target.user.id"]
    assert places(Policy(RULES), "absent") == []


SERVICES = {
    "identity": (Rule("identity:get", "", ""), Rule("admin", "role:admin", "")),
    "image": (Rule("add", "", ""),),
}


def test_files_of_services(tmp_path: Path) -> None:
    (tmp_path / "identity.yaml").write_text('"identity:get": "rule:mine"\nmine: "role:x"\n')
    (tmp_path / "image.yaml").write_text('add: "role:y"\n')
    assert load_service_overrides(tmp_path, SERVICES) == {
        "identity:get": "rule:mine",
        "mine": "role:x",
        "add": "role:y",
    }
    assert load_service_overrides(tmp_path / "nowhere", SERVICES) == {}


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"volume": "a: '!'"}, "there is no service 'volume'"),
        ({"image": "admin: '!'"}, "the rule 'admin' belongs to identity"),
        ({"identity": "mine: '@'", "image": "mine: '!'"}, "says something else in another file"),
        ({"image": "- a"}, "must be a mapping"),
    ],
)
def test_files_that_reach_into_another_service_are_refused(tmp_path: Path, files: dict[str, str], why: str) -> None:
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(PolicyError, match=why):
        load_service_overrides(tmp_path, SERVICES)
