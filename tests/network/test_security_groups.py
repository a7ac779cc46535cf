"""Security groups: the default group, rules and their validation, and what hosts are told of them."""

from typing import Any

import pytest

from tests.network.conftest import World


def test_every_project_has_a_default_group(world: World) -> None:
    (group,) = world.alice.get("/security-groups")["security_groups"]
    assert group["name"] == "default" and group["project_id"] == "project-alice"
    rules = {(rule["direction"], rule["ethertype"], rule["remote_group_id"]) for rule in group["security_group_rules"]}
    assert rules == {
        ("egress", "IPv4", None),
        ("egress", "IPv6", None),
        ("ingress", "IPv4", group["id"]),
        ("ingress", "IPv6", group["id"]),
    }
    (theirs,) = world.bob.get("/security-groups")["security_groups"]
    assert theirs["id"] != group["id"]
    path = f"/security-groups/{group['id']}"
    assert world.alice.error("DELETE", path, 409) == "SecurityGroupCannotRemoveDefault"
    assert world.alice.change(path, "security_group", 409, name="x")["type"] == "SecurityGroupCannotUpdateDefault"
    assert world.alice.make("security_group", 409, name="default")["type"] == "SecurityGroupDefaultAlreadyExists"
    other = world.alice.make("security_group", name="other")
    error = world.alice.change(f"/security-groups/{other['id']}", "security_group", 409, name="default")
    assert error["type"] == "SecurityGroupDefaultAlreadyExists"


def test_life_cycle(world: World) -> None:
    group = world.alice.make("security_group", name="web", description="d")
    assert {rule["direction"] for rule in group["security_group_rules"]} == {"egress"}
    path = f"/security-groups/{group['id']}"
    assert world.alice.change(path, "security_group", name="www")["name"] == "www"
    port = world.alice.make("port", network_id=world.alice.make("network")["id"], security_groups=[group["id"]])
    assert world.alice.error("DELETE", path, 409) == "SecurityGroupInUse"
    world.alice.delete(f"/ports/{port['id']}")
    assert world.bob.error("DELETE", path, 404) == "SecurityGroupNotFound"
    world.alice.delete(path)
    assert world.alice.error("GET", path, 404) == "SecurityGroupNotFound"
    assert world.alice.get("/security-group-rules", security_group_id=group["id"])["security_group_rules"] == []


@pytest.mark.parametrize(
    ("attributes", "shown"),
    [
        ({}, {"protocol": None, "ethertype": "IPv4"}),
        ({"protocol": "TCP", "port_range_min": 22, "port_range_max": 22}, {"protocol": "tcp", "port_range_max": 22}),
        ({"protocol": 17}, {"protocol": "17"}),
        ({"protocol": "icmp", "ethertype": "IPv6"}, {"protocol": "ipv6-icmp"}),
        ({"protocol": "icmp", "port_range_min": 8, "port_range_max": 0}, {"port_range_min": 8, "port_range_max": 0}),
        ({"protocol": "icmp", "port_range_min": 11}, {"port_range_min": 11, "port_range_max": None}),
        ({"remote_ip_prefix": "10.0.0.9/24"}, {"remote_ip_prefix": "10.0.0.9/24", "normalized_cidr": "10.0.0.0/24"}),
        ({"remote_ip_prefix": "10.0.0.9"}, {"remote_ip_prefix": "10.0.0.9/32"}),
        ({"protocol": "any"}, {"protocol": None}),
    ],
)
def test_rules(world: World, attributes: dict[str, Any], shown: dict[str, Any]) -> None:
    group = world.alice.make("security_group", name="web")
    body = {"security_group_id": group["id"], "direction": "ingress", **attributes}
    rule = world.alice.make("security_group_rule", **body)
    assert {key: rule[key] for key in shown} == shown
    assert world.alice.get(f"/security-group-rules/{rule['id']}")["security_group_rule"] == rule
    assert world.alice.make("security_group_rule", 409, **body)["type"] == "SecurityGroupRuleExists"
    world.alice.delete(f"/security-group-rules/{rule['id']}")
    assert world.alice.error("GET", f"/security-group-rules/{rule['id']}", 404) == "SecurityGroupRuleNotFound"


TCP, ICMP = {"protocol": "tcp"}, {"protocol": "icmp"}


