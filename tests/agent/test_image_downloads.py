"""Downloads of images: resumed where they broke off, and never trusted for what they say they are."""

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pileus.agent.control_plane import ControlPlane
from pileus.agent.errors import AgentError, ControlPlaneSilent, ImageUnusable, NoSpace
from pileus.agent.image_cache import ImageCache
from pileus.kernel.clock import FakeClock
from tests.agent.images import CHUNK, CONTENT, MIB, RAW, Source, cache_of, files, make_image, pattern, reference
from tests.real_things import require


def part_of(directory: Path) -> Path:
    return directory / "base" / f".{RAW.checksum}.part"


def test_a_transfer_that_breaks_off_is_resumed_there(tmp_path: Path) -> None:
    clock = FakeClock()
    cache, source = cache_of(tmp_path, clock=clock)
    source.breaks = [MIB + 7, CHUNK, 3]
    begun = clock.monotonic()
    assert cache.ensure(RAW).path.read_bytes() == CONTENT
    assert source.starts == [0, MIB + 7, MIB + 7 + CHUNK, MIB + 10 + CHUNK]
    assert clock.monotonic() - begun == pytest.approx(0.75)
    assert files(tmp_path) == [RAW.checksum]


def test_pauses_grow_while_nothing_comes_and_then_it_is_given_up(tmp_path: Path) -> None:
    clock = FakeClock()
    cache, source = cache_of(tmp_path, clock=clock)
    source.breaks = [MIB, 0, 0, 0, 0]
    begun = clock.monotonic()
    with pytest.raises(ControlPlaneSilent, match=f"broke off after {MIB} of {len(CONTENT)} bytes: the line was cut"):
        cache.ensure(RAW)
    assert source.starts == [0, *[MIB] * 4]
    assert clock.monotonic() - begun == pytest.approx(0.25 + 0.5 + 1 + 2)
    assert files(tmp_path) == [part_of(tmp_path).name]


def test_the_next_process_goes_on_where_a_killed_one_was(tmp_path: Path) -> None:
    part_of(tmp_path).parent.mkdir()
    part_of(tmp_path).write_bytes(CONTENT[:MIB])
    cache, source = cache_of(tmp_path)
    assert cache.ensure(RAW).path.read_bytes() == CONTENT
    assert source.starts == [MIB]


def test_what_was_all_there_is_not_fetched_again(tmp_path: Path) -> None:
    part_of(tmp_path).parent.mkdir()
    part_of(tmp_path).write_bytes(CONTENT)
    cache, source = cache_of(tmp_path)
    assert cache.ensure(RAW).path.read_bytes() == CONTENT
    assert source.fetches == []


@pytest.mark.parametrize("left", [b"!" * MIB, CONTENT[:-1] + b"!", CONTENT + b"!"], ids=["other", "damaged", "long"])
def test_damage_is_fetched_from_the_beginning(tmp_path: Path, left: bytes) -> None:
    part_of(tmp_path).parent.mkdir()
    part_of(tmp_path).write_bytes(left)
    cache, source = cache_of(tmp_path)
    assert cache.ensure(RAW).path.read_bytes() == CONTENT
    assert source.starts[-1] == 0
    assert files(tmp_path) == [RAW.checksum]


def test_an_end_that_comes_early_is_a_break(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path, CONTENT[:-1], FakeClock())
    with pytest.raises(ControlPlaneSilent, match=f"broke off after {len(CONTENT) - 1} of .*: its end came early"):
        cache.ensure(RAW)
    source.images["i1"] = CONTENT
    assert cache.ensure(RAW).path.read_bytes() == CONTENT
    assert source.starts[-1] == len(CONTENT) - 1


def test_zeros_take_no_space(tmp_path: Path) -> None:
    content = pattern(MIB) + bytes(8 * MIB)
    cache, source = cache_of(tmp_path, content, FakeClock())
    source.breaks = [3 * MIB]  # in the hole
    path = cache.ensure(reference(content)).path
    assert path.read_bytes() == content
    assert source.starts == [0, 3 * MIB]
    assert path.stat().st_blocks * 512 < 2 * MIB


# --- over the wire ------------------------------------------------------------------------------------------------


