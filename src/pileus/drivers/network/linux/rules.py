"""Security groups as nftables rules: pure functions from descriptions to commands.

The kernel tracks connections for IP hooks only, on most kernels. So the state of a bridged packet is found in the
IP prerouting hook, written to the packet's mark, and matched in the bridge's hooks, where the rules of a port live:

* `spoof-PORT` (bridge prerouting): what a guest may send at all: its own MAC and addresses, no DHCP server, no
  router advertisement. It comes first, so a forged packet never touches the state of somebody's connection.
* `egress-PORT` and `ingress-PORT` (bridge forward): established connections, what every guest needs (ARP,
  neighbour discovery, DHCP), then one rule per security group rule; the rest is dropped.

A chain admits a packet by `return`, because one packet may have to pass the chains of two ports.
"""

import ipaddress
from collections.abc import Iterable, Iterator

from pileus.agent.api import AddressSetSpec, FilterRule, PortSpec
from pileus.drivers.network.checks import (
    ICMP,
    WITH_PORTS,
    checked_id,
    mac_address,
    members,
    network,
    port_range,
    protocol_number,
)
from pileus.drivers.network.linux.names import short
from pileus.drivers.network.linux.nft import (
    DROP,
    RETURN,
    Json,
    Table,
    among,
    concat,
    differs,
    equal,
    meta,
    outside,
    payload,
    prefix,
)

ESTABLISHED, INVALID = 0x504C0001, 0x504C0003  # marks of packets
FEW = 8  # up to so many address pairs are rules of their own: the kernel's tools handle rules faster than sets
ICMPV6_TYPES = {
    "of-routers": (134, 137),  # router advertisement, redirect
    "without-address": (131, 132, 135, 143),  # multicast listener messages, "does anybody have my address?"
    "of-guests": (131, 132, 133, 135, 136, 143),  # those, router solicitation, neighbour discovery
    "to-guests": (130, 134, 135, 136),  # multicast listener query, router advertisement, neighbour discovery
}
EXPELLED = 0x504C0004  # mark of a connection that the rules once admitted and no longer do
_IPV4 = equal(payload("ether", "type"), "ip")
_IPV6 = equal(payload("ether", "type"), "ip6")
_ARP = equal(payload("ether", "type"), "arp")
_SOURCE_MAC = payload("ether", "saddr")
_ICMPV6_TYPE = payload("icmpv6", "type")
_NEIGHBOUR_TARGET: Json = {"payload": {"base": "nh", "offset": 384, "len": 128}}  # after 40 + 8 octets
_NO_ADDRESS = {4: str(ipaddress.IPv4Address(0)), 6: str(ipaddress.IPv6Address(0))}


def link_local(mac: str) -> str:
    """The IPv6 link-local address that a guest forms from its MAC (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    suffix = bytes((octets[0] ^ 2, octets[1], octets[2], 0xFF, 0xFE, octets[3], octets[4], octets[5]))
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + suffix))


def set_name(set_id: str, version: int) -> str:
    return f"set{version}-{checked_id(set_id)}"


def set_references(spec: PortSpec) -> set[str]:
    """The address sets that a port's filters name."""
    return {rule.remote_set for rule in spec.rules if rule.remote_set and spec.filtered}


def chain_names(port_id: str) -> dict[str, str]:
    """The port's chain for each of the verdict maps."""
    return {kind: f"{kind}-{short(port_id)}" for kind in ("spoof", "egress", "ingress")}


# --- what a guest may send ----------------------------------------------------------------------------------


class _Addresses:
    """A port's address pairs, sorted by how they are matched."""

    def __init__(self, spec: PortSpec) -> None:
        own = mac_address(spec.mac)
        pairs = [(mac_address(pair.mac), network(pair.ip)) for pair in spec.addresses]
        self.macs = sorted({own, *(mac for mac, _ in pairs)})
        self.local = [(mac, link_local(mac)) for mac in self.macs]
        self.single: dict[int, list[tuple[str, str]]] = {4: [], 6: list(self.local)}
        self.ranges: dict[int, list[tuple[str, str]]] = {4: [], 6: []}
        for mac, allowed in sorted(set(pairs), key=str):
            if allowed.prefixlen == allowed.max_prefixlen:
                self.single[allowed.version].append((mac, str(allowed.network_address)))
            else:
                self.ranges[allowed.version].append((mac, str(allowed)))


