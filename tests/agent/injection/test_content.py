"""What is written, and the way chosen to write it: without disks."""

import os
from pathlib import Path
from typing import Any

import pytest

from pileus.agent.api import Injection
from pileus.agent.injection.content import prepared
from pileus.agent.injection.handlers import handlers
from pileus.agent.injection.handlers.base import Disk, Means
from pileus.agent.injection.handlers.guestfs import GuestfsHandler
from pileus.agent.injection.handlers.nbd import NbdHandler
from pileus.agent.injection.interfaces import interfaces
from pileus.agent.injection.programs import CannotOpenError
from pileus.agent.injection.settings import InjectionSettings
from pileus.agent.injection.tree import InjectionRefusedError, Kind, Node, Tree, check_path
from pileus.kernel.config import SettingsError
from pileus.settings import load_settings

LINKS = [
    {"id": "tap1", "mtu": 1450, "ethernet_mac_address": "fa:16:3e:00:00:01"},
    {"id": "tap2", "mtu": None, "ethernet_mac_address": "fa:16:3e:00:00:02"},
    {"id": "tap3", "mtu": 1500, "ethernet_mac_address": "fa:16:3e:00:00:03"},
]
EVERYWHERE = "0.0.0.0"  # noqa: S104 - a route's destination


def network(link: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"id": f"{link}-{kind}", "type": kind, "link": link, **more}


def test_interfaces() -> None:
    fixed = network(
        "tap1", "ipv4", ip_address="10.0.0.5", netmask="255.255.255.0",
        routes=[
            {"network": EVERYWHERE, "netmask": EVERYWHERE, "gateway": "10.0.0.1"},
            {"network": "10.9.0.0", "netmask": "255.255.0.0", "gateway": "10.0.0.9"},
        ],
        services=[{"type": "dns", "address": "10.0.0.2"}, {"type": "dns", "address": "10.0.0.3"}],
    )  # fmt: skip
    six = network(
        "tap1", "ipv6", ip_address="fd00::5", netmask="ffff:ffff:ffff:ffff::",
        routes=[{"network": "::", "netmask": "::", "gateway": "fd00::1"}], services=[],
    )  # fmt: skip
    data = {"links": LINKS, "networks": [fixed, six, network("tap2", "ipv4_dhcp"), network("tap2", "ipv6_slaac")]}
    assert interfaces(data).split("\n\n", 1)[0].endswith("auto lo\niface lo inet loopback")
    assert interfaces(data).splitlines()[4:] == [
        "auto eth0",
        "iface eth0 inet static",
        "    hwaddress fa:16:3e:00:00:01",
        "    address 10.0.0.5/24",
        "    mtu 1450",
        "    gateway 10.0.0.1",
        "    up ip route add 10.9.0.0/16 via 10.0.0.9 dev eth0",
        "    dns-nameservers 10.0.0.2 10.0.0.3",
        "iface eth0 inet6 static",
        "    hwaddress fa:16:3e:00:00:01",
        "    address fd00::5/64",
        "    mtu 1450",
        "    gateway fd00::1",
        "",
        "auto eth1",
        "iface eth1 inet dhcp",
        "    hwaddress fa:16:3e:00:00:02",
        "iface eth1 inet6 auto",
        "    hwaddress fa:16:3e:00:00:02",
        "",
        "auto eth2",
        "iface eth2 inet manual",
    ]


@pytest.mark.parametrize("netmask", ["255.0.255.0", "0.0.0.255", "ffff::1", "nonsense"])
def test_a_netmask_that_is_none(netmask: str) -> None:
    broken = network("tap1", "ipv4", ip_address="10.0.0.5", netmask=netmask, routes=[], services=[])
    with pytest.raises(ValueError, match=r"netmask|does not appear"):
        interfaces({"links": LINKS, "networks": [broken]})


@pytest.mark.parametrize("password", ["two\nlines", "nul\0"])
def test_a_password_that_no_login_takes_is_left_out(password: str) -> None:
    content = prepared(Injection(admin_pass=password, metadata={"a": "b"}))
    assert [name for name, _ in content.optional] == ["metadata"]
    assert [name for name, _ in content.impossible] == ["password"]


@pytest.mark.parametrize(
    ("path", "canonical"),
    [("/a", "/a"), ("//a/./b", "/a/b"), ("/a/..", None), ("a", None), ("/", None), ("/a/", None), ("/a\tb", None)],
)
def test_paths(path: str, canonical: str | None) -> None:
    if canonical is None:
        with pytest.raises(InjectionRefusedError):
            check_path(path)
    else:
        assert check_path(path) == canonical


class Remembered:
    """A tree in memory: a text is a link's target, bytes a file, None a directory."""

    def __init__(self, **entries: Any) -> None:
        self.entries: dict[str, Any] = {
            "/": None,
            **{f"/{name}".replace("_", "/"): one for name, one in entries.items()},
        }
        self.modes: dict[str, int] = {}

    def look(self, path: str) -> Node | None:
        if path not in self.entries:
            return None
        one = self.entries[path]
        kind = Kind.DIRECTORY if one is None else Kind.LINK if isinstance(one, str) else Kind.FILE
        return Node(kind, self.modes.get(path, 0), len(one or ""))

    def link_target(self, path: str) -> str:
        return str(self.entries[path])

    def read(self, path: str) -> bytes:
        return bytes(self.entries[path])

    def write(self, path: str, content: bytes) -> None:
        self.entries[path] = content

    def make_directory(self, path: str) -> None:
        self.entries[path] = None

    def set_mode(self, path: str, mode: int) -> None:
        self.modes[path] = mode


