"""Looking at the host: what of this site exists there, and removing all of it."""

from collections.abc import Mapping

from pileus.drivers.network.base import NetworkState
from pileus.drivers.network.checks import mac_address
from pileus.drivers.network.linux import firewall, links, namespaces, nft
from pileus.drivers.network.linux.advertisements import Advertisers
from pileus.drivers.network.linux.dhcp import DhcpServers
from pileus.drivers.network.linux.filters import NetworkEntry
from pileus.drivers.network.linux.names import Names, owner_of
from pileus.drivers.network.linux.nft import Table


def observe(
    names: Names, servers: DhcpServers, advertisers: Advertisers, known: Mapping[str, NetworkEntry]
) -> NetworkState:
    """Everything under the site's prefix, sorted to its owners by aliases and names."""
    found: dict[str, set[str]] = {"network": set(), "port": set(), "router": set(), "set": set()}
    strays: set[str] = set()
    with links.netlink() as route:
        for link in links.every(route):
            if names.is_interface(link.name):
                owner = owner_of(link.alias)
                if owner is None:
                    strays.add(f"interface {link.name}")
                else:
                    found[owner.kind].add(owner.id)
    for name in namespaces.names():
        if name.startswith(f"{names.prefix}-"):
            owner = names.namespace_owner(name)
            if owner is None:
                strays.add(f"namespace {name}")
            else:
                found[owner.kind].add(owner.id)
    found["network"].update(servers.directories())
    found["router"].update(advertisers.directories())
    _observe_rules(names, found, strays)
    return NetworkState(
        networks=tuple(sorted(found["network"])),
        ports=tuple(sorted(found["port"])),
        routers=tuple(sorted(found["router"])),
        address_sets=tuple(sorted(found["set"])),
        dhcp_hosts={network: _reservations(servers, known.get(network), network) for network in servers.directories()},
        strays=tuple(sorted(strays)),
    )


def _observe_rules(names: Names, found: dict[str, set[str]], strays: set[str]) -> None:
    """Address sets by their names, and chains of ports that have no interface."""
    owners = {names.tap(port).removeprefix(f"{names.prefix}t") for port in found["port"]}
    owners |= {names.bridge(network).removeprefix(f"{names.prefix}b") for network in found["network"]}
    for kind, item in (*nft.listing("chains"), *nft.listing("sets")):
        if item.get("table") not in (names.filter_table, names.state_table):
            continue
        label, _, rest = item["name"].partition("-")
        if kind == "set" and label in ("set4", "set6"):
            found["set"].add(rest)
        elif kind == "chain" and rest and rest not in owners:
            strays.add(f"chain {item['name']}")


def _reservations(servers: DhcpServers, entry: NetworkEntry | None, network: str) -> tuple[str, ...]:
    """The ports whose reservation the server's file has; of a network unknown, the MAC addresses instead."""
    pairs = servers.reserved(network)
    if entry is None:
        return tuple(sorted({mac for mac, _ in pairs}))
    ports = {
        host.port_id: {(mac_address(host.mac), ip) for ip in host.ips} for host in entry.spec.dhcp_hosts if host.ips
    }
    claimed = {pair for wanted in ports.values() for pair in wanted}
    known = {port for port, wanted in ports.items() if wanted <= pairs}
    return tuple(sorted(known | {mac for mac, _ in pairs - claimed}))


def remove_everything(names: Names, servers: DhcpServers, advertisers: Advertisers) -> None:
    """Processes, then interfaces, namespaces and rules."""
    firewall.withdraw(names)
    for network in servers.directories():
        servers.ensure_no(network)
    for router in advertisers.directories():
        advertisers.ensure_no(router)
    with links.netlink() as route:
        for link in links.every(route):
            if names.is_interface(link.name):
                links.remove(route, link.name)
    for name in namespaces.names():
        if name.startswith(f"{names.prefix}-"):
            namespaces.ensure_no(name)
    tables = (
        Table("bridge", names.filter_table),
        Table("inet", names.state_table),
        Table("ip", names.nat_table),
    )
    nft.apply([command for table in tables for command in (table.add(), table.delete())])