@pytest.fixture
def control_plane(serve_bytes: Callable[[bytes, list[int]], str]) -> Callable[[list[int]], ControlPlane]:
    def make(breaks: list[int]) -> ControlPlane:
        return ControlPlane(serve_bytes(CONTENT, breaks), "h1", "secret")

    return make


def test_over_http_with_connections_that_are_cut(
    tmp_path: Path, control_plane: Callable[[list[int]], ControlPlane]
) -> None:
    control = control_plane([MIB, 100, 0])
    cache = ImageCache(tmp_path, control.image, clock=FakeClock())
    assert cache.ensure(RAW).path.read_bytes() == CONTENT


def test_an_image_that_is_gone(tmp_path: Path, control_plane: Callable[[list[int]], ControlPlane]) -> None:
    cache = ImageCache(tmp_path, control_plane([]).image)
    gone = reference(CONTENT, image_id="gone")
    with pytest.raises(ImageUnusable, match="no data any more"):
        cache.ensure(gone)
    assert list((tmp_path / "base").iterdir()) == []


# --- a disk that is really full -----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system of 8 MiB, if this process may mount one."""
    require("mount", "umount")
    directory = tmp_path / "small"
    directory.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "pileus-test", directory], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"NOT TESTED: no tmpfs can be mounted: {done.stderr.decode().strip()}")
    yield directory
    subprocess.run(["umount", directory], check=True)


@pytest.mark.real
def test_an_image_that_cannot_fit_is_not_begun(small_disk: Path) -> None:
    cache, source = cache_of(small_disk, pattern(8 * MIB))
    with pytest.raises(NoSpace, match=f"no space for the {8 * MIB} bytes"):
        cache.ensure(reference(pattern(8 * MIB)))
    assert source.fetches == []
    assert list((small_disk / "base").iterdir()) == []


@pytest.mark.real
def test_a_disk_that_others_fill_meanwhile(small_disk: Path) -> None:
    cache, source = cache_of(small_disk)

    def fill_and_fetch(image_id: str, start: int) -> Iterator[bytes]:
        with (small_disk / "others").open("wb") as out:
            os.posix_fallocate(out.fileno(), 0, 6 * MIB)
        return source(image_id, start)

    with pytest.raises(NoSpace):
        ImageCache(small_disk, fill_and_fetch).ensure(RAW)
    assert list((small_disk / "base").iterdir()) == []
    (small_disk / "others").unlink()
    assert cache.ensure(RAW).path.read_bytes() == CONTENT


@pytest.mark.real
def test_a_conversion_that_fills_the_disk(small_disk: Path, tmp_path: Path) -> None:
    require("qemu-img")
    bomb = make_image(tmp_path, "qcow2", CONTENT[:64] * (64 * MIB // 64), "-c")
    assert len(bomb) < MIB
    cache, _ = cache_of(small_disk, bomb)
    with pytest.raises(NoSpace):
        cache.ensure(reference(bomb, "qcow2"))
    assert list((small_disk / "base").iterdir()) == []


@pytest.mark.real
def test_room_is_made_by_what_nobody_uses(small_disk: Path) -> None:
    images = {name: pattern(3 * MIB, seed) for seed, name in enumerate(("used", "unused", "new"))}
    cache = ImageCache(small_disk, Source(**images))
    wanted = {name: reference(data, image_id=name) for name, data in images.items()}
    cache.usage.enter(wanted["used"].checksum, "s1")
    for name in ("used", "unused"):
        cache.ensure(wanted[name])
    assert cache.ensure(wanted["new"]).path.read_bytes() == images["new"]
    assert set(cache.cached()) == {wanted["used"].checksum, wanted["new"].checksum}
    cache.usage.enter(wanted["new"].checksum, "s2")
    with pytest.raises(NoSpace):
        cache.ensure(wanted["unused"])
    assert set(cache.cached()) == {wanted["used"].checksum, wanted["new"].checksum}
    assert hashlib.sha512(cache.ensure(wanted["used"]).path.read_bytes()).hexdigest() == wanted["used"].checksum


def test_an_image_that_always_arrives_damaged(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path, CONTENT[:-1] + b"!")
    with pytest.raises(AgentError, match="damaged"):
        cache.ensure(RAW)
    assert source.starts == [0, 0]
    assert list((tmp_path / "base").iterdir()) == []
