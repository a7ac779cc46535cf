"""Networks: life cycle, visibility, attributes for administrators only."""

import re
from typing import Any

import pytest
import sqlalchemy as sa

from pileus.kernel.http import Route
from pileus.network import domain, models
from pileus.network.policy import RULES
from pileus.network.routes import ROUTES
from tests.network.conftest import World


def test_life_cycle(world: World) -> None:
    made = world.alice.make("network", name="blue", description="first")
    assert made["status"] == "ACTIVE" and made["admin_state_up"] is True and made["shared"] is False
    assert made["tenant_id"] == made["project_id"] == "project-alice"
    assert made["revision_number"] == 0 and made["created_at"] == made["updated_at"]
    assert world.alice.get(f"/networks/{made['id']}")["network"] == made
    changed = world.alice.change(f"/networks/{made['id']}", "network", name="green", admin_state_up=False)
    assert (changed["name"], changed["admin_state_up"], changed["revision_number"]) == ("green", False, 1)
    world.alice.delete(f"/networks/{made['id']}")
    assert world.alice.error("GET", f"/networks/{made['id']}", 404) == "NetworkNotFound"


def test_bulk_create_is_all_or_nothing(world: World) -> None:
    answer = world.alice.call("POST", "/networks", {"networks": [{"name": "a"}, {"name": "b"}]}, 201)
    assert [network["name"] for network in answer["networks"]] == ["a", "b"]
    world.alice.call("POST", "/networks", {"networks": [{"name": "c"}, {"name": 5}]}, 400)
    assert {network["name"] for network in world.alice.get("/networks")["networks"]} == {"a", "b"}


def test_fields_cut_the_answer_down(world: World) -> None:
    made = world.alice.make("network", name="blue")
    shown = world.alice.get(f"/networks/{made['id']}", fields=["id", "name", "mtu"])["network"]
    assert shown == {"id": made["id"], "name": "blue", "mtu": 1450}
    assert world.alice.get("/networks", fields="id")["networks"] == [{"id": made["id"]}]


def test_others_see_shared_and_external_networks_only(world: World) -> None:
    private = world.alice.make("network", name="private")
    shared = world.admin.make("network", name="shared", shared=True)
    external = world.external()
    seen = {network["name"] for network in world.bob.get("/networks")["networks"]}
    assert seen == {"shared", "public"}
    for verb in ("GET", "DELETE"):
        assert world.bob.error(verb, f"/networks/{private['id']}", 404) == "NetworkNotFound"
    assert world.bob.error("PUT", f"/networks/{private['id']}", 404, {"network": {"name": "x"}}) == "NetworkNotFound"
    for network in (shared, external):
        assert world.bob.error("DELETE", f"/networks/{network['id']}", 403) == "PolicyNotAuthorized"
    assert world.alice.get("/subnets", network_id=external["id"])["subnets"] != []


@pytest.mark.parametrize(
    "attributes",
    [
        {"shared": True},
        {"router:external": True},
        {"provider:network_type": "vxlan"},
        {"provider:segmentation_id": 7},
    ],
)
def test_members_may_not_set_what_is_for_administrators(world: World, attributes: dict[str, Any]) -> None:
    assert world.alice.make("network", 403, **attributes)["type"] == "PolicyNotAuthorized"
    assert world.alice.get("/networks")["networks"] == []


def test_members_may_write_defaults_out(world: World) -> None:
    made = world.alice.make("network", shared=False, **{"router:external": False})
    assert made["shared"] is False


def test_provider_attributes_are_shown_to_administrators(world: World) -> None:
    made = world.alice.make("network")
    assert not [key for key in made if key.startswith("provider:")]
    shown = world.admin.get(f"/networks/{made['id']}")["network"]
    assert shown["provider:network_type"] == "vxlan" and 0 < shown["provider:segmentation_id"] < 1 << 24
    chosen = world.admin.make("network", **{"provider:network_type": "vxlan", "provider:segmentation_id": 77})
    assert chosen["provider:segmentation_id"] == 77
    again = world.admin.make("network", 409, **{"provider:network_type": "vxlan", "provider:segmentation_id": 77})
    assert again["type"] == "TunnelIdInUse"


def test_readers_read(world: World) -> None:
    made = world.alice.make("network", name="blue")
    reader = world.api("reader")
    assert reader.get(f"/networks/{made['id']}")["network"]["name"] == "blue"
    assert reader.make("network", 403)["type"] == "PolicyNotAuthorized"
    assert reader.error("DELETE", f"/networks/{made['id']}", 403) == "PolicyNotAuthorized"


def test_nobody_is_asked_for_a_token(world: World) -> None:
    assert world.api(None).get("/networks", 401)["error"]["code"] == 401
    assert world.api("stranger").get("/networks", 401)["error"]["title"] == "Unauthorized"


