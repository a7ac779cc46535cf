"""Networks, security groups and floating IPs through the compute API, as before version 2.36."""

from typing import Any

import pytest

from pileus.kernel.ids import new_uuid
from tests.whole.conftest import Scene
from tests.world import Api

COMPUTE = "/compute/v2.1"


def group(api: Api, name: str = "web") -> dict[str, Any]:
    body = {"security_group": {"name": name, "description": "d"}}
    made: dict[str, Any] = api.ok("POST", f"{COMPUTE}/os-security-groups", body)["security_group"]
    return made


def add_rule(api: Api, parent: str, **fields: Any) -> dict[str, Any]:
    body = {"security_group_rule": {"parent_group_id": parent, **fields}}
    made: dict[str, Any] = api.ok("POST", f"{COMPUTE}/os-security-group-rules", body)["security_group_rule"]
    return made


def test_a_groups_life(here: Scene) -> None:
    alice = here.alice
    made = group(alice)
    assert made == {
        "id": made["id"],
        "name": "web",
        "description": "d",
        "tenant_id": alice.project_id,
        "rules": [],
    }
    path = f"{COMPUTE}/os-security-groups/{made['id']}"
    listed = alice.ok("GET", f"{COMPUTE}/os-security-groups")["security_groups"]
    assert sorted(one["name"] for one in listed) == ["default", "web"]
    changed = alice.ok("PUT", path, {"security_group": {"name": "www", "description": None}})["security_group"]
    assert (changed["name"], changed["description"]) == ("www", "")
    assert alice.call("DELETE", path).status_code == 202
    assert alice.refused("GET", path)[0] == 404


def test_a_new_project_sees_its_default_group(here: Scene) -> None:
    (default,) = here.world.member("bob").ok("GET", f"{COMPUTE}/os-security-groups")["security_groups"]
    assert default["name"] == "default"
    assert [rule["group"]["name"] for rule in default["rules"]] == ["default", "default"]
    assert [rule["ip_range"] for rule in default["rules"]] == [{}, {}]


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (
            {"ip_protocol": "tcp", "from_port": 22, "to_port": "23"},
            {"ip_protocol": "tcp", "from_port": 22, "to_port": 23, "ip_range": {"cidr": "0.0.0.0/0"}, "group": {}},
        ),
        (
            {"ip_protocol": "tcp", "from_port": 1, "to_port": 2, "cidr": "10.2.3.124/24"},
            {"ip_range": {"cidr": "10.2.3.124/24"}},
        ),
        (
            {"ip_protocol": "udp", "from_port": 1, "to_port": 2, "cidr": "fd00::/8"},
            {"ip_range": {"cidr": "fd00::/8"}},
        ),
        ({"ip_protocol": "icmp", "from_port": -1, "to_port": -1}, {"from_port": -1, "to_port": -1}),
    ],
)
def test_rules_from_addresses(here: Scene, asked: dict[str, Any], shown: dict[str, Any]) -> None:
    made = group(here.alice)
    rule = add_rule(here.alice, made["id"], **asked)
    assert {key: rule[key] for key in shown} == shown
    assert rule["parent_group_id"] == made["id"]
    path = f"{COMPUTE}/os-security-groups/{made['id']}"
    assert here.alice.ok("GET", path)["security_group"]["rules"] == [rule]
    assert here.alice.call("DELETE", f"{COMPUTE}/os-security-group-rules/{rule['id']}").status_code == 202
    assert here.alice.ok("GET", path)["security_group"]["rules"] == []


