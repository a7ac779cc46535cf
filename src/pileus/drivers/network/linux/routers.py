"""Routers: a namespace each, with the kernel's own routing and nftables for NAT and floating addresses.

Metadata needs no redirection: 169.254.169.254 is an address of the namespace's loopback interface, where the
agent listens, and the rules keep the outside from it.
"""

import ipaddress
import socket
import struct
from collections.abc import Iterator

from pileus.agent.api import HostRoute, RouterGateway, RouterInterface, RouterSpec
from pileus.drivers.network.base import NetworkNotFound
from pileus.drivers.network.checks import mac_address
from pileus.drivers.network.linux import conntrack, links, namespaces, nft
from pileus.drivers.network.linux.advertisements import Advertisers
from pileus.drivers.network.linux.dhcp import METADATA_ADDRESS
from pileus.drivers.network.linux.names import ROUTER, Names, Owner, inner_name, outer_name, owner_of
from pileus.drivers.network.linux.nft import (
    ACCEPT,
    DROP,
    Json,
    Table,
    among,
    differs,
    equal,
    has_state,
    meta,
    payload,
)

_NAT = -100
_SYSCTL = {
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/all/accept_ra": "0",
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/arp_ignore": "1",
    "net/ipv4/conf/all/arp_announce": "2",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
}


def ports_of(spec: RouterSpec) -> dict[str, RouterInterface | RouterGateway]:
    """The router's ports, by the names of their interfaces inside its namespace."""
    ports: dict[str, RouterInterface | RouterGateway] = {inner_name(p.port_id): p for p in spec.interfaces}
    if spec.gateway:
        ports[outer_name(spec.gateway.port_id)] = spec.gateway
    return ports


# --- rules --------------------------------------------------------------------------------------------------


def commands(spec: RouterSpec, table_name: str) -> list[Json]:
    """The router's whole rule set, replacing what was there in one transaction."""
    nat, table = Table("ip", table_name), Table("inet", table_name)
    chains = [
        nat.base_chain("prerouting", "prerouting", _NAT, kind="nat"),
        nat.base_chain("postrouting", "postrouting", 100, kind="nat"),
        table.base_chain("input", "input", 0),
        table.base_chain("forward", "forward", 0, policy="drop"),
    ]
    flushes = [nat.flush_chain("prerouting"), nat.flush_chain("postrouting")]
    flushes += [table.flush_chain("input"), table.flush_chain("forward")]
    maps = [nat.map("floating_in", "ipv4_addr", "ipv4_addr"), nat.map("floating_out", "ipv4_addr", "ipv4_addr")]
    maps += [nat.flush_map("floating_in"), nat.flush_map("floating_out")]
    maps += nat.elements("floating_in", [[f.floating_ip, f.fixed_ip] for f in spec.floating])
    maps += nat.elements("floating_out", [[f.fixed_ip, f.floating_ip] for f in spec.floating])
    prepared = [nat.add(), table.add(), *chains, *flushes, *maps]
    rules = [table.rule(chain, *rule) for chain, rule in _filter_rules(spec)]
    return prepared + rules + [nat.rule(chain, *rule) for chain, rule in _nat_rules(spec)]


def _filter_rules(spec: RouterSpec) -> Iterator[tuple[str, list[Json]]]:
    inner = [inner_name(port.port_id) for port in spec.interfaces]
    outer = [outer_name(spec.gateway.port_id)] if spec.gateway else []
    metadata = equal(payload("ip", "daddr"), METADATA_ADDRESS)
    if outer:
        yield "input", [equal(meta("iifname"), outer[0]), metadata, DROP]
        yield "input", [equal(meta("iifname"), outer[0]), has_state("established", "related"), ACCEPT]
        yield "input", [equal(meta("iifname"), outer[0]), among(meta("l4proto"), (1, 58)), ACCEPT]
        yield "input", [equal(meta("iifname"), outer[0]), DROP]
    if inner:  # the network's DHCP server answers, not the process that only advertises
        yield "input", [among(meta("iifname"), inner), equal(payload("udp", "dport"), 547), DROP]
    yield "forward", [equal(payload("ip", "daddr"), {"prefix": {"addr": "169.254.0.0", "len": 16}}), DROP]
    if spec.admin_state_up and inner + outer:
        yield "forward", [among(meta("iifname"), inner + outer), among(meta("oifname"), inner + outer), ACCEPT]


