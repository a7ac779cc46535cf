"""The bridges of networks, their DHCP namespaces, and how external networks reach the world."""

from typing import Any

from pileus.agent.api import HostRoute, NetworkSpec
from pileus.drivers.network.base import PhysicalNetworkUnusable
from pileus.drivers.network.checks import mac_address, network
from pileus.drivers.network.linux import dhcp, firewall, links, namespaces, nft
from pileus.drivers.network.linux.links import Link
from pileus.drivers.network.linux.names import BRIDGE, DHCP, UPLINK, Names, Owner
from pileus.drivers.network.linux.nft import Json, Table, differs, equal, meta, payload, prefix
from pileus.drivers.network.linux.settings import LinuxNetworkSettings


class Networks:
    """Brings networks to this host. The caller holds the network's lock."""

    def __init__(self, settings: LinuxNetworkSettings, names: Names, servers: dhcp.DhcpServers) -> None:
        self._settings = settings
        self._names = names
        self._servers = servers

    def ensure(self, spec: NetworkSpec) -> None:
        """The bridge, its way out if the network is external, and the DHCP server."""
        way_out = self.way_out(spec)
        firewall.admit(self._names)
        with links.netlink() as route:
            bridge = self._ensure_bridge(route, spec)
            if way_out is not None:
                self._connect(route, spec, bridge, way_out)
        if spec.external and way_out is None:
            namespaces.write_sysctl({"net/ipv4/ip_forward": "1"})
            nft.apply(self._nat_commands(spec))
        if spec.dhcp_mac is None:
            self._ensure_no_dhcp(spec.id)
        else:
            self._ensure_dhcp(spec, spec.dhcp_mac)

    def refresh(self, spec: NetworkSpec) -> bool:
        """Bring changed reservations to a network that is there otherwise; answer False if it is not whole."""
        with links.netlink() as route:
            bridge = links.find(route, self._names.bridge(spec.id))
            if bridge is None or not bridge.up or bridge.mtu != spec.mtu:
                return False
            if spec.dhcp_mac is not None:
                veth = links.find(route, self._names.interface(DHCP, spec.id))
                if veth is None or veth.master != bridge.index or not veth.up:
                    return False
        namespace = self._names.dhcp_namespace(spec.id)
        if spec.dhcp_mac is None:
            return True
        if not namespaces.exists(namespace):
            return False
        self._servers.ensure(spec, namespace)
        return True

    def ensure_no(self, network_id: str) -> None:
        self._ensure_no_dhcp(network_id)
        nft.apply(self._no_nat_commands(network_id))
        with links.netlink() as route:
            links.remove(route, self._names.interface(UPLINK, network_id))
            links.remove(route, self._names.bridge(network_id))

    # --- the way out ----------------------------------------------------------------------------------------

    def way_out(self, spec: NetworkSpec) -> str | None:
        """The interface that connects an external network; None: the host itself does, or it is not external.

        Raises PhysicalNetworkUnusable: the settings do not map its physical network.
        """
        if not spec.external:
            return None
        mapping = self._settings.physical_networks.get(spec.physical_network or "")
        if mapping == "nat":
            return None
        kind, _, interface = (mapping or "").partition(":")
        if kind != "interface" or not interface:
            raise PhysicalNetworkUnusable(f"this host has no physical network {spec.physical_network!r}")
        return interface

    def _ensure_bridge(self, route: Any, spec: NetworkSpec) -> Link:
        alias = Owner("network", spec.id).alias()
        bridge = links.ensure_bridge(route, self._names.interface(BRIDGE, spec.id), spec.mtu, alias)
        if spec.external:
            local = [
                f"{subnet.gateway_ip}/{network(subnet.cidr).prefixlen}"
                for subnet in spec.subnets
                if subnet.gateway_ip and ":" not in subnet.gateway_ip
            ]
            links.ensure_addresses(route, bridge.index, local if self.way_out(spec) is None else [])
        return bridge

    def _connect(self, route: Any, spec: NetworkSpec, bridge: Link, interface: str) -> None:
        """Join the bridge with an existing interface, by a cable between the two if that is a bridge itself."""
        uplink = links.find(route, interface)
        if uplink is None:
            raise PhysicalNetworkUnusable(f"{spec.physical_network!r}: this host has no interface {interface}")
        if uplink.kind == "bridge":
            cable = self._names.interface(UPLINK, spec.id)
            links.ensure_cable(route, cable, bridge, uplink, spec.mtu, Owner("network", spec.id, spec.id).alias())
        elif uplink.master not in (0, bridge.index):
            raise PhysicalNetworkUnusable(f"{interface} is a port of another bridge")
        elif links.addresses(route, uplink.index):
            raise PhysicalNetworkUnusable(
                f"{interface} has addresses of the host, which would become unreachable: give a spare interface"
                " or a bridge"
            )
        else:
            route.link("set", index=uplink.index, master=bridge.index, state="up")

    def _nat_commands(self, spec: NetworkSpec) -> list[Json]:
        """Masquerade what the host forwards from this network to elsewhere, in a chain of the network's own.

        The incoming interface tells it from frames that other bridges carry for the same addresses.
        """
        table, bridge = Table("ip", self._names.nat_table), self._names.bridge(spec.id)
        commands = [
            table.add(),
            table.base_chain(bridge, "postrouting", 100, kind="nat"),
            table.flush_chain(bridge),
        ]
        for subnet in spec.subnets:
            if ":" not in subnet.cidr:
                source = equal(payload("ip", "saddr"), prefix(subnet.cidr))
                elsewhere = differs(payload("ip", "daddr"), prefix(subnet.cidr))
                forwarded = equal(meta("iifname"), bridge)
                commands.append(table.rule(bridge, forwarded, source, elsewhere, {"masquerade": None}))
        return commands

    def _no_nat_commands(self, network_id: str) -> list[Json]:
        table, bridge = Table("ip", self._names.nat_table), self._names.bridge(network_id)
        chain = table.base_chain(bridge, "postrouting", 100, kind="nat")
        return [table.add(), chain, table.flush_chain(bridge), table.delete_chain(bridge)]

    # --- DHCP -----------------------------------------------------------------------------------------------

    def _ensure_dhcp(self, spec: NetworkSpec, mac: str) -> None:
        namespace = self._names.dhcp_namespace(spec.id)
        namespaces.ensure(namespace)
        with links.netlink() as route:
            bridge = links.must(route, self._names.bridge(spec.id))
            veth = links.ensure_veth(route, self._names.interface(DHCP, spec.id), namespace, dhcp.INTERFACE)
            links.attach(route, veth, bridge, spec.mtu, Owner("network", spec.id, spec.id).alias())
        namespaces.run_in(namespace, lambda: self._configure_namespace(spec, mac))
        self._servers.ensure(spec, namespace)

    def _configure_namespace(self, spec: NetworkSpec, mac: str) -> None:
        namespaces.write_sysctl(
            {"net/ipv6/conf/all/accept_ra": "0", "net/ipv6/conf/default/accept_ra": "0", "net/ipv4/ip_forward": "0"}
        )
        defaults = [
            HostRoute(destination="::/0" if ":" in subnet.cidr else "0.0.0.0/0", nexthop=subnet.gateway_ip)
            for subnet in dhcp.served(spec)
            if subnet.gateway_ip
        ]
        with links.netlink() as route:
            links.loopback_up(route)
            links.configure(route, dhcp.INTERFACE, mac_address(mac), spec.mtu, dhcp.addresses(spec))
            links.ensure_routes(route, {r.destination: r for r in reversed(defaults)}.values())

    def _ensure_no_dhcp(self, network_id: str) -> None:
        self._servers.ensure_no(network_id)
        with links.netlink() as route:
            links.remove(route, self._names.interface(DHCP, network_id))
        namespaces.ensure_no(self._names.dhcp_namespace(network_id))
