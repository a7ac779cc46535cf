"""DHCP and DNS of one network: a dnsmasq in the network's namespace.

A change of reservations rewrites two files and
sends SIGHUP; leases of reservations that are gone are released, so that their addresses serve another MAC at once.
Only a change of its configuration restarts it, and the lease file carries over.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pileus.agent.api import DhcpHost, NetworkSpec, SubnetSpec
from pileus.drivers.network.checks import address, domain, hostname, mac_address, network
from pileus.drivers.network.linux import namespaces
from pileus.drivers.network.linux.dnsmasq import Dnsmasq, rewrite
from pileus.drivers.network.linux.journal import write_atomically
from pileus.drivers.network.linux.settings import LinuxNetworkSettings
from pileus.kernel.clock import Clock

INTERFACE = "dhcp0"
HOSTS, NAMES = "hosts", "names"
METADATA_ADDRESS = "169.254.169.254"
_RELEASE_SECONDS = 1.0


@dataclass(frozen=True)
class Lease:
    """A DHCPv4 lease."""

    mac: str
    ip: str


# --- what dnsmasq is told -----------------------------------------------------------------------------------


def served(spec: NetworkSpec) -> list[SubnetSpec]:
    """The subnets that the DHCP server serves."""
    return [subnet for subnet in spec.subnets if subnet.enable_dhcp and subnet.dhcp_ip]


def addresses(spec: NetworkSpec) -> list[str]:
    """The addresses of the DHCP server's interface."""
    own = [f"{address(subnet.dhcp_ip or '')}/{network(subnet.cidr).prefixlen}" for subnet in served(spec)]
    return [*own, f"{METADATA_ADDRESS}/32"]


def configuration(spec: NetworkSpec, settings: LinuxNetworkSettings, process: Dnsmasq, user: str) -> str:
    """The configuration file; every value in it is an address, a number, a checked name or a path of ours."""
    lines = [
        f"user={user}",
        f"pid-file={process.pid_file}",
        f"interface={INTERFACE}",
        "except-interface=lo",
        "bind-interfaces",
        "no-hosts",
        "no-resolv",
        "no-ping",
        "quiet-dhcp",
        "quiet-dhcp6",
        "quiet-ra",
        "dhcp-authoritative",
        f"dhcp-leasefile={process.leases}",
        f"dhcp-lease-max={1 << 16}",
        f"dhcp-hostsfile={process.directory / HOSTS}",
        f"addn-hosts={process.directory / NAMES}",
        f"dhcp-option-force=option:mtu,{int(spec.mtu)}",
    ]
    lines += [f"server={address(server)}" for server in settings.dns_servers]
    suffix = domain(spec.dns_domain)
    if suffix:
        lines += [f"domain={suffix}", f"local=/{suffix}/"]
    for number, subnet in enumerate(served(spec)):
        lines += _subnet_lines(f"s{number}", subnet, spec, settings.dhcp_lease_time)
    return "\n".join([*lines, ""])


def _subnet_lines(tag: str, subnet: SubnetSpec, spec: NetworkSpec, lease_time: int) -> Iterator[str]:
    cidr = network(subnet.cidr)
    servers = ",".join(str(address(server)) for server in subnet.dns_nameservers)
    if cidr.version == 6:
        if subnet.ipv6_address_mode in ("dhcpv6-stateful", "dhcpv6-stateless"):
            yield f"dhcp-range=set:{tag},{cidr.network_address},static,{cidr.prefixlen},{lease_time}s"
        if servers:
            bracketed = ",".join(f"[{server}]" for server in servers.split(","))
            yield f"dhcp-option=tag:{tag},option6:dns-server,{bracketed}"
        return
    yield f"dhcp-range=set:{tag},{cidr.network_address},static,{cidr.netmask},{lease_time}s"
    yield f"dhcp-option=tag:{tag},option:dns-server,{servers or subnet.dhcp_ip}"
    routes = [f"{METADATA_ADDRESS}/32,{address(subnet.dhcp_ip or '')}"]
    routes += [f"{network(route.destination)},{address(route.nexthop)}" for route in subnet.host_routes]
    for other in spec.subnets:
        if other.id != subnet.id and network(other.cidr).version == 4:
            routes.append(f"{network(other.cidr)},0.0.0.0")
    if subnet.gateway_ip:
        gateway = address(subnet.gateway_ip)
        routes.append(f"0.0.0.0/0,{gateway}")
        yield f"dhcp-option=tag:{tag},option:router,{gateway}"
    else:
        yield f"dhcp-option=tag:{tag},option:router"
    yield f"dhcp-option=tag:{tag},option:classless-static-route,{','.join(routes)}"
    yield f"dhcp-option=tag:{tag},249,{','.join(routes)}"  # the same for old versions of Windows