def test_owner_is_chosen_by_administrators_only(world: World) -> None:
    assert world.admin.make("network", project_id="project-bob")["tenant_id"] == "project-bob"
    assert world.alice.make("network", 400, tenant_id="project-bob")["type"] == "HTTPBadRequest"


def test_unsharing_waits_for_other_users(world: World) -> None:
    network = world.admin.make("network", shared=True)
    port = world.bob.make("port", network_id=network["id"])
    path = f"/networks/{network['id']}"
    assert world.admin.change(path, "network", 409, shared=False)["type"] == "InvalidSharedSetting"
    world.bob.delete(f"/ports/{port['id']}")
    assert world.admin.change(path, "network", shared=False)["shared"] is False


def test_a_network_in_use_stays_and_takes_its_subnets_with_it(world: World) -> None:
    network = world.alice.make("network")
    subnet = world.alice.subnet(network, "10.0.0.0/24")
    port = world.alice.make("port", network_id=network["id"])
    assert world.alice.error("DELETE", f"/networks/{network['id']}", 409) == "NetworkInUse"
    world.alice.delete(f"/ports/{port['id']}")
    world.alice.delete(f"/networks/{network['id']}")
    assert world.alice.error("GET", f"/subnets/{subnet['id']}", 404) == "SubnetNotFound"
    assert world.alice.get("/ports")["ports"] == []


def test_quota(world: World) -> None:
    world.admin.change("/quotas/project-alice", "quota", network=1)
    world.alice.make("network")
    assert world.alice.make("network", 409)["type"] == "OverQuota"
    details = world.alice.get("/quotas/project-alice/details")["quota"]["network"]
    assert details == {"limit": 1, "used": 1, "reserved": 0}
    world.alice.change("/quotas/project-alice", "quota", 403, network=9)
    assert world.alice.error("GET", "/quotas/project-bob", 403) == "PolicyNotAuthorized"
    assert [quota["project_id"] for quota in world.admin.get("/quotas")["quotas"]] == ["project-alice"]
    world.admin.delete("/quotas/project-alice")
    assert world.alice.get("/quotas/project-alice")["quota"]["network"] == 100


def test_versions_and_extensions(world: World) -> None:
    root = world.client.simulate_get("/network/").json
    assert root["versions"][0]["id"] == "v2.0"
    resources = world.client.simulate_get("/network/v2.0/").json["resources"]
    assert {"network", "subnet", "port"} <= {resource["name"] for resource in resources}
    listed = world.alice.get("/extensions")["extensions"]
    for extension in listed:
        assert world.alice.get(f"/extensions/{extension['alias']}")["extension"] == extension
    assert world.alice.error("GET", "/extensions/dvr", 404) == "HTTPNotFound"


def test_tags(world: World) -> None:
    network = world.alice.make("network")
    path = f"/networks/{network['id']}/tags"
    world.alice.call("PUT", f"{path}/red", None, 201)
    world.alice.call("GET", f"{path}/red", None, 204)
    assert world.alice.get(path) == {"tags": ["red"]}
    assert world.alice.put(path, {"tags": ["blue", "Green"]}) == {"tags": ["blue", "Green"]}
    assert world.alice.error("GET", f"{path}/red", 404) == "TagNotFound"
    for query, found in (
        ({"tags": "blue,Green"}, 1),
        ({"tags": "blue,red"}, 0),
        ({"tags": "green"}, 0),
        ({"tags-any": "red,blue"}, 1),
        ({"not-tags": "blue,red"}, 1),
        ({"not-tags-any": "blue,red"}, 0),
    ):
        assert len(world.alice.get("/networks", **query)["networks"]) == found, query
    world.alice.delete(f"{path}/blue")
    world.alice.delete(path)
    assert world.alice.get(f"/networks/{network['id']}")["network"]["tags"] == []
    world.bob.call("PUT", f"{path}/x", None, 404)


STRUCTS = {
    models.network: domain.Network,
    models.subnet: domain.Subnet,
    models.port: domain.Port,
    models.router: domain.Router,
    models.floating_ip: domain.FloatingIp,
    models.security_group: domain.SecurityGroup,
    models.security_group_rule: domain.SecurityGroupRule,
}


@pytest.mark.parametrize("table", STRUCTS, ids=lambda table: table.name)
def test_structs_have_their_tables_columns_in_order(table: sa.Table) -> None:
    columns = tuple(column.name for column in table.columns)
    assert STRUCTS[table].__struct_fields__[: len(columns)] == columns


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_operation_has_a_rule_and_needs_a_token(world: World, route: Route[Any]) -> None:
    assert route.rule in {rule.name for rule in RULES}
    path = re.sub(r"{.*?}", "x", route.path)
    world.api(None).call(route.method, path, {}, 401)
