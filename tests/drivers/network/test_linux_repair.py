"""The real driver against drift, death and company: other processes, other firewalls, other threads."""

import fcntl
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pileus.drivers.network.base import NetworkState, PhysicalNetworkUnusable
from pileus.drivers.network.linux import links, namespaces, nft
from pileus.drivers.network.linux.driver import LinuxNetwork
from pileus.drivers.network.linux.nft import Table
from pileus.drivers.network.linux.settings import LinuxNetworkSettings
from pileus.kernel.clock import SystemClock
from tests.drivers.network.conftest import PREFIX, make_linux
from tests.drivers.network.guests import Echo, Guest, eventually
from tests.drivers.network.sites import OUT, Site, address_set, floating, ingress, ipv4, mac, reservation

pytestmark = pytest.mark.real
TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x0002, 0x1000, 0x4000
FOREIGN = Table("ip", "q7foreign")


@pytest.fixture
def site(linux: LinuxNetwork) -> Iterator[Site]:
    """A site with a router, a port with a reservation and an address set."""
    linux.remove_everything()
    yield Site()
    linux.remove_everything()
    nft.apply([FOREIGN.add(), FOREIGN.delete()])


def build(driver: LinuxNetwork, site: Site) -> str:
    """Everything that this file's tests break; answer the port's id. It is the same at every call for a site."""
    members = address_set(11, 12, identifier=site.subnet_id)
    port = site.port(11, *OUT, ingress(remote_set=members.id), ingress("tcp", 22), id=site.inner_port)
    driver.ensure_network(site.external())
    driver.ensure_network(site.network(reservation(11, port.id)))
    driver.ensure_address_set(members)
    driver.ensure_port(port)
    driver.ensure_router(site.router(floating(101, 11)))
    return port.id


def demolish(driver: LinuxNetwork, site: Site) -> None:
    driver.ensure_no_router(site.router_id)
    driver.ensure_no_port(site.inner_port)
    driver.ensure_no_address_set(site.subnet_id)
    driver.ensure_no_network(site.network_id)
    driver.ensure_no_network(site.external_id)


def whole(site: Site) -> NetworkState:
    return NetworkState(
        networks=tuple(sorted((site.network_id, site.external_id))),
        ports=(site.inner_port,),
        routers=(site.router_id,),
        address_sets=(site.subnet_id,),
        dhcp_hosts={site.network_id: (site.inner_port,)},
    )


def dnsmasq_pid(driver: LinuxNetwork, site: Site) -> int:
    return int((driver._servers._directory / site.network_id / "pid").read_text())


def rules_of(namespace: str | None = None) -> dict[str, int]:
    """The number of rules in each chain of ours."""
    counts: dict[str, int] = {}
    for kind, item in nft.listing("ruleset", namespace=namespace):
        if kind == "rule" and item["table"].startswith(f"{PREFIX}-"):
            counts[item["chain"]] = counts.get(item["chain"], 0) + 1
    return counts


def test_what_vanished_is_made_again(linux: LinuxNetwork, site: Site) -> None:
    build(linux, site)
    router = f"{PREFIX}-router-{site.router_id}"
    before, before_router = rules_of(), rules_of(router)
    names = linux._names

    os.kill(dnsmasq_pid(linux, site), signal.SIGKILL)
    eventually(lambda: not linux._servers.running(site.network_id))
    build(linux, site)
    assert linux._servers.running(site.network_id)

    for name in (names.tap(site.inner_port), names.interface("r", site.outer_port), names.bridge(site.network_id)):
        with links.netlink() as route:
            links.remove(route, name)
        build(linux, site)
        with links.netlink() as route:
            assert links.must(route, name).up
    nft.apply([Table("bridge", names.filter_table).delete(), Table("inet", names.state_table).delete()])
    nft.apply([Table("ip", names.router_table).delete()], router)
    build(linux, site)
    namespaces.ensure_no(f"{PREFIX}-dhcp-{site.network_id}")
    build(linux, site)
    namespaces.ensure_no(router)
    build(linux, site)
    assert (rules_of(), rules_of(router)) == (before, before_router)
    assert linux.observe() == whole(site)


def test_new_agent_takes_over_without_a_stop(linux: LinuxNetwork, site: Site, state_dir: Path) -> None:
    build(linux, site)
    pid, before = dnsmasq_pid(linux, site), rules_of()
    successor = make_linux(state_dir)
    successor.restore()
    assert dnsmasq_pid(linux, site) == pid
    assert rules_of() == before
    assert successor.observe() == whole(site)
    assert {endpoint.kind for endpoint in successor.metadata_endpoints()} == {"network", "router"}
    demolish(successor, site)
    assert successor.observe() == NetworkState()


