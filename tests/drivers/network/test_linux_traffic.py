"""Real packets: three guests on one network, a router, an external network of the host's own.

Guests `web` and `app` are filtered, `free` has no port security. Each test describes the rules that it needs.
"""

import contextlib
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from pileus.agent.api import AddressPair, AddressSetSpec, FilterRule, HostRoute, PortSpec, SubnetSpec
from pileus.drivers.network.linux import links, namespaces
from pileus.drivers.network.linux.driver import LinuxNetwork
from tests.drivers.network.conftest import PREFIX
from tests.drivers.network.guests import Echo, Guest, eventually, still_talks
from tests.drivers.network.sites import (
    OUT,
    Site,
    address_set,
    floating,
    ingress,
    ipv4,
    ipv6,
    mac,
    new_id,
    reservation,
)

T = TypeVar("T")
pytestmark = pytest.mark.real
WEB, APP, FREE = 11, 12, 13
HOST_SIDE, ROUTER_SIDE, WEB_FLOATING = "198.18.77.1", "198.18.77.10", "198.18.77.101"
PING = ingress("icmp", port_min=8, port_max=0)


@dataclass
class Lab:
    """The running site. `ports` are as described last."""

    driver: LinuxNetwork
    site: Site
    ports: dict[int, PortSpec]
    web: Guest
    app: Guest
    free: Guest

    def rules(self, number: int, *rules: FilterRule) -> None:
        """Give a guest these rules besides leave to send."""
        self.ports[number] = msgspec.structs.replace(self.ports[number], rules=(*OUT, *rules))
        self.driver.ensure_port(self.ports[number])

    @property
    def dhcp_namespace(self) -> str:
        return f"{PREFIX}-dhcp-{self.site.network_id}"

    @property
    def router_namespace(self) -> str:
        return f"{PREFIX}-router-{self.site.router_id}"


@pytest.fixture(scope="module")
def lab(linux: LinuxNetwork) -> Iterator[Lab]:
    site = Site()
    ports = {WEB: site.port(WEB, *OUT), APP: site.port(APP, *OUT), FREE: site.port(FREE, filtered=False)}
    linux.ensure_network(site.external())
    linux.ensure_network(site.network(*(reservation(n, ports[n].id) for n in ports)))
    linux.ensure_router(site.router(floating(101, WEB)))
    with contextlib.ExitStack() as stack:
        guests = {}
        for number, port in ports.items():
            tap = f"{PREFIX}t{port.id.replace('-', '')[:11]}"
            addresses = (f"{ipv4(number)}/24", f"{ipv6(number)}/64")
            guests[number] = stack.enter_context(Guest(f"q7guest{number}", tap, mac(number), *addresses))
            assert linux.ensure_port(port) == tap
            guests[number].add_route("default", "10.77.0.1")
        yield Lab(linux, site, ports, guests[WEB], guests[APP], guests[FREE])


@pytest.fixture(autouse=True)
def _fresh(lab: Lab) -> None:
    """Every test begins with guests that nobody may reach, and with nothing remembered."""
    lab.driver.ensure_router(lab.site.router(floating(101, WEB)))
    for number in (WEB, APP):
        lab.rules(number)
    for guest in (lab.web, lab.app, lab.free):
        guest.forget_neighbours()


# --- DHCP, DNS, metadata ------------------------------------------------------------------------------------


def test_dhcp_gives_address_and_options(lab: Lab, tmp_path: Path) -> None:
    lease = lab.web.leases(tmp_path)
    assert lease is not None
    assert (lease["ip"], lease["mask"], lease["router"]) == (ipv4(WEB), "24", "10.77.0.1")
    assert (lease["dns"], lease["domain"], lease["hostname"]) == ("10.77.0.2", "example.org", "vm11")
    assert (lease["mtu"], lease["lease"], lease["serverid"]) == ("1450", "86400", "10.77.0.2")
    assert lease["staticroutes"] == "169.254.169.254/32 10.77.0.2 10.99.0.0/16 10.77.0.9 0.0.0.0/0 10.77.0.1"


def test_dhcp_ignores_strangers(lab: Lab, tmp_path: Path) -> None:
    lab.free.run("ip", "link", "set", "eth0", "address", "fa:16:3e:77:01:ee")
    try:
        assert lab.free.leases(tmp_path, tries=1) is None
    finally:
        lab.free.run("ip", "link", "set", "eth0", "address", mac(FREE))
        lab.free.inside(lab.free._configure)


