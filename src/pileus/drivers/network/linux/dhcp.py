"""DHCP and DNS of one network: a dnsmasq in the network's namespace.

dnsmasq outlives the agent and is found again by its pid file. A change of reservations rewrites two files and
sends SIGHUP; leases of reservations that are gone are released, so that their addresses serve another MAC at once.
Only a change of its configuration restarts it, and the lease file carries over.
"""

import contextlib
import os
import pwd
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from pileus.agent.api import DhcpHost, NetworkSpec, SubnetSpec
from pileus.drivers.network.base import HostCommandFailed
from pileus.drivers.network.checks import address, domain, hostname, mac_address, network
from pileus.drivers.network.linux import namespaces
from pileus.drivers.network.linux.journal import write_atomically
from pileus.drivers.network.linux.settings import LinuxNetworkSettings
from pileus.kernel.clock import Clock

log = structlog.get_logger("pileus.network")
INTERFACE = "dhcp0"
METADATA_ADDRESS = "169.254.169.254"
_STOP_SECONDS, _RELEASE_SECONDS = 5.0, 1.0


@dataclass(frozen=True)
class _Files:
    """What a network's dnsmasq reads and writes."""

    directory: Path

    @property
    def configuration(self) -> Path:
        return self.directory / "dnsmasq.conf"

    @property
    def hosts(self) -> Path:
        return self.directory / "hosts"

    @property
    def names(self) -> Path:
        return self.directory / "names"

    @property
    def leases(self) -> Path:
        return self.directory / "leases"

    @property
    def pid(self) -> Path:
        return self.directory / "pid"


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


