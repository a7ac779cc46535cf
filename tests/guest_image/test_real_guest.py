"""The image, really built and really booted under plain QEMU, in each of its forms and by each source of metadata."""

import json
import os
import stat
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.real_things import require

from pileus.guest_image.builder import GuestImage, build
from pileus.guest_image.programs import run
from pileus.guest_image.trial import Trial, config_drive

pytestmark = pytest.mark.real
SCRIPT = "#!/bin/sh\necho user data of $(hostname) as $(id -un)\necho run >>/root/runs\n"
PROLOGUE = "set -eu -o pipefail; PATH=$PATH:/sbin:/usr/sbin; "
"""What Tempest's remote client puts before every command."""
END = "-- end of command --"


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> GuestImage:
    require("qemu-system-x86_64", "qemu-img", "genisoimage", "mcopy", "mkfs.vfat", "ssh", "apt-get", "depmod", "mke2fs")
    home = Path(os.environ.get("PILEUS_GUEST_IMAGE") or tmp_path_factory.getbasetemp().parent / "guest-image")
    return build(home / "image", home / "packages", lambda line: print(line, file=sys.stderr))


@dataclass(frozen=True)
class Key:
    private: Path
    public: str

    @property
    def login(self) -> tuple[str | Path, ...]:
        return ("-i", self.private, "-o", "BatchMode=yes")


def make_key(directory: Path, kind: str) -> Key:
    path = directory / f"key-{kind}"
    run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path])
    return Key(path, path.with_suffix(".pub").read_text())


def meta_data(key: Key, uuid: str, name: str, **more: Any) -> dict[str, Any]:
    return {"uuid": uuid, "hostname": f"{name}.novalocal", "name": name, "public_keys": {"mine": key.public}, **more}


def ask(guest: Trial, key: Key, commands: Sequence[str]) -> list[str]:
    """What each command prints, all in one login (a key exchange takes an emulated CPU a second); all must succeed."""
    told = guest.ssh(PROLOGUE + f"\necho '{END}'\n".join(commands), *key.login)
    return [part.strip() for part in told.split(f"{END}\n")]


def test_whole_disk_with_a_config_drive(image: GuestImage, tmp_path: Path) -> None:
    key = make_key(tmp_path, "ecdsa")
    files = [{"content_path": "/content/0000", "path": path} for path in ("/etc/injected", "/at-the-root")]
    facts = meta_data(key, "7d1c", "first", files=files)
    drive = config_drive(tmp_path / "config.iso", facts, SCRIPT, {"0000": b"said once"})
    # A reset ends QEMU, since emulation after it is slow: the new kernel is written over translated code of the old.
    with Trial(image, tmp_path / "guest", drive=drive, extra=("-no-reboot",)) as guest:
        guest.wait_for_console("start finished")
        console = guest.console_text()
        assert "metadata: config drive (iso9660, /dev/sr0), new instance 7d1c, host name first, 1 SSH key(s)" in console
        assert "user data of first as root" in console
        assert "first login:" in console
        who, size, injected = ask(
            guest,
            key,
            (
                "id -un; hostname; sudo -n id -u; sudo -i id -un",
                "df -m / | awk 'NR == 2 {print $2}'",
                "cat /etc/injected; echo; cat /at-the-root",
            ),
        )
        assert who.split() == ["pileus", "first", "0", "root"]
        assert int(size) > 900
        assert injected.splitlines() == ["said once"] * 2
        check_tools(guest, key)
        check_hot_plug(guest, key)

        ask(guest, key, ["(sleep 0.2; sudo reboot) >/dev/null 2>&1 &"])
        guest.wait_for_end(30)
        assert "Restarting system" in guest.console_text()

    with Trial(image, tmp_path / "guest", drive=drive) as guest:
        guest.wait_for_console("start finished")
        assert "same instance 7d1c, host name first" in guest.console_text()
        assert ask(guest, key, ["sudo cat /root/runs"]) == ["run"]
        guest.monitor("system_powerdown")
        guest.wait_for_end(30)
        assert "Power down" in guest.console_text()


def check_tools(guest: Trial, key: Key) -> None:
    """The commands of Tempest's remote client, with the output that it reads."""
    disks, scsi, names, mounted, mac, nic, address, ping, udhcpc, resolver, curl = ask(
        guest,
        key,
        (
            "lsblk -lb --nodeps",
            "lsblk -S",
            "lsblk --nodeps --noheadings --output NAME",
            "sudo mount $(blkid -L config-2 -o device) /mnt; cat /mnt/openstack/*/meta_data.json; sudo umount /mnt",
            "ip addr show eth0 | awk '/ether/ {print $2}'",
            "ip -o link | awk '/52:54:00:12:34:56/ {print $2}'",
            "ip -4 -o addr | awk '/eth0/ {print $4}'",
            "ping -c1 -w5 -s56 10.0.2.2",
            "cat /var/run/udhcpc.eth0.pid",
            "cat /etc/resolv.conf",
            "curl -V",
        ),
    )
    lines = disks.splitlines()
    at = lines[0].index("TYPE")
    assert [line.split()[0] for line in lines[1:] if line[at : at + 4] == "disk"] == ["vda"]
    assert "TRAN" in scsi
    assert names.split() == ["sr0", "vda"]
    assert json.loads(mounted)["uuid"] == "7d1c"
    assert (mac, nic, address) == ("52:54:00:12:34:56", "eth0:", "10.0.2.15/24")
    assert "1 packets received" in ping
    assert int(udhcpc) > 1
    assert resolver == "nameserver 10.0.2.3"
    assert curl.startswith("curl ")
    assert ask(guest, key, LISTENERS)[-1].split() == ["foolish"] * 4