def test_address_serves_another_mac_as_soon_as_its_port_is_gone(lab: Lab, tmp_path: Path) -> None:
    """The former holder's lease is ended, the others' are kept, and the server is not restarted."""
    others = [reservation(WEB, lab.ports[WEB].id), reservation(APP, lab.ports[APP].id)]
    former = reservation(60, lab.ports[FREE].id, mac_of=FREE)
    pid_file = lab.driver._servers._directory / lab.site.network_id / "pid"
    pid = pid_file.read_text()
    lab.driver.ensure_network(lab.site.network(*others, former))
    assert (eventually(lambda: lab.free.leases(tmp_path, tries=1)) or {})["ip"] == ipv4(60)
    assert lab.web.leases(tmp_path) is not None

    lab.driver.ensure_network(lab.site.network(*others))
    lab.driver.ensure_network(lab.site.network(*others, reservation(60, mac_of=99)))
    lab.free.run("ip", "link", "set", "eth0", "address", mac(99))
    try:
        assert (eventually(lambda: lab.free.leases(tmp_path, tries=1)) or {})["ip"] == ipv4(60)
    finally:
        lab.free.run("ip", "link", "set", "eth0", "address", mac(FREE))
        lab.free.inside(lab.free._configure)
        lab.free.add_route("default", "10.77.0.1")
    assert ipv4(WEB) in (lab.driver._servers._directory / lab.site.network_id / "leases").read_text()
    assert pid_file.read_text() == pid
    lab.driver.ensure_network(lab.site.network(*others, reservation(FREE, lab.ports[FREE].id)))


def test_names_of_guests_resolve(lab: Lab) -> None:
    for name in ("vm12", "vm12.example.org"):
        answer = lab.web.run("busybox", "nslookup", "-type=a", name, "10.77.0.2")
        assert f"Address: {ipv4(APP)}" in answer.stdout, answer


@pytest.mark.parametrize("via", ["10.77.0.2", "10.77.0.1"])
def test_metadata_is_reached_in_both_namespaces_and_sees_the_guest(lab: Lab, via: str) -> None:
    lab.web.add_route("169.254.169.254", via)
    namespace = lab.dhcp_namespace if via == "10.77.0.2" else lab.router_namespace
    with Echo(namespace, "169.254.169.254", 80):
        assert lab.web.reaches("169.254.169.254", 80) == ipv4(WEB)
    assert namespace in {Path(endpoint.namespace).name for endpoint in lab.driver.metadata_endpoints()}


def test_metadata_is_not_reached_from_outside(lab: Lab) -> None:
    with Echo(lab.router_namespace, "169.254.169.254", 80), outsider(lab, "198.18.77.50") as outside:
        outside.add_route("169.254.169.254", ROUTER_SIDE)
        assert outside.reaches("169.254.169.254", 80) is None
        assert outside.pings(ROUTER_SIDE)


# --- security groups ----------------------------------------------------------------------------------------


def test_only_what_a_rule_admits_comes_in(lab: Lab) -> None:
    lab.rules(WEB, ingress("tcp", 22), ingress("udp", 53), ingress("tcp", port_min=8000, port_max=8010))
    with Echo(lab.web.name, ipv4(WEB), 22), Echo(lab.web.name, ipv4(WEB), 8080), Echo(lab.web.name, ipv4(WEB), 8010):
        assert lab.free.reaches(ipv4(WEB), 22) == ipv4(FREE)
        assert lab.free.reaches(ipv4(WEB), 8010) == ipv4(FREE)
        assert lab.free.reaches(ipv4(WEB), 8080) is None
    assert not lab.free.pings(ipv4(WEB))
    lab.rules(WEB, PING)
    assert lab.free.pings(ipv4(WEB))


def test_answers_to_what_went_out_come_in(lab: Lab) -> None:
    assert lab.web.pings(ipv4(FREE))
    with Echo(lab.free.name, ipv4(FREE), 7000):
        assert lab.web.reaches(ipv4(FREE), 7000) == ipv4(WEB)


def test_nothing_goes_out_without_a_rule(lab: Lab, tmp_path: Path) -> None:
    """Except what every guest needs: DHCP and the neighbours' addresses."""
    lab.driver.ensure_port(msgspec.structs.replace(lab.ports[WEB], rules=(PING,)))
    assert not lab.web.pings(ipv4(FREE))
    assert lab.free.pings(ipv4(WEB))
    assert lab.web.leases(tmp_path) is not None