def _pairs(mac: Json, ip: Json, addresses: _Addresses, version: int) -> Iterator[list[Json]]:
    """The matches, one of which a packet must satisfy: its MAC and IP address belong together."""
    single = addresses.single[version]
    if len(single) > FEW:
        yield [among(concat(mac, ip), [concat(*pair) for pair in single])]
    else:
        yield from ([equal(mac, source), equal(ip, allowed)] for source, allowed in single)
    for source, allowed in addresses.ranges[version]:
        yield [equal(mac, source), equal(ip, prefix(allowed))]


def spoof_rules(spec: PortSpec) -> Iterator[list[Json]]:
    """What the guest may send at all, whatever its security groups say."""
    addresses = _Addresses(spec)
    yield [outside(_SOURCE_MAC, addresses.macs), DROP]
    sender = payload("arp", "saddr ether")
    for match in _pairs(sender, payload("arp", "saddr ip"), addresses, 4):
        yield [_ARP, *match, RETURN]
    probe = [among(sender, addresses.macs), equal(payload("arp", "saddr ip"), _NO_ADDRESS[4])]
    yield [_ARP, *probe, RETURN]  # asks whether an address is free (RFC 5227)
    yield [_ARP, DROP]
    yield [_IPV4, equal(payload("udp", "sport"), 67), equal(payload("udp", "dport"), 68), DROP]
    yield [_IPV4, equal(payload("ip", "saddr"), _NO_ADDRESS[4]), *_udp(68, 67), RETURN]
    for match in _pairs(_SOURCE_MAC, payload("ip", "saddr"), addresses, 4):
        yield [_IPV4, *match, RETURN]
    yield from _spoof_rules_ipv6(addresses)
    yield [DROP]


def _spoof_rules_ipv6(addresses: _Addresses) -> Iterator[list[Json]]:
    """A neighbour advertisement must be about an address of the guest's own; extension headers could hide that."""
    advertisement = equal(_ICMPV6_TYPE, 136)
    yield [_IPV6, _icmpv6("of-routers"), DROP]
    yield [_IPV6, *_udp(547, 546), DROP]
    yield [_IPV6, equal(payload("ip6", "saddr"), _NO_ADDRESS[6]), _icmpv6("without-address"), RETURN]
    yield [_IPV6, advertisement, differs(payload("ip6", "nexthdr"), 58), DROP]
    if not addresses.ranges[6]:
        for mac, ip in addresses.single[6]:
            target = equal(_NEIGHBOUR_TARGET, f"0x{int(ipaddress.IPv6Address(ip)):032x}")
            yield [_IPV6, advertisement, equal(_SOURCE_MAC, mac), target, RETURN]
        yield [_IPV6, advertisement, DROP]
    for match in _pairs(_SOURCE_MAC, payload("ip6", "saddr"), addresses, 6):
        yield [_IPV6, *match, RETURN]


def _icmpv6(name: str) -> Json:
    return equal(_ICMPV6_TYPE, f"@{name}")


def _udp(source: int, destination: int) -> list[Json]:
    return [equal(payload("udp", "sport"), source), equal(payload("udp", "dport"), destination)]


# --- security groups ----------------------------------------------------------------------------------------


def egress_rules(spec: PortSpec) -> Iterator[list[Json]]:
    yield [_ARP, RETURN]
    yield [_IPV4, *_udp(68, 67), RETURN]
    yield [_IPV6, *_udp(546, 547), RETURN]
    yield [_IPV6, _icmpv6("of-guests"), RETURN]
    yield from _group_rules(spec, "egress")


def ingress_rules(spec: PortSpec) -> Iterator[list[Json]]:
    """The first rule keeps from the guest what the bridge floods because it has not learnt the receiver yet."""
    unicast = equal({"&": [payload("ether", "daddr"), "01:00:00:00:00:00"]}, "00:00:00:00:00:00")
    yield [unicast, outside(payload("ether", "daddr"), _Addresses(spec).macs), DROP]
    yield [_ARP, RETURN]
    yield [_IPV4, *_udp(67, 68), RETURN]
    yield [_IPV6, *_udp(547, 546), RETURN]
    yield [_IPV6, _icmpv6("to-guests"), RETURN]
    yield from _group_rules(spec, "ingress")