def reservations(hosts: tuple[DhcpHost, ...]) -> str:
    """The reservations file. A client identifier is ignored: firmware and system send different ones."""
    lines = []
    for host in hosts:
        name = hostname(host.hostname)
        for ip in host.ips:
            fixed = address(ip)
            text = [f"[{fixed}]"] if fixed.version == 6 else ["id:*", str(fixed)]
            fields = [mac_address(host.mac), *text]
            lines.append(",".join([*fields, name] if name else fields))
    return "\n".join([*lines, ""])


def host_names(hosts: tuple[DhcpHost, ...], dns_domain: str) -> str:
    """The names file: every port's name, with and without the domain, also before it took a lease."""
    suffix = domain(dns_domain)
    lines = []
    for host in hosts:
        name = hostname(host.hostname)
        if name:
            full = [f"{name}.{suffix}"] if suffix else []
            lines += [" ".join([str(address(ip)), *full, name]) for ip in host.ips]
    return "\n".join([*lines, ""])


# --- the process --------------------------------------------------------------------------------------------


class DhcpServers:
    """The DHCP servers of this site, one directory each under `directory`."""

    def __init__(self, settings: LinuxNetworkSettings, directory: Path, user: str, clock: Clock) -> None:
        self._settings, self._directory, self._user, self._clock = settings, directory, user, clock
        directory.mkdir(parents=True, exist_ok=True)

    def directories(self) -> list[str]:
        """The ids of networks that have a directory here."""
        return sorted(path.name for path in self._directory.iterdir() if path.is_dir())

    def ensure(self, spec: NetworkSpec, namespace: str) -> None:
        """Have the network's dnsmasq run in `namespace` with this configuration and these reservations."""
        process = self._process(spec.id)
        text = configuration(spec, self._settings, process, self._user)
        hosts, names = reservations(spec.dhcp_hosts), host_names(spec.dhcp_hosts, spec.dns_domain)
        process.directory.mkdir(exist_ok=True)
        before, existed = self.reserved(spec.id), process.configuration.exists()
        changed = [rewrite(process.directory / HOSTS, hosts), rewrite(process.directory / NAMES, names)]
        gone = {ip for _, ip in before - self.reserved(spec.id) if ":" in ip}
        anew = rewrite(process.configuration, text) or bool(gone & _leased_ipv6(process.leases))
        if anew or not process.runs_in(namespace):
            if existed:
                process.stop()
            self._start(spec.id, process, namespace)
            return
        if any(changed):
            process.reload()
        self._release_stale(spec, process, namespace)

    def ensure_no(self, network_id: str) -> None:
        """Stop the network's dnsmasq and forget its leases."""
        self._process(network_id).remove()

    def running(self, network_id: str) -> bool:
        return self._process(network_id).pid() is not None

    def reserved(self, network_id: str) -> set[tuple[str, str]]:
        """The (MAC, address) pairs that the network's dnsmasq was given."""
        return _reserved(self._directory / network_id / HOSTS)

    def _process(self, network_id: str) -> Dnsmasq:
        return Dnsmasq(self._directory / network_id, self._clock)

    def _start(self, network_id: str, process: Dnsmasq, namespace: str) -> None:
        _prune(process.leases, self.reserved(network_id))
        process.start(namespace)

    def _release_stale(self, spec: NetworkSpec, process: Dnsmasq, namespace: str) -> None:
        """End the leases that have no reservation any more.

        DHCPv4 knows a message for it, which a program on the server's host may send in the client's place.
        DHCPv6 has none without the client's identifier; there `ensure` restarts the server instead.
        """
        reserved = self.reserved(spec.id)
        stale = [lease for lease in _leases(process.leases) if (lease.mac, lease.ip) not in reserved]
        if not stale:
            return
        namespaces.run_in(namespace, lambda: _send_releases(spec, stale))
        deadline = self._clock.monotonic() + _RELEASE_SECONDS
        while set(stale) & set(_leases(process.leases)):
            if self._clock.monotonic() > deadline:
                process.stop()
                self._start(spec.id, process, namespace)
                return
            self._clock.sleep(0.005)