def test_restore_rebuilds_a_host_that_started_anew(linux: LinuxNetwork, site: Site, state_dir: Path) -> None:
    """What a reboot leaves: the state directory alone."""
    build(linux, site)
    before = rules_of()
    os.kill(dnsmasq_pid(linux, site), signal.SIGKILL)
    tables = (("bridge", "filter_table"), ("inet", "state_table"), ("ip", "nat_table"))
    nft.apply([Table(family, getattr(linux._names, name)).delete() for family, name in tables])
    with links.netlink() as route:
        for link in links.every(route):
            if linux._names.is_interface(link.name):
                links.remove(route, link.name)
    for name in namespaces.names():
        if name.startswith(f"{PREFIX}-"):
            namespaces.ensure_no(name)
    successor = make_linux(state_dir)
    successor.restore()
    assert successor.observe() == whole(site)
    assert rules_of() == before


def test_unchanged_descriptions_change_nothing(linux: LinuxNetwork, site: Site) -> None:
    build(linux, site)
    before = nft.generation()
    pid = dnsmasq_pid(linux, site)
    build(linux, site)
    assert nft.generation() == before
    assert dnsmasq_pid(linux, site) == pid


def test_strays_are_seen_and_removed(linux: LinuxNetwork, site: Site) -> None:
    with links.netlink() as route:
        route.link("add", ifname="q7t0123456789a", kind="bridge")
    namespaces.ensure(f"{PREFIX}-odd")
    try:
        assert linux.observe().strays == ("interface q7t0123456789a", "namespace q7-odd")
        linux.remove_everything()
        assert linux.observe() == NetworkState()
    finally:
        namespaces.ensure_no(f"{PREFIX}-odd")


def test_nothing_is_left_after_removal(linux: LinuxNetwork, site: Site, state_dir: Path) -> None:
    build(linux, site)
    pid = dnsmasq_pid(linux, site)
    linux.remove_everything()
    with links.netlink() as route:
        assert not [link.name for link in links.every(route) if link.name.startswith(PREFIX)]
    assert not [name for name in namespaces.names() if name.startswith(f"{PREFIX}-")]
    assert rules_of() == {}
    assert not [
        item for kind, item in nft.listing("tables") if kind == "table" and item["name"].startswith(f"{PREFIX}-")
    ]
    assert not Path(f"/proc/{pid}/exe").exists()
    assert not list(state_dir.rglob("*.json"))


@pytest.mark.parametrize("flags", [IFF_TAP | IFF_NO_PI, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR])
def test_hypervisor_can_open_the_tap(linux: LinuxNetwork, site: Site, flags: int) -> None:
    """As QEMU does, with and without its header; closing leaves the tap and its place at the bridge."""
    linux.ensure_network(site.network())
    port = site.port(11, *OUT)
    tap = linux.ensure_port(port)
    for _ in range(2):
        descriptor = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", tap.encode(), flags))
        eventually(lambda: Path(f"/sys/class/net/{tap}/carrier").read_text() == "1\n")
        os.close(descriptor)
    with links.netlink() as route:
        assert links.must(route, tap).master == links.must(route, linux._names.bridge(site.network_id)).index


def test_many_threads_at_once(linux: LinuxNetwork, site: Site) -> None:
    linux.ensure_network(site.network())
    ports = [site.port(number, *OUT, ingress(remote_set=site.subnet_id)) for number in range(20, 60)]

    def live(port_number: int) -> None:
        port = ports[port_number]
        linux.ensure_network(site.network())
        linux.ensure_port(port)
        linux.ensure_address_set(address_set(port_number + 20, identifier=site.subnet_id))
        if port_number % 2:
            linux.ensure_no_port(port.id)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(live, range(len(ports))))
    state = linux.observe()
    assert set(state.ports) == {port.id for number, port in enumerate(ports) if number % 2 == 0}
    assert state.strays == ()
    assert sum(chain.startswith("ingress-") for chain in rules_of()) == len(ports) // 2


VICTIM = """
import sys
from pathlib import Path
from tests.drivers.network.conftest import make_linux
from tests.drivers.network.sites import Site
from tests.drivers.network.test_linux_repair import build, demolish
driver, site = make_linux(Path(sys.argv[1])), Site(*sys.argv[2:])
print("ready", flush=True)
while True:
    build(driver, site)
    demolish(driver, site)
"""


