"""What compute asks for, and what hosts are told: complete, in order, again after failures, and no more than needed."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pileus.agent import api
from pileus.kernel.clock import MICROSECONDS, FakeClock, SystemClock
from pileus.kernel.db import Database
from pileus.kernel.errors import BadRequest, Conflict, Forbidden, OverLimit, PileusError
from pileus.kernel.loops import LoopCtx
from pileus.kernel.owner import new_owner
from pileus.kernel.rpc import AgentRefused, AgentUnreachable
from pileus.network.domain import PlannedNic, Port, RequestedNic
from pileus.network.loops import loops
from pileus.network.models import ip_allocation, network_sync, port
from pileus.network.settings import NetworkSettings
from pileus.network.sync.pusher import Pusher
from tests.network.conftest import ACTORS, World, build

ALICE = ACTORS["alice"]


def planned(world: World, *requested: RequestedNic) -> list[PlannedNic]:
    with world.db.read() as tx:
        return world.networks.check_requested(tx, ALICE, requested)


def plug(world: World, nic: PlannedNic, server: str, host: str = "host-a", groups: Sequence[str] = ()) -> Port:
    return world.db.transact(
        lambda tx: world.networks.plug(
            tx,
            port=nic,
            server_id=server,
            server_name=f"Server {server}",
            project_id="project-alice",
            host=host,
            availability_zone="nova",
            security_group_ids=groups,
        )
    )


def boot(world: World, network: dict[str, Any], server: str, host: str = "host-a") -> Port:
    (nic,) = planned(world, RequestedNic(network_id=network["id"]))
    made = plug(world, nic, server, host)
    world.networks.wire(world.agents, host, server)
    return made


def subnetted(world: World, cidr: str = "10.0.0.0/24") -> dict[str, Any]:
    network: dict[str, Any] = world.alice.make("network", name="blue")
    world.alice.subnet(network, cidr, dns_nameservers=["9.9.9.9"])
    return network


def test_a_boot_tells_its_host_everything(world: World) -> None:
    network = subnetted(world)
    made = boot(world, network, "s1")
    has = world.agents
    assert [path.split("/")[1] for _host, _verb, path in has.calls] == ["networks", "address-sets", "ports"]
    spec = has.at("host-a", "networks")[network["id"]]
    assert isinstance(spec, api.NetworkSpec)
    (subnet,) = spec.subnets
    assert (subnet.cidr, subnet.gateway_ip, subnet.dhcp_ip) == ("10.0.0.0/24", "10.0.0.1", "10.0.0.2")
    assert subnet.dns_nameservers == ("9.9.9.9",) and spec.dhcp_mac is not None and spec.mtu == 1450
    assert spec.dhcp_hosts == (api.DhcpHost(port_id=made.id, mac=made.mac, ips=("10.0.0.3",), hostname="server-s1"),)
    port_spec = has.at("host-a", "ports")[made.id]
    assert port_spec.addresses == (api.AddressPair(ip="10.0.0.3", mac=made.mac),) and port_spec.filtered
    group = made.security_groups[0]
    assert {(rule.direction, rule.ethertype, rule.remote_set) for rule in port_spec.rules} == {
        ("egress", "IPv4", None),
        ("egress", "IPv6", None),
        ("ingress", "IPv4", group),
        ("ingress", "IPv6", group),
    }
    assert has.at("host-a", "address-sets")[group].ipv4 == ("10.0.0.3",)
    shown = world.admin.get(f"/ports/{made.id}")["port"]
    assert (shown["status"], shown["device_owner"], shown["binding:host_id"]) == ("ACTIVE", "compute:nova", "host-a")
    assert world.count(network_sync) == 3 and world.networks.pusher.due(10) == []


def test_unplug_leaves_nothing_behind(world: World) -> None:
    network = subnetted(world)
    boot(world, network, "s1")
    gone = world.db.transact(lambda tx: world.networks.unplug(tx, "s1"))
    world.networks.unwire(world.agents, "host-a", gone)
    world.sync()
    assert world.agents.has == {} and world.count(network_sync) == 0
    assert [row["device_owner"] for row in world.alice.get("/ports")["ports"]] == ["network:dhcp"]
    assert world.db.transact(lambda tx: world.networks.unplug(tx, "s1")) == []


def test_an_existing_port_is_taken_over_and_given_back(world: World) -> None:
    network = subnetted(world)
    mine = world.alice.make("port", network_id=network["id"])
    (nic,) = planned(world, RequestedNic(port_id=mine["id"]))
    assert nic.existing and nic.port_id == mine["id"]
    plug(world, nic, "s1")
    assert plug(world, nic, "s1").device_id == "s1"
    with pytest.raises(Conflict):
        plug(world, nic, "s2")
    with pytest.raises(Conflict):
        planned(world, RequestedNic(port_id=mine["id"]))
    world.db.transact(lambda tx: world.networks.unplug(tx, "s1"))
    shown = world.admin.get(f"/ports/{mine['id']}")["port"]
    assert (shown["device_id"], shown["binding:host_id"], shown["status"]) == ("", "", "DOWN")
    assert shown["fixed_ips"] == mine["fixed_ips"]


def test_plug_may_be_repeated(world: World) -> None:
    network = subnetted(world)
    (nic,) = planned(world, RequestedNic(network_id=network["id"], fixed_ip="10.0.0.40"))
    first, again = plug(world, nic, "s1"), plug(world, nic, "s1")
    assert first == again and [fixed.ip for fixed in first.fixed_ips] == ["10.0.0.40"]
    moved = plug(world, nic, "s1", host="host-b")
    assert moved.host == "host-b"
    world.sync()
    assert set(world.agents.at("host-b", "ports")) == {nic.port_id} and world.agents.at("host-a", "ports") == {}


def test_refused_requests(world: World) -> None:
    network = subnetted(world)
    bare = world.alice.make("network")
    public = world.external()
    theirs = world.bob.make("network")
    mine = world.alice.make("port", network_id=network["id"], fixed_ips=[{"ip_address": "10.0.0.30"}])
    refusals: list[tuple[list[RequestedNic], type[PileusError]]] = [
        ([RequestedNic(network_id="nope")], BadRequest),
        ([RequestedNic(network_id=theirs["id"])], BadRequest),
        ([RequestedNic(network_id=bare["id"])], BadRequest),
        ([RequestedNic(network_id=public["id"])], Forbidden),
        ([RequestedNic(port_id="nope")], BadRequest),
        ([RequestedNic(network_id=network["id"], fixed_ip="10.0.0.30")], BadRequest),
        ([RequestedNic(network_id=network["id"], fixed_ip="10.9.0.30")], BadRequest),
        ([RequestedNic(network_id=network["id"], fixed_ip="x")], BadRequest),
        ([RequestedNic(port_id=mine["id"]), RequestedNic(port_id=mine["id"])], BadRequest),
        ([RequestedNic()], BadRequest),
    ]
    for requested, error in refusals:
        with pytest.raises(error):
            planned(world, *requested)
    world.admin.change("/quotas/project-alice", "quota", port=3)
    with pytest.raises(OverLimit):
        planned(world, *[RequestedNic(network_id=network["id"])] * 2)


def test_default_networks_and_security_groups(world: World) -> None:
    own, shared = subnetted(world), world.admin.make("network", shared=True)
    world.external()
    world.bob.make("network")
    for _ in range(2):
        world.alice.make("security_group", name="twice")
    with world.db.read() as tx:
        assert [network.id for network in world.networks.default_networks(tx, ALICE)] == [own["id"], shared["id"]]
    refs = world.db.transact(lambda tx: world.networks.resolve_security_groups(tx, ALICE, ["default"]))
    assert [ref.name for ref in refs] == ["default"]
    for names, error in ((["twice"], Conflict), (["nope"], BadRequest)):
        with pytest.raises(error), world.db.read() as tx:
            world.networks.resolve_security_groups(tx, ALICE, names)


def test_rules_and_members_reach_hosts(world: World) -> None:
    network = subnetted(world)
    first = boot(world, network, "s1", "host-a")
    second = boot(world, network, "s2", "host-b")
    group = first.security_groups[0]
    world.sync()
    assert world.agents.at("host-a", "address-sets")[group].ipv4 == ("10.0.0.3", "10.0.0.4")
    rule = world.alice.make(
        "security_group_rule",
        security_group_id=group,
        direction="ingress",
        protocol="icmp",
        remote_ip_prefix="10.1.2.3/16",
    )
    world.sync()
    wanted = api.FilterRule(direction="ingress", ethertype="IPv4", protocol="icmp", remote_prefix="10.1.0.0/16")
    for host, made in (("host-a", first), ("host-b", second)):
        assert wanted in world.agents.at(host, "ports")[made.id].rules
    world.alice.delete(f"/security-group-rules/{rule['id']}")
    pairs = [{"ip_address": "10.0.0.200"}]
    world.alice.change(f"/ports/{second.id}", "port", allowed_address_pairs=pairs)
    world.sync()
    assert wanted not in world.agents.at("host-a", "ports")[first.id].rules
    assert world.agents.at("host-a", "address-sets")[group].ipv4 == ("10.0.0.3", "10.0.0.4", "10.0.0.200")
    world.alice.change(f"/ports/{first.id}", "port", security_groups=[])
    world.sync()
    assert world.agents.at("host-a", "ports")[first.id].rules == ()
    assert world.agents.at("host-a", "address-sets") == {}
    assert world.agents.at("host-b", "address-sets")[group].ipv4 == ("10.0.0.4", "10.0.0.200")


def test_what_ports_take_from_their_network_reaches_hosts(world: World) -> None:
    network = subnetted(world)
    six = world.alice.subnet(network, "2001:db8::/64", ipv6_address_mode="slaac")
    made = boot(world, network, "s1")
    assert len(world.agents.at("host-a", "ports")[made.id].addresses) == 2
    world.alice.change(f"/networks/{network['id']}", "network", admin_state_up=False)
    world.alice.delete(f"/subnets/{six['id']}")
    world.sync()
    spec = world.agents.at("host-a", "ports")[made.id]
    assert not spec.admin_state_up and [pair.ip for pair in spec.addresses] == ["10.0.0.3"]
    assert world.agents.at("host-a", "networks")[network["id"]].dhcp_mac is None
    assert world.agents.at("host-a", "address-sets")[made.security_groups[0]].ipv6 == ()
    assert world.admin.get(f"/ports/{made.id}")["port"]["status"] == "DOWN"


def test_a_router_is_described_completely(world: World) -> None:
    network = subnetted(world)
    made = boot(world, network, "s1")
    public = world.external()
    router = world.alice.make("router", external_gateway_info={"network_id": public["id"]})
    body = {"subnet_id": made.fixed_ips[0].subnet_id}
    world.alice.put(f"/routers/{router['id']}/add_router_interface", body)
    floating = world.alice.make("floatingip", floating_network_id=public["id"], port_id=made.id)
    world.sync()
    spec = world.agents.at("host-a", "routers")[router["id"]]
    assert [interface.addresses for interface in spec.interfaces] == [("10.0.0.1/24",)]
    assert (spec.gateway.addresses, spec.gateway.next_hops) == (("172.24.4.10/24",), ("172.24.4.1",))
    assert spec.floating == (api.FloatingAddress(id=floating["id"], floating_ip="172.24.4.11", fixed_ip="10.0.0.3"),)
    external = world.agents.at("host-a", "networks")[public["id"]]
    assert external.external and external.physical_network == "external" and external.dhcp_mac is None
    statuses = {row["status"] for row in world.admin.get("/ports", device_id=router["id"])["ports"]}
    assert statuses == {"ACTIVE"}
    world.alice.delete(f"/floatingips/{floating['id']}")
    world.alice.put(f"/routers/{router['id']}/remove_router_interface", body)
    world.alice.delete(f"/routers/{router['id']}")
    world.sync()
    assert world.agents.at("host-a", "routers") == {}
    assert set(world.agents.at("host-a", "networks")) == {network["id"]}


def test_a_host_that_was_down_is_told_later(world: World) -> None:
    network = subnetted(world)
    (nic,) = planned(world, RequestedNic(network_id=network["id"]))
    plug(world, nic, "s1")
    world.agents.down.add("host-a")
    with pytest.raises(AgentUnreachable):
        world.networks.wire(world.agents, "host-a", "s1")
    assert world.admin.get(f"/ports/{nic.port_id}")["port"]["status"] == "BUILD"
    world.agents.down.clear()
    world.networks.wire(world.agents, "host-a", "s1")
    assert world.admin.get(f"/ports/{nic.port_id}")["port"]["status"] == "ACTIVE"


def test_the_loop_tells_every_host_that_answers(world: World) -> None:
    network = subnetted(world)
    for server, host in (("s1", "host-a"), ("s2", "host-b")):
        (nic,) = planned(world, RequestedNic(network_id=network["id"]))
        plug(world, nic, server, host)
    world.agents.down.add("host-a")
    (loop,) = loops(world.networks, world.agents)
    loop.run(LoopCtx(world.db, None, SystemClock(), lambda: False))
    assert world.agents.at("host-a", "ports") == {} and len(world.agents.at("host-b", "ports")) == 1


def test_wiring_again_tells_a_restarted_host(world: World) -> None:
    network = subnetted(world)
    made = boot(world, network, "s1")
    world.agents.has.clear()
    world.networks.wire(world.agents, "host-a", "s1")
    assert world.agents.has == {}
    world.networks.wire(world.agents, "host-a", "s1", again=True)
    assert set(world.agents.at("host-a", "ports")) == {made.id}


def test_many_boots_share_what_they_push(world_of: Callable[[], World]) -> None:
    world = world_of()
    network = subnetted(world)
    lock = threading.Lock()
    plain = world.agents.call

    def counted(*args: Any, **kwargs: Any) -> dict[str, Any]:
        with lock:
            return plain(*args, **kwargs)

    world.agents.call = counted  # type: ignore[method-assign]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: boot(world, network, f"s{n}"), range(24)))
    assert len({fixed.ip for port in made for fixed in port.fixed_ips}) == 24
    spec = world.agents.at("host-a", "networks")[network["id"]]
    assert {host.port_id for host in spec.dhcp_hosts} == {port.id for port in made}
    assert len(world.agents.at("host-a", "address-sets")[made[0].security_groups[0]].ipv4) == 24
    assert world.networks.pusher.due(10) == []


def test_boots_that_wait_are_told_together_and_fail_alone(world: World) -> None:
    network = subnetted(world)
    nics = [planned(world, RequestedNic(network_id=network["id"]))[0] for _ in range(4)]
    for number, nic in enumerate(nics):
        plug(world, nic, f"s{number}")
    inside, release = threading.Event(), threading.Event()
    plain = world.agents.call

    def picky(host: str, verb: str, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        inside.set()
        assert release.wait(10)
        if path.endswith(nics[2].port_id):
            raise AgentRefused("failed", "no more taps", transient=True)
        return plain(host, verb, path, *args, **kwargs)

    world.agents.call = picky  # type: ignore[method-assign]
    with ThreadPoolExecutor(4) as pool:
        wired = [pool.submit(world.networks.wire, world.agents, "host-a", "s0")]
        assert inside.wait(10)
        wired += [pool.submit(world.networks.wire, world.agents, "host-a", f"s{number}") for number in (1, 2, 3)]
        release.set()
        failed = [isinstance(one.exception(20), AgentRefused) for one in wired]
    assert failed == [False, False, True, False]
    assert set(world.agents.at("host-a", "ports")) == {nic.port_id for nic in nics if nic is not nics[2]}
    statuses = {row["id"]: row["status"] for row in world.admin.get("/ports", network_id=network["id"])["ports"]}
    assert [statuses[nic.port_id] for nic in nics] == ["ACTIVE", "ACTIVE", "BUILD", "ACTIVE"]


def test_a_long_telling_keeps_its_leases(sqlite: Database) -> None:
    world = build(sqlite)
    network = subnetted(world)
    (nic,) = planned(world, RequestedNic(network_id=network["id"]))
    plug(world, nic, "s1")
    clock = FakeClock(SystemClock().now())
    pusher = Pusher(sqlite, clock, NetworkSettings(sync_timeout=30.0), world.networks.specs)
    plain = world.agents.call
    leases: list[int] = []

    def slow(*args: Any, **kwargs: Any) -> dict[str, Any]:
        clock.advance(29.0)
        with sqlite.read() as tx:
            leases.append(min(row.lease_until for row in tx.all(network_sync.select())) - clock.now())
        return plain(*args, **kwargs)

    world.agents.call = slow  # type: ignore[method-assign]
    pusher.push(world.agents, pusher.due(10))
    assert len(leases) == 3 and all(left > 0 for left in leases) and pusher.due(10) == []


def test_one_of_two_servers_gets_an_existing_port(world_of: Callable[[], World]) -> None:
    world = world_of()
    mine = world.alice.make("port", network_id=subnetted(world)["id"])
    (nic,) = planned(world, RequestedNic(port_id=mine["id"]))

    def take(server: str) -> str:
        try:
            return plug(world, nic, server).device_id
        except Conflict:
            return "refused"

    with ThreadPoolExecutor(4) as pool:
        taken = sorted(pool.map(take, ["s1", "s2", "s3", "s4"]))
    assert taken[:3] == ["refused"] * 3
    assert world.alice.get(f"/ports/{mine['id']}")["port"]["device_id"] == taken[3]


def test_two_processes_push_one_after_the_other(world: World) -> None:
    network = subnetted(world)
    other = build(world.db)
    other.agents.has = world.agents.has
    (nic,) = planned(world, RequestedNic(network_id=network["id"]))
    plug(world, nic, "s1")
    inside, release = threading.Event(), threading.Event()
    plain = world.agents.call

    def slow(*args: Any, **kwargs: Any) -> dict[str, Any]:
        inside.set()
        assert release.wait(10)
        return plain(*args, **kwargs)

    world.agents.call = slow  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(world.networks.wire, world.agents, "host-a", "s1")
        assert inside.wait(10)
        second = pool.submit(other.networks.wire, other.agents, "host-a", "s1")
        release.set()
        first.result(20)
        second.result(20)
    pushed = [path for _host, _verb, path in world.agents.calls + other.agents.calls]
    assert sorted(set(pushed)) == sorted(pushed)
    assert nic.port_id in world.agents.at("host-a", "ports")


@pytest.mark.parametrize("way", ["wire", "loop"])
def test_what_a_dead_process_was_pushing_is_taken_over_at_once(world: World, way: str) -> None:
    network = subnetted(world)
    (nic,) = planned(world, RequestedNic(network_id=network["id"]))
    plug(world, nic, "s1")
    host, pid, started, number = new_owner().split(":")
    with world.db.write() as tx:
        lease_until = SystemClock().now() + 3600 * MICROSECONDS
        tx.execute(network_sync.update().values(owner=f"{host}:{pid}:{started}0:{number}", lease_until=lease_until))
    if way == "wire":
        world.networks.wire(world.agents, "host-a", "s1")
    else:
        world.sync()
    assert nic.port_id in world.agents.at("host-a", "ports")


def test_what_servers_have(world: World) -> None:
    network = subnetted(world)
    made = boot(world, network, "s1")
    boot(world, network, "s2")
    with world.db.read() as tx:
        ports = world.networks.server_ports(tx, ["s1", "s2", "s3"])
        data = world.networks.network_data(tx, "s1")
    assert set(ports) == {"s1", "s2"}
    (info,) = ports["s1"]
    (address,) = info.addresses
    assert (info.id, info.network_name, info.mtu, info.status) == (made.id, "blue", 1450, "ACTIVE")
    assert (address.ip, address.version, address.gateway, address.dns) == ("10.0.0.3", 4, "10.0.0.1", ("9.9.9.9",))
    assert [ref.name for ref in info.security_groups] == ["default"]
    assert data["links"][0]["ethernet_mac_address"] == made.mac
    assert data["networks"][0]["type"] == "ipv4_dhcp"
    assert data["services"] == [{"type": "dns", "address": "9.9.9.9"}]


def test_bootstrap_makes_the_external_network_once(world: World) -> None:
    first, again = world.external(), world.external()
    assert first["id"] == again["id"] and first["router:external"] is True and first["mtu"] == 1500
    (subnet,) = world.admin.get("/subnets")["subnets"]
    assert subnet["allocation_pools"] == [{"start": "172.24.4.10", "end": "172.24.4.250"}]
    assert (subnet["gateway_ip"], subnet["enable_dhcp"]) == (NetworkSettings().public_gateway, False)


def test_a_failed_plug_leaves_nothing(world: World) -> None:
    network = subnetted(world)
    (nic,) = planned(world, RequestedNic(network_id=network["id"], fixed_ip="10.0.0.40"))
    world.alice.make("port", network_id=network["id"], fixed_ips=[{"ip_address": "10.0.0.40"}])
    before = world.count(port), world.count(ip_allocation), world.count(network_sync)
    with pytest.raises(Conflict):
        plug(world, nic, "s1")
    assert (world.count(port), world.count(ip_allocation), world.count(network_sync)) == before
