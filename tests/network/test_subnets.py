"""Subnets: what is taken and refused, pools, gateways, DHCP's port."""

from typing import Any

import pytest

from tests.network.conftest import World


def test_defaults(world: World) -> None:
    network = world.alice.make("network")
    subnet = world.alice.subnet(network, "10.0.0.0/24", name="s")
    assert subnet["gateway_ip"] == "10.0.0.1"
    assert subnet["allocation_pools"] == [{"start": "10.0.0.2", "end": "10.0.0.254"}]
    assert subnet["enable_dhcp"] is True and subnet["dns_nameservers"] == [] and subnet["host_routes"] == []
    assert world.alice.get(f"/networks/{network['id']}")["network"]["subnets"] == [subnet["id"]]


def test_gateway_in_the_middle_splits_the_pool(world: World) -> None:
    network = world.alice.make("network")
    subnet = world.alice.subnet(network, "10.0.0.0/29", gateway_ip="10.0.0.3")
    assert subnet["allocation_pools"] == [
        {"start": "10.0.0.1", "end": "10.0.0.2"},
        {"start": "10.0.0.4", "end": "10.0.0.6"},
    ]


def test_ipv6_defaults(world: World) -> None:
    network = world.alice.make("network")
    subnet = world.alice.subnet(network, "2001:db8::/64", ipv6_ra_mode="slaac", ipv6_address_mode="slaac")
    assert subnet["gateway_ip"] == "2001:db8::1"
    assert subnet["allocation_pools"] == [{"start": "2001:db8::2", "end": "2001:db8::ffff:ffff:ffff:ffff"}]


@pytest.mark.parametrize(
    ("attributes", "status", "kind"),
    [
        ({"cidr": "10.0.0.0"}, 400, "HTTPBadRequest"),
        ({"cidr": "10.0.0.5/24"}, 400, "HTTPBadRequest"),
        ({"cidr": "not a block"}, 400, "HTTPBadRequest"),
        ({"cidr": "10.0.0.0/33"}, 400, "HTTPBadRequest"),
        ({"cidr": "0.0.0.0/0"}, 400, "InvalidInput"),
        ({"cidr": "224.0.0.0/24"}, 400, "InvalidInput"),
        ({"cidr": "127.0.0.0/24"}, 400, "InvalidInput"),
        ({"cidr": "2001:db8::/64"}, 400, "InvalidInput"),
        ({"cidr": None}, 400, "InvalidInput"),
        ({"cidr": "10.0.0.128/25"}, 400, "InvalidInput"),
        ({"cidr": "10.1.0.0/24", "ip_version": 5}, 400, "HTTPBadRequest"),
        ({"cidr": "10.1.0.0/24", "gateway_ip": "10.2.0.1"}, 400, "InvalidInput"),
        ({"cidr": "10.1.0.0/24", "gateway_ip": "10.1.0.255"}, 400, "InvalidInput"),
        ({"cidr": "10.1.0.0/24", "gateway_ip": "x"}, 400, "HTTPBadRequest"),
        ({"cidr": "10.1.0.0/24", "ipv6_ra_mode": "slaac"}, 400, "InvalidInput"),
        ({"cidr": "10.1.0.0/24", "dns_nameservers": ["dns.example.org"]}, 400, "HTTPBadRequest"),
        ({"cidr": "10.1.0.0/24", "dns_nameservers": ["9.9.9.9", "9.9.9.9"]}, 400, "HTTPBadRequest"),
        ({"cidr": "10.1.0.0/24", "host_routes": [{"destination": "x", "nexthop": "10.1.0.2"}]}, 400, "HTTPBadRequest"),
        ({"cidr": "10.1.0.0/24", "host_routes": [{"destination": "10.2.0.0/24"}]}, 400, "HTTPBadRequest"),
        ({"cidr": "10.1.0.0/24", "subnetpool_id": "x"}, 400, "InvalidInput"),
        ({"cidr": "10.1.0.0/24", "wrong": 1}, 400, "HTTPBadRequest"),
        (
            {"cidr": "10.1.0.0/24", "allocation_pools": [{"start": "10.1.0.9", "end": "10.1.0.2"}]},
            400,
            "InvalidAllocationPool",
        ),
        (
            {"cidr": "10.1.0.0/24", "allocation_pools": [{"start": "10.1.0.9", "end": "10.1.1.2"}]},
            400,
            "OutOfBoundsAllocationPool",
        ),
        ({"cidr": "10.1.0.0/24", "allocation_pools": [{"start": "10.1.0.9"}]}, 400, "HTTPBadRequest"),
        (
            {
                "cidr": "10.1.0.0/24",
                "allocation_pools": [
                    {"start": "10.1.0.2", "end": "10.1.0.9"},
                    {"start": "10.1.0.9", "end": "10.1.0.20"},
                ],
            },
            409,
            "OverlappingAllocationPools",
        ),
        (
            {"cidr": "10.1.0.0/24", "allocation_pools": [{"start": "10.1.0.1", "end": "10.1.0.9"}]},
            409,
            "GatewayConflictWithAllocationPools",
        ),
    ],
)
def test_refused(world: World, attributes: dict[str, Any], status: int, kind: str) -> None:
    network = world.alice.make("network")
    world.alice.subnet(network, "10.0.0.0/24")
    body = {"network_id": network["id"], "ip_version": 4, **attributes}
    assert world.alice.make("subnet", status, **body)["type"] == kind
    assert len(world.alice.get("/subnets")["subnets"]) == 1


