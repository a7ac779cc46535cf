"""Which connections a port's rules admit: to find those that a change of rules no longer does.

The kernel lets established connections pass without asking the rules again, so a removed rule would go on working
for whoever is connected. This module repeats in Python what `rules` tells the kernel, for that purpose only.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from pileus.agent.api import AddressSetSpec, FilterRule, PortSpec
from pileus.drivers.network.checks import (
    ICMP,
    WITH_PORTS,
    Address,
    Network,
    address,
    network,
    port_range,
    protocol_number,
)
from pileus.drivers.network.linux.conntrack import Connection


class Admission:
    """The rules of some ports, asked about many connections."""

    def __init__(self, ports: Iterable[PortSpec], sets: Mapping[str, AddressSetSpec]) -> None:
        self._sets = {
            identifier: [network(member) for member in (*members.ipv4, *members.ipv6)]
            for identifier, members in sets.items()
        }
        self._single: defaultdict[str, list[PortSpec]] = defaultdict(list)
        self._ranges: list[tuple[Network, PortSpec]] = []
        for port in ports:
            for pair in port.addresses:
                allowed = network(pair.ip)
                if allowed.prefixlen == allowed.max_prefixlen:
                    self._single[str(allowed.network_address)].append(port)
                else:
                    self._ranges.append((allowed, port))

    def expels(self, connection: Connection) -> bool:
        """Whether one of the ports takes part in the connection and no rule of it admits that."""
        flow = connection.original
        ends = (("egress", flow.source, flow.destination), ("ingress", flow.destination, flow.source))
        return any(
            not any(
                self._admits(rule, address(remote), flow.protocol, flow.ports)
                for rule in port.rules
                if rule.direction == direction
            )
            for direction, own, remote in ends
            for port in self._with_address(own)
        )

    def _with_address(self, own: str) -> list[PortSpec]:
        found = list(self._single.get(own, ()))
        if self._ranges:
            parsed = address(own)
            found += [port for allowed, port in self._ranges if _contains(allowed, parsed)]
        return found

    def _admits(self, rule: FilterRule, remote: Address, protocol: int, ports: tuple[int, int]) -> bool:
        if remote.version != (4 if rule.ethertype == "IPv4" else 6):
            return False
        if rule.remote_prefix is not None and not _contains(network(rule.remote_prefix), remote):
            return False
        if rule.remote_set is not None and not any(
            _contains(member, remote) for member in self._sets.get(rule.remote_set, ())
        ):
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


def _contains(allowed: Network, ip: Address) -> bool:
    return ip.version == allowed.version and ip in allowed
