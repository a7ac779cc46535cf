"""Which connections a port's rules admit: to end those that a change of rules no longer does.

The kernel lets established connections pass without asking the rules again, so a removed rule would go on working
for whoever is connected. This module repeats in Python what `rules` tells the kernel, for that purpose only.
"""

import ipaddress
from collections.abc import Mapping

from pileus.agent.api import AddressSetSpec, FilterRule, PortSpec
from pileus.drivers.network.checks import ICMP, WITH_PORTS, port_range, protocol_number
from pileus.drivers.network.linux.conntrack import Connection

Sets = Mapping[str, AddressSetSpec]


def expelled(port: PortSpec, sets: Sets, connection: Connection) -> bool:
    """Whether the port takes part in the connection and no rule of it admits that any more."""
    flow = connection.original
    for direction, own, remote in (
        ("egress", flow.source, flow.destination),
        ("ingress", flow.destination, flow.source),
    ):
        if _is_own(port, own) and not any(
            _admits(rule, remote, flow.protocol, flow.ports, sets) for rule in port.rules if rule.direction == direction
        ):
            return True
    return False


def _is_own(port: PortSpec, address: str) -> bool:
    return any(_contains(pair.ip, address) for pair in port.addresses)


def _contains(network: str, address: str) -> bool:
    ip = ipaddress.ip_address(address)
    parsed = ipaddress.ip_network(network, strict=False)
    return ip.version == parsed.version and ip in parsed


def _admits(rule: FilterRule, remote: str, protocol: int, ports: tuple[int, int], sets: Sets) -> bool:
    if (":" in remote) != (rule.ethertype == "IPv6"):
        return False
    if rule.remote_prefix is not None and not _contains(rule.remote_prefix, remote):
        return False
    if rule.remote_set is not None:
        members = sets.get(rule.remote_set, AddressSetSpec(id=rule.remote_set))
        if not any(_contains(member, remote) for member in (*members.ipv4, *members.ipv6)):
            return False
    number = protocol_number(rule)
    if number is None:
        return True
    if number != protocol:
        return False
    if number in ICMP:
        return rule.port_min in (None, ports[0]) and rule.port_max in (None, ports[1])
    if number in WITH_PORTS:
        low, high = port_range(rule)
        return low <= ports[1] <= high
    return True
