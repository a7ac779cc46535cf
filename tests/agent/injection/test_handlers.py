"""Every handler that works here, through one suite: what it writes is in the disk, seen by the kernel afterwards."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pileus.agent.api import InjectedFile, Injection
from pileus.agent.errors import AgentError, ImageUnusable
from pileus.agent.injection.handlers.base import Disk
from pileus.agent.injection.handlers.exported import raw_file
from pileus.agent.injection.injector import Injector
from tests.agent.injection.disks import (
    MASKED,
    MIB,
    loops,
    make_filesystem,
    make_partitioned,
    make_root,
    overlay,
    processes,
    run,
    settings,
    tree_of,
)
from tests.real_things import require

pytestmark = pytest.mark.real
SIZE = 16 * MIB
EVERYWHERE = "0.0.0.0"  # noqa: S104 - a route's destination
NETWORK = {
    "links": [{"id": "tap1", "mtu": 1450, "ethernet_mac_address": "fa:16:3e:00:00:01"}],
    "networks": [
        {
            "id": "network0", "type": "ipv4", "link": "tap1", "ip_address": "10.0.0.5", "netmask": "255.255.255.0",
            "routes": [{"network": EVERYWHERE, "netmask": EVERYWHERE, "gateway": "10.0.0.1"}], "services": [],
        }
    ],
}  # fmt: skip
LARGE = bytes(range(256)) * 1024
FULL = Injection(
    files=(
        InjectedFile(path="/etc/motd", content=b"welcome\n"),
        InjectedFile(path='/srv/a b/it\'s "quoted" <1>', content=b"\0\xff"),
        InjectedFile(path="/var/large", content=LARGE),
        InjectedFile(path="/etc/shadow-", content=b""),
    ),
    public_keys=("ssh-ed25519 BBBB mine",),
    admin_pass="s3cret word",
    metadata={"role": "web"},
    network_data=dict(NETWORK),
)


@dataclass(frozen=True)
class Case:
    """A handler and a form of disk."""

    handler: str
    form: str  # raw or qcow2
    table: str | None = None


CASES = [
    Case("loop", "raw"),
    Case("loop", "raw", "dos"),
    Case("loop", "raw", "gpt"),
    Case("debugfs", "raw"),
    Case("debugfs", "raw", "gpt"),
    Case("debugfs", "qcow2"),
    Case("debugfs", "qcow2", "dos"),
    Case("nbd", "qcow2", "dos"),
    Case("guestfs", "qcow2", "dos"),
]
LACKS = {
    "nbd": None if Path("/sys/block/nbd0").exists() else "this kernel has no nbd module",
    "guestfs": None if shutil.which("guestfish") else "libguestfs is not installed: it is optional, 40 MB of packages",
}


@pytest.fixture(autouse=True)
def _tools() -> None:
    require(
        "qemu-img", "qemu-storage-daemon", "mke2fs", "debugfs", "sfdisk", "losetup", "unshare", "setpriv", "openssl"
    )


@pytest.fixture(params=CASES, ids=lambda case: f"{case.handler}-{case.form}-{case.table}")
def case(request: pytest.FixtureRequest) -> Case:
    lacks = LACKS.get(request.param.handler)
    if lacks is not None:
        pytest.skip(f"NOT TESTED: {request.param.handler}: {lacks}")
    chosen: Case = request.param
    return chosen


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


@pytest.fixture(autouse=True)
def _nothing_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert loops(tmp_path) == []
    assert processes(tmp_path) == {}
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def make_disk(case: Case, root: Path) -> Path:
    path = make_filesystem(root, root.with_name("disk.raw"), SIZE)
    if case.table is not None:
        boot = make_filesystem(make_root(root / "var") / "tmp", root.with_name("boot"), 2 * MIB)
        path = make_partitioned(root.with_name("parted.raw"), case.table, boot, path)
    return path if case.form == "raw" else overlay(path)


def offset_of(case: Case) -> int:
    return 0 if case.table is None else 3 * MIB


def test_all_content(case: Case, root: Path, tmp_path: Path) -> None:
    disk = make_disk(case, root)
    Injector(settings(case.handler), tmp_path / "scratch").inject("s1", disk, case.form, FULL)
    seen = tree_of(disk, case.form, offset_of(case), SIZE)
    assert {one.path: seen[one.path].content for one in FULL.files} == {one.path: one.content for one in FULL.files}
    assert {(seen[one.path].mode, seen[one.path].owner) for one in FULL.files} == {(0o644, (0, 0))}
    assert (seen["/srv/a b"].mode, seen["/srv/a b"].owner) == (0o755, (0, 0))
    keys = seen["/root/.ssh/authorized_keys"]
    assert (keys.content, keys.mode) == (b"ssh-rsa AAAA before\nssh-ed25519 BBBB mine\n", 0o600)
    daemon, account = seen["/etc/shadow"].content.decode().splitlines()
    assert (daemon, seen["/etc/shadow"].mode) == ("daemon:*:1:0:99999:7:::", MASKED)
    _, hashed, _, *rest = account.split(":")
    salt = hashed.split("$")[2]
    assert run("openssl", "passwd", "-6", "-salt", salt, "s3cret word").decode().strip() == hashed
    assert rest == ["0", "99999", "7", "", "", ""]
    assert seen["/meta.js"].content == b'{"role":"web"}'
    assert b"address 10.0.0.5/24\n" in seen["/etc/network/interfaces"].content


def test_again_and_over_old_files(case: Case, root: Path, tmp_path: Path) -> None:
    """A key is added once; a file that is there keeps owner and mode, and its content goes, be it longer or shorter."""
    (root / "etc/motd").write_bytes(LARGE)
    (root / "etc/motd").chmod(0o604)
    disk = make_disk(case, root)
    injector = Injector(settings(case.handler), tmp_path / "scratch")
    for _ in range(2):
        injector.inject("s1", disk, case.form, FULL)
    seen = tree_of(disk, case.form, offset_of(case), SIZE)
    assert seen["/root/.ssh/authorized_keys"].content.count(b"BBBB") == 1
    assert (seen["/etc/motd"].content, seen["/etc/motd"].mode) == (b"welcome\n", 0o604)


def test_an_empty_file_system_gets_what_it_needs(case: Case, tmp_path: Path) -> None:
    """The password is left out, as there are no accounts; the directories of the rest are made."""
    root = tmp_path / "root"
    root.mkdir()
    disk = make_filesystem(root, tmp_path / "disk.raw", SIZE)
    disk = disk if case.form == "raw" else overlay(disk)
    Injector(settings(case.handler), tmp_path / "scratch").inject("s1", disk, case.form, FULL)
    seen = tree_of(disk, case.form)
    assert "/etc/shadow" not in seen
    assert [seen[path].mode for path in ("/root", "/root/.ssh", "/etc/network")] == [0o700, 0o700, 0o755]
    assert seen["/etc/motd"].content == b"welcome\n"


def test_a_full_file_system(case: Case, root: Path, tmp_path: Path) -> None:
    disk = make_disk(case, root)
    huge = Injection(files=(InjectedFile(path="/huge", content=b"x" * (SIZE + MIB)),))
    with pytest.raises(ImageUnusable, match=r"No space left|Could not allocate|no space|write error"):
        Injector(settings(case.handler, max_bytes=2 * SIZE), tmp_path / "scratch").inject("s1", disk, case.form, huge)


def test_hostile_links(case: Case, root: Path, tmp_path: Path) -> None:
    """Absolute links begin at the guest's root; no link climbs out of it; nothing of the host changes."""
    witness = tmp_path / "witness"
    witness.mkdir()
    shutil.rmtree(root / "root")
    (root / "root").symlink_to(witness)
    (root / "etc/up").symlink_to("../../../../../../../" + str(witness))
    (root / "etc/round").symlink_to("round")
    (root / "etc/far").symlink_to("/var/" + "x" * 100)
    (root / "etc/inside").symlink_to("../var/../tmp")
    run("mknod", root / "etc/pipe", "p")
    disk = make_disk(case, root)
    injector = Injector(settings(case.handler), tmp_path / "scratch")
    good = ("/root/one", "/etc/far/two", "/etc/inside/three")
    injector.inject(
        "s1", disk, case.form, Injection(files=tuple(InjectedFile(path=one, content=one.encode()) for one in good))
    )
    seen = tree_of(disk, case.form, offset_of(case), SIZE)
    for place, name in ((f"{witness}/one", good[0]), (f"/var/{'x' * 100}/two", good[1]), ("/tmp/three", good[2])):  # noqa: S108
        assert seen[place].content == name.encode()
    assert list(witness.iterdir()) == []
    for bad, reason in (
        ("/etc/up/file", "leads out of the disk"),
        ("/etc/round", "40 symbolic links"),
        ("/etc/pipe", "special file"),
        ("/etc/passwd/file", "leads through a file"),
        ("/var", "is a directory"),
    ):
        with pytest.raises(ImageUnusable, match=reason):
            injector.inject("s1", disk, case.form, Injection(files=(InjectedFile(path=bad, content=b"x"),)))


