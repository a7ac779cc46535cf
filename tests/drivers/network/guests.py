"""Guests for traffic tests: a network namespace on the other end of a cable that takes the tap's place."""

import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self, TypeVar

from pileus.drivers.network.linux import links, namespaces

T = TypeVar("T")
WAIT = 0.4  # seconds after which an answer on this machine counts as not coming


def eventually(check: Callable[[], T], seconds: float = 10.0) -> T:
    """The first true result of `check`; AssertionError if none comes in time."""
    deadline = time.monotonic() + seconds
    while not (result := check()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return result


class Guest:
    """A guest with the given MAC, plugged where the port's tap is to be; use it as a context."""

    def __init__(self, name: str, tap: str, mac: str, *addresses: str) -> None:
        self.name, self.tap, self.mac, self.addresses = name, tap, mac, addresses

    def __enter__(self) -> Self:
        namespaces.ensure(self.name)
        with links.netlink() as route:
            links.remove(route, self.tap)
            links.ensure_veth(route, self.tap, self.name, "eth0")
        self.inside(self._configure)
        return self

    def __exit__(self, *_: object) -> None:
        with links.netlink() as route:
            links.remove(route, self.tap)
        namespaces.ensure_no(self.name)

    def _configure(self) -> None:
        namespaces.write_sysctl(
            {
                "net/ipv6/conf/eth0/accept_dad": "0",
                "net/ipv6/conf/eth0/dad_transmits": "0",
                "net/ipv4/ping_group_range": "0 0",
            }
        )
        with links.netlink() as route:
            links.loopback_up(route)
            links.configure(route, "eth0", self.mac, 1450, self.addresses)

    def inside(self, work: Callable[[], T]) -> T:
        return namespaces.run_in(self.name, work)

    def run(self, *command: str, timeout: float = 20.0) -> subprocess.CompletedProcess[str]:
        return self.inside(
            lambda: subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        )

    def add_address(self, address: str) -> None:
        done = self.run("ip", "addr", "add", address, "dev", "eth0", "nodad" if ":" in address else "noprefixroute")
        assert done.returncode == 0, done.stderr

    def add_route(self, destination: str, via: str) -> None:
        assert self.run("ip", "route", "replace", destination, "via", via).returncode == 0

    def forget_neighbours(self) -> None:
        self.run("ip", "neigh", "flush", "all")

    # --- asking ---------------------------------------------------------------------------------------------

    def pings(self, target: str, source: str | None = None, wait: float = WAIT) -> bool:
        bound = ["-I", source] if source else []
        return self.run("ping", "-c1", "-W", str(wait), *bound, target).returncode == 0

    def reaches(self, address: str, port: int, wait: float = WAIT) -> str | None:
        """What the TCP server there says, or None."""
        with suppress(OSError), self.connection(address, port, wait) as talk:
            return talk.recv(200).decode()
        return None

    def connection(self, address: str, port: int, wait: float = WAIT) -> socket.socket:
        def connect() -> socket.socket:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            talk = socket.socket(family, socket.SOCK_STREAM)
            talk.settimeout(wait)
            try:
                talk.connect((address, port))
            except OSError:
                talk.close()
                raise
            return talk

        return self.inside(connect)

    def asks_who_has(self, ip: str, sender_ip: str, wait: float = WAIT) -> str | None:
        """The MAC address that answers an ARP request, or None."""
        own = bytes.fromhex(self.mac.replace(":", ""))

        def ask() -> str | None:
            request = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + own + socket.inet_aton(sender_ip)
            request += bytes(6) + socket.inet_aton(ip)
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as raw:
                raw.bind(("eth0", 0x0806))
                raw.settimeout(wait)
                raw.send(b"\xff" * 6 + own + b"\x08\x06" + request)
                deadline = time.monotonic() + wait
                while time.monotonic() < deadline:
                    with suppress(TimeoutError):
                        frame = raw.recv(200)
                        if frame[20:22] == b"\x00\x02" and frame[28:32] == socket.inet_aton(ip):
                            return frame[22:28].hex(":")
            return None

        return self.inside(ask)

    def leases(self, directory: Path, tries: int = 5) -> dict[str, str] | None:
        """What the DHCP server gives: the variables that udhcpc hands to its script; None if nothing."""
        directory.mkdir(exist_ok=True)
        output, script = directory / "lease", directory / "script"
        output.unlink(missing_ok=True)
        script.write_text(f'#!/bin/sh\n[ "$1" = bound ] && env > {output}\nexit 0\n')
        script.chmod(0o755)
        options = [f"-O{name}" for name in ("staticroutes", "mtu", "dns", "domain", "hostname", "router")]
        command = ["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", str(tries), "-T", "1", "-A", "1"]
        self.run(*command, *options, "-s", str(script))
        if not output.exists():
            return None
        return dict(line.split("=", 1) for line in output.read_text().splitlines() if "=" in line)


class Echo:
    """A TCP server in a namespace (None: the host's) that tells every client the address it comes from.

    Connections stay open and answer each further line with itself.
    """

    def __init__(self, namespace: str | None, address: str, port: int) -> None:
        if namespace is None:
            self._server = namespaces.in_thread(lambda: _listening(address, port))
        else:
            self._server = namespaces.listen_in(namespace, address, port)
        self._open = ExitStack()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._server.close()
        self._open.close()

    def _serve(self) -> None:
        while True:
            try:
                talk, peer = self._server.accept()
            except OSError:
                return
            self._open.enter_context(talk)
            talk.send(str(peer[0]).encode())
            threading.Thread(target=self._answer, args=(talk,), daemon=True).start()

    def _answer(self, talk: socket.socket) -> None:
        with suppress(OSError):
            while data := talk.recv(200):
                talk.send(data)


def _listening(address: str, port: int) -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen(8)
    return server


def still_talks(talk: socket.socket, wait: float = WAIT) -> bool:
    """Whether an open connection to an Echo still carries data both ways."""
    word = os.urandom(4).hex().encode()
    talk.settimeout(wait)
    with suppress(OSError):
        talk.send(word)
        return word in talk.recv(200)
    return False