@pytest.mark.parametrize(
    ("attributes", "status", "kind"),
    [
        ({"direction": "sideways"}, 400, "HTTPBadRequest"),
        ({"ethertype": "IPv5"}, 400, "HTTPBadRequest"),
        ({"protocol": "carrier-pigeon"}, 400, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": 256}, 400, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": "ipv6-icmp"}, 400, "SecurityGroupEthertypeConflictWithProtocol"),
        ({"port_range_min": 1, "port_range_max": 2}, 400, "SecurityGroupProtocolRequiredWithPorts"),
        ({**TCP, "port_range_min": -16, "port_range_max": 80}, 400, "SecurityGroupInvalidPortValue"),
        ({**TCP, "port_range_min": 80, "port_range_max": 65536}, 400, "SecurityGroupInvalidPortValue"),
        ({**TCP, "port_range_min": 0, "port_range_max": 5}, 400, "SecurityGroupInvalidPortValue"),
        ({**TCP, "port_range_min": 80, "port_range_max": 79}, 400, "SecurityGroupInvalidPortRange"),
        ({**TCP, "port_range_max": 6}, 400, "SecurityGroupInvalidPortRange"),
        ({"protocol": "esp", "port_range_min": 1, "port_range_max": 2}, 400, "SecurityGroupInvalidProtocolForPort"),
        ({**ICMP, "port_range_min": 1, "port_range_max": 256}, 400, "SecurityGroupInvalidIcmpValue"),
        ({**ICMP, "port_range_min": 300, "port_range_max": 1}, 400, "SecurityGroupInvalidIcmpValue"),
        ({**ICMP, "port_range_max": 6}, 400, "SecurityGroupMissingIcmpType"),
        ({"remote_ip_prefix": "192.168.1./24"}, 400, "HTTPBadRequest"),
        ({"remote_ip_prefix": "192.168.1.1/33"}, 400, "HTTPBadRequest"),
        ({"remote_ip_prefix": "2001:db8::/64"}, 400, "SecurityGroupRuleParameterConflict"),
        ({"remote_group_id": "nope"}, 404, "SecurityGroupNotFound"),
        ({"security_group_id": "nope"}, 404, "SecurityGroupNotFound"),
        ({"remote_group_id": "x", "remote_ip_prefix": "10.0.0.0/8"}, 400, "SecurityGroupRemoteGroupAndRemoteIpPrefix"),
        ({"wrong": 1}, 400, "HTTPBadRequest"),
    ],
)
def test_refused_rules(world: World, attributes: dict[str, Any], status: int, kind: str) -> None:
    group = world.alice.make("security_group", name="web")
    body = {"security_group_id": group["id"], "direction": "ingress", **attributes}
    assert world.alice.make("security_group_rule", status, **body)["type"] == kind
    assert len(world.alice.get("/security-group-rules", security_group_id=group["id"])["security_group_rules"]) == 2


def test_one_rule_in_two_spellings_is_one_rule(world: World) -> None:
    group = world.alice.make("security_group", name="web")
    body = {"security_group_id": group["id"], "direction": "ingress"}
    world.alice.make("security_group_rule", **body, protocol="udp", remote_ip_prefix="10.0.0.0/24")
    again = world.alice.make("security_group_rule", 409, **body, protocol="17", remote_ip_prefix="10.0.0.5/24")
    assert again["type"] == "SecurityGroupRuleExists"


def test_other_projects_groups_are_not_there(world: World) -> None:
    group = world.alice.make("security_group", name="web")
    (rule, *_) = group["security_group_rules"]
    body = {"security_group_id": group["id"], "direction": "ingress"}
    assert world.bob.make("security_group_rule", 404, **body)["type"] == "SecurityGroupNotFound"
    assert world.bob.error("GET", f"/security-group-rules/{rule['id']}", 404) == "SecurityGroupRuleNotFound"
    assert world.bob.error("DELETE", f"/security-group-rules/{rule['id']}", 404) == "SecurityGroupRuleNotFound"


def test_deleting_a_group_takes_the_rules_that_name_it(world: World) -> None:
    named = world.alice.make("security_group", name="named")
    group = world.alice.make("security_group", name="web")
    world.alice.make(
        "security_group_rule", security_group_id=group["id"], direction="ingress", remote_group_id=named["id"]
    )
    world.alice.delete(f"/security-groups/{named['id']}")
    shown = world.alice.get(f"/security-groups/{group['id']}")["security_group"]
    assert len(shown["security_group_rules"]) == 2


def test_quota(world: World) -> None:
    world.admin.change("/quotas/project-alice", "quota", security_group=2, security_group_rule=7)
    group = world.alice.make("security_group", name="web")
    assert world.alice.make("security_group", 409, name="more")["type"] == "OverQuota"
    body = {"security_group_id": group["id"], "direction": "ingress"}
    world.alice.make("security_group_rule", **body, protocol="tcp")
    assert world.alice.make("security_group_rule", 409, **body, protocol="udp")["type"] == "OverQuota"