def _reserved(hosts: Path) -> set[tuple[str, str]]:
    pairs = set()
    with contextlib.suppress(FileNotFoundError):
        for line in hosts.read_text().splitlines():
            mac, *rest = line.split(",")
            pairs.add((mac, (rest[1] if rest[0] == "id:*" else rest[0]).strip("[]")))
    return pairs


def _leases(path: Path) -> list[Lease]:
    """The IPv4 leases in a lease file: lines `expiry mac ip name client-id`, and after `duid` the IPv6 ones."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text().splitlines():
            fields = line.split()
            if fields and fields[0] == "duid":
                break
            if len(fields) >= 3:
                found.append(Lease(mac=fields[1].lower(), ip=fields[2]))
    return found


def _leased_ipv6(path: Path) -> set[str]:
    """The addresses under DHCPv6 leases."""
    with contextlib.suppress(FileNotFoundError):
        _, _, rest = path.read_text().partition("duid ")
        return {fields[2] for line in rest.splitlines()[1:] if len(fields := line.split()) >= 3}
    return set()


def _prune(path: Path, reserved: set[tuple[str, str]]) -> None:
    """Take the leases without a reservation out of the file of a server that does not run."""
    with contextlib.suppress(FileNotFoundError):
        addresses_reserved = {ip for _, ip in reserved}
        kept, ipv6 = [], False
        for line in path.read_text().splitlines():
            fields = line.split()
            ipv6 = ipv6 or fields[:1] == ["duid"]
            if len(fields) < 3 or (fields[2] in addresses_reserved if ipv6 else (fields[1], fields[2]) in reserved):
                kept.append(line)
        owner = path.stat()
        write_atomically(path, "\n".join([*kept, ""]).encode() if kept else b"")
        os.chown(path, owner.st_uid, owner.st_gid)


def _server_for(spec: NetworkSpec, ip: str) -> str | None:
    for subnet in served(spec):
        if address(ip) in network(subnet.cidr):
            return subnet.dhcp_ip
    return None


def _send_releases(spec: NetworkSpec, leases: list[Lease]) -> None:
    """Send for each lease the DHCPRELEASE (RFC 2131) that its client would."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, INTERFACE.encode())
        for lease in leases:
            server = _server_for(spec, lease.ip)
            if server is not None:
                sender.sendto(_release_message(lease, server), (server, 67))


def _release_message(lease: Lease, server: str) -> bytes:
    hardware = bytes.fromhex(lease.mac.replace(":", ""))
    message = struct.pack("!BBBBIHH", 1, 1, len(hardware), 0, int.from_bytes(os.urandom(4)), 0, 0)
    message += socket.inet_aton(lease.ip) + bytes(12) + hardware.ljust(16, b"\0") + bytes(64 + 128)
    message += b"\x63\x82\x53\x63"  # what tells DHCP from BOOTP
    return message + b"\x35\x01\x07" + b"\x36\x04" + socket.inet_aton(server) + b"\xff"
