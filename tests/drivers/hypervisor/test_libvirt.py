"""The libvirt driver on a libvirtd of its own: what all drivers must do, and what only this one has."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import libvirt
import msgspec
import pytest

from pileus.agent.api import DiskFile, PowerState
from pileus.drivers.hypervisor.base import GuestRefused, Hypervisor
from pileus.drivers.hypervisor.libvirt.daemon import OwnLibvirtd
from pileus.drivers.hypervisor.libvirt.driver import Libvirt
from pileus.drivers.hypervisor.libvirt.kvm import KvmVerdict
from pileus.drivers.hypervisor.libvirt.settings import LibvirtSettings
from pileus.guest_image.builder import build
from pileus.kernel.clock import SystemClock
from tests.drivers.hypervisor.conformance import Conformance, OpenDriver, wait_for
from tests.drivers.hypervisor.guests import plan_of
from tests.real_things import require

pytestmark = pytest.mark.real

NO_KVM = KvmVerdict(usable=False, reason="tests emulate")
SITE = "plt"


@pytest.fixture(scope="module")
def daemon() -> Iterator[OwnLibvirtd]:
    require("libvirtd", "qemu-system-x86_64", "qemu-img")
    # The path of a socket is short, and QEMU's unprivileged user must be able to pass.
    home = Path(tempfile.mkdtemp(prefix="plt-"))
    home.chmod(0o711)
    own = OwnLibvirtd(home / "state", home / "run", use_kvm=False, clock=SystemClock())
    yield own
    own.stop()
    shutil.rmtree(home)


@pytest.fixture
def host_dir(daemon: OwnLibvirtd) -> Iterator[Path]:
    directory = daemon.socket.parents[2] / "guests"
    directory.mkdir(mode=0o711)
    yield directory
    with_all = make_driver(daemon)
    for guest_id in with_all.list_guests():
        with_all.ensure_no_guest(guest_id)
    with_all.close()
    shutil.rmtree(directory)


def make_driver(daemon: OwnLibvirtd, site: str = SITE, **settings: object) -> Libvirt:
    uri = daemon.ensure_running()
    return Libvirt(
        LibvirtSettings(**settings),  # type: ignore[arg-type]
        site,
        SystemClock(),
        uri=uri,
        verdict=NO_KVM,
        revive=daemon.ensure_running,
        disk_owner=daemon.qemu_owner,
    )


@pytest.fixture
def open_driver(daemon: OwnLibvirtd) -> Iterator[OpenDriver]:
    opened: list[Libvirt] = []

    def make(site: str = SITE) -> Hypervisor:
        opened.append(make_driver(daemon, site))
        return opened[-1]

    yield make
    for driver in opened:
        driver.close()


def definition_of(daemon: OwnLibvirtd, guest_id: str) -> ET.Element:
    connection = libvirt.open(daemon.uri)
    try:
        xml = connection.lookupByUUIDString(guest_id).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        return ET.fromstring(xml)  # noqa: S314
    finally:
        connection.close()


def qemu_pid(guest_id: str) -> int:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if words[0].endswith(b"qemu-system-x86_64") and guest_id.encode() in words:
            return int(path.parent.name)
    raise AssertionError(f"guest {guest_id} has no process")


class TestLibvirt(Conformance):
    """The common suite."""


def test_two_sites_on_one_libvirtd_do_not_see_each_other(open_driver: OpenDriver, host_dir: Path) -> None:
    ours, theirs = open_driver(), open_driver("plu")
    heard: list[str] = []
    theirs.watch(lambda guest, _state: heard.append(guest))
    plan = plan_of(host_dir)
    ours.ensure_guest(plan)
    assert theirs.list_guests() == {}
    assert theirs.power_state(plan.spec.id) is None
    theirs.ensure_no_guest(plan.spec.id)
    assert ours.power_state(plan.spec.id) is PowerState.RUNNING
    same_name = plan_of(host_dir, instance_name=plan.spec.instance_name)
    theirs.ensure_guest(same_name)
    wait_for(lambda: heard == [same_name.spec.id])
    theirs.ensure_no_guest(same_name.spec.id)
    assert list(ours.list_guests()) == [plan.spec.id]


def test_guests_survive_the_death_of_libvirtd(daemon: OwnLibvirtd, open_driver: OpenDriver, host_dir: Path) -> None:
    driver = open_driver()
    plan = plan_of(host_dir)
    driver.ensure_guest(plan)
    pid = qemu_pid(plan.spec.id)
    libvirtd = int((daemon.socket.parent / "libvirtd.pid").read_text())
    os.kill(libvirtd, signal.SIGKILL)
    wait_for(lambda: not daemon.running())
    assert driver.power_state(plan.spec.id) is PowerState.RUNNING
    assert qemu_pid(plan.spec.id) == pid
    heard: list[PowerState] = []
    driver.watch(lambda _guest, state: heard.append(state))
    driver.stop(plan.spec.id, 0)
    driver.start(plan.spec.id)
    wait_for(lambda: PowerState.RUNNING in heard)


def test_stopping_the_daemon_ends_its_guests_and_keeps_their_definitions(
    daemon: OwnLibvirtd, open_driver: OpenDriver, host_dir: Path
) -> None:
    driver = open_driver()
    plan = plan_of(host_dir)
    driver.ensure_guest(plan)
    pid = qemu_pid(plan.spec.id)
    driver.close()
    daemon.stop()
    assert not Path(f"/proc/{pid}").exists()
    assert not daemon.socket.exists()
    assert str(daemon.socket.parent) not in Path("/proc/self/mountinfo").read_text()
    daemon.stop()
    assert open_driver().list_guests() == {plan.spec.id: PowerState.SHUTDOWN}


def test_a_guest_whose_qemu_is_killed_is_reported_and_can_be_started(open_driver: OpenDriver, host_dir: Path) -> None:
    driver = open_driver()
    plan = plan_of(host_dir)
    driver.ensure_guest(plan)
    heard: list[PowerState] = []
    driver.watch(lambda _guest, state: heard.append(state))
    os.kill(qemu_pid(plan.spec.id), signal.SIGKILL)
    wait_for(lambda: PowerState.SHUTDOWN in heard)
    driver.ensure_guest(plan)
    assert driver.power_state(plan.spec.id) is PowerState.RUNNING


def test_qemu_is_not_root(open_driver: OpenDriver, host_dir: Path) -> None:
    plan = plan_of(host_dir)
    open_driver().ensure_guest(plan)
    status = Path(f"/proc/{qemu_pid(plan.spec.id)}/status").read_text()
    uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
    assert "0" not in uids


def test_qemu_owns_a_guests_disk_and_not_the_base_that_guests_share(open_driver: OpenDriver, host_dir: Path) -> None:
    plan = plan_of(host_dir)
    disk = Path(plan.disks[0].path)
    base = host_dir / "base.qcow2"
    disk.rename(base)
    base.chmod(0o644)
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, disk]
    subprocess.run(command, check=True)
    driver = open_driver()
    driver.ensure_guest(plan)
    assert driver.power_state(plan.spec.id) is PowerState.RUNNING
    assert base.stat().st_uid == 0
    assert disk.stat().st_uid == int(Path(f"/proc/{qemu_pid(plan.spec.id)}").stat().st_uid)


def test_a_real_system_boots_writes_its_console_and_heeds_the_power_button(
    open_driver: OpenDriver, host_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = Path(os.environ.get("PILEUS_GUEST_IMAGE") or tmp_path_factory.getbasetemp().parent / "guest-image")
    image = build(home / "image", home / "packages", print)
    plan = plan_of(host_dir, memory_mb=128)
    files = {"kernel": image.kernel, "ramdisk": image.ramdisk, "root": image.root}
    own = {role: Path(shutil.copy(path, host_dir / plan.spec.id / role)) for role, path in files.items()}
    disks = tuple(
        DiskFile(role=role, path=str(path), format="raw", size=path.stat().st_size)  # type: ignore[arg-type]
        for role, path in own.items()
    )
    driver = open_driver()
    driver.ensure_guest(msgspec.structs.replace(plan, disks=disks))
    wait_for(lambda: "login:" in driver.console_log(plan.spec.id, 10), 120)
    before = time.monotonic()
    driver.stop(plan.spec.id, 60)
    assert driver.power_state(plan.spec.id) is PowerState.SHUTDOWN
    assert time.monotonic() - before < 50
    assert "power button" in driver.console_log(plan.spec.id, None)


def test_a_changed_plan_is_defined_and_an_equal_one_is_not(
    daemon: OwnLibvirtd, open_driver: OpenDriver, host_dir: Path
) -> None:
    driver = open_driver()
    plan = plan_of(host_dir)
    driver.ensure_guest(plan)
    first = definition_of(daemon, plan.spec.id)
    driver.ensure_guest(plan_of(host_dir, plan.spec.id, memory_mb=48))
    assert definition_of(daemon, plan.spec.id).findtext("memory") == str(48 * 1024)
    assert first.findtext("memory") == str(32 * 1024)


def test_hardware_is_as_the_image_says(daemon: OwnLibvirtd, open_driver: OpenDriver, host_dir: Path) -> None:
    properties = {
        "hw_machine_type": "q35",
        "hw_disk_bus": "scsi",
        "hw_scsi_model": "virtio-scsi",
        "hw_video_model": "virtio",
    }
    plan = plan_of(host_dir, machine_properties=properties)
    driver = open_driver()
    driver.ensure_guest(plan)
    root = definition_of(daemon, plan.spec.id)
    assert "q35" in root.find("os/type").get("machine")  # type: ignore[union-attr, operator]
    assert root.find("devices/disk/target").attrib == {"dev": "sda", "bus": "scsi"}  # type: ignore[union-attr]
    assert root.find("devices/video/model").get("type") == "virtio"  # type: ignore[union-attr]


def test_a_machine_that_qemu_does_not_have_is_refused(open_driver: OpenDriver, host_dir: Path) -> None:
    plan = plan_of(host_dir, machine_properties={"hw_machine_type": "difference-engine"})
    driver = open_driver()
    with pytest.raises(GuestRefused, match="difference-engine"):
        driver.ensure_guest(plan)
    assert driver.list_guests() == {}


def test_a_large_console_log_is_cut_and_its_end_still_shown(daemon: OwnLibvirtd, host_dir: Path) -> None:
    driver = make_driver(daemon, console_log_size=128 << 10)
    plan = plan_of(host_dir)
    driver.ensure_guest(plan)
    with plan.console_log.open("a") as log:
        log.writelines(f"line {number}\n" for number in range(50_000))
    driver.tidy()
    assert plan.console_log.stat().st_size == 0
    assert driver.console_log(plan.spec.id, 2) == "line 49998\nline 49999\n"
    driver.close()
