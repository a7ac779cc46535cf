"""Root disks as overlays or full copies, on bases of either form; bases that were lost; and who waits for whom."""

import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from pileus.agent.api import DisksSpec, PruneImages, VerifyImages
from pileus.agent.disks import FileDisks
from pileus.agent.errors import AgentError, NoSpace
from pileus.agent.image_cache import ImageCache
from pileus.agent.journal import Journal
from pileus.agent.metadata_server import MetadataStore
from tests.agent.conftest import SERVER, Site
from tests.agent.images import CONTENT, MIB, RAW, make_image, pattern, reference
from tests.agent.test_disks import holds, info, write
from tests.real_things import require

GIB = 1 << 30
SPEC = DisksSpec(server_id=SERVER, image=RAW, root_gb=1)

Make = Callable[..., FileDisks]


@pytest.fixture
def make(site: Site) -> Make:
    """Disks of one host with other settings; the same directories each time."""
    require("qemu-img", "qemu-io")
    site.source.images["i1"] = CONTENT

    def disks(base_format: str = "raw", mode: str = "overlay", *, preallocate: bool = False) -> FileDisks:
        journal = Journal(site.directory / "journal")
        metadata = MetadataStore(journal)
        cache = ImageCache(site.directory / "cache", site.source, host="h1", base_format=base_format)  # type: ignore[arg-type]
        return FileDisks(
            site.directory / "instances", cache, journal, metadata.of, mode=mode, preallocate=preallocate  # type: ignore[arg-type]
        )  # fmt: skip

    return disks


def cached(disks: FileDisks) -> tuple[str, ...]:
    return disks._cache.cached()


@pytest.mark.parametrize("base_format", ["raw", "qcow2"])
@pytest.mark.parametrize("mode", ["overlay", "copy"])
def test_every_mode_on_every_base(make: Make, site: Site, mode: str, base_format: str, tmp_path: Path) -> None:
    disks = make(base_format, mode)
    (disk,) = disks.ensure(SPEC)
    shown = info(disk.path)
    assert (disk.format, shown["format"]) == (("qcow2",) * 2 if mode == "overlay" else ("raw",) * 2)
    assert disk.size == shown["virtual-size"] == GIB
    assert shown.get("backing-filename-format") == (base_format if mode == "overlay" else None)
    back = tmp_path / "back"
    subprocess.run(["qemu-img", "convert", "-f", disk.format, "-O", "raw", disk.path, back], check=True)
    with back.open("rb") as file:
        assert file.read(len(CONTENT)) == CONTENT
    write(disk, "0x5a")
    for again in (disks, make(), make("qcow2", "copy")):
        assert again.ensure(SPEC) == (disk,) == again.of(SERVER)
    assert holds(disk, "0x5a")
    assert site.source.fetches == ["i1"]


def disguised(directory: Path, secret: Path) -> bytes:
    """A disk that has a master boot record, and the header of a qcow2 whose backing file is `secret`."""
    path = directory / "disguised"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(secret), "-F", "raw", str(path), "1M"]
    subprocess.run(command, check=True)
    header = bytearray(path.read_bytes()[:MIB].ljust(MIB, b"\0"))
    header[446:512] = bytes(64) + b"\x55\xaa"
    return bytes(header)


def test_a_header_that_a_guest_writes_on_its_raw_disk_opens_no_file(make: Make, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 1000)
    (disk,) = make("raw", "copy").ensure(SPEC)
    written = disguised(tmp_path, secret)
    with Path(disk.path).open("r+b") as file:
        file.write(written)
    assert info(disk.path)["format"] == "qcow2", "who asks the disk is lied to"
    for again in (make("raw", "copy"), make("qcow2", "overlay")):
        assert again.ensure(msgspec.structs.replace(SPEC, root_gb=2)) == (disk,)
        assert (disk.format, again.of(SERVER)) == ("raw", (disk,))
    with Path(disk.path).open("rb") as file:
        assert file.read(MIB) == written


@pytest.mark.parametrize("mode", ["overlay", "copy"])
def test_an_image_in_an_image_stays_content_when_it_is_resized(
    make: Make, site: Site, mode: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 1000)
    inner = disguised(tmp_path, secret)
    outer = make_image(tmp_path, "qcow2", inner)
    site.source.images["i2"] = outer
    spec = msgspec.structs.replace(SPEC, image=reference(outer, "qcow2", "i2"))
    for _ in range(2):
        (disk,) = make("raw", mode).ensure(spec)
    assert disk.size == GIB
    if mode == "overlay":
        assert info(disk.path)["backing-filename-format"] == "raw"
    back = tmp_path / "back"
    subprocess.run(["qemu-img", "convert", "-f", disk.format, "-O", "raw", disk.path, back], check=True)
    with back.open("rb") as file:
        assert file.read(2 * MIB) == inner + bytes(MIB)