def test_forged_addresses_do_not_leave_the_guest(lab: Lab) -> None:
    lab.web.add_address("10.77.0.99/32")
    assert not lab.web.pings(ipv4(FREE), source="10.77.0.99")
    assert lab.free.asks_who_has("10.77.0.99", ipv4(FREE)) is None
    assert lab.free.asks_who_has(ipv4(WEB), ipv4(FREE)) == mac(WEB)
    lab.web.run("ip", "link", "set", "eth0", "address", "fa:16:3e:77:01:99")
    try:
        assert not lab.web.pings(ipv4(FREE))
    finally:
        lab.web.run("ip", "link", "set", "eth0", "address", mac(WEB))
        lab.web.run("ip", "addr", "del", "10.77.0.99/32", "dev", "eth0")
    assert eventually(lambda: lab.web.pings(ipv4(FREE)))


def test_allowed_address_pairs_may_be_used(lab: Lab) -> None:
    port = lab.ports[WEB]
    pairs = (*port.addresses, AddressPair(ip="10.77.0.96/28", mac=port.mac))
    lab.driver.ensure_port(msgspec.structs.replace(port, addresses=pairs))
    lab.web.add_address("10.77.0.99/32")
    try:
        assert lab.web.pings(ipv4(FREE), source="10.77.0.99")
        assert lab.free.asks_who_has("10.77.0.99", ipv4(FREE)) == mac(WEB)
    finally:
        lab.web.run("ip", "addr", "del", "10.77.0.99/32", "dev", "eth0")


def test_port_without_security_may_forge(lab: Lab) -> None:
    lab.rules(WEB, PING)
    lab.free.add_address("10.77.0.98/32")
    try:
        assert lab.free.pings(ipv4(WEB), source="10.77.0.98")
    finally:
        lab.free.run("ip", "addr", "del", "10.77.0.98/32", "dev", "eth0")


def test_guest_cannot_serve_dhcp(lab: Lab) -> None:
    """A filtered guest's DHCP answer does not leave it; that of a port without security does."""
    for guest, number, heard in ((lab.web, WEB, False), (lab.free, FREE, True)):
        with contextlib.ExitStack() as stack:
            listener = lab.app.inside(lambda: stack.enter_context(udp_socket(ipv4(APP), 68)))
            sender = guest.inside(lambda: stack.enter_context(udp_socket(ipv4(number), 67)))  # noqa: B023
            listener.settimeout(0.4)
            sender.sendto(b"offer", (ipv4(APP), 68))
            received = b""
            with contextlib.suppress(TimeoutError):
                received = listener.recv(100)
            assert (received == b"offer") is heard


def test_default_group_lets_members_reach_each_other(lab: Lab) -> None:
    """And a set that is described later, or grows, or shrinks works without touching the ports."""
    members = AddressSetSpec(id=new_id())
    for number in (WEB, APP):
        lab.rules(number, ingress(remote_set=members.id), ingress(remote_set=members.id, ethertype="IPv6"))
    assert not lab.app.pings(ipv4(WEB))
    lab.driver.ensure_address_set(address_set(WEB, APP, identifier=members.id))
    assert lab.app.pings(ipv4(WEB))
    assert lab.web.pings(ipv4(APP))
    assert lab.app.pings(ipv6(WEB))
    assert not lab.free.pings(ipv4(WEB))
    with Echo(lab.web.name, ipv4(WEB), 7001), lab.app.connection(ipv4(WEB), 7001) as talk:
        assert talk.recv(100).decode() == ipv4(APP)
        assert still_talks(talk)
        lab.driver.ensure_address_set(address_set(WEB, identifier=members.id))
        assert not still_talks(talk)
    assert not lab.app.pings(ipv4(WEB))
    lab.driver.ensure_no_address_set(members.id)


def test_removed_rule_cuts_its_connections_and_no_others(lab: Lab) -> None:
    lab.rules(WEB, ingress("tcp", 22), ingress("tcp", 23))
    with (
        Echo(lab.web.name, ipv4(WEB), 22),
        Echo(lab.web.name, ipv4(WEB), 23),
        lab.free.connection(ipv4(WEB), 22) as kept,
        lab.free.connection(ipv4(WEB), 23) as lost,
    ):
        assert kept.recv(100) == lost.recv(100) == ipv4(FREE).encode()
        assert still_talks(kept)
        assert still_talks(lost)
        lab.rules(WEB, ingress("tcp", 22))
        assert still_talks(kept)
        assert not still_talks(lost)


