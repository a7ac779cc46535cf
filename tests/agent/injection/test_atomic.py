"""Injection is part of a disk's making: whoever is killed meanwhile leaves nothing, and the next one begins anew."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from structlog.testing import capture_logs

from pileus.agent.api import DisksSpec, InjectedFile, Injection
from pileus.agent.disks import FileDisks
from pileus.agent.errors import AgentError, ImageUnusable, InvalidRequest
from pileus.agent.host import Host
from pileus.agent.injection.injector import Injector
from pileus.agent.injection.settings import InjectionSettings
from tests.agent.conftest import METADATA, SERVER, Site
from tests.agent.images import make_image, reference
from tests.agent.injection.disks import MIB, loops, make_filesystem, make_root, processes, run, settings, tree_of
from tests.real_things import require

pytestmark = pytest.mark.real
SIZE = 32 * MIB
ONE = Injection(files=(InjectedFile(path="/etc/motd", content=b"welcome\n"),))
MANY = Injection(files=tuple(InjectedFile(path=f"/many/{n}/file", content=b"x" * 512) for n in range(3000)))
INJECT = """
import sys
from pathlib import Path
import msgspec
from pileus.agent.api import Injection
from pileus.agent.injection.injector import Injector
from pileus.agent.injection.settings import InjectionSettings
disk, form, handler, content, scratch = sys.argv[1:]
injection = msgspec.json.decode(Path(content).read_bytes(), type=Injection)
settings = InjectionSettings(enabled=True, handlers=handler)
Injector(settings, Path(scratch)).inject("s1", Path(disk), form, injection)
"""


@pytest.fixture(autouse=True)
def _tools() -> None:
    require("qemu-img", "qemu-storage-daemon", "mke2fs", "debugfs", "losetup", "unshare", "setpriv")


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)


@pytest.mark.parametrize(("handler", "form"), [("loop", "raw"), ("debugfs", "raw"), ("debugfs", "qcow2")])
def test_a_killed_agent_leaves_nothing(tmp_path: Path, handler: str, form: str) -> None:
    """Its mounts, its loop device, its programs and its scratch files are gone with it, without anybody's help."""
    disk = make_filesystem(make_root(tmp_path), tmp_path / "disk.raw", SIZE, "-N", "8192")
    if form == "qcow2":
        run("qemu-img", "convert", "-O", "qcow2", disk, tmp_path / "disk.qcow2")
        disk = tmp_path / "disk.qcow2"
    content, scratch = tmp_path / "content.json", tmp_path / "scratch"
    content.write_bytes(msgspec.json.encode(MANY))
    agent = subprocess.Popen([sys.executable, "-c", INJECT, disk, form, handler, content, scratch])
    at_work = (lambda: bool(loops(tmp_path))) if handler == "loop" else (lambda: bool(_editors(tmp_path)))
    until(at_work, f"{handler} is at work")
    os.kill(agent.pid, signal.SIGKILL)
    assert agent.wait() == -signal.SIGKILL
    until(lambda: not processes(tmp_path), "its programs end")
    until(lambda: not loops(tmp_path), "its loop device goes")
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert list(scratch.iterdir()) == []


def _editors(under: Path) -> list[int]:
    """The debugfs processes of a test that write."""
    return [pid for pid, line in processes(under).items() if b"debugfs" in line and b"-w" in line]


def test_an_injection_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    disk = make_filesystem(make_root(tmp_path), tmp_path / "disk.raw", SIZE, "-N", "8192")
    injector = Injector(settings("debugfs", timeout=1.0), tmp_path / "scratch")
    with pytest.raises(AgentError, match="took more than 1 s"):
        injector.inject("s1", disk, "raw", MANY)
    until(lambda: not processes(tmp_path), "its programs end")


@pytest.fixture
def host(site: Site, tmp_path: Path) -> Host:
    """A host with an image of a small guest."""
    filesystem = make_filesystem(make_root(tmp_path), tmp_path / "image.raw", SIZE)
    site.source.images["i1"] = make_image(tmp_path, "qcow2", filesystem.read_bytes())
    return site.boot()


def disks_of(host: Host, site: Site, chosen: InjectionSettings) -> FileDisks:
    injector = Injector(chosen, site.directory / "scratch")
    return FileDisks(host.settings.instances_dir, host.cache, host.journal, host.metadata.of, injector)


def spec_of(site: Site, injection: Injection | None) -> DisksSpec:
    return DisksSpec(server_id=SERVER, image=reference(site.source.images["i1"], "qcow2"), inject=injection)


