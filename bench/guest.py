"""A real guest: from the API call to ACTIVE and to an SSH login, beside the same QEMU command given by hand.

`python -m bench.guest [--rounds 3]`. A real cloud of its own. In each round a server is created with a port that has a
floating IP already, and somebody tries to log in every 20 ms until a command has run. Then the server is stopped, and
its QEMU command line is run by hand with a fresh overlay of the same image, the same tap, MAC address and so the same
floating IP, and logged in to likewise. What libvirt adds to be in control (monitor, sockets, seccomp) is left out.
"""

import argparse
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.support.report import Figure, percentiles, show
from bench.support.site import Site, site
from tests.faults.kill import GUEST_MEMORY, SETTINGS, guest_disk

PAUSE = 0.02
PATIENCE = 120.0
TAPS = Path("/sys/class/net")
DROPPED = ("-add-fd", "-sandbox", "-vnc", "-mon", "-chardev", "-name", "-uuid", "-msg", "-serial", "-pidfile")
"""Options with a value that are libvirt's own."""


def log_in(address: str, key: Path, begun: float) -> float:
    """Seconds since `begun` when a command has run in the guest."""
    command = [
        "ssh", "-q", "-i", str(key), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
        "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=1", f"pileus@{address}", "true",
    ]  # fmt: skip
    while not answers(address) or subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode:
        if time.monotonic() - begun > PATIENCE:
            raise TimeoutError(f"no login at {address}")
        time.sleep(PAUSE)
    return time.monotonic() - begun


def answers(address: str) -> bool:
    """Whether an SSH server greets there: asked with little patience, because a packet to nobody is not sent again."""
    try:
        with socket.create_connection((address, 22), timeout=0.2) as connection:
            connection.settimeout(5)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def command_of(instance: str) -> list[str]:
    """The command line of the running guest, as its process has it."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")[:-1]
        except OSError:
            continue
        if words and "qemu" in words[0] and any(instance in word for word in words):
            return words
    raise LookupError(instance)


def by_hand(command: list[str], tap: str, root: str, fresh: Path) -> list[str]:
    """The same command with the tap by its name and another root disk, without what libvirt needs."""
    words: list[str] = []
    rest = iter(command)
    for word in rest:
        if word in DROPPED:
            next(rest)
        elif word == "-object":
            value = next(rest)
            words += [] if '"secret"' in value else [word, value]
        elif word == "-netdev":
            next(rest)
            words += [word, f"tap,id=hostnet0,ifname={tap},script=no,downscript=no"]
        elif word not in ("-S", "-no-shutdown"):
            words.append(word.replace(root, str(fresh)))
    return _without_serial(words)


def _without_serial(words: list[str]) -> list[str]:
    """Drop devices whose character device is gone."""
    kept: list[str] = []
    for word in words:
        if "chardev" in word and kept and kept[-1] == "-device":
            kept.pop()
        else:
            kept.append(word)
    return [*kept, "-serial", "null", "-vnc", "none"]


class Lab:
    """A cloud with what a server needs to be logged in to."""

    def __init__(self, cloud: Site, directory: Path) -> None:
        self._cloud = cloud
        self._directory = directory
        self.key = directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        public = self.key.with_suffix(".pub").read_text().strip()
        cloud.api.make("/compute/v2.1/os-keypairs", {"keypair": {"name": "k", "public_key": public}})
        self._template = cloud.template(guest_disk(), GUEST_MEMORY)
        self._network = self._template["networks"][0]["uuid"]
        _, subnets = cloud.api.ask("GET", f"/network/v2.0/subnets?network_id={self._network}")
        _, public_networks = cloud.api.ask("GET", "/network/v2.0/networks?router:external=true")
        self._public = public_networks["networks"][0]["id"]
        router = self._make("router", name="r", external_gateway_info={"network_id": self._public})
        interface = {"subnet_id": subnets["subnets"][0]["id"]}
        cloud.api.ask("PUT", f"/network/v2.0/routers/{router['id']}/add_router_interface", interface)
        _, groups = cloud.api.ask("GET", "/network/v2.0/security-groups")
        self._make("security_group_rule", security_group_id=groups["security_groups"][0]["id"], direction="ingress")

    def _make(self, kind: str, **values: Any) -> Any:
        path = f"/network/v2.0/{kind.replace('_', '-')}s"
        return self._cloud.api.make(path, {kind: values})[kind]

    def round(self) -> tuple[float, float, float]:
        """Seconds to ACTIVE, to the login, and to the login of the same guest by hand."""
        port = self._make("port", network_id=self._network)
        address = self._make("floatingip", floating_network_id=self._public, port_id=port["id"])["floating_ip_address"]
        wanted = {**self._template, "key_name": "k", "networks": [{"port": port["id"]}]}
        begun = time.monotonic()
        server_id, active = self._cloud.boot(wanted, poll=0.005)
        login = log_in(address, self.key, begun)
        instance = self._cloud.server(server_id)["OS-EXT-SRV-ATTR:instance_name"]
        command = command_of(instance)
        self._cloud.api.ask("POST", f"/compute/v2.1/servers/{server_id}/action", {"os-stop": None})
        while self._cloud.server(server_id)["status"] != "SHUTOFF":
            time.sleep(0.1)
        hand = self._by_hand(command, server_id, port, address)
        self._cloud.delete(server_id)
        return active / 1000, login, hand

    def _by_hand(self, command: list[str], server_id: str, port: dict[str, Any], address: str) -> float:
        root = self._cloud.cloud.directory / "state/instances" / server_id / "root.qcow2"
        base = self._backing(root)
        fresh = self._directory / "root.qcow2"
        fresh.unlink(missing_ok=True)
        tap = next(path.name for path in TAPS.iterdir() if port["id"].replace("-", "")[:10] in path.name)
        begun = time.monotonic()
        make = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, str(fresh), "1G"]
        subprocess.run(make, check=True)
        with subprocess.Popen(by_hand(command, tap, str(root), fresh), stdin=subprocess.DEVNULL) as guest:
            try:
                return log_in(address, self.key, begun)
            finally:
                guest.kill()

    @staticmethod
    def _backing(disk: Path) -> str:
        told = subprocess.run(["qemu-img", "info", "-U", disk], check=True, capture_output=True, text=True).stdout
        return next(line.split(": ", 1)[1] for line in told.splitlines() if line.startswith("backing file:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with (
        tempfile.TemporaryDirectory(prefix="bench-guest-", dir="/var/tmp") as scratch,
        site(SETTINGS, fake=False) as cloud,
    ):
        lab = Lab(cloud, Path(scratch))
        lab.round()  # the first one also brings the image to the host
        figures = [lab.round() for _ in range(rounds)]
    active, login, hand = (percentiles(column)[0] for column in zip(*figures, strict=True))
    show(
        f"medians of {rounds} rounds, real guests, {GUEST_MEMORY} MiB, image in the host's cache",
        [
            Figure("call to ACTIVE", active, "s", 2.0),
            Figure("call to SSH login", login, "s"),
            Figure("the same QEMU by hand, to SSH login", hand, "s"),
            Figure("difference", login - hand, "s", 0.5),
        ],
    )


if __name__ == "__main__":
    main()
