"""Servers' disks: made by the real tools, kept when repeated, complete or absent however an agent dies."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pileus.agent.api import DiskFile, DisksSpec, PruneImages
from pileus.agent.errors import AgentError, ImageUnusable, InvalidRequest, NoSpace
from pileus.agent.host import Host
from tests.agent.conftest import METADATA, SERVER, Site
from tests.agent.images import make_image, pattern, reference
from tests.real_things import require

GIB = 1 << 30
MIB = 1 << 20
CONTENT = pattern(2 * MIB)
TOOLS = ("qemu-img", "qemu-io", "mke2fs", "mkswap", "genisoimage", "isoinfo")


@pytest.fixture(autouse=True)
def _tools() -> None:
    require(*TOOLS)


@pytest.fixture
def host(site: Site, tmp_path: Path) -> Host:
    data = make_image(tmp_path, "qcow2", CONTENT)
    site.source.images["i1"] = data
    return site.boot()


@pytest.fixture
def spec(host: Host, site: Site) -> DisksSpec:
    return DisksSpec(server_id=SERVER, image=reference(site.source.images["i1"], "qcow2"), root_gb=1)


def info(path: str) -> dict[str, Any]:
    shown = subprocess.run(["qemu-img", "info", "--output=json", path], check=True, capture_output=True)
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


def blkid(path: str) -> str:
    return subprocess.run(["blkid", "-p", path], check=True, capture_output=True, text=True).stdout


def write(disk: DiskFile, what: str) -> None:
    """Write to a disk as its guest would."""
    command = ["qemu-io", "-f", disk.format, "-c", f"write -P {what} 0 64k", disk.path]
    subprocess.run(command, check=True, capture_output=True)


def holds(disk: DiskFile, what: str) -> bool:
    command = ["qemu-io", "-f", disk.format, "-c", f"read -P {what} 0 64k", disk.path]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return "verification failed" not in done.stdout


def names(site: Site) -> list[str]:
    return sorted(path.name for path in (site.directory / "instances" / SERVER).iterdir())


def test_the_root_disk_is_an_overlay_of_the_flavors_size(host: Host, spec: DisksSpec) -> None:
    (disk,) = host.disks.ensure(spec)
    assert spec.image is not None
    base = host.cache.ensure(spec.image).path
    shown = info(disk.path)
    assert (disk.role, disk.format, disk.size) == ("root", "qcow2", GIB)
    assert (shown["format"], shown["virtual-size"], shown["backing-filename"]) == ("qcow2", GIB, str(base))
    assert shown["backing-filename-format"] == "raw"
    assert base.read_bytes() == CONTENT
    write(disk, "0x5a")
    assert base.read_bytes() == CONTENT


def test_without_a_size_the_root_disk_is_as_large_as_the_image(host: Host, spec: DisksSpec) -> None:
    (disk,) = host.disks.ensure(msgspec.structs.replace(spec, root_gb=0))
    assert disk.size == info(disk.path)["virtual-size"] == len(CONTENT)


def test_an_image_larger_than_the_disk_is_refused(host: Host, site: Site, tmp_path: Path) -> None:
    empty = tmp_path / "large.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", empty, "2G"], check=True)
    site.source.images["i1"] = empty.read_bytes()
    large = DisksSpec(server_id=SERVER, image=reference(empty.read_bytes(), "qcow2"), root_gb=1)
    with pytest.raises(ImageUnusable, match=f"disk of {2 * GIB} bytes"):
        host.disks.ensure(large)
    assert names(site) == []


def test_all_disks_in_the_guests_order(host: Host, spec: DisksSpec) -> None:
    host.ensure_metadata(METADATA)
    image = spec.image
    full = msgspec.structs.replace(spec, kernel=image, ramdisk=image, ephemeral_gb=1, swap_mb=64, config_drive=True)
    disks = {disk.role: disk for disk in host.disks.ensure(full)}
    assert list(disks) == ["root", "kernel", "ramdisk", "ephemeral", "swap", "config"]
    assert (disks["ephemeral"].size, disks["swap"].size) == (GIB, 64 * MIB)
    for role in ("ephemeral", "swap", "config", "kernel"):
        assert Path(disks[role].path).stat().st_size == disks[role].size
    assert 'TYPE="ext4"' in blkid(disks["ephemeral"].path)
    assert 'LABEL="ephemeral0"' in blkid(disks["ephemeral"].path)
    assert 'TYPE="swap"' in blkid(disks["swap"].path)
    assert 'LABEL="config-2"' in blkid(disks["config"].path)
    assert host.disks.ensure(full) == tuple(disks.values()) == host.disks.of(SERVER)


def test_repeating_keeps_what_users_wrote(host: Host, site: Site, spec: DisksSpec) -> None:
    full = msgspec.structs.replace(spec, ephemeral_gb=1, swap_mb=64)
    disks = host.disks.ensure(full)
    for disk in disks:
        write(disk, "0x5a")
    assert site.boot().disks.ensure(full) == disks
    assert all(holds(disk, "0x5a") for disk in disks)


def test_a_config_drive_needs_the_metadata_first(host: Host) -> None:
    with pytest.raises(InvalidRequest, match="metadata first"):
        host.disks.ensure(DisksSpec(server_id=SERVER, config_drive=True))


def test_the_config_drive_is_read_back(host: Host) -> None:
    host.ensure_metadata(METADATA)
    (disk,) = host.disks.ensure(DisksSpec(server_id=SERVER, config_drive=True))
    listed = subprocess.run(["isoinfo", "-R", "-f", "-i", disk.path], check=True, capture_output=True, text=True)
    found = {line for line in listed.stdout.splitlines() if "." in line.rsplit("/", 1)[-1] or "user_data" in line}
    tree = {"meta_data.json", "network_data.json", "vendor_data.json", "vendor_data2.json", "user_data"}
    assert found == {f"/openstack/{version}/{name}" for version in ("latest", "2015-10-15") for name in tree} | {
        "/ec2/latest/meta-data.json"
    }

    def content(path: str) -> bytes:
        return subprocess.run(["isoinfo", "-R", "-i", disk.path, "-x", path], check=True, capture_output=True).stdout

    assert json.loads(content("/openstack/latest/meta_data.json"))["uuid"] == SERVER
    assert content("/openstack/2015-10-15/user_data") == b"#!/bin/sh\n"
    assert json.loads(content("/ec2/latest/meta-data.json"))["public-ipv4"] == "203.0.113.5"


def test_removing(host: Host, site: Site, spec: DisksSpec) -> None:
    host.disks.ensure_none(SERVER)
    host.disks.ensure(spec)
    assert host.disks.servers() == (SERVER,)
    for _ in range(2):
        host.disks.ensure_none(SERVER)
        assert host.disks.servers() == ()
        assert list((site.directory / "instances").iterdir()) == []
    assert host.disks.of(SERVER) == ()


def _states_after_a_kill(directory: Path) -> Iterator[None]:
    """A server's directory as a kill leaves it: before each file got its name, with the hidden one half-written."""
    for name in ("root.qcow2", "ephemeral.raw", "swap.raw", "config.iso"):
        (directory / name).rename(directory / f".{name}")
        (directory / f".{name}").write_bytes(b"half")
        yield
    (directory / ".configabc").mkdir()
    yield
    shutil.rmtree(directory)
    yield


