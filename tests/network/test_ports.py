"""Ports: addresses, security, binding, filters."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from pileus.network import addresses
from pileus.network.models import ip_allocation
from tests.network.conftest import World, build


def ips(port: dict[str, Any]) -> list[str]:
    return [fixed["ip_address"] for fixed in port["fixed_ips"]]


def test_life_cycle(world: World) -> None:
    network = world.alice.make("network")
    subnet = world.alice.subnet(network, "10.0.0.0/24")
    port = world.alice.make("port", network_id=network["id"], name="p")
    assert port["status"] == "DOWN" and port["mac_address"].startswith("fa:16:3e:")
    assert port["fixed_ips"] == [{"subnet_id": subnet["id"], "ip_address": "10.0.0.3"}]
    assert port["device_id"] == port["device_owner"] == "" and port["binding:vnic_type"] == "normal"
    assert not {"binding:host_id", "binding:vif_type"} & set(port)
    assert world.alice.get(f"/ports/{port['id']}")["port"] == port
    changed = world.alice.change(f"/ports/{port['id']}", "port", name="q", admin_state_up=False)
    assert (changed["name"], changed["admin_state_up"]) == ("q", False)
    world.alice.delete(f"/ports/{port['id']}")
    assert world.alice.error("GET", f"/ports/{port['id']}", 404) == "PortNotFound"


def test_addresses_are_handed_out_in_turn_and_not_reused_at_once(world: World) -> None:
    network = world.alice.make("network")
    world.alice.subnet(network, "10.0.0.0/29", enable_dhcp=False)
    first = world.alice.make("port", network_id=network["id"])
    world.alice.delete(f"/ports/{first['id']}")
    given = [ips(world.alice.make("port", network_id=network["id"]))[0] for _ in range(5)]
    assert ips(first) == ["10.0.0.2"]
    assert given == ["10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"]
    assert world.alice.make("port", 409, network_id=network["id"])["type"] == "IpAddressGenerationFailure"


def test_a_full_subnet_gives_way_to_the_next(world: World) -> None:
    network = world.alice.make("network")
    world.alice.subnet(network, "10.0.0.0/30", enable_dhcp=False)
    world.alice.subnet(network, "10.0.1.0/30", enable_dhcp=False)
    made = [ips(world.alice.make("port", network_id=network["id"])) for _ in range(2)]
    assert made == [["10.0.0.2"], ["10.0.1.2"]]


def test_requested_addresses(world: World) -> None:
    network = world.alice.make("network")
    subnet = world.alice.subnet(network, "10.0.0.0/24")
    other = world.alice.subnet(world.alice.make("network"), "10.5.0.0/24")

    def ask(status: int, *fixed: dict[str, str]) -> Any:
        return world.alice.make("port", status, network_id=network["id"], fixed_ips=list(fixed))

    assert ips(ask(201, {"ip_address": "10.0.0.50"})) == ["10.0.0.50"]
    assert ips(ask(201, {"subnet_id": subnet["id"]}, {"subnet_id": subnet["id"]})) == ["10.0.0.3", "10.0.0.4"]
    assert ask(201)["fixed_ips"] == []
    assert ask(409, {"ip_address": "10.0.0.50"})["type"] == "IpAddressAlreadyAllocated"
    assert ask(409, {"ip_address": "10.0.0.60"}, {"ip_address": "10.0.0.60"})["type"] == "IpAddressAlreadyAllocated"
    assert ask(400, {"ip_address": "10.0.9.1"})["type"] == "InvalidIpForNetwork"
    assert ask(400, {"ip_address": "10.0.0.255"})["type"] == "InvalidIpForSubnet"
    assert ask(400, {"ip_address": "10.0.9.1", "subnet_id": subnet["id"]})["type"] == "InvalidIpForSubnet"
    assert ask(400, {"subnet_id": other["id"]})["type"] == "InvalidInput"
    assert ask(400, {"ip_address": "x"})["type"] == "HTTPBadRequest"
    assert ask(400, {"address": "10.0.0.5"})["type"] == "HTTPBadRequest"
    assert ask(400, {})["type"] == "InvalidInput"
    assert ask(400, *({"subnet_id": subnet["id"]} for _ in range(6)))["type"] == "InvalidInput"


def test_update_keeps_the_addresses_it_can(world: World) -> None:
    network = world.alice.make("network")
    one = world.alice.subnet(network, "10.0.0.0/24")
    two = world.alice.subnet(network, "10.0.1.0/24")
    both = [{"subnet_id": one["id"]}, {"subnet_id": two["id"]}]
    port = world.alice.make("port", network_id=network["id"], fixed_ips=both)
    path = f"/ports/{port['id']}"
    first, second = ips(port)
    assert ips(world.alice.change(path, "port", fixed_ips=both[:1])) == [first]
    again = ips(world.alice.change(path, "port", fixed_ips=both))
    assert again[0] == first and again[1] != second
    assert ips(world.alice.change(path, "port", fixed_ips=[])) == []


def test_slaac_addresses_derive_from_the_mac(world: World) -> None:
    network = world.alice.make("network")
    early = world.alice.make("port", network_id=network["id"])
    subnet = world.alice.subnet(network, "2001:db8::/64", ipv6_ra_mode="slaac", ipv6_address_mode="slaac")
    stateful = world.alice.subnet(network, "2001:db8:1::/64", ipv6_address_mode="dhcpv6-stateful")
    world.alice.subnet(network, "10.0.0.0/24")
    port = world.alice.make("port", network_id=network["id"], mac_address="fa:16:3e:00:00:01")
    by_subnet = {fixed["subnet_id"]: fixed["ip_address"] for fixed in port["fixed_ips"]}
    assert len(by_subnet) == 3 and by_subnet[subnet["id"]] == "2001:db8::f816:3eff:fe00:1"
    assert by_subnet[stateful["id"]].startswith("2001:db8:1::")
    shown = world.alice.get(f"/ports/{early['id']}")["port"]
    assert ips(shown) == [addresses.eui64("2001:db8::/64", early["mac_address"])]
    error = world.alice.make(
        "port", 400, network_id=network["id"], fixed_ips=[{"subnet_id": subnet["id"], "ip_address": "2001:db8::9"}]
    )
    assert error["type"] == "AllocationOnAutoAddressSubnet"


def test_macs(world: World) -> None:
    network = world.alice.make("network")
    world.alice.make("port", network_id=network["id"], mac_address="FA:16:3E:00:00:01")
    again = world.alice.make("port", 409, network_id=network["id"], mac_address="fa:16:3e:00:00:01")
    assert again["type"] == "MacAddressInUse"
    for wrong in ("fa:16:3e:00:00", "01:00:5e:00:00:01", "00:00:00:00:00:00", "zz:16:3e:00:00:01"):
        assert world.alice.make("port", 400, network_id=network["id"], mac_address=wrong)["type"] == "HTTPBadRequest"


def test_port_security(world: World) -> None:
    network = world.alice.make("network")
    group = world.alice.make("security_group", name="g")
    port = world.alice.make("port", network_id=network["id"])
    (default,) = world.alice.get("/security-groups", name="default")["security_groups"]
    assert port["security_groups"] == [default["id"]]
    path = f"/ports/{port['id']}"
    error = world.alice.change(path, "port", 409, port_security_enabled=False)
    assert error["type"] == "PortSecurityPortHasSecurityGroup"
    open_port = world.alice.change(path, "port", port_security_enabled=False, security_groups=[])
    assert open_port["port_security_enabled"] is False and open_port["security_groups"] == []
    pair = {"ip_address": "10.9.0.0/24"}
    error = world.alice.change(path, "port", 409, allowed_address_pairs=[pair])
    assert error["type"] == "AddressPairAndPortSecurityRequired"
    body = {"network_id": network["id"], "port_security_enabled": False}
    assert world.alice.make("port", **body)["security_groups"] == []
    error = world.alice.make("port", 400, **body, security_groups=[group["id"]])
    assert error["type"] == "PortSecurityAndIPRequiredForSecurityGroups"
    unknown = world.alice.make("port", 404, network_id=network["id"], security_groups=["nope"])
    assert unknown["type"] == "SecurityGroupNotFound"
    theirs = world.bob.make("security_group", name="theirs")
    unknown = world.alice.make("port", 404, network_id=network["id"], security_groups=[theirs["id"]])
    assert unknown["type"] == "SecurityGroupNotFound"


def test_allowed_address_pairs(world: World) -> None:
    network = world.alice.make("network")
    pairs = [{"ip_address": "10.9.0.5"}, {"ip_address": "10.8.0.0/16", "mac_address": "fa:16:3e:00:00:09"}]
    port = world.alice.make("port", network_id=network["id"], allowed_address_pairs=pairs)
    assert port["allowed_address_pairs"] == [
        {"ip_address": "10.9.0.5", "mac_address": port["mac_address"]},
        {"ip_address": "10.8.0.0/16", "mac_address": "fa:16:3e:00:00:09"},
    ]
    path = f"/ports/{port['id']}"
    twice = world.alice.change(path, "port", 400, allowed_address_pairs=[pairs[0], pairs[0]])
    assert twice["type"] == "DuplicateAddressPairInRequest"
    many = [{"ip_address": f"10.9.0.{n}"} for n in range(11)]
    assert world.alice.change(path, "port", 400, allowed_address_pairs=many)["type"] == "AddressPairsExhausted"
    assert world.alice.change(path, "port", 400, allowed_address_pairs=[{"mac_address": "x"}])["type"] == (
        "HTTPBadRequest"
    )
    assert world.alice.change(path, "port", allowed_address_pairs=[])["allowed_address_pairs"] == []


def test_what_only_administrators_set(world: World) -> None:
    network = world.alice.make("network")
    port = world.alice.make("port", network_id=network["id"])
    path = f"/ports/{port['id']}"
    denied = world.alice.change(path, "port", 403, **{"binding:host_id": "host-a"})
    assert denied["type"] == "PolicyNotAuthorized"
    shown = world.admin.change(path, "port", **{"binding:host_id": "host-a"})
    assert (shown["binding:host_id"], shown["binding:vif_type"]) == ("host-a", "bridge")
    shared = world.admin.make("network", shared=True)
    world.admin.subnet(shared, "10.0.0.0/24")
    for attributes in (
        {"mac_address": "fa:16:3e:00:00:01"},
        {"fixed_ips": [{"ip_address": "10.0.0.9"}]},
        {"device_owner": "network:dhcp"},
        {"port_security_enabled": False},
    ):
        assert world.bob.make("port", 403, network_id=shared["id"], **attributes)["type"] == "PolicyNotAuthorized"
    mine = world.bob.make("port", network_id=shared["id"], device_owner="compute:nova", fixed_ips=[])
    assert mine["project_id"] == "project-bob"
    wrong = world.alice.make("port", 400, network_id=network["id"], **{"binding:vnic_type": "direct"})
    assert wrong["type"] == "InvalidInput"


def test_owners_of_networks_see_the_ports_on_them(world: World) -> None:
    shared = world.admin.make("network", shared=True)
    port = world.bob.make("port", network_id=shared["id"])
    assert world.admin.get(f"/ports/{port['id']}")["port"]["project_id"] == "project-bob"
    assert world.alice.error("GET", f"/ports/{port['id']}", 404) == "PortNotFound"
    assert world.alice.error("DELETE", f"/ports/{port['id']}", 404) == "PortNotFound"
    assert world.alice.get("/ports")["ports"] == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"name": "a"}, {"a"}),
        ({"name": ["a", "b"]}, {"a", "b"}),
        ({"fixed_ips": "ip_address=10.0.0.20"}, {"a"}),
        ({"fixed_ips": "ip_address_substr=0.0.2"}, {"a", "b"}),
        ({"mac_address": "FA:16:3E:00:00:0A"}, {"a"}),
        ({"admin_state_up": "False"}, {"b"}),
        ({"device_id": ""}, {"a", "b"}),
        ({"tenant_id": "project-bob"}, set()),
        ({"status": "ACTIVE"}, set()),
    ],
)
def test_filters(world: World, query: dict[str, Any], found: set[str]) -> None:
    network = world.alice.make("network")
    world.alice.subnet(network, "10.0.0.0/24", enable_dhcp=False)
    common = {"network_id": network["id"]}
    world.alice.make(
        "port", **common, name="a", fixed_ips=[{"ip_address": "10.0.0.20"}], mac_address="fa:16:3e:00:00:0a"
    )
    world.alice.make("port", **common, name="b", fixed_ips=[{"ip_address": "10.0.0.21"}], admin_state_up=False)
    assert {port["name"] for port in world.alice.get("/ports", **query)["ports"]} == found


@pytest.mark.parametrize(
    "query",
    [
        {"colour": "blue"},
        {"admin_state_up": "maybe"},
        {"revision_number": "9" * 30},
        {"limit": "-1"},
        {"limit": "x"},
        {"limit": "9" * 5000},
        {"sort_key": "colour"},
        {"sort_key": "name", "sort_dir": "up"},
        {"fixed_ips": "10.0.0.1"},
        {"changed_since": "yesterday"},
    ],
)
def test_bad_queries(world: World, query: dict[str, str]) -> None:
    assert world.alice.error("GET", "/ports", 400, **query) == "HTTPBadRequest"


def test_a_page_holds_own_ports_and_those_on_own_networks_once_each(world_of: Callable[[], World]) -> None:
    world = world_of()
    own = world.alice.make("network")
    shared = world.admin.make("network", shared=True)
    alien = world.admin.make("port", network_id=shared["id"])
    seen = [world.alice.make("port", network_id=network["id"])["id"] for network in (own, shared) for _ in range(3)]
    seen += [world.admin.make("port", network_id=own["id"])["id"] for _ in range(3)]
    paged: list[str] = []
    while (page := world.alice.get("/ports", limit=2, **({"marker": paged[-1]} if paged else {})))["ports"]:
        paged += [port["id"] for port in page["ports"]]
        assert ("next" in {link["rel"] for link in page.get("ports_links", ())}) == (len(paged) < len(seen))
    assert paged == sorted(seen)
    back = world.alice.get("/ports", limit=3, marker=paged[4], page_reverse=True)["ports"]
    assert [port["id"] for port in back] == paged[1:4]
    everything = world.alice.get("/ports")["ports"]
    assert [port["id"] for port in everything] == paged
    assert {port["id"] for port in world.admin.get("/ports", limit=100)["ports"]} == {*seen, alien["id"]}
    by_name = world.alice.get("/ports", limit=100, sort_key="name")["ports"]
    assert {port["id"] for port in by_name} == set(seen)


def test_pages_go_forth_and_back(world: World) -> None:
    network = world.alice.make("network")
    for number in range(5):
        world.alice.make("port", network_id=network["id"], name=f"p{number}")
    order = {"sort_key": "name", "sort_dir": "desc", "fields": ["id", "name"]}
    page = world.alice.get("/ports", **order, limit=2)
    names = [port["name"] for port in page["ports"]]
    while link := next((link["href"] for link in page["ports_links"] if link["rel"] == "next"), None):
        page = world.client.simulate_get(
            "/network/v2.0/ports", query_string=link.partition("?")[2], headers={"X-Auth-Token": "alice"}
        ).json
        names += [port["name"] for port in page["ports"]]
    assert names == ["p4", "p3", "p2", "p1", "p0"]
    (back,) = page["ports_links"]
    assert back["rel"] == "previous"
    previous = world.client.simulate_get(
        "/network/v2.0/ports", query_string=back["href"].partition("?")[2], headers={"X-Auth-Token": "alice"}
    ).json
    assert [port["name"] for port in previous["ports"]] == ["p2", "p1"]
    assert world.alice.error("GET", "/ports", 404, limit=1, marker="nope") == "PortNotFound"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"port": 5}', 400),
        (b'{"ports": []}', 400),
        (b'{"port": {}}', 400),
        (b'{"port": {"network_id": 5}}', 400),
        (b'{"port": {"network_id": "x", "wrong": 1}}', 400),
        (b'{"port": {"network_id": "x", "fixed_ips": "10.0.0.1"}}', 400),
        (b'{"port": {"network_id": "x"}}', 404),
        (b'{"port": {"network_id": "x", "name": "' + b"n" * 256 + b'"}}', 400),
    ],
)
def test_bad_bodies(world: World, body: bytes, status: int) -> None:
    answer = world.client.simulate_post("/network/v2.0/ports", body=body, headers={"X-Auth-Token": "alice"})
    assert answer.status_code == status
    assert set(answer.json["NeutronError"]) == {"type", "message", "detail"}


def test_eight_writers_get_different_addresses(world_of: Callable[[], World]) -> None:
    world = world_of()
    network = world.alice.make("network")
    world.alice.subnet(network, "10.0.0.0/24", enable_dhcp=False)
    clients = [build(world.db).alice for _ in range(8)]

    def many(client: Any) -> list[str]:
        return [ips(client.make("port", network_id=network["id"]))[0] for _ in range(10)]

    with ThreadPoolExecutor(8) as pool:
        given = [ip for batch in pool.map(many, clients) for ip in batch]
    assert len(set(given)) == 80
    with world.db.read() as tx:
        assert tx.scalar(sa.select(sa.func.count()).select_from(ip_allocation)) == 80


def test_one_of_two_associations_wins(world_of: Callable[[], World]) -> None:
    world = world_of()
    public = world.external()
    network = world.alice.make("network")
    subnet = world.alice.subnet(network, "10.0.0.0/24")
    router = world.alice.make("router", external_gateway_info={"network_id": public["id"]})
    world.alice.put(f"/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    port = world.alice.make("port", network_id=network["id"])
    floating = [world.alice.make("floatingip", floating_network_id=public["id"])["id"] for _ in range(4)]
    clients = [build(world.db).alice for _ in floating]
    body = {"floatingip": {"port_id": port["id"]}}
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(
                lambda pair: pair[0].call("PUT", f"/floatingips/{pair[1]}", body), zip(clients, floating, strict=True)
            )
        )
    kinds = sorted(answer.get("NeutronError", {}).get("type", "") for answer in answers)
    assert kinds == ["", *["FloatingIPPortAlreadyAssociated"] * 3]


def test_the_last_place_of_a_quota_is_taken_once(world_of: Callable[[], World]) -> None:
    world = world_of()
    network = world.alice.make("network")
    world.admin.change("/quotas/project-alice", "quota", port=3)
    clients = [build(world.db).alice for _ in range(4)]
    body = {"port": {"network_id": network["id"]}}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda client: [client.call("POST", "/ports", body) for _ in range(2)], clients))
    kinds = [next(iter(answer)) for pair in answers for answer in pair]
    assert sorted(kinds) == ["NeutronError"] * 5 + ["port"] * 3
