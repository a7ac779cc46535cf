"""What a description must satisfy, whatever the driver: each function raises InvalidDescription.

Descriptions come over the wire. Their values end in names, files and rules of the host, so all of them are
checked before the first of them has an effect.
"""

import ipaddress
import re
import uuid
from collections.abc import Iterable
from typing import Literal, overload

from pileus.agent.api import AddressSetSpec, FilterRule, NetworkSpec, PortSpec, RouterSpec
from pileus.drivers.network.base import InvalidDescription

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "ipv6-icmp": 58, "icmpv6": 58, "sctp": 132, "dccp": 33, "udplite": 136}
ICMP = frozenset({1, 58})
WITH_PORTS = frozenset({6, 17, 33, 132, 136})
MIN_MTU, MAX_MTU = 68, 65535
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def checked_id(identifier: str) -> str:
    """`identifier` if it is a UUID in its usual form."""
    try:
        if str(uuid.UUID(identifier)) == identifier:
            return identifier
    except ValueError:
        pass
    raise InvalidDescription(f"{identifier!r} is not a UUID")


def mac_address(text: str) -> str:
    """The MAC address in lower case."""
    lowered = text.lower()
    if not _MAC.fullmatch(lowered):
        raise InvalidDescription(f"{text!r} is not a MAC address")
    return lowered


def address(text: str) -> Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError as err:
        raise InvalidDescription(str(err)) from err


def network(text: str) -> Network:
    """An address or CIDR as a network; bits beyond the prefix are dropped."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as err:
        raise InvalidDescription(str(err)) from err


def interface(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    """An address with its prefix length."""
    try:
        return ipaddress.ip_interface(text)
    except ValueError as err:
        raise InvalidDescription(str(err)) from err


def domain(text: str) -> str:
    """A domain name in lower case without the final dot; empty for none."""
    stripped = text.rstrip(".").lower()
    if stripped and not all(_LABEL.fullmatch(label) for label in stripped.split(".")):
        raise InvalidDescription(f"{text!r} is not a domain name")
    return stripped


def hostname(text: str) -> str:
    """The name in lower case, or nothing if it is no name for a host: then the guest keeps its own."""
    return text.lower() if _LABEL.fullmatch(text.lower()) else ""


@overload
def members(texts: Iterable[str], version: Literal[4]) -> list[ipaddress.IPv4Network]: ...
@overload
def members(texts: Iterable[str], version: Literal[6]) -> list[ipaddress.IPv6Network]: ...
def members(texts: Iterable[str], version: Literal[4, 6]) -> list[ipaddress.IPv4Network] | list[ipaddress.IPv6Network]:
    """Addresses and CIDRs of one IP version as disjoint networks."""
    try:
        if version == 4:
            return list(ipaddress.collapse_addresses(ipaddress.IPv4Network(t, strict=False) for t in texts))
        return list(ipaddress.collapse_addresses(ipaddress.IPv6Network(t, strict=False) for t in texts))
    except ValueError as err:
        raise InvalidDescription(str(err)) from err


def protocol_number(rule: FilterRule) -> int | None:
    """The IP protocol of a rule; `icmp` in an IPv6 rule means ICMPv6. None: any."""
    if rule.protocol is None:
        return None
    number = PROTOCOLS.get(rule.protocol)
    if number is None and rule.protocol.isascii() and rule.protocol.isdigit():
        number = int(rule.protocol)
    if number is None or not 0 <= number <= 255:
        raise InvalidDescription(f"{rule.protocol!r} is not an IP protocol")
    return 58 if number == 1 and rule.ethertype == "IPv6" else number


def port_range(rule: FilterRule) -> tuple[int, int]:
    """The ports that a rule of a protocol with ports admits, both inclusive."""
    low = rule.port_min or 0
    high = MAX_MTU if rule.port_max is None else rule.port_max
    if not 0 <= low <= high <= 65535:
        raise InvalidDescription(f"{low} to {high} is not a range of ports")
    return low, high


# --- whole descriptions -------------------------------------------------------------------------------------


def check_mtu(mtu: int) -> None:
    if not MIN_MTU <= mtu <= MAX_MTU:
        raise InvalidDescription(f"an MTU of {mtu} is impossible")


def check_network(spec: NetworkSpec) -> None:
    checked_id(spec.id)
    check_mtu(spec.mtu)
    domain(spec.dns_domain)
    if spec.dhcp_mac is not None:
        mac_address(spec.dhcp_mac)
    for subnet in spec.subnets:
        cidr = network(subnet.cidr)
        for text in filter(None, (subnet.gateway_ip, subnet.dhcp_ip, *subnet.dns_nameservers)):
            address(text)
        if subnet.gateway_ip and address(subnet.gateway_ip).version != cidr.version:
            raise InvalidDescription(f"the gateway {subnet.gateway_ip} is of another IP version than {cidr}")
        if subnet.dhcp_ip and address(subnet.dhcp_ip) not in cidr:
            raise InvalidDescription(f"the DHCP server {subnet.dhcp_ip} is not in {cidr}")
        for route in subnet.host_routes:
            network(route.destination)
            address(route.nexthop)
    for host in spec.dhcp_hosts:
        checked_id(host.port_id)
        mac_address(host.mac)
        for text in host.ips:
            address(text)


def check_port(spec: PortSpec) -> None:
    checked_id(spec.id)
    checked_id(spec.network_id)
    check_mtu(spec.mtu)
    mac_address(spec.mac)
    for pair in spec.addresses:
        mac_address(pair.mac)
        network(pair.ip)
    for rule in spec.rules:
        check_rule(rule)


def check_rule(rule: FilterRule) -> None:
    version = 4 if rule.ethertype == "IPv4" else 6
    if rule.remote_prefix is not None and network(rule.remote_prefix).version != version:
        raise InvalidDescription(f"{rule.remote_prefix} is not {rule.ethertype}")
    if rule.remote_set is not None:
        checked_id(rule.remote_set)
    number = protocol_number(rule)
    if number in WITH_PORTS:
        port_range(rule)
    elif number in ICMP:
        for value in (rule.port_min, rule.port_max):
            if value is not None and not 0 <= value <= 255:
                raise InvalidDescription(f"{value} is no ICMP type or code")


def check_address_set(spec: AddressSetSpec) -> None:
    checked_id(spec.id)
    members(spec.ipv4, 4)
    members(spec.ipv6, 6)


def check_router(spec: RouterSpec) -> None:
    checked_id(spec.id)
    for port in (*spec.interfaces, *((spec.gateway,) if spec.gateway else ())):
        checked_id(port.port_id)
        checked_id(port.network_id)
        mac_address(port.mac)
        for text in port.addresses:
            interface(text)
    for hop in spec.gateway.next_hops if spec.gateway else ():
        address(hop)
    for floating in spec.floating:
        members((floating.floating_ip, floating.fixed_ip), 4)
    for route in spec.routes:
        if network(route.destination).version != address(route.nexthop).version:
            raise InvalidDescription(f"{route.nexthop} is no next hop for {route.destination}")