def _group_rules(spec: PortSpec, direction: str) -> Iterator[list[Json]]:
    yield [equal(meta("mark"), ESTABLISHED), RETURN]
    yield [equal(meta("mark"), INVALID), DROP]
    for rule in dict.fromkeys(spec.rules):
        if rule.direction == direction:
            yield [*rule_match(rule), RETURN]
    yield [DROP]


def rule_match(rule: FilterRule) -> list[Json]:
    """The matches of one security group rule."""
    version = 4 if rule.ethertype == "IPv4" else 6
    family = "ip" if version == 4 else "ip6"
    matches = [_IPV4 if version == 4 else _IPV6]
    remote = payload(family, "saddr" if rule.direction == "ingress" else "daddr")
    if rule.remote_prefix is not None and network(rule.remote_prefix).prefixlen:
        matches.append(equal(remote, prefix(rule.remote_prefix)))
    if rule.remote_set is not None:
        matches.append(equal(remote, f"@{set_name(rule.remote_set, version)}"))
    number = protocol_number(rule)
    if number is not None:
        matches.append(equal(meta("l4proto"), number))
        matches.extend(_port_matches(rule, number))
    return matches


def _port_matches(rule: FilterRule, number: int) -> Iterator[Json]:
    if number in ICMP:
        name = "icmp" if number == 1 else "icmpv6"
        for key, value in (("type", rule.port_min), ("code", rule.port_max)):
            if value is not None:
                yield equal(payload(name, key), value)
    elif number in WITH_PORTS:
        first, last = port_range(rule)
        if (first, last) != (0, 65535):
            yield equal(payload("th", "dport"), first if first == last else {"range": [first, last]})


# --- commands -----------------------------------------------------------------------------------------------


def shared_commands(table: Table) -> list[Json]:
    """The sets that all ports' rules name: one set for each port would slow every change of any."""
    commands = []
    for name, types in ICMPV6_TYPES.items():
        commands += [table.set(name, "icmpv6_type"), *table.elements(name, types)]
    return commands


def port_commands(table: Table, spec: PortSpec, tap: str) -> list[Json]:
    """Replace the port's chains, and lead its packets through them."""
    chains = chain_names(spec.id)
    commands = [command for set_id in sorted(set_references(spec)) for command in declare_set_commands(table, set_id)]
    bodies: dict[str, Iterable[list[Json]]] = {
        "spoof": spoof_rules(spec),
        "egress": egress_rules(spec),
        "ingress": ingress_rules(spec),
    }
    for kind, chain in chains.items():
        commands += [table.chain(chain), table.flush_chain(chain)]
        commands += [table.rule(chain, *rule) for rule in bodies[kind]]
        commands += table.elements(kind, [[tap, {"jump": {"target": chain}}]])
    return commands


def no_port_commands(table: Table, port_id: str, tap: str) -> list[Json]:
    """Undo port_commands; the chains must exist."""
    commands = []
    for kind, chain in chain_names(port_id).items():
        commands += [table.delete_elements(kind, [tap]), table.flush_chain(chain), table.delete_chain(chain)]
    return commands


def declare_set_commands(table: Table, set_id: str) -> list[Json]:
    return [
        table.set(set_name(set_id, 4), "ipv4_addr", "interval"),
        table.set(set_name(set_id, 6), "ipv6_addr", "interval"),
    ]


def set_commands(table: Table, spec: AddressSetSpec) -> list[Json]:
    """Replace the set's members. Overlapping and adjacent ones are merged, as interval sets require."""
    commands = declare_set_commands(table, spec.id)
    for version, networks in ((4, members(spec.ipv4, 4)), (6, members(spec.ipv6, 6))):
        commands.append(table.flush_set(set_name(spec.id, version)))
        commands += table.elements(set_name(spec.id, version), [prefix(str(member)) for member in networks])
    return commands


def no_set_commands(table: Table, set_id: str) -> list[Json]:
    return [table.delete_set(set_name(set_id, version)) for version in (4, 6)]