@pytest.mark.parametrize(("ra_mode", "address_mode"), [("slaac", "dhcpv6-stateful"), ("dhcpv6-stateless", "slaac")])
def test_ipv6_modes_must_agree(world: World, ra_mode: str, address_mode: str) -> None:
    network = world.alice.make("network")
    body = {"network_id": network["id"], "ip_version": 6, "cidr": "2001:db8::/64"}
    error = world.alice.make("subnet", 400, **body, ipv6_ra_mode=ra_mode, ipv6_address_mode=address_mode)
    assert error["type"] == "InvalidInput"


def test_dhcp_port_follows_the_subnets(world: World) -> None:
    network = world.alice.make("network")
    assert world.alice.get("/ports")["ports"] == []
    first = world.alice.subnet(network, "10.0.0.0/24")
    second = world.alice.subnet(network, "10.0.1.0/24", enable_dhcp=False)
    (port,) = world.alice.get("/ports", device_owner="network:dhcp")["ports"]
    assert port["fixed_ips"] == [{"subnet_id": first["id"], "ip_address": "10.0.0.2"}]
    assert port["security_groups"] == [] and port["port_security_enabled"] is False
    world.alice.change(f"/subnets/{second['id']}", "subnet", enable_dhcp=True)
    (port,) = world.alice.get("/ports")["ports"]
    assert {fixed["subnet_id"] for fixed in port["fixed_ips"]} == {first["id"], second["id"]}
    world.alice.delete(f"/subnets/{second['id']}")
    world.alice.change(f"/subnets/{first['id']}", "subnet", enable_dhcp=False)
    assert world.alice.get("/ports")["ports"] == []


def test_a_deleted_dhcp_port_comes_back(world: World) -> None:
    network = world.alice.make("network")
    world.alice.subnet(network, "10.0.0.0/24")
    (port,) = world.alice.get("/ports")["ports"]
    world.alice.delete(f"/ports/{port['id']}")
    (again,) = world.alice.get("/ports")["ports"]
    assert again["id"] != port["id"] and again["device_owner"] == "network:dhcp"


def test_update(world: World) -> None:
    network = world.alice.make("network")
    subnet = world.alice.subnet(network, "10.0.0.0/24")
    path = f"/subnets/{subnet['id']}"
    route = {"destination": "10.9.0.0/24", "nexthop": "10.0.0.9"}
    changed = world.alice.change(
        path,
        "subnet",
        name="new",
        gateway_ip="10.0.0.254",
        allocation_pools=[{"start": "10.0.0.10", "end": "10.0.0.20"}],
        dns_nameservers=["9.9.9.9"],
        host_routes=[route],
    )
    assert (changed["name"], changed["gateway_ip"], changed["dns_nameservers"]) == ("new", "10.0.0.254", ["9.9.9.9"])
    assert changed["host_routes"] == [route] and changed["revision_number"] == 1
    assert world.alice.change(path, "subnet", gateway_ip=None)["gateway_ip"] is None
    assert world.alice.change(path, "subnet", 400, cidr="10.0.0.0/25")["type"] == "HTTPBadRequest"
    error = world.alice.change(path, "subnet", 409, gateway_ip="10.0.0.15")
    assert error["type"] == "GatewayConflictWithAllocationPools"


def test_a_subnet_in_use_stays(world: World) -> None:
    network = world.alice.make("network")
    subnet = world.alice.subnet(network, "10.0.0.0/24")
    port = world.alice.make("port", network_id=network["id"])
    assert world.alice.error("DELETE", f"/subnets/{subnet['id']}", 409) == "SubnetInUse"
    world.alice.delete(f"/ports/{port['id']}")
    world.alice.delete(f"/subnets/{subnet['id']}")


def test_only_the_owner_of_a_network_makes_subnets(world: World) -> None:
    shared = world.admin.make("network", shared=True)
    body = {"network_id": shared["id"], "ip_version": 4, "cidr": "10.0.0.0/24"}
    assert world.alice.make("subnet", 403, **body)["type"] == "PolicyNotAuthorized"
    private = world.alice.make("network")
    assert world.bob.make("subnet", 404, **{**body, "network_id": private["id"]})["type"] == "NetworkNotFound"
    subnet = world.alice.subnet(private, "10.0.0.0/24")
    assert world.bob.error("GET", f"/subnets/{subnet['id']}", 404) == "SubnetNotFound"
    assert world.bob.error("DELETE", f"/subnets/{subnet['id']}", 404) == "SubnetNotFound"