def test_the_root_disk_has_it_and_is_made_once(host: Host, site: Site) -> None:
    disks = disks_of(host, site, settings("debugfs"))
    (disk,) = disks.ensure(spec_of(site, ONE))
    assert tree_of(Path(disk.path), "qcow2")["/etc/motd"].content == b"welcome\n"
    other = Injection(files=(InjectedFile(path="/etc/motd", content=b"other\n"),))
    disks.ensure(spec_of(site, other))
    assert tree_of(Path(disk.path), "qcow2")["/etc/motd"].content == b"welcome\n"


@pytest.mark.parametrize(("mode", "handler"), [("overlay", "debugfs"), ("copy", "loop")])
def test_the_first_handler_that_fits_the_disk(
    host: Host, site: Site, mode: Literal["overlay", "copy"], handler: str
) -> None:
    injector = Injector(settings("loop,debugfs"), site.directory / "scratch")
    cache, journal = host.cache, host.journal
    disks = FileDisks(host.settings.instances_dir, cache, journal, host.metadata.of, injector, mode=mode)
    spec = msgspec.structs.replace(spec_of(site, ONE), root_gb=1)
    with capture_logs() as told:
        (disk,) = disks.ensure(spec)
    assert handler in [one.get("handler") for one in told]
    assert tree_of(Path(disk.path), disk.format)["/etc/motd"].content == b"welcome\n"


def test_a_disk_whose_injection_failed_does_not_count(host: Host, site: Site) -> None:
    disks = disks_of(host, site, settings("debugfs"))
    with pytest.raises(ImageUnusable, match="leads through a file"):
        disks.ensure(spec_of(site, Injection(files=(InjectedFile(path="/etc/passwd/x", content=b""),))))
    directory = host.settings.instances_dir / SERVER
    assert not (directory / "root.qcow2").exists()
    (directory / ".root.qcow2").write_bytes(b"half")
    (disk,) = disks.ensure(spec_of(site, ONE))
    assert [path.name for path in directory.iterdir()] == ["root.qcow2"]
    assert tree_of(Path(disk.path), "qcow2")["/etc/motd"].content == b"welcome\n"


@pytest.mark.parametrize(
    ("injection", "reason"),
    [
        (Injection(files=(InjectedFile(path="etc/x", content=b""),)), "absolute"),
        (Injection(files=(InjectedFile(path="/../x", content=b""),)), "within the disk"),
        (Injection(files=(InjectedFile(path="/etc/", content=b""),)), "absolute"),
        (Injection(files=(InjectedFile(path="/a\nrm /etc", content=b""),)), "absolute"),
        (Injection(files=(InjectedFile(path="/" + "x" * 256, content=b""),)), "too long"),
        (Injection(files=(InjectedFile(path="/x" * 513, content=b""),)), "too long"),
        (Injection(files=(InjectedFile(path="/x", content=b"x" * 100),)), "more than 50 bytes"),
    ],
)
def test_what_makes_no_sense_is_refused(host: Host, site: Site, injection: Injection, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        disks_of(host, site, settings("debugfs", max_bytes=50)).ensure(spec_of(site, injection))


def test_a_host_where_injection_is_off(host: Host, site: Site) -> None:
    """Files may do on another host; all else is done without."""
    disks = disks_of(host, site, InjectionSettings())
    with pytest.raises(AgentError, match="not enabled on this host"):
        disks.ensure(spec_of(site, ONE))
    (disk,) = disks.ensure(spec_of(site, Injection(public_keys=("ssh-rsa AAAA",))))
    assert b"AAAA before" in tree_of(Path(disk.path), "qcow2")["/root/.ssh/authorized_keys"].content


def test_files_on_the_config_drive(host: Host) -> None:
    files = (*ONE.files, InjectedFile(path="/etc/issue", content=b"\0second"))
    host.ensure_metadata(msgspec.structs.replace(METADATA, files=files))
    (disk,) = host.disks.ensure(DisksSpec(server_id=SERVER, config_drive=True))

    def content(path: str) -> bytes:
        return run("isoinfo", "-R", "-i", disk.path, "-x", path)

    told = json.loads(content("/openstack/latest/meta_data.json"))["files"]
    assert told == [
        {"content_path": "/content/0000", "path": "/etc/motd"},
        {"content_path": "/content/0001", "path": "/etc/issue"},
    ]
    assert [content(f"/openstack{one['content_path']}") for one in told] == [one.content for one in files]