def test_rules_from_a_group(here: Scene) -> None:
    alice = here.alice
    made, source = group(alice), group(alice, "source")
    named = {"name": "source", "tenant_id": alice.project_id}
    rule = add_rule(alice, made["id"], group_id=source["id"], ip_protocol="tcp")
    assert (rule["group"], rule["ip_range"]) == (named, {})
    assert (rule["from_port"], rule["to_port"]) == (1, 65535)
    anything = add_rule(alice, made["id"], group_id=source["id"])
    assert (anything["ip_protocol"], anything["from_port"], anything["to_port"]) == (None, None, None)
    path = f"{COMPUTE}/os-security-groups/{made['id']}"
    assert [one["group"] for one in alice.ok("GET", path)["security_group"]["rules"]] == [named, named]
    assert alice.call("DELETE", f"{COMPUTE}/os-security-groups/{source['id']}").status_code == 202
    assert alice.ok("GET", path)["security_group"]["rules"] == []


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"parent_group_id": new_uuid()}, 404),
        ({"parent_group_id": "web"}, 400),
        ({"ip_protocol": "999nothing"}, 400),
        ({"from_port": 70000}, 400),
        ({"to_port": 21}, 400),
        ({"from_port": None}, 400),
        ({"ip_protocol": None}, 400),
        ({"cidr": "10.0.0.300/8"}, 400),
        ({"group_id": new_uuid()}, 404),
    ],
)
def test_rules_that_are_refused(here: Scene, fields: dict[str, Any], status: int) -> None:
    made = group(here.alice)
    body = {"parent_group_id": made["id"], "ip_protocol": "tcp", "from_port": 22, "to_port": 22, **fields}
    path = f"{COMPUTE}/os-security-group-rules"
    assert here.alice.refused("POST", path, {"security_group_rule": body})[0] == status


def test_conflicts_are_bad_requests_here(here: Scene) -> None:
    alice = here.alice
    made = group(alice)
    rule = {"parent_group_id": made["id"], "ip_protocol": "tcp", "from_port": 22, "to_port": 22}
    add_rule(alice, made["id"], ip_protocol="tcp", from_port=22, to_port=22)
    assert alice.refused("POST", f"{COMPUTE}/os-security-group-rules", {"security_group_rule": rule})[0] == 400
    default = next(
        one for one in alice.ok("GET", f"{COMPUTE}/os-security-groups")["security_groups"] if one["name"] == "default"
    )
    path = f"{COMPUTE}/os-security-groups/{default['id']}"
    assert alice.refused("DELETE", path)[0] == 400
    assert alice.refused("PUT", path, {"security_group": {"name": "other"}})[0] == 400
    assert alice.refused("POST", f"{COMPUTE}/os-security-groups", {"security_group": {"name": "default"}})[0] == 400


def test_other_projects_groups(here: Scene) -> None:
    made, bob = group(here.alice), here.world.member("bob")
    path = f"{COMPUTE}/os-security-groups/{made['id']}"
    rule = {"parent_group_id": made["id"], "ip_protocol": "tcp", "from_port": 22, "to_port": 22}
    assert bob.refused("GET", path)[0] == 404
    assert bob.refused("DELETE", path)[0] == 404
    assert bob.refused("POST", f"{COMPUTE}/os-security-group-rules", {"security_group_rule": rule})[0] == 404
    for api, query, seen in (
        (bob, "?all_tenants=1", False),
        (here.world.admin, "", False),
        (here.world.admin, "?all_tenants=1", True),
    ):
        listed = api.ok("GET", f"{COMPUTE}/os-security-groups{query}")["security_groups"]
        assert (made["id"] in {one["id"] for one in listed}) == seen


def test_a_part_of_a_list(here: Scene) -> None:
    for name in ("a", "b", "c"):
        group(here.alice, name)
    everything = here.alice.ok("GET", f"{COMPUTE}/os-security-groups")["security_groups"]
    some = here.alice.ok("GET", f"{COMPUTE}/os-security-groups?offset=1&limit=2")["security_groups"]
    assert some == everything[1:3]
    assert here.alice.refused("GET", f"{COMPUTE}/os-security-groups?limit=-1")[0] == 400
    assert here.alice.refused("GET", f"{COMPUTE}/os-security-groups?offset=x")[0] == 400