@pytest.mark.parametrize("base_format", ["raw", "qcow2"])
def test_a_copy_as_large_as_its_image(make: Make, base_format: str) -> None:
    (disk,) = make(base_format, "copy").ensure(msgspec.structs.replace(SPEC, root_gb=0))
    assert disk.size == len(CONTENT)
    assert Path(disk.path).read_bytes() == CONTENT


def test_a_copy_needs_no_base(make: Make, site: Site) -> None:
    disks = make("raw", "copy")
    (disk,) = disks.ensure(SPEC)
    assert disks._cache.usage.users(RAW.checksum) == ()
    assert disks._cache.upkeep.prune(0).removed == (RAW.checksum,)
    site.source.images.clear()
    assert disks.ensure(SPEC) == (disk,)
    kernel = msgspec.structs.replace(SPEC, kernel=reference(pattern(4096), "aki", "i2"))
    site.source.images["i2"] = pattern(4096)
    disks.ensure(kernel)
    disks.settle_usage()
    assert kernel.kernel is not None
    assert disks._cache.upkeep.prune(0).removed == ()
    assert cached(disks) == (kernel.kernel.checksum,)


def test_the_second_boot_copies_nothing(make: Make, site: Site) -> None:
    disks = make()
    disks.ensure(SPEC)
    before = _taken(site.directory)
    other = msgspec.structs.replace(SPEC, server_id=SERVER.replace("1", "2"))
    disks.ensure(other)
    assert _taken(site.directory) - before < MIB < len(CONTENT)
    assert site.source.fetches == ["i1"]


def _taken(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("mode", ["overlay", "copy"])
def test_space_that_is_taken_at_once(make: Make, mode: str) -> None:
    spec = msgspec.structs.replace(SPEC, root_gb=1, ephemeral_gb=1, swap_mb=16)
    for disk in make("raw", mode, preallocate=True).ensure(spec):
        assert Path(disk.path).stat().st_blocks * 512 >= disk.size
    assert Path(disk.path).stat().st_size == 16 * MIB


def test_more_than_there_is_cannot_be_taken(make: Make, site: Site) -> None:
    free = shutil.disk_usage(site.directory).free
    too_large = msgspec.structs.replace(SPEC, root_gb=free // GIB + 100)
    with pytest.raises(NoSpace):
        make("raw", "overlay", preallocate=True).ensure(too_large)
    assert list((site.directory / "instances" / SERVER).iterdir()) == []


def test_the_base_of_an_overlay_comes_back_in_the_form_it_had(make: Make, site: Site) -> None:
    """It was damaged, and the cache makes others now. What the guest has written on it stays."""
    disks = make("raw")
    (disk,) = disks.ensure(SPEC)
    write(disk, "0x5a")
    base = disks._cache.ensure(RAW)
    base.path.write_bytes(b"!" * len(CONTENT))
    again = make("qcow2", "copy")
    assert again._cache.upkeep.verify(VerifyImages()).damaged == (RAW.checksum,)
    assert again.ensure(SPEC) == (disk,)
    assert base.path.read_bytes() == CONTENT
    assert holds(disk, "0x5a")
    assert site.source.fetches == ["i1", "i1"]


# --- who waits for whom -------------------------------------------------------------------------------------------


def test_a_deletion_does_not_wait_for_the_fetch(make: Make, site: Site) -> None:
    disks = make()
    site.source.hold = True
    with ThreadPoolExecutor(2) as pool:
        wish = pool.submit(disks.ensure, SPEC)
        assert site.source.begun.wait(10)
        pool.submit(disks.ensure_none, SERVER).result(10)
        assert disks.servers() == ()
        site.source.go_on.set()
        with pytest.raises(AgentError, match="deleted"):
            wish.result(10)
    assert disks.servers() == ()
    assert disks._cache.usage.servers() == set()
    assert cached(disks) == (RAW.checksum,)


def test_who_asks_again_for_a_server_that_was_deleted_meanwhile(make: Make, site: Site) -> None:
    disks = make()
    site.source.hold = True
    with ThreadPoolExecutor(3) as pool:
        wishes = [pool.submit(disks.ensure, SPEC)]
        assert site.source.begun.wait(10)
        disks.ensure_none(SERVER)
        wishes.append(pool.submit(disks.ensure, SPEC))
        site.source.go_on.set()
        assert wishes[1].result(10) == disks.of(SERVER)
    assert disks._cache.usage.users(RAW.checksum) == (SERVER,)


def test_an_image_is_not_removed_between_its_fetch_and_its_disk(make: Make, site: Site) -> None:
    disks = make()
    site.source.hold = True
    host = site.boot()
    with ThreadPoolExecutor(1) as pool:
        wish = pool.submit(disks.ensure, SPEC)
        assert site.source.begun.wait(10)
        site.source.go_on.set()
        while not wish.done():
            assert host.prune_images(PruneImages(unused_for=0, min_free=1 << 60)).removed == ()
        assert info(wish.result()[0].path)["virtual-size"] == GIB