def test_killed_at_any_instant(linux: LinuxNetwork, site: Site, state_dir: Path) -> None:
    """A process that builds and demolishes is killed at random; whoever comes next can finish either."""
    ids = (site.network_id, site.external_id, site.router_id, site.subnet_id, site.inner_port, site.outer_port)
    dice = random.Random(77)
    for turn in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", VICTIM, str(state_dir), *ids], stdout=subprocess.PIPE, text=True
        ) as victim:
            assert victim.stdout is not None
            assert "ready\n" in iter(victim.stdout.readline, "")
            time.sleep(dice.uniform(0.0, 0.6))
            victim.kill()
        successor = make_linux(state_dir)
        if turn % 2:
            demolish(successor, site)
            assert successor.observe() == NetworkState()
        else:
            build(successor, site)
            assert successor.observe() == whole(site)


def test_hosts_firewall_that_drops_lets_our_networks_through(linux: LinuxNetwork, site: Site) -> None:
    """And its rules for everybody else stay as they are."""
    nft.apply([FOREIGN.add(), FOREIGN.base_chain("forward", "forward", 0, policy="drop")])
    port_id = build(linux, site)
    with Guest("q7guest", linux._names.tap(port_id), mac(11), f"{ipv4(11)}/24") as guest:
        build(linux, site)
        guest.add_route("default", "10.77.0.1")
        assert eventually(lambda: guest.pings("198.18.77.1"))
    linux.remove_everything()
    assert [kind for kind, _ in nft.listing("chain", "ip", FOREIGN.name, "forward")] == ["chain"]


def test_hosts_own_translation_does_not_touch_tenants_frames(linux: LinuxNetwork, site: Site) -> None:
    """A tenant may use the addresses that, on the host, are a container network's."""
    nft.apply(
        [
            FOREIGN.add(),
            FOREIGN.base_chain("postrouting", "postrouting", 100, kind="nat"),
            FOREIGN.rule(
                "postrouting", nft.equal(nft.payload("ip", "saddr"), nft.prefix("10.77.0.0/24")), {"masquerade": None}
            ),
        ]
    )
    port_id = build(linux, site)
    other = site.port(12, filtered=False)
    with (
        Guest("q7guest", linux._names.tap(port_id), mac(11), f"{ipv4(11)}/24") as guest,
        Guest("q7other", linux._names.tap(other.id), mac(12), f"{ipv4(12)}/24") as neighbour,
    ):
        build(linux, site)
        linux.ensure_port(other)
        with Echo(guest.name, ipv4(11), 22):
            assert eventually(lambda: neighbour.reaches(ipv4(11), 22)) == ipv4(12)
        linux.ensure_no_port(other.id)


def test_external_network_on_an_existing_interface(linux: LinuxNetwork, site: Site, state_dir: Path) -> None:
    """A bridge gets a cable to ours, a spare interface becomes a port of ours, one with addresses is refused."""
    mapping = {"bridged": "interface:q7hostbr", "plain": "interface:q7beyond"}
    driver = LinuxNetwork(LinuxNetworkSettings(physical_networks=mapping), PREFIX, state_dir / "mapped", SystemClock())
    with links.netlink() as route, Guest("q7beyond", "q7beyond", mac(51), "198.18.77.1/24") as world:
        try:
            bridge = links.ensure_bridge(route, "q7hostbr", 1500, "a test's")
            far = links.must(route, "q7beyond")
            route.link("set", index=far.index, master=bridge.index, state="up")
            driver.ensure_network(site.external(physical_network="bridged"))
            driver.ensure_network(site.network())
            driver.ensure_router(site.router())
            assert eventually(lambda: world.pings("198.18.77.10"))
            driver.ensure_no_network(site.external_id)
            assert not world.pings("198.18.77.10")

            links.ensure_addresses(route, far.index, [])
            route.link("set", index=far.index, master=0)
            links.ensure_addresses(route, far.index, ["198.19.1.1/24"])
            with pytest.raises(PhysicalNetworkUnusable, match="addresses"):
                driver.ensure_network(site.external(physical_network="plain"))
            links.ensure_addresses(route, far.index, [])
            driver.ensure_network(site.external(physical_network="plain"))
            driver.ensure_router(site.router())
            assert eventually(lambda: world.pings("198.18.77.10"))
            driver.remove_everything()
            assert links.must(route, "q7beyond").master == 0
        finally:
            driver.remove_everything()
            links.remove(route, "q7hostbr")