def test_changes_of_rules_lose_no_packet(lab: Lab) -> None:
    lab.rules(WEB, PING)
    command = ["ping", "-q", "-i", "0.005", ipv4(WEB)]
    pinging = lab.free.inside(lambda: subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    for change in range(25):
        lab.rules(WEB, PING, ingress("tcp", 1000 + change))
    pinging.send_signal(signal.SIGINT)
    summary, _ = pinging.communicate(timeout=30)
    sent, received = (int(number) for number in re.findall(r"(\d+) (?:packets transmitted|received)", summary))
    assert sent > 25
    assert sent - received <= 1  # the last one may still be on its way


def test_ipv6_is_filtered_alike(lab: Lab) -> None:
    assert lab.web.pings(ipv6(FREE))
    assert not lab.free.pings(ipv6(WEB))
    lab.rules(WEB, ingress("icmp", ethertype="IPv6"), ingress("tcp", 22, ethertype="IPv6", remote_prefix="fd77::d/128"))
    assert lab.free.pings(ipv6(WEB))
    with Echo(lab.web.name, ipv6(WEB), 22):
        assert lab.free.reaches(ipv6(WEB), 22) == ipv6(FREE)
        assert lab.app.reaches(ipv6(WEB), 22) is None
    lab.web.add_address("fd77::99/128")
    try:
        assert not lab.web.pings(ipv6(FREE), source="fd77::99")
        assert not lab.free.pings("fd77::99")
    finally:
        lab.web.run("ip", "addr", "del", "fd77::99/128", "dev", "eth0")


def test_port_that_is_down_is_cut_off(lab: Lab) -> None:
    lab.driver.ensure_port(msgspec.structs.replace(lab.ports[WEB], admin_state_up=False))
    assert not lab.web.pings(ipv4(FREE))
    lab.driver.ensure_port(lab.ports[WEB])
    assert eventually(lambda: lab.web.pings(ipv4(FREE)))


def test_guest_does_not_see_the_host_on_a_tenant_network(lab: Lab) -> None:
    assert lab.free.asks_who_has(HOST_SIDE, ipv4(FREE)) is None


# --- router -------------------------------------------------------------------------------------------------


def test_host_reaches_guest_through_its_floating_address(lab: Lab) -> None:
    lab.rules(WEB, ingress("tcp", 22))
    with Echo(lab.web.name, ipv4(WEB), 22):
        assert Host().reaches(WEB_FLOATING, 22) == HOST_SIDE
    assert not Host().pings(WEB_FLOATING)


def test_outside_sees_the_floating_or_the_routers_address(lab: Lab) -> None:
    with Echo(None, HOST_SIDE, 7077):
        assert lab.web.reaches(HOST_SIDE, 7077) == WEB_FLOATING
        assert lab.app.reaches(HOST_SIDE, 7077) == ROUTER_SIDE


def test_traffic_beyond_the_host_carries_the_hosts_address(lab: Lab) -> None:
    with beyond() as (namespace, host_address, address), Echo(namespace, address, 7078):
        assert lab.app.reaches(address, 7078) == host_address
        assert lab.web.reaches(address, 7078) == host_address


def test_guests_reach_floating_addresses_of_neighbours_and_their_own(lab: Lab) -> None:
    lab.rules(WEB, ingress("tcp", 22))
    with Echo(lab.web.name, ipv4(WEB), 22):
        assert lab.app.reaches(WEB_FLOATING, 22) == ROUTER_SIDE
        assert lab.web.reaches(WEB_FLOATING, 22) == WEB_FLOATING


def test_removed_floating_address_stops_at_once(lab: Lab) -> None:
    lab.rules(WEB, ingress("tcp", 22))
    lab.rules(APP, ingress("tcp", 22))
    with Echo(lab.web.name, ipv4(WEB), 22), Echo(lab.app.name, ipv4(APP), 22):
        with Host().connection(WEB_FLOATING, 22) as talk:
            assert talk.recv(100).decode() == HOST_SIDE
            lab.driver.ensure_router(lab.site.router())
            assert not still_talks(talk)
        assert Host().reaches(WEB_FLOATING, 22) is None
        lab.driver.ensure_router(lab.site.router(floating(101, APP)))
        with Host().connection(WEB_FLOATING, 22) as talk:
            assert talk.recv(100).decode() == HOST_SIDE
            peer = lab.app.run("ss", "-Htn", "state", "established", "sport", "= :22").stdout
            assert HOST_SIDE in peer


def test_router_that_is_down_forwards_nothing(lab: Lab) -> None:
    lab.driver.ensure_router(lab.site.router(floating(101, WEB), admin_state_up=False))
    assert not lab.web.pings(HOST_SIDE)
    lab.driver.ensure_router(lab.site.router(floating(101, WEB)))
    assert lab.web.pings(HOST_SIDE)


def test_router_without_translation_forwards_addresses_as_they_are(lab: Lab) -> None:
    gateway = lab.site.router().gateway
    assert gateway is not None
    plain = msgspec.structs.replace(gateway, enable_snat=False)
    lab.driver.ensure_router(lab.site.router(gateway=plain))
    with outsider(lab, "198.18.77.51") as outside, Echo(outside.name, "198.18.77.51", 7079):
        outside.add_route("10.77.0.0/24", ROUTER_SIDE)
        assert lab.app.reaches("198.18.77.51", 7079) == ipv4(APP)


def test_routers_further_routes_are_followed(lab: Lab) -> None:
    routes = (
        HostRoute(destination="203.0.113.0/24", nexthop=ipv4(FREE)),
        HostRoute(destination="192.0.2.0/24", nexthop="172.29.0.1"),  # unreachable: left out, the rest works
    )
    lab.driver.ensure_router(lab.site.router(routes=routes))
    lab.free.add_address("203.0.113.1/32")
    try:
        assert lab.web.pings("203.0.113.1")
    finally:
        lab.free.run("ip", "addr", "del", "203.0.113.1/32", "dev", "eth0")


@pytest.mark.parametrize("mode", ["slaac", "dhcpv6-stateless", "dhcpv6-stateful"])
def test_router_advertises_ipv6_subnets(lab: Lab, mode: str) -> None:
    """A guest that listens gets its default route, and forms its address itself unless DHCPv6 gives it one."""
    ipv4_only = lab.site.network(*(reservation(n, port.id) for n, port in lab.ports.items()))
    subnet = SubnetSpec(
        id=new_id(),
        cidr="fd77::/64",
        gateway_ip="fd77::1",
        dhcp_ip="fd77::2",
        ipv6_ra_mode=mode,
        ipv6_address_mode=mode,
    )
    lab.driver.ensure_network(msgspec.structs.replace(ipv4_only, subnets=(*ipv4_only.subnets, subnet)))
    lab.driver.ensure_router(lab.site.router())
    lab.app.inside(lambda: namespaces.write_sysctl({"net/ipv6/conf/eth0/accept_ra": "2"}))
    try:
        lab.app.run("ip", "link", "set", "eth0", "down")
        lab.app.run("ip", "link", "set", "eth0", "up")
        route = eventually(lambda: lab.app.run("ip", "-6", "route", "show", "default").stdout)
        assert "proto ra" in route
        formed = "dynamic" in lab.app.run("ip", "-6", "addr", "show", "dev", "eth0", "scope", "global").stdout
        assert formed is (mode != "dhcpv6-stateful")
    finally:
        lab.app.inside(lambda: namespaces.write_sysctl({"net/ipv6/conf/eth0/accept_ra": "0"}))
        lab.driver.ensure_network(ipv4_only)
        lab.driver.ensure_router(lab.site.router(floating(101, WEB)))
        lab.app.run("ip", "-6", "route", "flush", "proto", "ra")
        lab.app.inside(lab.app._configure)
        lab.app.add_route("default", "10.77.0.1")


# --- small things -------------------------------------------------------------------------------------------


class Host(Guest):
    """The host itself, asking as a guest does."""

    def __init__(self) -> None:
        super().__init__("", "", "")

    def inside(self, work: Callable[[], T]) -> T:
        return namespaces.in_thread(work)


@contextlib.contextmanager
def outsider(lab: Lab, address: str) -> Iterator[Guest]:
    """Somebody else on the external network."""
    port = lab.site.port(50, network_id=lab.site.external_id, filtered=False)
    tap = f"{PREFIX}t{port.id.replace('-', '')[:11]}"
    with Guest("q7outsider", tap, mac(50), f"{address}/24") as guest:
        lab.driver.ensure_port(port)
        try:
            yield guest
        finally:
            lab.driver.ensure_no_port(port.id)


@contextlib.contextmanager
def beyond() -> Iterator[tuple[str, str, str]]:
    """A machine that the host reaches by another interface: (namespace, the host's address, its address)."""
    with Guest("q7beyond", "q7beyond", mac(51), "198.19.77.2/30") as guest:
        with links.netlink() as route:
            link = links.must(route, "q7beyond")
            route.link("set", index=link.index, state="up")
            links.ensure_addresses(route, link.index, ["198.19.77.1/30"])
        yield guest.name, "198.19.77.1", "198.19.77.2"


def udp_socket(address: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind((address, port))
    return bound