def _nat_rules(spec: RouterSpec) -> Iterator[tuple[str, list[Json]]]:
    """A floating address is replaced on the way in from everywhere, so that guests reach each other's and their own."""
    source, destination = payload("ip", "saddr"), payload("ip", "daddr")
    if spec.floating:
        yield "prerouting", [{"dnat": {"addr": {"map": {"key": destination, "data": "@floating_in"}}}}]
    if spec.gateway is None:
        return
    outer = outer_name(spec.gateway.port_id)
    inside = differs(meta("iifname"), outer)
    leaving, returning = equal(meta("oifname"), outer), differs(meta("oifname"), outer)
    translated = {"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}}
    ipv4 = [ipaddress.ip_interface(a).ip for a in spec.gateway.addresses if ":" not in a]
    for matches in ([leaving], [inside, returning, translated]):
        if spec.floating:
            yield "postrouting", [*matches, {"snat": {"addr": {"map": {"key": source, "data": "@floating_out"}}}}]
        if spec.gateway.enable_snat and ipv4:
            yield "postrouting", [*matches, inside, {"snat": {"addr": str(ipv4[0])}}]


# --- the namespace ------------------------------------------------------------------------------------------


class Routers:
    """Brings routers to this host. The caller holds the router's lock."""

    def __init__(self, names: Names, advertisers: Advertisers) -> None:
        self._names, self._advertisers = names, advertisers
        self._generations: dict[str, int] = {}  # of each router's ruleset, when it was last written

    def ensure(self, spec: RouterSpec, announced: list[str], before: RouterSpec | None) -> list[HostRoute]:
        """Make the router as described; answer the routes whose next hop no interface of it reaches.

        `announced` is what `advertisements.announced` says of it; `before` is what was asked for the last time:
        connections through floating addresses that it had are cut.
        """
        namespace = self._names.router_namespace(spec.id)
        namespaces.ensure(namespace)
        mtus = self._ensure_interfaces(spec, namespace)
        unreachable = namespaces.run_in(namespace, lambda: self._configure(spec, mtus))
        self._advertisers.ensure(spec.id, namespace, announced)
        gone = set(before.floating if before else ()) - set(spec.floating)
        if gone:
            addresses = {f.floating_ip for f in gone} | {f.fixed_ip for f in gone}
            namespaces.run_in(namespace, lambda: conntrack.cut_addresses(addresses))
        return unreachable

    def whole(self, spec: RouterSpec, announced: list[str]) -> bool:
        """Whether the router, once made as described, still is: cheap, so that asking again costs little."""
        namespace = self._names.router_namespace(spec.id)
        if not namespaces.exists(namespace) or not self._advertisers.whole(spec.id, namespace, announced):
            return False
        with links.netlink() as route:
            for port in ports_of(spec).values():
                link = links.find(route, self._names.interface(ROUTER, port.port_id))
                bridge = links.find(route, self._names.bridge(port.network_id))
                if link is None or bridge is None or link.master != bridge.index or not link.up:
                    return False
        return namespaces.run_in(namespace, nft.generation) == self._generations.get(spec.id)

    def ensure_no(self, router_id: str) -> None:
        """Interfaces first: the namespace itself may be held by somebody's mount for a while."""
        self._advertisers.ensure_no(router_id)
        with links.netlink() as route:
            for link in links.every(route):
                owner = owner_of(link.alias)
                if owner and (owner.kind, owner.id) == ("router", router_id) and self._names.is_interface(link.name):
                    links.remove(route, link.name)
        namespaces.ensure_no(self._names.router_namespace(router_id))
        self._generations.pop(router_id, None)

    def _ensure_interfaces(self, spec: RouterSpec, namespace: str) -> dict[str, int]:
        """The veths of exactly the described ports, each at its network's bridge; answer the networks' MTUs."""
        mtus = {}
        ports = ports_of(spec)
        wanted = {self._names.interface(ROUTER, port.port_id) for port in ports.values()}
        with links.netlink() as route:
            for link in links.every(route):
                owner = owner_of(link.alias)
                if owner and (owner.kind, owner.id) == ("router", spec.id) and link.name not in wanted:
                    links.remove(route, link.name)
            for inside, port in ports.items():
                bridge = links.find(route, self._names.bridge(port.network_id))
                if bridge is None:
                    raise NetworkNotFound(port.network_id)
                veth = links.ensure_veth(route, self._names.interface(ROUTER, port.port_id), namespace, inside)
                links.attach(route, veth, bridge, bridge.mtu, Owner("router", spec.id, port.port_id).alias())
                mtus[inside] = bridge.mtu
        return mtus

    def _configure(self, spec: RouterSpec, mtus: dict[str, int]) -> list[HostRoute]:
        """All that is inside the namespace: rules before addresses, forwarding last, so that nothing leaks."""
        namespaces.write_sysctl(_SYSCTL)
        nft.apply(commands(spec, self._names.router_table))
        fresh: list[tuple[str, str, str]] = []
        with links.netlink() as route:
            links.loopback_up(route, f"{METADATA_ADDRESS}/32")
            for name, port in ports_of(spec).items():
                mac, addresses = mac_address(port.mac), list(port.addresses)
                if port is spec.gateway:
                    addresses += [f"{floating.floating_ip}/32" for floating in spec.floating]
                new = links.configure(route, name, mac, mtus[name], addresses)
                fresh += [(name, mac, address) for address in new]
            defaults = _defaults(spec.gateway) if spec.gateway else []
            unreachable = links.ensure_routes(route, [*defaults, *spec.routes])
        namespaces.write_sysctl({"net/ipv4/ip_forward": "1"})
        for name, mac, address in fresh:
            _announce(name, mac, address)
        self._generations[spec.id] = nft.generation()
        return unreachable


def _defaults(gateway: RouterGateway) -> list[HostRoute]:
    """One default route per IP version: the first next hop of each."""
    found: dict[str, HostRoute] = {}
    for hop in gateway.next_hops:
        destination = "::/0" if ":" in hop else "0.0.0.0/0"
        found.setdefault(destination, HostRoute(destination=destination, nexthop=hop))
    return list(found.values())


def _announce(interface: str, mac: str, address: str) -> None:
    """Tell the link who has an IPv4 address now (gratuitous ARP), so that nobody sends to its former owner."""
    ip = ipaddress.ip_interface(address).ip
    if ip.version != 4:
        return
    sender = bytes.fromhex(mac.replace(":", ""))
    everybody = b"\xff" * 6
    request = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + sender + ip.packed + bytes(6) + ip.packed
    reply = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + sender + ip.packed + everybody + ip.packed
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((interface, 0))
        for message in (request, reply):
            raw.send(everybody + sender + b"\x08\x06" + message)