LISTENERS = (
    "sudo nc -p 90 -lk -e echo foolish >/dev/null 2>&1 &",
    "sudo nc -u -p 91 -lk -e echo foolish >/dev/null 2>&1 &",
    "until netstat -ltn | grep -q ':90 ' && netstat -lun | grep -q ':91 '; do usleep 50000; done",
    "for i in 1 2; do echo bar | nc -w 1 127.0.0.1 90; echo bar | nc -w 1 -u 127.0.0.1 91; done",
)


def check_hot_plug(guest: Trial, key: Key) -> None:
    guest.monitor("netdev_add", type="user", id="n1", net="10.9.0.0/24")
    guest.monitor("device_add", driver="virtio-net-pci", netdev="n1", id="nic1", mac="52:54:00:00:00:99")
    extra = guest.directory / "extra.raw"
    with extra.open("wb") as stream:
        stream.truncate(64 * 1024 * 1024)
    file = {"driver": "file", "filename": str(extra)}
    guest.monitor("blockdev-add", driver="raw", **{"node-name": "extra"}, file=file)
    guest.monitor("device_add", driver="virtio-blk-pci", drive="extra", id="disk1")
    guest.wait_for_console("eth1 10.9.0.15/24")
    *_, stamp, routers = ask(
        guest,
        key,
        (
            "until [ -b /dev/vdb ]; do usleep 100000; done",
            "sudo mkfs -t vfat /dev/vdb >/dev/null 2>&1",
            "sudo mkfs -t ext4 /dev/vdb >/dev/null 2>&1; sudo mount /dev/vdb /mnt",
            'sudo sh -c "date > /mnt/timestamp; sync"',
            "sudo cat /mnt/timestamp; sudo umount /mnt",
            "ip route | awk '/default/ {print $3}'",
        ),
    )
    assert "UTC" in stamp
    assert sorted(routers.split()) == ["10.0.2.2", "10.9.0.2"]


def http_answers(directory: Path, answers: Mapping[str, str]) -> str:
    """QEMU network options that put a web server at 169.254.169.254; QEMU starts the program for each connection."""
    server = directory / "answer"
    server.write_text(
        textwrap.dedent(
            f"""\
            #!{sys.executable} -IS
            import sys
            answers = {dict(answers)!r}
            path = sys.stdin.readline().split()[1]
            body = answers.get(path)
            head = "200 OK" if body is not None else "404 Not Found"
            sys.stdout.write("HTTP/1.1 " + head + "\\r\\nConnection: close\\r\\n")
            sys.stdout.write("Content-Length: %d\\r\\n\\r\\n" % len(body or "") + (body or ""))
            """
        )
    )
    server.chmod(server.stat().st_mode | stat.S_IXUSR)
    return f",net=169.254.0.0/16,guestfwd=tcp:169.254.169.254:80-cmd:{server}"


@pytest.mark.parametrize("form", ["OpenStack", "EC2"])
def test_kernel_ramdisk_root_with_the_metadata_service(image: GuestImage, tmp_path: Path, form: str) -> None:
    key = make_key(tmp_path, "rsa")
    answers = {
        "OpenStack": {
            "/openstack/latest/meta_data.json": json.dumps(meta_data(key, "8e2d", "second")),
            "/openstack/latest/user_data": SCRIPT,
        },
        "EC2": {
            "/latest/meta-data/instance-id": "8e2d",
            "/latest/meta-data/hostname": "second.novalocal",
            "/latest/meta-data/public-keys/0/openssh-key": key.public,
            "/latest/user-data": SCRIPT,
        },
    }
    network = http_answers(tmp_path, answers[form])
    options = image.options if form == "EC2" else "console=ttyS0"
    with Trial(image, tmp_path / "guest", whole_disk=False, network=network, options=options) as guest:
        guest.wait_for_console("start finished")
        assert f"metadata: metadata service ({form}), new instance 8e2d" in guest.console_text()
        assert "user data of second as root" in guest.console_text()
        name, user, size = ask(guest, key, ("hostname", "sudo -n id -u", "df -m / | awk 'NR == 2 {print $2}'"))
        assert (name, user) == ("second", "0")
        assert int(size) > 900


def test_ide_root_vfat_drive_password_and_little_memory(image: GuestImage, tmp_path: Path) -> None:
    key = make_key(tmp_path, "ed25519")
    password = 'p&$"\\/ w0rd'
    facts = tmp_path / "meta_data.json"
    facts.write_text(json.dumps(meta_data(key, "9f3e", "third", admin_pass=password)))
    drive = tmp_path / "config.vfat"
    run(["mkfs.vfat", "-C", "-n", "config-2", drive, "1024"])
    run(["mmd", "-i", drive, "::openstack", "::openstack/latest"])
    run(["mcopy", "-i", drive, facts, "::openstack/latest/meta_data.json"])
    ask = tmp_path / "ask"
    ask.write_text(f"#!/bin/sh\ncat <<'END'\n{password}\nEND\n")
    ask.chmod(0o700)
    # Not the whole disk: SeaBIOS reads from IDE by 16-bit words, which takes half a minute for a kernel.
    guest = Trial(
        image, tmp_path / "guest", whole_disk=False, drive=drive, drive_bus="virtio", disk_bus="ide", memory=96
    )
    with guest:
        guest.wait_for_banner()
        told = guest.ssh(
            "hostname",
            *("-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password"),
            environment={"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"},
        )
        assert told.strip() == "third"
        assert "config drive (vfat, /dev/vda)" in guest.console_text()
        assert guest.ssh("awk '$2 == \"/\" {print $1}' /proc/mounts", *key.login).strip() == "/dev/sda"
