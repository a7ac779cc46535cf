"""The image cache: one fetch for all, nothing unverified, nothing left behind."""

import errno
import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pileus.agent.errors import AgentError, ControlPlaneSilent, ImageUnusable, NoSpace
from pileus.agent.image_cache import ImageCache, TooLargeForDisk
from pileus.agent.image_cache.checksums import BLOCK, checksum_of
from pileus.agent.image_cache.convert import convert
from pileus.kernel.clock import FakeClock
from pileus.kernel.qemu_img import Limits
from tests.agent.images import (
    CONTENT,
    MIB,
    RAW,
    Source,
    cache_of,
    files,
    make_image,
    pattern,
    reference,
    wait_until,
    waiting_for,
)
from tests.real_things import require


def test_twenty_want_one_image_and_one_fetches_it(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path)
    source.hold = True
    with ThreadPoolExecutor(20) as pool:
        wishes = [pool.submit(cache.ensure, RAW) for _ in range(20)]
        assert source.begun.wait(10)
        assert not any(wish.done() for wish in wishes)
        source.go_on.set()
        paths = {wish.result(30).path for wish in wishes}
    assert source.fetches == ["i1"]
    assert [path.read_bytes() for path in paths] == [CONTENT]
    assert cache.cached() == (RAW.checksum,)
    assert files(tmp_path) == [RAW.checksum]


def test_when_the_fetch_fails_it_fails_for_all_who_waited(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path)
    source.hold = True
    with ThreadPoolExecutor(20) as pool:
        wishes = [pool.submit(cache.ensure, RAW) for _ in range(20)]
        assert source.begun.wait(10)
        wait_until(lambda: waiting_for(tmp_path, RAW.checksum) == 19)
        source.trouble = ImageUnusable("it has no data any more")
        source.go_on.set()
        failures = [wish.exception(30) for wish in wishes]
    assert {(type(failure), str(failure)) for failure in failures} == {(ImageUnusable, "it has no data any more")}
    assert source.fetches == ["i1"]
    source.trouble = None
    assert cache.ensure(RAW).path.read_bytes() == CONTENT


def test_anothers_image_of_the_same_bytes_does_not_fail_with_it(tmp_path: Path) -> None:
    """It says that it is something else than it is; who waits with a good image must not suffer for it."""
    require("qemu-img")
    data = make_image(tmp_path, "qcow2", CONTENT)
    cache = ImageCache(tmp_path / "cache", source := Source(bad=data, good=data))
    source.hold = True
    with ThreadPoolExecutor(2) as pool:
        bad = pool.submit(cache.ensure, reference(data, "raw", "bad"))
        assert source.begun.wait(10)
        good = pool.submit(cache.ensure, reference(data, "qcow2", "good"))
        wait_until(lambda: waiting_for(tmp_path / "cache", reference(data).checksum) == 1)
        source.go_on.set()
        assert isinstance(bad.exception(20), ImageUnusable)
        assert good.result(20).path.read_bytes() == CONTENT


def test_a_disk_that_is_too_small_is_refused_to_all_who_waited_with_one(tmp_path: Path) -> None:
    require("qemu-img")
    data = make_image(tmp_path, "qcow2", bytes(8 * MIB))
    cache, source = cache_of(tmp_path, data)
    image = reference(data, "qcow2")
    source.hold = True
    with ThreadPoolExecutor(8) as pool:
        small = [pool.submit(cache.ensure, image, 4 * MIB) for _ in range(6)]
        wait_until(lambda: waiting_for(tmp_path, image.checksum) == 5)
        source.go_on.set()
        assert {type(wish.exception(30)) for wish in small} == {TooLargeForDisk}
        assert source.fetches == ["i1"]
        assert pool.submit(cache.ensure, image, 8 * MIB).result(30).virtual_size == 8 * MIB


def test_another_id_for_the_same_content_is_not_fetched_again(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path)
    assert cache.ensure(RAW) == cache.ensure(reference(CONTENT, image_id="i2"))
    assert source.fetches == ["i1"]
    assert cache.upkeep.images().images[0].image_ids == ("i1", "i2")