def test_links_do_not_give_debugfs_commands(root: Path, tmp_path: Path) -> None:
    """Among its commands are some that write the host's files, and guests choose what their links say."""
    witness = Path("witness")
    (root / f'var/x"\ndump etc {witness}\n').mkdir()
    (root / "etc/one").symlink_to(f'/var/x"\ndump etc {witness}\n')
    four = "/".join(["y" * 200] * 4)
    (root / four / four / four).mkdir(parents=True)
    (root / "etc/two").symlink_to(f"/{four}")
    (root / four / "more").symlink_to(four)
    disk = make_filesystem(root, tmp_path / "disk.raw", SIZE)
    injector = Injector(settings("debugfs"), tmp_path / "scratch")
    for path in ("one/file", f"two/more/{four}/file"):
        file = InjectedFile(path=f"/etc/{path}", content=b"x")
        with pytest.raises(ImageUnusable, match="debugfs does not take the path"):
            injector.inject("s1", disk, "raw", Injection(files=(file,)))
    assert not witness.exists()


def test_an_overlay_that_is_copied(root: Path, tmp_path: Path) -> None:
    """Where there is no FUSE: the disk is then on its own, of the same size, and holds everything."""
    disk = overlay(make_filesystem(root, tmp_path / "disk.raw", SIZE))
    with raw_file(Disk(disk, "qcow2"), tmp_path, fuse=False) as raw:
        (tmp_path / "motd").write_bytes(b"welcome\n")
        run("debugfs", "-w", "-R", f"write {tmp_path}/motd motd", raw)
    assert tree_of(disk, "qcow2")["/motd"].content == b"welcome\n"
    assert sorted(path.name for path in tmp_path.glob("disk.qcow2*")) == ["disk.qcow2"]


