"""The rule language of mappings."""

from typing import Any

import pytest

from pileus.identity.federation import mapping as language
from pileus.identity.federation.domain import AttributeMapping
from pileus.identity.federation.mapping import DomainRef, Mapped, MappedGroup, MappedProject
from pileus.kernel.errors import BadRequest, Unauthorized

ANN = {
    "name": ("ann",),
    "mail": ("ann@example.org",),
    "kind": ("Employee",),
    "groups": ("developers", "testers", "oncall"),
    "none": (),
}


def applied(rules: list[dict[str, Any]], version: str = "1.0", **attributes: tuple[str, ...]) -> Mapped:
    language.check(rules, version)
    return language.apply(AttributeMapping(id="m", rules=rules, schema_version=version), ANN | attributes)


def rule(local: dict[str, Any], *remote: dict[str, Any]) -> dict[str, Any]:
    return {"local": [local], "remote": list(remote)}


NAME = {"type": "name"}
GROUPS = {"type": "groups"}
DEFAULT = {"id": "default"}
WHO = rule({"user": {"name": "{0}"}}, NAME)


def test_direct_maps() -> None:
    mapped = applied([rule({"user": {"name": "{0} of {1}", "email": "{2}"}}, NAME, {"type": "kind"}, {"type": "mail"})])
    assert (mapped.user.name, mapped.user.email, mapped.user.local) == ("ann of Employee", "ann@example.org", False)
    assert (mapped.group_ids, mapped.groups, mapped.projects) == ((), (), ())


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"any_one_of": ["Employee", "Guest"]}, True),
        ({"any_one_of": ["employee"]}, False),
        ({"any_one_of": ["^Emp"], "regex": True}, True),
        ({"any_one_of": ["Emp"], "regex": False}, False),
        ({"not_any_of": ["Contractor"]}, True),
        ({"not_any_of": ["Employee"]}, False),
        ({"not_any_of": ["loyee$"], "regex": True}, False),
    ],
)
def test_conditions(condition: dict[str, Any], holds: bool) -> None:
    """They decide whether a rule holds, and yield no value of their own."""
    rules = [rule({"user": {"name": "{0}"}, "group": {"id": "g"}}, {"type": "kind", **condition}, NAME)]
    if holds:
        assert applied(rules).user.name == "ann"
        assert applied(rules).group_ids == ("g",)
    else:
        with pytest.raises(BadRequest, match="Could not map"):
            applied(rules)


def test_a_missing_or_empty_attribute_fails_the_rule() -> None:
    for missing in ("absent", "none"):
        with pytest.raises(BadRequest, match="Could not map"):
            applied([rule({"user": {"name": "x"}}, {"type": missing, "not_any_of": ["y"]})])


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ({}, ["developers", "testers", "oncall"]),
        ({"whitelist": ["testers", "admins"]}, ["testers"]),
        ({"blacklist": ["testers"]}, ["developers", "oncall"]),
        ({"whitelist": ["^d"], "regex": True}, ["developers"]),
        ({"blacklist": ["s$"], "regex": True}, ["oncall"]),
        ({"whitelist": ["admins"]}, []),
        ({"blacklist": []}, ["developers", "testers", "oncall"]),
    ],
)
def test_lists_of_groups(condition: dict[str, Any], names: list[str]) -> None:
    mapped = applied([WHO, rule({"groups": "{0}", "domain": DEFAULT}, {**GROUPS, **condition})])
    assert [group.name for group in mapped.groups] == names
    assert {group.domain for group in mapped.groups} <= {DomainRef(id="default")}


def test_groups_in_every_form() -> None:
    forms = [
        WHO,
        rule({"group": {"id": "a"}}, NAME),
        rule({"group": {"name": "b", "domain": {"name": "Default"}}}, NAME),
        rule({"group": {"name": "team-{0}", "domain": DEFAULT}}, GROUPS),
        rule({"group_ids": "{0}"}, GROUPS),
        rule({"group_ids": "['x', 'y']"}, NAME),
        rule({"groups": "['c', 'd']", "domain": DEFAULT}, NAME),
        rule({"groups": "{0}"}, {"type": "json"}),
    ]
    mapped = applied(forms, json=('JSON:{"name": "e", "domain": {"name": "far"}}',))
    assert mapped.group_ids == ("a", "developers", "testers", "oncall", "x", "y")
    assert mapped.groups == (
        MappedGroup("b", DomainRef(name="Default")),
        *(MappedGroup(f"team-{name}", DomainRef(id="default")) for name in ANN["groups"]),
        MappedGroup("c", DomainRef(id="default")),
        MappedGroup("d", DomainRef(id="default")),
        MappedGroup("e", DomainRef(name="far")),
    )


def test_values_never_become_syntax() -> None:
    """Who may choose the text of a claim cannot choose groups or their domain by it."""
    tricks = ("['admins', 'root']", "a;admins", "{0}", "{1}", 'JSON:{"name": "admins", "domain": {"id": "other"}}')
    mapped = applied([WHO, rule({"groups": "{0}", "domain": DEFAULT}, GROUPS)], groups=tricks)
    assert tuple(group.name for group in mapped.groups) == tricks
    assert {group.domain for group in mapped.groups} == {DomainRef(id="default")}
    assert applied([WHO], name=("{0.__class__}",)).user.name == "{0.__class__}"