def test_networks(here: Scene) -> None:
    network = here.network
    full = here.alice.ok("GET", f"{COMPUTE}/os-networks/{network['id']}")["network"]
    assert (full["label"], full["cidr"], full["gateway_v6"]) == ("net", None, None)
    brief = {"id": network["id"], "label": "net", "cidr": None}
    assert here.alice.ok("GET", f"{COMPUTE}/os-tenant-networks/{network['id']}") == {"network": brief}
    for path in ("os-networks", "os-tenant-networks"):
        listed = here.alice.ok("GET", f"{COMPUTE}/{path}")["networks"]
        assert {one["label"] for one in listed} == {"net", "public"}
        assert here.world.member(path).refused("GET", f"{COMPUTE}/{path}/{network['id']}")[0] == 404


def test_floating_ips(here: Scene) -> None:
    alice = here.alice
    assert alice.ok("GET", f"{COMPUTE}/os-floating-ip-pools") == {"floating_ip_pools": [{"name": "public"}]}
    made = alice.ok("POST", f"{COMPUTE}/os-floating-ips", {"pool": "public"})["floating_ip"]
    assert made == {"id": made["id"], "ip": made["ip"], "pool": "public", "fixed_ip": None, "instance_id": None}
    server_id = here.active()
    other_id = here.active()
    alice.router(here.network["subnet"]["id"])
    for target in (server_id, other_id):
        alice.act(target, "addFloatingIp", {"address": made["ip"]})
    fixed = alice.ports(other_id)[0]["fixed_ips"][0]["ip_address"]
    path = f"{COMPUTE}/os-floating-ips/{made['id']}"
    shown = alice.ok("GET", path)["floating_ip"]
    assert (shown["instance_id"], shown["fixed_ip"]) == (other_id, fixed)
    assert alice.ok("GET", f"{COMPUTE}/os-floating-ips") == {"floating_ips": [shown]}
    assert alice.server(other_id)["addresses"]["net"][1]["addr"] == made["ip"]
    action = f"{COMPUTE}/servers/{server_id}/action"
    assert alice.refused("POST", action, {"removeFloatingIp": {"address": made["ip"]}})[0] == 409
    alice.act(other_id, "removeFloatingIp", {"address": made["ip"]})
    assert alice.ok("GET", path)["floating_ip"]["instance_id"] is None
    assert alice.call("DELETE", path).status_code == 202
    assert alice.refused("GET", path)[0] == 404


def test_floating_ips_that_are_refused(here: Scene) -> None:
    alice, server_id = here.alice, here.active()
    first = alice.ok("POST", f"{COMPUTE}/os-floating-ips", {})["floating_ip"]
    second = alice.ok("POST", f"{COMPUTE}/os-floating-ips", {})["floating_ip"]
    action = f"{COMPUTE}/servers/{server_id}/action"
    assert alice.refused("POST", f"{COMPUTE}/os-floating-ips", {"pool": "nothing"})[0] == 404
    assert alice.refused("POST", action, {"addFloatingIp": {"address": first["ip"]}})[0] == 400  # no router leads there
    alice.router(here.network["subnet"]["id"])
    alice.act(server_id, "addFloatingIp", {"address": first["ip"]})
    for address, status in ((second["ip"], 400), ("198.51.100.1", 404), ("", 400)):
        assert alice.refused("POST", action, {"addFloatingIp": {"address": address}})[0] == status
    wrong = {"address": second["ip"], "fixed_address": "10.0.0.250"}
    assert alice.refused("POST", action, {"addFloatingIp": wrong})[0] == 400
    assert alice.refused("POST", action, {"removeFloatingIp": {"address": "198.51.100.1"}})[0] == 404
    bob = here.world.member("bob")
    assert bob.refused("GET", f"{COMPUTE}/os-floating-ips/{first['id']}")[0] == 404
    assert bob.ok("GET", f"{COMPUTE}/os-floating-ips") == {"floating_ips": []}


@pytest.mark.parametrize(
    "path", ["os-security-groups", "os-floating-ips", "os-floating-ip-pools", "os-networks", "os-tenant-networks"]
)
def test_all_that_is_gone_from_version_2_36(here: Scene, path: str) -> None:
    assert here.alice.call("GET", f"{COMPUTE}/{path}", version="2.35").status_code == 200
    assert here.alice.refused("GET", f"{COMPUTE}/{path}", version="2.36")[0] == 404