@pytest.mark.parametrize(
    ("arrives", "refusal", "says"),
    [
        (CONTENT[:-1] + b"!", AgentError, "damaged"),
        (CONTENT + b"!", ImageUnusable, "more data"),
    ],
    ids=["checksum", "long"],
)
def test_what_is_not_the_image_is_not_kept(
    tmp_path: Path, arrives: bytes, refusal: type[AgentError], says: str
) -> None:
    cache, source = cache_of(tmp_path, arrives)
    with pytest.raises(refusal, match=says) as caught:
        cache.ensure(RAW)
    assert type(caught.value) is refusal
    assert everything(tmp_path) == []
    source.images["i1"] = CONTENT
    assert cache.ensure(RAW).path.read_bytes() == CONTENT


def test_an_image_without_a_usable_checksum_is_refused(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path)
    for broken in ({"checksum": ""}, {"checksum": "../../etc"}, {"hash_algo": "rot13"}):
        with pytest.raises(ImageUnusable, match="no checksum"):
            cache.ensure(msgspec.structs.replace(RAW, **broken))
    assert source.fetches == []


# --- hostile images -----------------------------------------------------------------------------------------------


@pytest.fixture
def unconverted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there if qemu-img was run from the cache; it is not run from here on."""
    trace = tmp_path / "converted"
    program = tmp_path / "bin" / "qemu-img"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {trace}\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return trace


def hostile(directory: Path, *options: str) -> bytes:
    path = directory / "hostile"
    command = ["/usr/bin/qemu-img", "create", "-q", *options[:-1], str(path), options[-1]]
    subprocess.run(command, check=True)
    return path.read_bytes()


def test_hostile_images_are_refused_before_they_are_converted(tmp_path: Path, unconverted: Path) -> None:
    require("qemu-img")
    secret = tmp_path / "secret.raw"
    secret.write_bytes(CONTENT)
    vmdk = hostile(tmp_path, "-f", "vmdk", "-o", "subformat=monolithicFlat", "1M")
    sparse = hostile(tmp_path, "-f", "vmdk", "1M")
    qcow2 = ("-f", "qcow2")
    cases = [
        (hostile(tmp_path, *qcow2, "1M"), "raw", "says it is raw, but its content is qcow2"),
        (CONTENT, "qcow2", "says it is qcow2, but its content is raw"),
        (hostile(tmp_path, *qcow2, "-b", str(secret), "-F", "raw", "4M"), "qcow2", "backing"),
        (hostile(tmp_path, *qcow2, "-o", f"data_file={tmp_path / 'data.raw'}", "1M"), "qcow2", "data_file"),
        (hostile(tmp_path, *qcow2, "1P"), "qcow2", "larger than any host"),
        (hostile(tmp_path, *qcow2, "1M")[:200], "qcow2", "content is raw"),
        (vmdk.replace(b"hostile-flat.vmdk", b"/etc/shadow\0\0\0\0\0\0"), "vmdk", "subformat"),
        (vmdk, "raw", "its content is vmdk"),
        (sparse.replace(b"createType", b'parentFileNameHint="/srv/images/other"\ncreateType'), "vmdk", "another file"),
    ]
    for data, declared, says in cases:
        cache, _ = cache_of(tmp_path / "cache", data)
        with pytest.raises(ImageUnusable, match=says):
            cache.ensure(reference(data, declared))
        assert everything(tmp_path / "cache") == []
    assert not unconverted.exists()


def test_an_image_larger_than_the_disk_it_is_for_is_not_converted(tmp_path: Path, unconverted: Path) -> None:
    require("qemu-img")
    data = hostile(tmp_path, "-f", "qcow2", "8M")
    cache, _ = cache_of(tmp_path / "cache", data)
    with pytest.raises(TooLargeForDisk, match=f"disk of {8 * MIB} bytes"):
        cache.ensure(reference(data, "qcow2"), 4 * MIB)
    assert everything(tmp_path / "cache") == []
    assert not unconverted.exists()


def test_a_cached_image_larger_than_the_disk_is_refused_too(tmp_path: Path) -> None:
    require("qemu-img")
    data = make_image(tmp_path, "qcow2", bytes(8 * MIB))
    cache, _ = cache_of(tmp_path, data)
    assert cache.ensure(reference(data, "qcow2"), 8 * MIB).virtual_size == 8 * MIB
    with pytest.raises(TooLargeForDisk, match=f"disk of {8 * MIB} bytes"):
        cache.ensure(reference(data, "qcow2"), 4 * MIB)


def test_a_content_that_looks_like_qcow2_to_the_guest_stays_content(tmp_path: Path) -> None:
    """An image in an image: the base in raw form begins with a qcow2 header that names a file of the host. Neither the
    cache nor an overlay asks it for its format, not even when its record was lost."""
    require("qemu-img")
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 1000)
    inner = hostile(tmp_path, "-f", "qcow2", "-b", str(secret), "-F", "raw", "1M").ljust(MIB, b"\0")
    data = make_image(tmp_path, "qcow2", inner)
    cache, source = cache_of(tmp_path / "cache", data)
    base = cache.ensure(reference(data, "qcow2"))
    base.path.with_name(base.path.name + ".json").unlink()
    again = ImageCache(tmp_path / "cache", source).ensure(reference(data, "qcow2"))
    assert (again.format, again.virtual_size) == ("raw", len(inner))
    assert again.path.read_bytes() == inner


# --- conversion ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("disk_format", ["qcow2", "vdi", "vhdx", "vmdk"])
@pytest.mark.parametrize("base_format", ["raw", "qcow2"])
def test_conversion_keeps_every_byte(tmp_path: Path, disk_format: str, base_format: Any) -> None:
    require("qemu-img", "prlimit")
    content = CONTENT[: 2 * MIB] + bytes(MIB)
    data = make_image(tmp_path, disk_format, content)
    cache = ImageCache(tmp_path, Source(i1=data), base_format=base_format)
    base = cache.ensure(reference(data, disk_format))
    assert (base.format, base.virtual_size) == (base_format, 3 * MIB)
    assert base.path.stat().st_mode & 0o777 == 0o644
    assert files(tmp_path) == [base.path.name]
    back = tmp_path / "back"
    subprocess.run(["qemu-img", "convert", "-f", base_format, "-O", "raw", base.path, back], check=True)
    assert back.read_bytes() == content


def test_qcow2_bases(tmp_path: Path) -> None:
    """Raw images become qcow2 too; kernels and the like stay raw; what is cached already serves in either form."""
    require("qemu-img")
    cache = ImageCache(tmp_path, Source(i1=CONTENT), base_format="qcow2")
    base = cache.ensure(RAW)
    assert (base.format, base.virtual_size, base.path.name) == ("qcow2", len(CONTENT), f"{RAW.checksum}.qcow2")
    assert cache.ensure(RAW, disk_format="raw").path.read_bytes() == CONTENT
    kernel = reference(pattern(4096), "aki", "i2")
    source = Source(i1=CONTENT, i2=pattern(4096))
    assert ImageCache(tmp_path, source, base_format="qcow2").ensure(kernel).format == "raw"
    assert ImageCache(tmp_path / "b", source).ensure(RAW).format == "raw"
    assert ImageCache(tmp_path / "b", source, base_format="qcow2").ensure(RAW).format == "raw"


def test_copies_are_kept_by_size(tmp_path: Path) -> None:
    require("qemu-img")
    source = Source(i1=CONTENT)
    cache = ImageCache(tmp_path, source, base_format="qcow2")
    sizes = (4 * MIB, 8 * MIB)
    for _ in range(2):
        for size in sizes:
            copy = cache.resized(RAW, size)
            assert (copy.format, copy.path.name) == ("raw", f"{RAW.checksum}_{size}")
            assert copy.path.stat().st_size == size
            assert copy.path.read_bytes()[: len(CONTENT)] == CONTENT
    assert source.fetches == ["i1"]
    assert cache.upkeep.images().images[0].copies == sizes
    with pytest.raises(TooLargeForDisk):
        cache.resized(RAW, MIB)
    plain = ImageCache(tmp_path / "raw", source)
    assert plain.resized(RAW, 8 * MIB) == plain.ensure(RAW)


def test_qemu_img_is_ended_at_its_limits(tmp_path: Path) -> None:
    require("qemu-img", "prlimit")
    source = tmp_path / "image.qcow2"
    source.write_bytes(make_image(tmp_path, "qcow2", CONTENT))
    with pytest.raises(ImageUnusable, match="cannot be converted"):
        convert(source, "qcow2", tmp_path / "target", limits=Limits(address_space=8 * MIB))


def test_a_conversion_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = tmp_path / "qemu-img"
    endless.write_text("#!/bin/sh\nwhile :; do :; done\n")
    endless.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    begun = time.monotonic()
    with pytest.raises(ImageUnusable, match=r"more than 1 s|cannot be converted"):
        convert(tmp_path / "a", "qcow2", tmp_path / "b", limits=Limits(seconds=1))
    assert time.monotonic() - begun < 20


# --- full disks ---------------------------------------------------------------------------------------------------


def test_a_full_disk_while_fetching_leaves_nothing(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path)
    source.trouble = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(NoSpace):
        cache.ensure(RAW)
    assert everything(tmp_path) == []
    source.trouble = None
    assert cache.ensure(RAW).path.read_bytes() == CONTENT


# --- checksums ----------------------------------------------------------------------------------------------------


def test_checksums_know_content_and_not_holes(tmp_path: Path) -> None:
    written, holes = tmp_path / "written", tmp_path / "holes"
    content = bytes(BLOCK) + pattern(BLOCK + 5) + bytes(3 * BLOCK)
    written.write_bytes(content)
    with holes.open("wb") as out:
        out.seek(BLOCK)
        out.write(pattern(BLOCK + 5))
        out.truncate(len(content))
    assert checksum_of(written) == checksum_of(holes)
    for changed in (
        content[:-1],
        content + b"\0",
        content[:BLOCK] + b"!" + content[BLOCK + 1 :],
        content[5:] + bytes(5),
    ):
        written.write_bytes(changed)
        assert checksum_of(written) != checksum_of(holes)


def test_terabytes_of_nothing_take_no_time(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as out:
        out.truncate(1 << 43)
    begun = time.monotonic()
    assert len(checksum_of(large)) == 64
    assert time.monotonic() - begun < 5


def everything(directory: Path) -> list[str]:
    """All that the cache keeps, locks and records too."""
    return sorted(path.name for path in (directory / "base").iterdir())


def test_what_a_cached_file_is_is_written_beside_it(tmp_path: Path) -> None:
    clock = FakeClock()
    cache = ImageCache(tmp_path, Source(i1=CONTENT), clock=clock)
    base = cache.ensure(RAW)
    record = json.loads((tmp_path / "base" / f"{RAW.checksum}.json").read_text())
    assert record["checksum"] == checksum_of(base.path)
    assert (record["size"], record["image_ids"]) == (len(CONTENT), ["i1"])
    assert record["created_at"] == record["verified_at"] == clock.now()
    clock.advance(60)
    cache.ensure(RAW)
    (shown,) = cache.upkeep.images().images
    assert (shown.created_at, shown.last_used) == (clock.now() - 60_000_000, clock.now())
    assert (shown.format, shown.state, shown.virtual_size) == ("raw", "ready", len(CONTENT))


def test_an_agent_that_is_cut_off_says_so(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path, clock=FakeClock())
    source.breaks = [0] * 4
    with pytest.raises(ControlPlaneSilent, match="broke off after 0 of"):
        cache.ensure(RAW)
