"""`network_data.json` of the metadata service, in the form of Nova's user documentation ("Metadata")."""

import ipaddress
from collections.abc import Sequence
from typing import Any

from pileus.network.domain import PortAddress, PortInfo, Subnet


def network_data(ports: Sequence[PortInfo], subnets: dict[str, Subnet]) -> dict[str, Any]:
    """Links (interfaces), networks (an address of an interface each) and services (DNS servers) of one server."""
    links: list[dict[str, Any]] = []
    networks: list[dict[str, Any]] = []
    servers: list[str] = []
    for port in ports:
        link = f"tap{port.id[:11]}"
        links.append(
            {
                "id": link,
                "vif_id": port.id,
                "type": "bridge",
                "mtu": port.mtu,
                "ethernet_mac_address": port.mac,
            }
        )
        for address in port.addresses:
            networks.append(_network(f"network{len(networks)}", link, port, address, subnets[address.subnet_id]))
            servers.extend(server for server in address.dns if server not in servers)
    return {
        "links": links,
        "networks": networks,
        "services": [{"type": "dns", "address": server} for server in servers],
    }


def _network(name: str, link: str, port: PortInfo, address: PortAddress, subnet: Subnet) -> dict[str, Any]:
    described: dict[str, Any] = {"id": name, "type": _type(subnet), "link": link, "network_id": port.network_id}
    if described["type"] == "ipv4_dhcp":
        return described
    block = ipaddress.ip_network(subnet.cidr)
    described |= {
        "ip_address": address.ip,
        "netmask": str(block.netmask),
        "routes": _routes(subnet),
        "services": [{"type": "dns", "address": server} for server in address.dns],
    }
    return described


def _type(subnet: Subnet) -> str:
    if subnet.ip_version == 4:
        return "ipv4_dhcp" if subnet.enable_dhcp else "ipv4"
    return f"ipv6_{subnet.ipv6_address_mode}" if subnet.ipv6_address_mode else "ipv6"


def _routes(subnet: Subnet) -> list[dict[str, str]]:
    routes = []
    if subnet.gateway_ip is not None:
        everywhere = "0.0.0.0" if subnet.ip_version == 4 else "::"  # noqa: S104 - a route's destination
        routes.append({"network": everywhere, "netmask": everywhere, "gateway": subnet.gateway_ip})
    for destination, nexthop in subnet.host_routes:
        block = ipaddress.ip_network(destination)
        routes.append({"network": str(block.network_address), "netmask": str(block.netmask), "gateway": nexthop})
    return routes
