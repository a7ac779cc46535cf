"""Descriptions for tests: one small site with a tenant network, an external network and a router."""

import uuid
from dataclasses import dataclass, field

from pileus.agent.api import (
    AddressPair,
    AddressSetSpec,
    DhcpHost,
    FilterRule,
    FloatingAddress,
    HostRoute,
    NetworkSpec,
    PortSpec,
    RouterGateway,
    RouterInterface,
    RouterSpec,
    SubnetSpec,
)

OUT = (FilterRule(direction="egress", ethertype="IPv4"), FilterRule(direction="egress", ethertype="IPv6"))


def new_id() -> str:
    return str(uuid.uuid4())


def ingress(protocol: str | None = None, port: int | None = None, **more: object) -> FilterRule:
    values = {"ethertype": "IPv4", "protocol": protocol, "port_min": port, "port_max": port, **more}
    return FilterRule(direction="ingress", **values)


@dataclass
class Site:
    """The descriptions, with methods that make variants. The external network is in the range for benchmarks."""

    network_id: str = field(default_factory=new_id)
    external_id: str = field(default_factory=new_id)
    router_id: str = field(default_factory=new_id)
    subnet_id: str = field(default_factory=new_id)
    inner_port: str = field(default_factory=new_id)
    outer_port: str = field(default_factory=new_id)

    def network(self, *hosts: DhcpHost, **changes: object) -> NetworkSpec:
        subnet = SubnetSpec(
            id=self.subnet_id,
            cidr="10.77.0.0/24",
            gateway_ip="10.77.0.1",
            dhcp_ip="10.77.0.2",
            host_routes=(HostRoute(destination="10.99.0.0/16", nexthop="10.77.0.9"),),
        )
        values = {
            "id": self.network_id,
            "segment": 1001,
            "mtu": 1450,
            "dns_domain": "example.org",
            "dhcp_mac": "fa:16:3e:77:00:02",
            "subnets": (subnet,),
            "dhcp_hosts": hosts,
        }
        return NetworkSpec(**{**values, **changes})

    def external(self, **changes: object) -> NetworkSpec:
        subnet = SubnetSpec(id=self.external_id, cidr="198.18.77.0/24", gateway_ip="198.18.77.1", enable_dhcp=False)
        values = {
            "id": self.external_id,
            "segment": 1002,
            "mtu": 1500,
            "external": True,
            "physical_network": "external",
            "subnets": (subnet,),
        }
        return NetworkSpec(**{**values, **changes})

    def router(self, *floating: FloatingAddress, **changes: object) -> RouterSpec:
        inner = RouterInterface(
            port_id=self.inner_port,
            network_id=self.network_id,
            mac="fa:16:3e:77:00:01",
            addresses=("10.77.0.1/24", "fd77::1/64"),
        )
        outer = RouterGateway(
            port_id=self.outer_port,
            network_id=self.external_id,
            mac="fa:16:3e:77:00:03",
            addresses=("198.18.77.10/24",),
            next_hops=("198.18.77.1",),
        )
        values = {"id": self.router_id, "interfaces": (inner,), "gateway": outer, "floating": floating}
        return RouterSpec(**{**values, **changes})

    def port(self, number: int, *rules: FilterRule, **changes: object) -> PortSpec:
        """Port `number` (2 to 254): its addresses end in the number."""
        values = {
            "id": new_id(),
            "network_id": self.network_id,
            "mac": mac(number),
            "mtu": 1450,
            "addresses": (AddressPair(ip=ipv4(number), mac=mac(number)), AddressPair(ip=ipv6(number), mac=mac(number))),
            "rules": rules,
        }
        return PortSpec(**{**values, **changes})


def mac(number: int) -> str:
    return f"fa:16:3e:77:01:{number:02x}"


def ipv4(number: int) -> str:
    return f"10.77.0.{number}"


def ipv6(number: int) -> str:
    return f"fd77::{number:x}"


def reservation(number: int, port_id: str | None = None, mac_of: int | None = None) -> DhcpHost:
    return DhcpHost(port_id=port_id or new_id(), mac=mac(mac_of or number), ips=(ipv4(number),), hostname=f"vm{number}")


def floating(last: int, number: int) -> FloatingAddress:
    return FloatingAddress(id=new_id(), floating_ip=f"198.18.77.{last}", fixed_ip=ipv4(number))


def address_set(*numbers: int, identifier: str | None = None) -> AddressSetSpec:
    return AddressSetSpec(
        id=identifier or new_id(),
        ipv4=tuple(ipv4(number) for number in numbers),
        ipv6=tuple(ipv6(number) for number in numbers),
    )
