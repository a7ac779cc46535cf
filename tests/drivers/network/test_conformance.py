"""What every network driver does alike."""

import pytest

from pileus.agent.api import AddressPair, FilterRule, RefusalKind, SubnetSpec
from pileus.drivers.network.base import (
    InvalidDescription,
    NetworkDriver,
    NetworkNotFound,
    NetworkState,
    PhysicalNetworkUnusable,
)
from tests.drivers.network.sites import OUT, Site, address_set, floating, ingress, new_id, reservation

EMPTY = NetworkState()


def test_nothing_at_first(driver: NetworkDriver) -> None:
    assert driver.observe() == EMPTY
    assert driver.metadata_endpoints() == ()


def test_removal_accepts_what_never_was(driver: NetworkDriver) -> None:
    driver.ensure_no_network(new_id())
    driver.ensure_no_port(new_id())
    driver.ensure_no_router(new_id())
    driver.ensure_no_address_set(new_id())
    driver.remove_everything()
    assert driver.observe() == EMPTY


def test_whole_life(driver: NetworkDriver) -> None:
    site, members = Site(), address_set(11, 12)
    host = reservation(11)
    port = site.port(11, *OUT, ingress(remote_set=members.id), id=host.port_id)
    for _ in range(2):  # the second time everything is there already
        driver.ensure_network(site.external())
        driver.ensure_network(site.network(host))
        driver.ensure_address_set(members)
        tap = driver.ensure_port(port)
        driver.ensure_router(site.router(floating(101, 11)))
    assert tap == "q7t" + port.id.replace("-", "")[:11]
    assert driver.observe() == NetworkState(
        networks=tuple(sorted((site.network_id, site.external_id))),
        ports=(port.id,),
        routers=(site.router_id,),
        address_sets=(members.id,),
        dhcp_hosts={site.network_id: (port.id,)},
    )
    assert {(e.kind, e.id, e.networks) for e in driver.metadata_endpoints()} == {
        ("network", site.network_id, (site.network_id,)),
        ("router", site.router_id, (site.network_id,)),
    }
    for _ in range(2):
        driver.ensure_no_router(site.router_id)
        driver.ensure_no_port(port.id)
        driver.ensure_no_address_set(members.id)
        driver.ensure_no_network(site.network_id)
        driver.ensure_no_network(site.external_id)
    assert driver.observe() == EMPTY


def test_set_named_before_it_is_described_and_after_it_is_gone(driver: NetworkDriver) -> None:
    site, members = Site(), address_set(12)
    driver.ensure_network(site.network())
    port = site.port(11, ingress(remote_set=members.id))
    driver.ensure_port(port)
    assert driver.observe().address_sets == (members.id,)
    driver.ensure_address_set(members)
    driver.ensure_no_address_set(members.id)
    assert driver.observe().address_sets == (members.id,)
    driver.ensure_no_port(port.id)
    assert driver.observe().address_sets == ()


def test_reservations_follow_the_description(driver: NetworkDriver) -> None:
    site, first, second = Site(), reservation(11), reservation(12)
    driver.ensure_network(site.network(first))
    driver.ensure_network(site.network(first, second))
    assert driver.observe().dhcp_hosts == {site.network_id: tuple(sorted((first.port_id, second.port_id)))}
    driver.ensure_network(site.network(second))
    assert driver.observe().dhcp_hosts == {site.network_id: (second.port_id,)}
    driver.ensure_network(site.network(dhcp_mac=None))
    assert driver.observe().dhcp_hosts == {}
    assert driver.metadata_endpoints() == ()


def test_port_and_router_need_their_networks(driver: NetworkDriver) -> None:
    site = Site()
    with pytest.raises(NetworkNotFound) as refused:
        driver.ensure_port(site.port(11))
    assert refused.value.kind is RefusalKind.NOT_FOUND
    driver.ensure_network(site.network())
    with pytest.raises(NetworkNotFound):
        driver.ensure_router(site.router())
    assert driver.observe().ports == driver.observe().routers == ()


def test_unknown_physical_network_is_refused(driver: NetworkDriver) -> None:
    site = Site()
    with pytest.raises(PhysicalNetworkUnusable) as refused:
        driver.ensure_network(site.external(physical_network="moon"))
    assert refused.value.kind is RefusalKind.CONFLICT
    assert driver.observe().networks == ()


@pytest.mark.parametrize(
    "rule",
    [
        FilterRule(direction="ingress", ethertype="IPv4", remote_prefix="10.0.0.0/33"),
        FilterRule(direction="ingress", ethertype="IPv4", remote_prefix="::/0"),
        FilterRule(direction="ingress", ethertype="IPv4", remote_prefix="10.0.0.1; flush ruleset"),
        FilterRule(direction="ingress", ethertype="IPv4", protocol="tcp; drop"),
        FilterRule(direction="ingress", ethertype="IPv4", protocol="256"),
        FilterRule(direction="ingress", ethertype="IPv4", protocol="tcp", port_min=10, port_max=9),
        FilterRule(direction="ingress", ethertype="IPv4", protocol="udp", port_min=0, port_max=65536),
        FilterRule(direction="ingress", ethertype="IPv6", protocol="icmp", port_min=256),
        FilterRule(direction="ingress", ethertype="IPv4", remote_set="../x"),
    ],
)
def test_malformed_rules_are_refused_and_change_nothing(driver: NetworkDriver, rule: FilterRule) -> None:
    site = Site()
    driver.ensure_network(site.network())
    before = driver.observe()
    with pytest.raises(InvalidDescription) as refused:
        driver.ensure_port(site.port(11, rule))
    assert refused.value.kind is RefusalKind.INVALID
    assert driver.observe() == before


def test_malformed_values_are_refused(driver: NetworkDriver) -> None:
    site = Site()
    newline = SubnetSpec(id=new_id(), cidr="10.1.0.0/24", dhcp_ip="10.1.0.2", dns_nameservers=("1.1.1.1\nuser=root",))
    for spec in (
        site.network(id="not-a-uuid"),
        site.network(dhcp_mac="fa:16:3e"),
        site.network(mtu=10),
        site.network(dns_domain="a..b"),
        site.network(subnets=(newline,)),
    ):
        with pytest.raises(InvalidDescription):
            driver.ensure_network(spec)
    with pytest.raises(InvalidDescription):
        driver.ensure_port(site.port(11, addresses=(AddressPair(ip="10.77.0.300", mac="fa:16:3e:77:01:0b"),)))
    with pytest.raises(InvalidDescription):
        driver.ensure_no_port("../../etc")
    assert driver.observe() == EMPTY