def test_killed_between_any_two_steps(host: Host, site: Site, spec: DisksSpec) -> None:
    host.ensure_metadata(METADATA)
    full = msgspec.structs.replace(spec, ephemeral_gb=1, swap_mb=64, config_drive=True)
    made = host.disks.ensure(full)
    for _ in _states_after_a_kill(site.directory / "instances" / SERVER):
        again = site.boot()
        again.tidy()
        assert again.disks.ensure(full) == made
        assert info(made[0].path)["virtual-size"] == GIB
        assert 'TYPE="ext4"' in blkid(made[1].path)
        assert 'TYPE="swap"' in blkid(made[2].path)
        assert 'LABEL="config-2"' in blkid(made[3].path)


def test_removals_that_were_cut_off_are_finished(host: Host, site: Site, spec: DisksSpec) -> None:
    host.disks.ensure(spec)
    instances = site.directory / "instances"
    (instances / SERVER).rename(instances / f".{SERVER}.1.2")
    again = site.boot()
    assert again.disks.servers() == ()
    again.tidy()
    assert list(instances.iterdir()) == []


@pytest.mark.parametrize("remembered", [True, False])
def test_the_base_of_a_disk_is_never_pruned(host: Host, site: Site, spec: DisksSpec, remembered: bool) -> None:
    """Even if the journal lost the server: the disk itself says what it is based on."""
    host.disks.ensure(spec)
    if not remembered:
        (site.directory / "journal" / "disks" / f"{SERVER}.json").write_bytes(b"")
    shutil.rmtree(site.directory / "cache" / "users")
    again = site.boot()
    again.tidy()
    assert again.prune_images(PruneImages(unused_for=0)).removed == ()
    again.disks.ensure_none(SERVER)
    assert len(again.prune_images(PruneImages(unused_for=0)).removed) == 1
    assert list((site.directory / "cache" / "users").iterdir()) == []


@pytest.mark.parametrize(("says", "refusal"), [("No space left on device", NoSpace), ("strange weather", AgentError)])
def test_tools_that_fail(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, refusal: type[AgentError]
) -> None:
    for tool in ("mke2fs", "mkswap", "genisoimage"):
        (tmp_path / tool).write_text(f"#!/bin/sh\necho '{says}' >&2\nexit 1\n")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin")
    host.ensure_metadata(METADATA)
    for broken in ({"ephemeral_gb": 1}, {"swap_mb": 1}, {"config_drive": True}):
        with pytest.raises(AgentError, match=says) as caught:
            host.disks.ensure(DisksSpec(server_id=SERVER, **broken))  # type: ignore[arg-type]
        assert type(caught.value) is refusal
        assert host.disks.ensure(DisksSpec(server_id=SERVER)) == ()