def test_an_overlay_leaves_its_base_alone(root: Path, tmp_path: Path) -> None:
    base = make_filesystem(root, tmp_path / "disk.raw", SIZE)
    before = base.read_bytes()
    Injector(settings("debugfs"), tmp_path / "scratch").inject("s1", overlay(base), "qcow2", FULL)
    assert base.read_bytes() == before


@pytest.mark.parametrize(
    ("partition", "found"), [("2", True), ("inspect", True), ("1", False), ("0", None), ("7", None)]
)
def test_partitions(root: Path, tmp_path: Path, partition: str, found: bool | None) -> None:
    """The root is looked for, or is the partition of that number; where there is none, it is said."""
    case = Case("debugfs", "raw", "dos")
    disk = make_disk(case, root)
    injector = Injector(settings("debugfs", partition=partition), tmp_path / "scratch")
    files = Injection(files=FULL.files[:1])
    if found is None:
        with pytest.raises(ImageUnusable, match=f"no file system in partition '{partition}'"):
            injector.inject("s1", disk, "raw", files)
        return
    injector.inject("s1", disk, "raw", files)
    assert ("/etc/motd" in tree_of(disk, "raw", offset_of(case), SIZE)) is found


def test_handlers_that_do_not_work_are_passed_over(root: Path, tmp_path: Path) -> None:
    disk = overlay(make_filesystem(root, tmp_path / "disk.raw", SIZE))
    with capture_logs() as told:
        Injector(settings("loop,debugfs"), tmp_path / "scratch").inject("s1", disk, "qcow2", FULL)
    assert [(one["event"], one["server"], one["handler"]) for one in told] == [
        ("injected into the disk", "s1", "debugfs")
    ]
    assert "a loop device shows a copy-on-write disk (qcow2) as it is stored" in told[0]["passed_over"]["loop"]
    with pytest.raises(AgentError, match="copy-on-write") as caught:
        Injector(settings("loop"), tmp_path / "scratch").inject("s1", disk, "qcow2", FULL)
    assert type(caught.value) is AgentError  # another host may do better