@pytest.mark.parametrize(
    ("target", "written"),
    [
        ("/b", "/b/x"),
        ("b", "/a/b/x"),
        ("../b", "/b/x"),
        (".", "/a/x"),
        ("/", "/x"),
        ("/new/deep", "/new/deep/x"),
        ("../../b", None),
        ("/../b", None),
        ("/a/l", None),
        ("/f", None),
        ("new/..", None),
    ],
)
def test_links(target: str, written: str | None) -> None:
    files = Remembered(a=None, a_b=None, b=None, a_l=target, f=b"")
    if written is None:
        with pytest.raises(InjectionRefusedError):
            Tree(files).write("/a/l/x", b"new")
        assert b"new" not in files.entries.values()
    else:
        Tree(files).write("/a/l/x", b"new")
        assert files.entries[written] == b"new"


def test_files_that_are_too_large_to_read() -> None:
    files = Remembered(f=b"x" * ((1 << 20) + 1))
    with pytest.raises(InjectionRefusedError, match="1048577 bytes"):
        Tree(files).read("/f")
    assert Tree(files).read("/g") is None


# --- handlers -----------------------------------------------------------------------------------------------


@pytest.fixture
def means(tmp_path: Path) -> Means:
    return Means("inspect", 512, tmp_path)


def program(directory: Path, name: str, script: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose programs are found first."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return directory


def test_each_says_why_it_is_unfit(means: Means, tmp_path: Path) -> None:
    known = handlers(means)
    assert list(known) == ["loop", "nbd", "guestfs", "debugfs"]
    overlay = Disk(Path("/var/disk"), "qcow2")
    assert "copy-on-write" in str(known["loop"].unfit(overlay))
    assert known["loop"].unfit(Disk(Path("/var/disk"), "raw")) is None
    assert known["debugfs"].unfit(overlay) is None
    assert "does not take the path" in str(known["debugfs"].unfit(Disk(Path('/var/a "disk?'), "raw")))
    assert "nbd is not loaded" in str(NbdHandler(means, tmp_path).unfit(overlay))


def test_guestfs_needs_guestfish(means: Means, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler, disk = GuestfsHandler(means), Disk(Path("/var/disk"), "qcow2")
    program(programs, "guestfish", "exit 1")
    assert handler.unfit(disk) is None
    with pytest.raises(CannotOpenError, match="does not listen"), handler.opened(disk):
        raise AssertionError("never opened")
    monkeypatch.setenv("PATH", str(programs.parent))
    assert "libguestfs is not installed" in str(handler.unfit(disk))


def test_guestfs_gives_each_word_as_it_is(means: Means, programs: Path, tmp_path: Path) -> None:
    """No word, whatever a path holds, becomes a command or an option of guestfish."""
    told = tmp_path / "told"
    program(
        programs,
        "guestfish",
        f"""[ "$1" != --listen ] || {{ echo 'GUESTFISH_PID=77; export GUESTFISH_PID'; exit; }}
printf '<%s>' "$@" >>{told}; echo >>{told}
case $3 in list-filesystems) echo /dev/sda1: ext4 ;; exists|is-symlink) echo false ;; esac""",
    )
    with GuestfsHandler(means).opened(Disk(Path("/var/disk"), "qcow2")) as files:
        files.write("/a b;-rm", b"x")
    lines = told.read_text().splitlines()
    assert all(line.startswith("<--remote=77><-->") for line in lines)
    shown = [line.removeprefix("<--remote=77><-->") for line in lines]
    assert shown[:3] == ["<run>", "<list-filesystems>", "<mount-options><nosuid,nodev,noexec></dev/sda1></>"]
    assert f"<upload><{tmp_path}/content></a b;-rm>" in shown
    assert shown[-3:] == ["<umount></>", "<shutdown>", "<exit>"]


def test_nbd_takes_a_free_device_and_gives_it_back(means: Means, programs: Path, tmp_path: Path) -> None:
    """Without the kernel's module: what is told to qemu-nbd. nbd0 is in use, nbd1 is taken meanwhile."""
    told, devices = tmp_path / "told", tmp_path / "dev"
    devices.mkdir()
    for name in ("nbd0", "nbd1", "nbd10", "nbd2"):
        (tmp_path / "block" / name).mkdir(parents=True)
    (tmp_path / "block/nbd0/pid").write_text("1\n")
    program(programs, "qemu-nbd", f'echo "$@" >>{told}; case "$*" in *nbd1\\ *) echo busy >&2; exit 1 ;; esac')
    (devices / "nbd2").write_bytes(b"no file system")
    handler = NbdHandler(means, tmp_path / "block", devices)
    disk = Disk(Path("/var/disk"), "qcow2")
    assert handler.unfit(disk) is None
    with pytest.raises(CannotOpenError, match="no file system"), handler.opened(disk):
        raise AssertionError("never opened")
    assert told.read_text().splitlines() == [
        f"--format=qcow2 --connect={devices}/nbd1 /var/disk",
        f"--format=qcow2 --connect={devices}/nbd2 /var/disk",
        f"--disconnect {devices}/nbd2",
    ]


def test_settings(tmp_path: Path) -> None:
    """Off unless asked for; an order of handlers is checked when it is read."""
    assert not InjectionSettings().enabled
    path = tmp_path / "pileus.toml"
    path.write_text('[injection]\nenabled = true\nhandlers = "debugfs,loop"\npartition = "2"\n')
    assert load_settings(path, {}).settings.injection.handlers == "debugfs,loop"
    path.write_text('[injection]\nhandlers = "debugfs,floppy"\npartition = "first"\nnetwork = "maybe"\n')
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {})
    assert len(caught.value.problems) == 3
