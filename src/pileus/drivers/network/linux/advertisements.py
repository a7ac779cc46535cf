"""IPv6 router advertisements: a dnsmasq in the namespace of each router that has IPv6 subnets to announce."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path

from pileus.agent.api import NetworkSpec, RouterInterface, RouterSpec, SubnetSpec
from pileus.drivers.network.checks import address, network
from pileus.drivers.network.linux.dnsmasq import Dnsmasq, rewrite
from pileus.drivers.network.linux.names import inner_name
from pileus.kernel.clock import Clock

_MODES = {"slaac": "ra-only", "dhcpv6-stateless": "ra-stateless", "dhcpv6-stateful": "static"}
_INTERVAL, _LIFETIME = 200, 1800  # seconds between unsolicited advertisements, and until a silent router is given up


def announced(spec: RouterSpec, networks: Mapping[str, NetworkSpec]) -> list[str]:
    """The configuration lines for what the router announces on its interfaces; none if it announces nothing."""
    lines: list[str] = []
    for port in spec.interfaces if spec.admin_state_up else ():
        its_network = networks[port.network_id]
        name = inner_name(port.port_id)
        for number, subnet in enumerate(its_network.subnets):
            if subnet.ipv6_ra_mode in _MODES and _holds(port, subnet):
                lines += _subnet_lines(f"{name}-{number}", subnet)
                lines += [f"interface={name}", f"ra-param={name},mtu:{int(its_network.mtu)},{_INTERVAL},{_LIFETIME}"]
    return list(dict.fromkeys(lines))


def _holds(port: RouterInterface, subnet: SubnetSpec) -> bool:
    return any(ipaddress.ip_interface(text).network == network(subnet.cidr) for text in port.addresses)


def _subnet_lines(tag: str, subnet: SubnetSpec) -> list[str]:
    """The range's mode sets the advertisement's flags: addresses from the prefix, from DHCPv6, the rest from DHCPv6."""
    cidr = network(subnet.cidr)
    mode = _MODES[subnet.ipv6_ra_mode or ""]
    lines = [f"dhcp-range=set:{tag},{cidr.network_address},{mode},{cidr.prefixlen},{_LIFETIME * 2}s"]
    servers = [f"[{address(server)}]" for server in subnet.dns_nameservers if address(server).version == 6]
    if servers:
        lines.append(f"dhcp-option=tag:{tag},option6:dns-server,{','.join(servers)}")
    return lines


class Advertisers:
    """The advertising processes of this site's routers, one directory each under `directory`."""

    def __init__(self, directory: Path, user: str, clock: Clock) -> None:
        self._directory, self._user, self._clock = directory, user, clock
        directory.mkdir(parents=True, exist_ok=True)

    def directories(self) -> list[str]:
        """The ids of routers that have a directory here."""
        return sorted(path.name for path in self._directory.iterdir() if path.is_dir())

    def ensure(self, router_id: str, namespace: str, lines: list[str]) -> None:
        """Have the router announce these lines' subnets, or nothing."""
        process = self._process(router_id)
        if not lines:
            process.remove()
            return
        process.directory.mkdir(exist_ok=True)
        fixed = [f"user={self._user}", f"pid-file={process.pid_file}", f"dhcp-leasefile={process.leases}", "port=0"]
        fixed += [
            "except-interface=lo",
            "bind-dynamic",
            "no-hosts",
            "no-resolv",
            "enable-ra",
            "quiet-ra",
            "quiet-dhcp6",
        ]
        existed = process.configuration.exists()
        if rewrite(process.configuration, "\n".join([*fixed, *lines, ""])) or not process.runs_in(namespace):
            if existed:
                process.stop()
            process.start(namespace)

    def ensure_no(self, router_id: str) -> None:
        self._process(router_id).remove()

    def whole(self, router_id: str, namespace: str, lines: list[str]) -> bool:
        return not lines or self._process(router_id).runs_in(namespace)

    def _process(self, router_id: str) -> Dnsmasq:
        return Dnsmasq(self._directory / router_id, self._clock)
