"""Agents, availability zones and service providers."""

import pytest

from tests.network.conftest import FakeHost, World

BINARIES = {
    "Linux bridge agent": "neutron-linuxbridge-agent",
    "DHCP agent": "neutron-dhcp-agent",
    "L3 agent": "neutron-l3-agent",
    "Metadata agent": "neutron-metadata-agent",
}


@pytest.fixture
def two_hosts(world: World) -> World:
    world.hosts.hosts.append(FakeHost("host-b", up=False, enabled=False, availability_zone="west"))
    return world


def test_each_host_is_shown_as_agents_of_all_types(two_hosts: World) -> None:
    agents = two_hosts.admin.get("/agents")["agents"]
    for host, alive, zone in (("host-a", True, "nova"), ("host-b", False, "west")):
        here = [agent for agent in agents if agent["host"] == host]
        assert {agent["agent_type"]: agent["binary"] for agent in here} == BINARIES
        assert {(agent["alive"], agent["admin_state_up"]) for agent in here} == {(alive, alive)}
        zones = {agent["agent_type"]: agent["availability_zone"] for agent in here}
        assert (zones["DHCP agent"], zones["L3 agent"], zones["Metadata agent"]) == (zone, zone, None)
    assert len({agent["id"] for agent in agents}) == len(agents) == 8
    assert agents[0]["heartbeat_timestamp"] == "2023-11-14 22:14:20"
    assert agents[0]["started_at"] == agents[0]["created_at"] == "2023-11-14 22:13:20"
    for agent in agents:
        assert two_hosts.admin.get(f"/agents/{agent['id']}")["agent"] == agent


def test_agents_are_filtered_sorted_and_cut_down(two_hosts: World) -> None:
    def found(**query: object) -> list[tuple[str, str]]:
        return [(one["host"], one["agent_type"]) for one in two_hosts.admin.get("/agents", **query)["agents"]]

    assert sorted(found(agent_type="DHCP agent")) == [("host-a", "DHCP agent"), ("host-b", "DHCP agent")]
    assert found(agent_type="L3 agent", alive="True") == [("host-a", "L3 agent")]
    assert found(availability_zone="west", binary="neutron-l3-agent") == [("host-b", "L3 agent")]
    by_host = [host for host, _ in found(sort_key="host", sort_dir="desc")]
    assert by_host == ["host-b"] * 4 + ["host-a"] * 4
    assert two_hosts.admin.get("/agents", host="host-a", topic="l3_agent", fields=["host", "alive"])["agents"] == [
        {"host": "host-a", "alive": True}
    ]
    assert two_hosts.admin.error("GET", "/agents", 400, colour="red") == "HTTPBadRequest"
    assert two_hosts.admin.error("GET", "/agents", 400, alive="perhaps") == "HTTPBadRequest"


def test_agents_are_for_administrators(world: World) -> None:
    agent = world.admin.get("/agents")["agents"][0]
    for other in (world.alice, world.api("reader")):
        assert other.get("/agents") == {"agents": []}
        assert other.error("GET", f"/agents/{agent['id']}", 404) == "AgentNotFound"
    assert world.admin.error("GET", "/agents/nothing", 404) == "AgentNotFound"
    world.api(None).call("GET", "/agents", None, 401)


def test_availability_zones(two_hosts: World) -> None:
    zones = two_hosts.alice.get("/availability_zones")["availability_zones"]
    assert {(zone["name"], zone["resource"], zone["state"]) for zone in zones} == {
        ("nova", "network", "available"),
        ("nova", "router", "available"),
        ("west", "network", "unavailable"),
        ("west", "router", "unavailable"),
    }
    found = two_hosts.alice.get("/availability_zones", resource="router", state="available")["availability_zones"]
    assert [zone["name"] for zone in found] == ["nova"]


def test_service_providers(world: World) -> None:
    assert world.api("reader").get("/service-providers")["service_providers"] == [
        {"service_type": "L3_ROUTER_NAT", "name": "single_node", "default": True}
    ]
