"""Routers and floating IPs."""

from typing import Any

import pytest

from tests.network.conftest import FakeHost, World


def connected(world: World, cidr: str = "10.0.0.0/24") -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A router with a gateway, and a network with a subnet that is connected to it."""
    public = world.external()
    network = world.alice.make("network")
    subnet = world.alice.subnet(network, cidr)
    router = world.alice.make("router", name="r", external_gateway_info={"network_id": public["id"]})
    world.alice.put(f"/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    return router, network, subnet


def test_life_cycle(world: World) -> None:
    public = world.external()
    router = world.alice.make("router", name="r", external_gateway_info={"network_id": public["id"]})
    gateway = router["external_gateway_info"]
    assert (gateway["network_id"], gateway["enable_snat"]) == (public["id"], True)
    assert gateway["external_fixed_ips"] == [{"subnet_id": public["subnets"][0], "ip_address": "172.24.4.10"}]
    (port,) = world.admin.get("/ports", device_id=router["id"])["ports"]
    assert (port["device_owner"], port["project_id"]) == ("network:router_gateway", "")
    path = f"/routers/{router['id']}"
    assert world.alice.change(path, "router", name="x", admin_state_up=False)["admin_state_up"] is False
    assert world.alice.change(path, "router", external_gateway_info={})["external_gateway_info"] is None
    assert world.admin.get("/ports", device_id=router["id"])["ports"] == []
    world.alice.delete(path)
    assert world.alice.error("GET", path, 404) == "RouterNotFound"


@pytest.mark.parametrize("detail", [{"enable_snat": False}, {"external_fixed_ips": [{"ip_address": "172.24.4.99"}]}])
def test_gateway_details_are_for_administrators(world: World, detail: dict[str, Any]) -> None:
    public = world.external()
    router = world.alice.make("router")
    info = {"network_id": public["id"], **detail}
    assert world.alice.change(f"/routers/{router['id']}", "router", 403, external_gateway_info=info)["type"] == (
        "PolicyNotAuthorized"
    )
    changed = world.admin.change(f"/routers/{router['id']}", "router", external_gateway_info=info)
    shown = changed["external_gateway_info"]
    if "enable_snat" in detail:
        assert shown["enable_snat"] is False
    else:
        assert shown["external_fixed_ips"][0]["ip_address"] == "172.24.4.99"


def test_refused_gateways(world: World) -> None:
    router = world.alice.make("router")
    path = f"/routers/{router['id']}"
    private = world.alice.make("network")
    wrong = world.alice.change(path, "router", 400, external_gateway_info={"network_id": private["id"]})
    assert wrong["type"] == "BadRequest"
    wrong = world.alice.change(path, "router", 404, external_gateway_info={"network_id": router["id"]})
    assert wrong["type"] == "NetworkNotFound"
    public = world.external()
    used = world.admin.make("port", network_id=public["id"])["fixed_ips"][0]
    info = {"network_id": public["id"], "external_fixed_ips": [used]}
    assert world.admin.make("router", 409, external_gateway_info=info)["type"] == "IpAddressAlreadyAllocated"
    assert len(world.admin.get("/routers")["routers"]) == 1


def test_interfaces(world: World) -> None:
    router, network, subnet = connected(world)
    path = f"/routers/{router['id']}"
    (port,) = world.alice.get("/ports", device_owner="network:router_interface")["ports"]
    assert port["device_id"] == router["id"]
    assert port["fixed_ips"] == [{"subnet_id": subnet["id"], "ip_address": "10.0.0.1"}]
    assert world.alice.error("DELETE", path, 409) == "RouterInUse"
    assert world.alice.error("DELETE", f"/ports/{port['id']}", 409) == "ServicePortInUse"
    assert world.alice.error("DELETE", f"/networks/{network['id']}", 409) == "NetworkInUse"
    add, remove = f"{path}/add_router_interface", f"{path}/remove_router_interface"
    assert world.alice.error("PUT", add, 400, {"subnet_id": subnet["id"]}) == "BadRequest"
    assert world.alice.error("PUT", add, 400, {}) == "BadRequest"
    assert world.alice.error("PUT", add, 400, {"subnet_id": subnet["id"], "port_id": port["id"]}) == "BadRequest"
    assert world.alice.error("PUT", add, 404, {"subnet_id": "nope"}) == "SubnetNotFound"
    assert world.alice.error("PUT", add, 409, {"port_id": port["id"]}) == "PortInUse"
    overlapping = world.alice.subnet(world.alice.make("network"), "10.0.0.0/25")
    assert world.alice.error("PUT", add, 400, {"subnet_id": overlapping["id"]}) == "BadRequest"
    removed = world.alice.put(remove, {"subnet_id": subnet["id"]})
    assert (removed["port_id"], removed["subnet_ids"], removed["id"]) == (port["id"], [subnet["id"]], router["id"])
    assert world.alice.error("PUT", remove, 404, {"subnet_id": subnet["id"]}) == "RouterInterfaceNotFoundForSubnet"
    assert world.alice.error("PUT", remove, 404, {"port_id": port["id"]}) == "RouterInterfaceNotFound"
    world.alice.delete(path)


def test_a_port_as_interface(world: World) -> None:
    network = world.alice.make("network")
    subnet = world.alice.subnet(network, "10.0.0.0/24")
    port = world.alice.make("port", network_id=network["id"])
    router = world.alice.make("router")
    path = f"/routers/{router['id']}"
    added = world.alice.put(f"{path}/add_router_interface", {"port_id": port["id"]})
    assert (added["port_id"], added["subnet_id"]) == (port["id"], subnet["id"])
    shown = world.alice.get(f"/ports/{port['id']}")["port"]
    assert (shown["device_owner"], shown["security_groups"]) == ("network:router_interface", [])
    world.alice.put(f"{path}/remove_router_interface", {"port_id": port["id"]})
    assert world.alice.error("GET", f"/ports/{port['id']}", 404) == "PortNotFound"
    bare = world.alice.make("port", network_id=network["id"], fixed_ips=[])
    assert world.alice.error("PUT", f"{path}/add_router_interface", 400, {"port_id": bare["id"]}) == "BadRequest"


def test_ipv6_subnets_of_a_network_share_an_interface(world: World) -> None:
    network = world.alice.make("network")
    one = world.alice.subnet(network, "2001:db8::/64", ipv6_address_mode="slaac")
    two = world.alice.subnet(network, "2001:db8:1::/64", ipv6_address_mode="slaac")
    router = world.alice.make("router")
    path = f"/routers/{router['id']}"
    first = world.alice.put(f"{path}/add_router_interface", {"subnet_id": one["id"]})
    second = world.alice.put(f"{path}/add_router_interface", {"subnet_id": two["id"]})
    assert first["port_id"] == second["port_id"]
    world.alice.put(f"{path}/remove_router_interface", {"subnet_id": one["id"]})
    shown = world.alice.get(f"/ports/{first['port_id']}")["port"]
    assert [fixed["subnet_id"] for fixed in shown["fixed_ips"]] == [two["id"]]


def test_extra_routes(world: World) -> None:
    router, _network, subnet = connected(world)
    path = f"/routers/{router['id']}"
    route = {"destination": "10.9.0.0/24", "nexthop": "10.0.0.77"}
    assert world.alice.change(path, "router", routes=[route])["routes"] == [route]
    other = {"destination": "10.8.0.0/24", "nexthop": "10.0.0.78"}
    added = world.alice.change(f"{path}/add_extraroutes", "router", routes=[route, other])
    assert added["routes"] == [route, other]
    left = world.alice.change(f"{path}/remove_extraroutes", "router", routes=[other])
    assert left["routes"] == [route]
    for nexthop in ("10.7.0.1", "10.0.0.1"):
        wrong = world.alice.change(path, "router", 400, routes=[{"destination": "10.9.0.0/24", "nexthop": nexthop}])
        assert wrong["type"] == "InvalidRoutes"
    error = world.alice.error("PUT", f"{path}/remove_router_interface", 409, {"subnet_id": subnet["id"]})
    assert error == "RouterInterfaceInUseByRoute"
    assert world.alice.change(path, "router", routes=None)["routes"] == []


def test_other_projects_routers_are_not_there(world: World) -> None:
    router, _network, subnet = connected(world)
    path = f"/routers/{router['id']}"
    assert world.bob.error("GET", path, 404) == "RouterNotFound"
    assert world.bob.error("DELETE", path, 404) == "RouterNotFound"
    body = {"subnet_id": subnet["id"]}
    assert world.bob.error("PUT", f"{path}/add_router_interface", 404, body) == "RouterNotFound"
    mine = world.bob.make("router")
    assert world.bob.error("PUT", f"/routers/{mine['id']}/add_router_interface", 404, body) == "SubnetNotFound"


def test_floating_ip_life_cycle(world: World) -> None:
    router, network, _subnet = connected(world)
    public = world.external()
    port = world.alice.make("port", network_id=network["id"])
    other = world.alice.make("port", network_id=network["id"])
    made = world.alice.make("floatingip", floating_network_id=public["id"], port_id=port["id"])
    assert made["floating_ip_address"] == "172.24.4.11" and made["status"] == "DOWN"
    assert (made["port_id"], made["router_id"]) == (port["id"], router["id"])
    assert made["fixed_ip_address"] == port["fixed_ips"][0]["ip_address"]
    path = f"/floatingips/{made['id']}"
    world.sync()
    assert world.alice.get(path)["floatingip"]["status"] == "ACTIVE"
    taken = world.alice.make("floatingip", 409, floating_network_id=public["id"], port_id=port["id"])
    assert taken["type"] == "FloatingIPPortAlreadyAssociated"
    moved = world.alice.change(path, "floatingip", port_id=other["id"])
    assert moved["fixed_ip_address"] == other["fixed_ips"][0]["ip_address"]
    for verb, body, kind in (
        ("remove_router_interface", {"subnet_id": other["fixed_ips"][0]["subnet_id"]}, "InterfaceInUseByFloatingIP"),
        ("", {"router": {"external_gateway_info": None}}, "ExternalGatewayInUseByFloatingIp"),
    ):
        assert world.alice.error("PUT", f"/routers/{router['id']}/{verb}".rstrip("/"), 409, body) == f"Router{kind}"
    world.alice.delete(f"/ports/{other['id']}")
    shown = world.alice.get(path)["floatingip"]
    assert (shown["port_id"], shown["fixed_ip_address"], shown["router_id"]) == (None, None, None)
    assert shown["status"] == "DOWN"
    world.alice.change(path, "floatingip", port_id=port["id"])
    freed = world.alice.change(path, "floatingip", port_id=None)
    assert freed["router_id"] is None
    assert world.bob.error("GET", path, 404) == "FloatingIPNotFound"
    world.alice.delete(path)
    assert world.admin.get("/ports", device_owner="network:floatingip")["ports"] == []


def test_refused_floating_ips(world: World) -> None:
    _router, network, _subnet = connected(world)
    public = world.external()
    lonely = world.alice.make("network")
    world.alice.subnet(lonely, "10.5.0.0/24")
    unreachable = world.alice.make("port", network_id=lonely["id"])
    theirs_network = world.bob.make("network")
    theirs = world.bob.make("port", network_id=theirs_network["id"])
    both = world.alice.make("port", network_id=network["id"], fixed_ips=[{"ip_address": f"10.0.0.{n}"} for n in (8, 9)])
    net = {"floating_network_id": public["id"]}
    for status, kind, attributes in (
        (404, "ExternalGatewayForFloatingIPNotFound", {**net, "port_id": unreachable["id"]}),
        (404, "PortNotFound", {**net, "port_id": theirs["id"]}),
        (404, "NetworkNotFound", {"floating_network_id": "nope"}),
        (400, "BadRequest", {"floating_network_id": network["id"]}),
        (400, "BadRequest", {**net, "fixed_ip_address": "10.0.0.8"}),
        (400, "BadRequest", {**net, "port_id": both["id"]}),
        (400, "BadRequest", {**net, "port_id": both["id"], "fixed_ip_address": "10.0.0.7"}),
        (403, "PolicyNotAuthorized", {**net, "floating_ip_address": "172.24.4.99"}),
        (400, "HTTPBadRequest", {}),
    ):
        assert world.alice.make("floatingip", status, **attributes)["type"] == kind
    chosen = world.alice.make("floatingip", **net, port_id=both["id"], fixed_ip_address="10.0.0.9")
    assert chosen["fixed_ip_address"] == "10.0.0.9"
    assert world.admin.make("floatingip", **net, floating_ip_address="172.24.4.99")["floating_ip_address"] == (
        "172.24.4.99"
    )
    used = {"network_id": public["id"], "fixed_ips": [{"ip_address": "172.24.4.99"}]}
    assert world.admin.make("port", 409, **used)["type"] == "IpAddressAlreadyAllocated"


def test_an_external_network_takes_idle_floating_ips_with_it(world: World) -> None:
    network = world.admin.make("network", **{"router:external": True})
    world.admin.subnet(network, "10.7.0.0/24", enable_dhcp=False)
    world.admin.make("floatingip", floating_network_id=network["id"])
    assert world.admin.change(f"/networks/{network['id']}", "network", 409, **{"router:external": False})["type"] == (
        "ExternalNetworkInUse"
    )
    world.admin.delete(f"/networks/{network['id']}")
    assert world.admin.get("/floatingips")["floatingips"] == []


def test_a_router_waits_for_a_host(world: World) -> None:
    world.hosts.hosts = [FakeHost("down", up=False), FakeHost("disabled", enabled=False)]
    router, _network, _subnet = connected(world)
    assert world.count_marked("router") == 0
    world.hosts.hosts.append(FakeHost("host-b"))
    world.db.transact(world.networks.routers.settle_homeless)
    world.sync()
    assert set(world.agents.at("host-b", "routers")) == {router["id"]}


def test_routers_spread_over_hosts(world: World) -> None:
    world.hosts.hosts = [FakeHost("host-a"), FakeHost("host-b")]
    public = world.external()
    for _ in range(4):
        world.alice.make("router", external_gateway_info={"network_id": public["id"]})
    world.sync()
    assert [len(world.agents.at(host, "routers")) for host in ("host-a", "host-b")] == [2, 2]