def test_rules_add_up_and_the_first_user_counts() -> None:
    rules = [
        rule({"user": {"name": "{0}"}, "group": {"id": "one"}}, NAME),
        rule({"user": {"name": "other"}, "group": {"id": "two"}}, {"type": "kind", "any_one_of": ["Employee"]}),
        rule({"group": {"id": "three"}}, {"type": "kind", "any_one_of": ["Guest"]}),
    ]
    mapped = applied(rules)
    assert (mapped.user.name, mapped.group_ids) == ("ann", ("one", "two"))


def test_one_user_has_one_name() -> None:
    with pytest.raises(Unauthorized, match="several"):
        applied([rule({"user": {"name": "{0}"}}, GROUPS)])
    assert applied([rule({"user": {"name": "{0}"}}, {**GROUPS, "whitelist": ["nobody"]})]).user.name is None


def test_domains_by_schema_version() -> None:
    project = {"name": "for {0}", "roles": [{"name": "member"}]}
    local = {"user": {"name": "{0}"}, "domain": {"name": "near"}, "projects": [project]}
    first = applied([rule(local, NAME)], "1.0")
    assert (first.user.domain, first.projects) == (None, (MappedProject("for ann", ("member",), None),))
    second = applied([rule(local, NAME)], "2.0")
    near = DomainRef(name="near")
    assert (second.user.domain, second.projects) == (near, (MappedProject("for ann", ("member",), near),))
    own = {**local, "user": {"name": "{0}", "domain": {"id": "u"}}, "projects": [{**project, "domain": {"id": "p"}}]}
    third = applied([rule(own, NAME)], "2.0")
    assert (third.user.domain, third.projects[0].domain) == (DomainRef(id="u"), DomainRef(id="p"))
    assert not third.projects_are_all
    named = applied([rule({"user": {"name": "{0}", "type": "local", "domain": {"id": "u"}}}, NAME)], "1.0")
    assert (named.user.local, named.user.domain) == (True, DomainRef(id="u"))


def test_projects_as_json() -> None:
    rules = [rule({"user": {"name": "{0}"}, "domain": DEFAULT, "projects": "{1}"}, NAME, {"type": "json"})]
    one = '{"name": "a", "roles": [{"name": "member"}, {"name": "reader"}], "domain": {"name": "x"}}'
    text = f'[{one}, {{"name": "b", "roles": []}}]'
    mapped = applied(rules, "3.0", json=(text,))
    assert mapped.projects_are_all
    assert mapped.projects == (
        MappedProject("a", ("member", "reader"), DomainRef(name="x")),
        MappedProject("b", (), DomainRef(id="default")),
    )
    for wrong in ("[", '[{"name": "a"}]', '{"name": "a", "roles": []}', '[{"name": "a", "roles": [], "x": 1}]'):
        with pytest.raises(BadRequest, match="JSON"):
            applied(rules, "3.0", json=(wrong,))


@pytest.mark.parametrize(
    ("rules", "version", "message"),
    [
        ([], "1.0", "must have a rule"),
        ([WHO], "4.0", "no schema version 4.0"),
        ([{"local": []}], "1.0", "remote"),
        ([{"local": [], "remote": []}], "1.0", "must have a condition"),
        ([{"local": [], "remote": [{"any_one_of": []}]}], "1.0", "type"),
        ([rule({}, {"type": "a", "any_one_of": ["x"], "whitelist": ["y"]})], "1.0", "exclude"),
        ([rule({}, {"type": "a", "regex": True})], "1.0", "regex"),
        ([rule({}, {"type": "a", "any_one_of": ["("], "regex": True})], "1.0", "not a regular expression"),
        ([rule({}, {"type": "a", "any_one_of": "x"})], "1.0", "array"),
        ([rule({}, {"type": "a", "sometimes": []})], "1.0", "sometimes"),
        ([rule({"user": {"name": "{1}"}}, NAME)], "1.0", "refers to {1}, and remote yields 1"),
        ([rule({"user": {"name": "{0}"}}, {**NAME, "any_one_of": ["a"]})], "1.0", "yields 0"),
        ([rule({"user": {"nick": "a"}}, NAME)], "1.0", "nick"),
        ([rule({"user": {"type": "alien"}}, NAME)], "1.0", "alien"),
        ([rule({"group": {"name": "g"}}, NAME)], "1.0", "a name and its domain"),
        ([rule({"group": {"id": "i", "name": "g", "domain": DEFAULT}}, NAME)], "1.0", "a name and its domain"),
        ([rule({"projects": [{"name": "p"}]}, NAME)], "1.0", "roles"),
        ([rule({"projects": [{"name": "p", "roles": [], "domain": DEFAULT}]}, NAME)], "1.0", "2.0"),
        ([rule({"projects": "{0}"}, NAME)], "2.0", "3.0"),
    ],
)
def test_mistakes_are_refused_with_their_place(rules: list[Any], version: str, message: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        language.check(rules, version)
    assert message in refusal.value.message


def test_a_group_without_a_domain() -> None:
    with pytest.raises(BadRequest, match="no domain"):
        applied([WHO, rule({"groups": "{0}"}, GROUPS)])
