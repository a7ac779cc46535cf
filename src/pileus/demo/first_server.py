"""Registers the guest image, boots a first server, gives it a floating IP and logs in to it.

Whatever is there already, by name, is used as it is: a second run changes nothing.
"""

import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pileus.demo.client import CallFailed, Client, wait_for

SERVER = "first-server"
IMAGE = "pileus-guest"
KEYPAIR = "first-server"
FLAVORS = (
    {"name": "m1.tiny", "vcpus": 1, "ram": 128, "disk": 1},
    {"name": "m1.small", "vcpus": 1, "ram": 512, "disk": 5},
    {"name": "m1.medium", "vcpus": 2, "ram": 2048, "disk": 20},
)
SUBNET = "10.20.0.0/24"
ACTIVE_SECONDS = 120
LOGIN_SECONDS = 180
GREETING = "echo \"$(id -un)@$(hostname) $(uname -sr), up $(cut -d' ' -f1 /proc/uptime) s\""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class FirstServer:
    """What was made. `greeting` was printed by a command inside the guest."""

    id: str
    floating_ip: str
    login: str
    greeting: str
    created: bool


class Demo:
    """The steps, each of which looks before it makes."""

    def __init__(self, client: Client, key: Path, user: str, progress: Progress) -> None:
        self._client = client
        self._key = key
        self._user = user
        self._progress = progress

    def run(self, image: Callable[[], Path]) -> FirstServer:
        """Do everything. `image` makes the guest's disk image; it is asked only if the cloud has none."""
        image_id = self._image(image)
        flavor_id = self._flavors()
        network_id = self._network()
        self._let_in()
        self._keypair()
        server, created = self._server(image_id, flavor_id, network_id)
        address = self._floating_ip(server["id"])
        greeting = self._log_in(address)
        return FirstServer(server["id"], address, f"ssh -i {self._key} {self._user}@{address}", greeting, created)

    def _image(self, image: Callable[[], Path]) -> str:
        found = self._client.get("image", f"/v2/images?name={IMAGE}&status=active")["images"]
        if found:
            return str(found[0]["id"])
        path = image()
        made = self._client.post(
            "image",
            "/v2/images",
            {"name": IMAGE, "disk_format": "qcow2", "container_format": "bare", "visibility": "public"},
        )
        self._client.upload("image", f"/v2/images/{made['id']}/file", path)
        self._progress(f"image {IMAGE} registered, {path.stat().st_size / 1e6:.1f} MB")
        return str(made["id"])

    def _flavors(self) -> str:
        present = {flavor["name"]: flavor["id"] for flavor in self._client.get("compute", "/flavors")["flavors"]}
        for flavor in FLAVORS:
            if flavor["name"] not in present:
                made = self._client.post("compute", "/flavors", {"flavor": flavor})["flavor"]
                present[made["name"]] = made["id"]
        return str(present[FLAVORS[0]["name"]])

    def _network(self) -> str:
        network = self._named("networks", "private")
        if network is None:
            network = self._make("network", {"name": "private"})
        subnet = self._named("subnets", "private")
        if subnet is None:
            subnet = self._make(
                "subnet", {"name": "private", "network_id": network["id"], "ip_version": 4, "cidr": SUBNET}
            )
        router = self._named("routers", "router")
        if router is None:
            public = self._client.get("network", "/v2.0/networks?name=public")["networks"][0]
            router = self._make("router", {"name": "router", "external_gateway_info": {"network_id": public["id"]}})
        attached = self._client.get("network", f"/v2.0/ports?device_id={router['id']}&network_id={network['id']}")
        if not attached["ports"]:
            self._client.put(
                "network", f"/v2.0/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]}
            )
            self._progress(f"network private, {SUBNET}, behind a router to public")
        return str(network["id"])

    def _let_in(self) -> None:
        """SSH and ping from anywhere, for servers in the default security group."""
        group = self._named("security-groups", "default") or {}
        present = {
            (rule["protocol"], rule["port_range_min"])
            for rule in group["security_group_rules"]
            if rule["direction"] == "ingress"
        }
        for protocol, port in (("tcp", 22), ("icmp", None)):
            if (protocol, port) in present:
                continue
            rule = {
                "security_group_id": group["id"],
                "direction": "ingress",
                "ethertype": "IPv4",
                "protocol": protocol,
                "port_range_min": port,
                "port_range_max": port,
            }
            self._client.post("network", "/v2.0/security-group-rules", {"security_group_rule": rule})

    def _keypair(self) -> None:
        if not self._key.exists():
            self._key.parent.mkdir(parents=True, exist_ok=True)
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", KEYPAIR, "-f", str(self._key)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        keypairs = self._client.get("compute", "/os-keypairs")["keypairs"]
        if KEYPAIR not in {entry["keypair"]["name"] for entry in keypairs}:
            public = self._key.with_suffix(".pub").read_text().strip()
            self._client.post("compute", "/os-keypairs", {"keypair": {"name": KEYPAIR, "public_key": public}})

    def _server(self, image_id: str, flavor_id: str, network_id: str) -> tuple[dict[str, Any], bool]:
        present = self._client.get("compute", f"/servers/detail?name=^{SERVER}$")["servers"]
        if present:
            server = present[0]
            if server["status"] == "SHUTOFF":
                self._client.post("compute", f"/servers/{server['id']}/action", {"os-start": None})
            return self._active(server["id"]), False
        made = self._client.post(
            "compute",
            "/servers",
            {
                "server": {
                    "name": SERVER,
                    "imageRef": image_id,
                    "flavorRef": flavor_id,
                    "key_name": KEYPAIR,
                    "networks": [{"uuid": network_id}],
                }
            },
        )["server"]
        server = self._active(made["id"])
        self._progress(f"server {SERVER} is ACTIVE")
        return server, True

    def _active(self, server_id: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            server: dict[str, Any] = self._client.get("compute", f"/servers/{server_id}")["server"]
            if server["status"] == "ERROR":
                raise CallFailed(f"the server failed: {server.get('fault', {}).get('message')}")
            return server if server["status"] == "ACTIVE" else None

        found: dict[str, Any] = wait_for(f"server {SERVER} ACTIVE", look, ACTIVE_SECONDS)
        return found

    def _floating_ip(self, server_id: str) -> str:
        port = self._client.get("network", f"/v2.0/ports?device_id={server_id}")["ports"][0]
        present = self._client.get("network", f"/v2.0/floatingips?port_id={port['id']}")["floatingips"]
        if present:
            return str(present[0]["floating_ip_address"])
        public = self._client.get("network", "/v2.0/networks?name=public")["networks"][0]
        wanted = {"floatingip": {"floating_network_id": public["id"], "port_id": port["id"]}}
        made = self._client.post("network", "/v2.0/floatingips", wanted)["floatingip"]
        self._progress(f"floating IP {made['floating_ip_address']}")
        return str(made["floating_ip_address"])

    def _log_in(self, address: str) -> str:
        wait_for(f"SSH at {address}", lambda: _answers(address), LOGIN_SECONDS)
        command = [
            "ssh", "-q", "-i", str(self._key), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=5", f"{self._user}@{address}", GREETING,
        ]  # fmt: skip

        def log_in() -> str:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            return done.stdout.strip() if done.returncode == 0 else ""

        return str(wait_for(f"logging in to {address}", log_in, 60))

    def _named(self, collection: str, name: str) -> dict[str, Any] | None:
        path = f"/v2.0/{collection}?name={name}&project_id={self._client.project_id}"
        found = self._client.get("network", path)[collection.replace("-", "_")]
        return found[0] if found else None

    def _make(self, kind: str, values: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = self._client.post("network", f"/v2.0/{kind}s", {kind: values})[kind]
        return made


def _answers(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
