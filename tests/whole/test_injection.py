"""Real guests with what was given to them before they booted first: in their disk, or on their config drive."""

import base64
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openstack
import pytest

from tests.cloud import Cloud
from tests.faults.kill import guest_disk
from tests.real_things import require

SETTINGS = {
    "network.public_cidr": "172.31.79.0/24",
    "network.public_gateway": "172.31.79.1",
    "network.public_pool_start": "172.31.79.10",
    "network.public_pool_end": "172.31.79.250",
    "injection.enabled": True,
    "injection.key": True,
    "injection.password": True,
}
CONTENT = "given before the boot\n"


@dataclass
class Site:
    """A project that has what a server needs, on a cloud that is up."""

    connection: openstack.connection.Connection
    key: Path
    template: dict[str, Any]
    public: str

    def boot(self, **fields: Any) -> str:
        """A server with a file; its floating IP address."""
        file = {"path": "/etc/given", "contents": base64.b64encode(CONTENT.encode()).decode()}
        body = {"server": {"name": "vm", "key_name": "mine", "personality": [file], **self.template, **fields}}
        answer = self.connection.compute.post("/servers", json=body, microversion="2.1")
        assert answer.status_code == 202, answer.text
        server = self.connection.compute.wait_for_server(
            self.connection.compute.get_server(answer.json()["server"]["id"]), wait=120
        )
        port = next(iter(self.connection.network.ports(device_id=server.id)))
        floating = self.connection.network.create_ip(floating_network_id=self.public, port_id=port.id)
        return str(floating.floating_ip_address)

    def ssh(self, user: str, address: str, command: str, seconds: float = 90) -> str | None:
        """What a command prints in a guest; None if that user is not let in."""
        words = [
            "ssh", "-q", "-i", str(self.key), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=3", f"{user}@{address}", command,
        ]  # fmt: skip
        deadline = time.monotonic() + seconds
        while True:
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
            if done.returncode == 0:
                return done.stdout
            if time.monotonic() > deadline:
                return None
            time.sleep(0.5)


def prepared(cloud: Cloud, scratch: Path) -> Site:
    key = scratch / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    connection = cloud.connect()
    connection.compute.create_keypair(name="mine", public_key=key.with_suffix(".pub").read_text())
    image = connection.image.create_image(
        name="guest", filename=str(guest_disk()), disk_format="qcow2", container_format="bare", wait=True
    )
    flavor = connection.compute.create_flavor(name="tiny", ram=112, vcpus=1, disk=1)
    network = connection.network.create_network(name="net")
    subnet = connection.network.create_subnet(network_id=network.id, cidr="10.79.0.0/24", ip_version=4)
    public = connection.network.find_network("public", ignore_missing=False)
    router = connection.network.create_router(name="r", external_gateway_info={"network_id": public.id})
    connection.network.add_interface_to_router(router, subnet_id=subnet.id)
    project = connection.current_project_id
    (group,) = connection.network.security_groups(name="default", project_id=project)
    connection.network.create_security_group_rule(
        security_group_id=group.id, direction="ingress", ethertype="IPv4", protocol="tcp", port_range_min=22,
        port_range_max=22,
    )  # fmt: skip
    template = {"imageRef": image.id, "flavorRef": flavor.id, "networks": [{"uuid": network.id}]}
    return Site(connection, key, template, public.id)


@pytest.mark.real
@pytest.mark.timeout(600)
def test_guests_have_what_they_were_given(tmp_path: Path) -> None:
    """root's key and password come only from the disk: the image's own start looks after another user."""
    require("qemu-system-x86_64", "libvirtd", "nft", "dnsmasq", "ssh", "ssh-keygen", "debugfs", "qemu-storage-daemon")
    with Cloud("qj", SETTINGS) as cloud:
        site = prepared(cloud, tmp_path)
        address = site.boot()
        told = site.ssh("root", address, "id -un; cat /etc/given; grep -c '^root:[$]6[$]' /etc/shadow")
        assert told is not None, cloud.logs()[-5000:]
        assert told.splitlines() == ["root", CONTENT.strip(), "1"]
        assert "handler=debugfs" in cloud.logs()
        address = site.boot(config_drive=True)
        told = site.ssh("pileus", address, "cat /etc/given; sudo ls -a /root")
        assert told is not None, cloud.logs()[-5000:]
        assert told.startswith(CONTENT)
        assert ".ssh" not in told.split()