def test_a_disk_without_a_known_file_system(tmp_path: Path) -> None:
    """Files are insisted on; all else is not."""
    disk = tmp_path / "disk.raw"
    disk.write_bytes(b"x" * MIB)
    injector = Injector(settings("loop,debugfs"), tmp_path / "scratch")
    with pytest.raises(ImageUnusable, match="no file system"):
        injector.inject("s1", disk, "raw", FULL)
    with capture_logs() as told:
        injector.inject("s1", disk, "raw", Injection(public_keys=("ssh-rsa A",), admin_pass="x"))
    assert [one["event"] for one in told] == ["injection failed"]


@pytest.mark.parametrize("handler", ["loop", "debugfs"])
@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"\x5a"])
def test_a_damaged_file_system(root: Path, tmp_path: Path, handler: str, fill: bytes) -> None:
    """Behind its first block nothing is as it should be. A kernel's refusal may be of that kernel; debugfs's is not."""
    disk = make_filesystem(root, tmp_path / "disk.raw", SIZE)
    with disk.open("r+b") as file:
        file.seek(2048)
        file.write(fill * MIB)
    with pytest.raises(AgentError, match="cannot be written into the disk") as caught:
        Injector(settings(handler), tmp_path / "scratch").inject("s1", disk, "raw", FULL)
    assert isinstance(caught.value, ImageUnusable) is (handler == "debugfs")


def test_a_journal_that_was_not_replayed(root: Path, tmp_path: Path) -> None:
    """An image of a disk that was in use: its journal is replayed first, or it would undo the injection."""
    disk = make_filesystem(root, tmp_path / "disk.raw", SIZE)
    script = (
        'mkdir "$2" && mount -o loop "$1" "$2" && echo a >"$2/etc/late" && sync -f "$2" && cp "$1" "$3" && umount "$2"'
    )
    run("unshare", "--mount", "sh", "-c", script, "sh", disk, tmp_path / "live", tmp_path / "copy.raw")
    copy = tmp_path / "copy.raw"
    assert b"needs_recovery" in run("dumpe2fs", "-h", copy)
    Injector(settings("debugfs"), tmp_path / "scratch").inject("s1", copy, "raw", FULL)
    seen = tree_of(copy, "raw")
    assert (seen["/etc/late"].content, seen["/etc/motd"].content) == (b"a\n", b"welcome\n")


def test_attributes_stay(root: Path, tmp_path: Path) -> None:
    """debugfs replaces files: their labels must stay."""
    disk = make_filesystem(root, tmp_path / "disk.raw", SIZE)
    run("debugfs", "-w", "-R", "ea_set /etc/shadow security.selinux system_u:object_r:shadow_t:s0", disk)
    Injector(settings("debugfs"), tmp_path / "scratch").inject("s1", disk, "raw", FULL)
    assert b"shadow_t" in run("debugfs", "-R", "ea_list /etc/shadow", disk)
    assert b"$6$" in run("debugfs", "-R", "cat /etc/shadow", disk)
