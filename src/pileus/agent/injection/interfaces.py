"""/etc/network/interfaces, Debian's form, made from network_data.json."""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

HEAD = "# Written before the first boot.\nauto lo\niface lo inet loopback\n"
_AUTOMATIC = {
    "ipv4_dhcp": ("inet", "dhcp"),
    "ipv6_dhcpv6-stateful": ("inet6", "dhcp"),
    "ipv6_dhcpv6-stateless": ("inet6", "auto"),
    "ipv6_slaac": ("inet6", "auto"),
}


def interfaces(network_data: Mapping[str, Any]) -> str:
    """The file. Interfaces are eth0, eth1 ... in the order of the links; each is named with its MAC address too."""
    parts = [HEAD]
    for position, link in enumerate(network_data.get("links", ())):
        name = f"eth{position}"
        parts.append(f"\nauto {name}\n")
        networks = [one for one in network_data["networks"] if one["link"] == link["id"]]
        parts.extend(_stanza(name, link, network) for network in networks)
        if not networks:
            parts.append(f"iface {name} inet manual\n")
    return "".join(parts)


def _stanza(name: str, link: Mapping[str, Any], network: Mapping[str, Any]) -> str:
    automatic = _AUTOMATIC.get(network["type"])
    if automatic is not None:
        family, method = automatic
        return f"iface {name} {family} {method}\n" + _lines(("hwaddress", link["ethernet_mac_address"]))
    address = ipaddress.ip_interface(f"{network['ip_address']}/{_prefix(network['netmask'])}")
    family = "inet" if address.version == 4 else "inet6"
    lines = [("hwaddress", link["ethernet_mac_address"]), ("address", str(address))]
    if link.get("mtu"):
        lines.append(("mtu", str(int(link["mtu"]))))
    lines.extend(_routes(network.get("routes", ()), name))
    servers = [str(ipaddress.ip_address(one["address"])) for one in network.get("services", ())]
    if servers:
        lines.append(("dns-nameservers", " ".join(servers)))
    return f"iface {name} {family} static\n" + _lines(*lines)


def _routes(routes: Sequence[Mapping[str, str]], name: str) -> list[tuple[str, str]]:
    lines = []
    for route in routes:
        gateway = ipaddress.ip_address(route["gateway"])
        network = ipaddress.ip_network(f"{route['network']}/{_prefix(route['netmask'])}")
        if network.prefixlen == 0:
            lines.append(("gateway", str(gateway)))
        else:
            lines.append(("up", f"ip route add {network} via {gateway} dev {name}"))
    return lines


def _prefix(netmask: str) -> int:
    """The length of a prefix given as a mask of either version."""
    mask = ipaddress.ip_address(netmask)
    ones = f"{int(mask):b}".rstrip("0")
    if "0" in ones or (int(mask) and len(f"{int(mask):b}") != mask.max_prefixlen):
        raise ValueError(f"{netmask} is not a netmask")
    return len(ones)


def _lines(*pairs: tuple[str, str]) -> str:
    return "".join(f"    {name} {value}\n" for name, value in pairs)