def configuration(spec: NetworkSpec, settings: LinuxNetworkSettings, files: Path, user: str) -> str:
    """The configuration file; every value in it is an address, a number, a checked name or a path of ours."""
    paths = _Files(files)
    lines = [
        f"user={user}",
        f"pid-file={paths.pid}",
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
        f"dhcp-leasefile={paths.leases}",
        f"dhcp-lease-max={1 << 16}",
        f"dhcp-hostsfile={paths.hosts}",
        f"addn-hosts={paths.names}",
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
        if subnet.ipv6_address_mode != "slaac":
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
    """The dnsmasq processes of this site, one directory each under `directory`."""

    def __init__(self, settings: LinuxNetworkSettings, directory: Path, clock: Clock) -> None:
        self._settings = settings
        self._directory = directory
        self._clock = clock
        directory.mkdir(parents=True, exist_ok=True)
        self._user = _unprivileged_user(settings.dnsmasq_user, directory)

    def directories(self) -> list[str]:
        """The ids of networks that have a directory here."""
        return sorted(path.name for path in self._directory.iterdir() if path.is_dir())

    def ensure(self, spec: NetworkSpec, namespace: str) -> None:
        """Have the network's dnsmasq run in `namespace` with this configuration and these reservations."""
        files = _Files(self._directory / spec.id)
        text = configuration(spec, self._settings, files.directory, self._user)
        hosts, names = reservations(spec.dhcp_hosts), host_names(spec.dhcp_hosts, spec.dns_domain)
        files.directory.mkdir(exist_ok=True)
        before, started_before = _reserved(files.hosts), files.configuration.exists()
        changed = [_rewrite(files.hosts, hosts), _rewrite(files.names, names)]
        pid = self._pid(files)
        gone = {ip for _, ip in before - _reserved(files.hosts) if ":" in ip}
        settled = pid is not None and namespaces.holds(namespace, pid)
        if not _rewrite(files.configuration, text) and pid and settled and not gone & _leased_ipv6(files.leases):
            if any(changed):
                os.kill(pid, signal.SIGHUP)
            self._release_stale(spec, files, namespace)
            return
        if started_before:
            self._stop(files)
        self._start(spec, files, namespace)

    def ensure_no(self, network_id: str) -> None:
        """Stop the network's dnsmasq and forget its leases."""
        files = _Files(self._directory / network_id)
        self._stop(files)
        if files.directory.is_dir():
            for path in files.directory.iterdir():
                path.unlink()
            files.directory.rmdir()

    def running(self, network_id: str) -> bool:
        return self._pid(_Files(self._directory / network_id)) is not None

    def reserved(self, network_id: str) -> set[tuple[str, str]]:
        """The (MAC, address) pairs that the network's dnsmasq was given."""
        return _reserved(_Files(self._directory / network_id).hosts)

    def _pid(self, files: _Files) -> int | None:
        """The process id, if it is alive and truly ours: pids are used again."""
        try:
            pid = int(files.pid.read_text())
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if f"--conf-file={files.configuration}".encode() in arguments else None

    def _processes(self, files: _Files) -> list[int]:
        """All processes with this configuration, also one whose pid file was lost."""
        wanted = f"--conf-file={files.configuration}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if wanted in (entry / "cmdline").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found

    def _start(self, spec: NetworkSpec, files: _Files, namespace: str) -> None:
        _prune(files.leases, _reserved(files.hosts))
        command = ["dnsmasq", f"--conf-file={files.configuration}"]
        done = namespaces.run_in(
            namespace, lambda: subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        )
        if done.returncode != 0:
            raise HostCommandFailed(f"dnsmasq: {done.stderr.strip()[:2000]}")
        log.info("dhcp server started", network=spec.id)

    def _stop(self, files: _Files) -> None:
        for pid in self._processes(files):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = self._clock.monotonic() + _STOP_SECONDS
        while remaining := self._processes(files):
            if self._clock.monotonic() > deadline:
                for pid in remaining:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            self._clock.sleep(0.005)
        files.pid.unlink(missing_ok=True)

    def _release_stale(self, spec: NetworkSpec, files: _Files, namespace: str) -> None:
        """End the leases that have no reservation any more.

        DHCPv4 knows a message for it, which a program on the server's host may send in the client's place.
        DHCPv6 has none without the client's identifier; there `ensure` restarts the server instead.
        """
        reserved = _reserved(files.hosts)
        stale = [lease for lease in _leases(files.leases) if (lease.mac, lease.ip) not in reserved]
        if not stale:
            return
        for lease in stale:
            server = _server_for(spec, lease.ip)
            if server is not None:
                namespaces.run_in(namespace, lambda lease=lease, server=server: _send_release(lease, server))  # type: ignore[misc]
        deadline = self._clock.monotonic() + _RELEASE_SECONDS
        while set(stale) & set(_leases(files.leases)):
            if self._clock.monotonic() > deadline:
                self._stop(files)
                self._start(spec, files, namespace)
                return
            self._clock.sleep(0.005)


def _unprivileged_user(name: str, directory: Path) -> str:
    """`name` if it exists and may enter `directory`, else root."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        log.warning("dnsmasq runs as root: there is no such user", user=name)
        return "root"
    for path in (directory, *directory.parents):
        status = path.stat()
        bit = 0o100 if status.st_uid == entry.pw_uid else 0o010 if status.st_gid == entry.pw_gid else 0o001
        if not status.st_mode & bit:
            log.warning("dnsmasq runs as root: its user may not enter the directory", user=name, directory=str(path))
            return "root"
    return name


def _rewrite(path: Path, text: str) -> bool:
    """Have the file hold `text`; answer whether it did not before."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_text() == text:
            return False
    write_atomically(path, text.encode())
    return True


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


def _send_release(lease: Lease, server: str) -> None:
    """Send the DHCPRELEASE (RFC 2131) that the client would, from the server's own host."""
    hardware = bytes.fromhex(lease.mac.replace(":", ""))
    message = struct.pack("!BBBBIHH", 1, 1, len(hardware), 0, int.from_bytes(os.urandom(4)), 0, 0)
    message += socket.inet_aton(lease.ip) + bytes(12) + hardware.ljust(16, b"\0") + bytes(64 + 128)
    message += b"\x63\x82\x53\x63" + b"\x35\x01\x07" + b"\x36\x04" + socket.inet_aton(server) + b"\xff"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, INTERFACE.encode())
        sender.sendto(message, (server, 67))
