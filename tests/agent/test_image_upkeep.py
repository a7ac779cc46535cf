"""What keeps the cache in order: what may go and what not, what is damaged, who scans, what is fetched beforehand."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pileus.agent.api import ImageRef, Prefetched, VerifyImages
from pileus.agent.errors import ControlPlaneSilent, ImageUnusable
from pileus.agent.image_cache import Base, ImageCache
from pileus.agent.image_cache.checksums import checksum_of
from pileus.agent.image_cache.prefetch import Prefetcher
from pileus.agent.image_cache.scan import Scanner
from pileus.agent.image_cache.space import free_bytes
from pileus.kernel.clock import FakeClock
from tests.agent.images import CONTENT, MIB, RAW, Source, cache_of, files, pattern, reference, wait_until, waiting_for
from tests.real_things import require

SECOND = 1_000_000
HOUR = 3600


class Three:
    """A cache with three images that were used one after the other, an hour apart."""

    names = ("first", "second", "third")

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = FakeClock()
        data = {name: pattern(MIB, seed) for seed, name in enumerate(self.names)}
        self.source = Source(**data)
        self.cache = ImageCache(directory, self.source, host="h1", clock=self.clock)
        self.images = {name: reference(content, image_id=name) for name, content in data.items()}
        for image in self.images.values():
            self.cache.ensure(image)
            self.clock.advance(HOUR)

    def checksum(self, name: str) -> str:
        return self.images[name].checksum

    def here(self) -> list[str]:
        return [name for name in self.names if self.checksum(name) in self.cache.cached()]

    def use(self, name: str, server: str = "s1") -> None:
        self.cache.usage.enter(self.checksum(name), server)


@pytest.fixture
def three(tmp_path: Path) -> Three:
    return Three(tmp_path)


def damage(base: Base) -> None:
    """Change a byte, unnoticed by a glance: as a disk does that rots."""
    found = base.path.stat()
    with base.path.open("r+b") as out:
        out.write(b"!")
    os.utime(base.path, ns=(found.st_atime_ns, found.st_mtime_ns))


# --- removal ------------------------------------------------------------------------------------------------------


def test_removal_by_age(three: Three) -> None:
    assert three.cache.upkeep.prune(unused_for=4 * HOUR).removed == ()
    pruned = three.cache.upkeep.prune(unused_for=2 * HOUR)
    assert set(pruned.removed) == {three.checksum("first"), three.checksum("second")}
    assert pruned.freed >= 2 * MIB
    assert three.here() == ["third"]
    assert {path.name for path in (three.directory / "base").iterdir()} == {
        name.format(three.checksum("third")) for name in ("{}", "{}.json", ".{}.lock")
    }


def test_what_servers_need_stays_however_old(three: Three) -> None:
    three.use("first")
    three.use("first", "s2")
    assert three.cache.upkeep.prune(unused_for=0, min_free=1 << 60).removed == tuple(
        three.checksum(name) for name in ("second", "third")
    )
    three.cache.usage.leave(three.checksum("first"), "s1")
    assert three.cache.upkeep.prune(unused_for=0).removed == ()
    three.cache.usage.leave(three.checksum("first"), "s2")
    assert three.cache.upkeep.prune(unused_for=0).removed == (three.checksum("first"),)
    assert three.here() == []


def test_under_pressure_the_least_recently_used_go_first(three: Three) -> None:
    three.cache.ensure(three.images["first"])
    free = free_bytes(three.directory)
    pruned = three.cache.upkeep.prune(unused_for=1 << 40, min_free=free + MIB // 2)
    if len(pruned.removed) == 1:  # others may fill this disk meanwhile
        assert pruned.removed == (three.checksum("second"),)
    assert three.checksum("second") == pruned.removed[0]
    three.use("third")
    three.cache.upkeep.prune(unused_for=1 << 40, min_free=1 << 60)
    assert three.here() == ["third"]


def test_removal_of_named_images_only(three: Three) -> None:
    assert three.cache.upkeep.prune(0, checksums=(three.checksum("second"), "unknown")).removed == (
        three.checksum("second"),
    )
    assert three.here() == ["first", "third"]


def test_removal_does_not_wait_for_a_fetch(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path)
    source.hold = True
    with ThreadPoolExecutor(2) as pool:
        wish = pool.submit(cache.ensure, RAW)
        assert source.begun.wait(10)
        assert pool.submit(cache.upkeep.prune, 0).result(5).removed == ()
        pool.submit(cache.upkeep.tidy).result(5)
        assert pool.submit(cache.upkeep.images).result(5).images == ()
        source.go_on.set()
        assert wish.result(10).path.read_bytes() == CONTENT


def test_who_wants_an_image_while_it_is_pruned_gets_it(tmp_path: Path) -> None:
    """The need is entered first: either the pruning sees it, or the image is fetched again."""
    cache, source = cache_of(tmp_path)
    stop = threading.Event()

    def prune() -> None:
        while not stop.is_set():
            cache.upkeep.prune(0)

    pruner = threading.Thread(target=prune)
    pruner.start()
    try:
        for number in range(50):
            cache.usage.enter(RAW.checksum, f"s{number}")
            base = cache.ensure(RAW)
            assert base.path.stat().st_size == len(CONTENT)
            cache.usage.leave(RAW.checksum, f"s{number}")
    finally:
        stop.set()
        pruner.join(10)
    assert set(source.fetches) == {"i1"}


def test_locks_that_are_removed_while_they_are_awaited(tmp_path: Path) -> None:
    """Who waits for the lock of an image that is removed does not come to hold a file which others do not see."""
    cache, source = cache_of(tmp_path)
    cache.ensure(RAW)
    files_of_cache = cache._files
    with ThreadPoolExecutor(4) as pool:
        with files_of_cache.alone(RAW.checksum):
            wishes = [pool.submit(cache.ensure, RAW) for _ in range(4)]
            wait_until(lambda: waiting_for(tmp_path, RAW.checksum) == 4)
            for path in (tmp_path / "base").iterdir():
                if path.suffix != ".lock":
                    path.unlink()
        assert {wish.result(10).path.name for wish in wishes} == {RAW.checksum}
    assert source.fetches == ["i1", "i1"]


# --- damage -------------------------------------------------------------------------------------------------------


def test_a_damaged_image_is_set_aside_and_fetched_anew(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path)
    base = cache.ensure(RAW)
    cache.usage.enter(RAW.checksum, "s1")
    damage(base)
    rotten = base.path.read_bytes()
    done = cache.upkeep.verify(VerifyImages())
    assert (done.verified, done.damaged, done.remaining) == ((), (RAW.checksum,), ())
    assert cache.cached() == ()
    assert cache.upkeep.strays() == (f"damaged-image {RAW.checksum}.damaged",)
    (shown,) = cache.upkeep.images().images
    assert (shown.state, shown.users, shown.size >= len(CONTENT)) == ("damaged", ("s1",), True)
    assert cache.ensure(RAW).path.read_bytes() == CONTENT
    assert source.fetches == ["i1", "i1"]
    assert [image.state for image in cache.upkeep.images().images] == ["damaged", "ready"]
    assert cache.upkeep.prune(0).removed == ()
    assert base.path.with_name(f"{RAW.checksum}.damaged").read_bytes() == rotten
    cache.usage.leave(RAW.checksum, "s1")
    cache.upkeep.prune(1 << 40)
    assert (cache.upkeep.strays(), cache.cached()) == ((), (RAW.checksum,))


def shorten(base: Base) -> None:
    os.truncate(base.path, MIB)


def rewrite(base: Base) -> None:
    base.path.write_bytes(b"!" * len(CONTENT))


@pytest.mark.parametrize("change", [shorten, rewrite])
def test_a_boot_sees_at_a_glance_what_was_changed(tmp_path: Path, change: Callable[[Base], None]) -> None:
    cache, source = cache_of(tmp_path)
    change(cache.ensure(RAW))
    assert cache.ensure(RAW).path.read_bytes() == CONTENT
    assert source.fetches == ["i1", "i1"]
    assert files(tmp_path) == [RAW.checksum, f"{RAW.checksum}.damaged"]


def test_what_was_only_touched_is_read_and_kept(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path)
    base = cache.ensure(RAW)
    os.utime(base.path, (0, 0))
    for _ in range(2):
        assert cache.ensure(RAW) == base
    assert source.fetches == ["i1"]


def test_a_lost_record_does_not_lose_the_image(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path)
    base = cache.ensure(RAW)
    record = base.path.with_name(f"{RAW.checksum}.json")
    for loss in (record.unlink, lambda: record.write_bytes(b"{")):
        loss()
        assert cache.ensure(RAW) == base
        damage(base)
        assert cache.upkeep.verify(VerifyImages()).damaged == (RAW.checksum,)
        base = cache.ensure(RAW)
    assert source.fetches == ["i1"] * 3


def test_damaged_copies_are_made_again(tmp_path: Path) -> None:
    require("qemu-img")
    source = Source(i1=CONTENT)
    cache = ImageCache(tmp_path, source, base_format="qcow2")
    damage(cache.resized(RAW, 8 * MIB))
    assert cache.upkeep.verify(VerifyImages()).damaged == (RAW.checksum,)
    assert cache.resized(RAW, 8 * MIB).path.read_bytes()[: len(CONTENT)] == CONTENT
    damage(cache.ensure(RAW))
    cache.upkeep.verify(VerifyImages())
    assert files(tmp_path) == [f"{RAW.checksum}.qcow2.damaged"]
    assert source.fetches == ["i1"]


def test_verifying_goes_on_where_it_stopped(three: Three) -> None:
    three.clock.advance(HOUR)
    before = three.clock.now()
    done = three.cache.upkeep.verify(VerifyImages(before=before, seconds=0))
    assert (done.verified, len(done.remaining)) == ((three.checksum("first"),), 2)
    three.clock.advance(1)
    done = three.cache.upkeep.verify(VerifyImages(before=before))
    assert set(done.verified) == {three.checksum("second"), three.checksum("third")}
    assert three.cache.upkeep.verify(VerifyImages(before=before)).verified == ()
    assert three.cache.upkeep.verify(VerifyImages(checksums=(three.checksum("third"),))).verified == (
        three.checksum("third"),
    )
    shown = {image.checksum: image for image in three.cache.upkeep.images().images}
    first = shown[three.checksum("first")]
    assert first.verified_at == before
    assert first.last_used == before - 4 * HOUR * SECOND  # to verify an image is no use of it


# --- the scan -----------------------------------------------------------------------------------------------------


def scanner(three: Three, rate: int = 1 << 30) -> Scanner:
    return Scanner(three.cache.upkeep, three.directory, rate=rate, interval=2.5 * HOUR, clock=three.clock)


def test_the_scan_finds_what_rots(three: Three) -> None:
    """What was verified within the interval is not due yet."""
    for name in ("first", "third"):
        damage(three.cache.ensure(three.images[name]))
    assert scanner(three).scan() == (three.checksum("first"),)
    assert three.here() == ["second", "third"]
    three.clock.advance(2 * HOUR)
    assert scanner(three).scan() == (three.checksum("third"),)


def test_the_scan_keeps_its_rate(three: Three) -> None:
    begun = three.clock.monotonic()
    three.clock.advance(10 * HOUR)
    scanner(three, rate=MIB // 10).scan()
    assert three.clock.monotonic() - begun - 10 * HOUR == pytest.approx(30, rel=0.1)


def test_one_host_scans_at_a_time(three: Three) -> None:
    three.clock.advance(10 * HOUR)
    damage(three.cache.ensure(three.images["first"]))
    one, other = scanner(three), scanner(three)
    with one._only_one():
        assert other.scan() == ()
    assert other.scan() == (three.checksum("first"),)


def test_a_scan_stops_in_the_middle(three: Three) -> None:
    three.clock.advance(10 * HOUR)
    stopped = scanner(three)
    stopped.stop()
    assert stopped.scan() == ()
    assert len(three.cache.upkeep.unverified_since(three.clock.now() - 2 * HOUR * SECOND)) == 3


def test_the_scans_thread_has_the_lowest_priority(three: Three) -> None:
    require("ionice")
    running = scanner(three)
    before = {int(task.name) for task in Path("/proc/self/task").iterdir()}
    running.start()
    try:
        thread = ({int(task.name) for task in Path("/proc/self/task").iterdir()} - before).pop()
        wait_until(lambda: os.getpriority(os.PRIO_PROCESS, thread) == 19)
        assert os.getpriority(os.PRIO_PROCESS, 0) < 19
    finally:
        running.stop()


def test_an_image_that_is_removed_while_it_is_verified(three: Three) -> None:
    name = three.checksum("first")

    def remove(_count: int) -> None:
        three.cache.upkeep.prune(0)

    assert three.cache.upkeep.verify_file(name, remove) is None
    assert three.here() == []


def test_checksums_are_read_from_the_disk(tmp_path: Path) -> None:
    """Not from the page cache, which a scan must neither trust nor fill."""
    path = tmp_path / "file"
    path.write_bytes(pattern(4 * MIB))
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        pytest.skip("NOT TESTED: temporary files are on a file system without a disk")
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    begun = _read_by_this_process()
    checksum_of(path)
    assert _read_by_this_process() - begun >= 4 * MIB
    begun = _read_by_this_process()
    checksum_of(path)
    assert _read_by_this_process() - begun >= 4 * MIB


def _read_by_this_process() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


# --- prefetching --------------------------------------------------------------------------------------------------


def test_prefetching_is_asked_again_until_the_image_is_there(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path)
    prefetcher = Prefetcher(cache.ensure, 1)
    source.hold = True
    assert prefetcher.prefetch(RAW, 0.05) == Prefetched(ready=False)
    source.go_on.set()
    assert prefetcher.prefetch(RAW, 20) == Prefetched(ready=True)
    assert prefetcher.prefetch(RAW, 20) == Prefetched(ready=True)
    assert source.fetches == ["i1"]


def test_few_are_prefetched_at_a_time(tmp_path: Path) -> None:
    running, most, go_on = set[str](), 0, threading.Event()
    guard = threading.Lock()

    def ensure(image: ImageRef) -> None:
        nonlocal most
        with guard:
            running.add(image.id)
            most = max(most, len(running))
        assert go_on.wait(10)
        with guard:
            running.discard(image.id)

    images = [ImageRef(id=f"i{n}", checksum=f"c{n}", hash_algo="sha512", size=0, disk_format="raw") for n in range(6)]
    prefetcher = Prefetcher(ensure, 2)
    assert [prefetcher.prefetch(image, 0.01).ready for image in images] == [False] * 6
    go_on.set()
    assert [prefetcher.prefetch(image, 10).ready for image in images] == [True] * 6
    assert most == 2


def test_a_boot_does_not_wait_for_prefetches(tmp_path: Path) -> None:
    """Its image waits for its turn behind others: it is fetched at once, and once."""
    source = Source(i1=CONTENT, i2=pattern(MIB, 7))
    cache = ImageCache(tmp_path, source)
    other = reference(pattern(MIB, 7), image_id="i2")
    prefetcher = Prefetcher(cache.ensure, 1)
    source.hold = True
    prefetcher.prefetch(RAW, 0)
    prefetcher.prefetch(other, 0)
    assert source.begun.wait(10)
    source.hold = False
    assert cache.ensure(other).path.exists()
    source.go_on.set()
    assert prefetcher.prefetch(other, 10) == prefetcher.prefetch(RAW, 10) == Prefetched(ready=True)
    assert sorted(source.fetches) == ["i1", "i2"]


def test_why_a_prefetch_failed_is_told_once(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path)
    prefetcher = Prefetcher(cache.ensure, 1)
    source.trouble = ImageUnusable("no such image")
    with pytest.raises(ImageUnusable, match="no such image"):
        prefetcher.prefetch(RAW, 10)
    source.trouble = None
    assert prefetcher.prefetch(RAW, 10).ready


def test_what_broke_off_is_kept_for_an_hour(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path, clock=FakeClock())
    source.breaks = [MIB, 0, 0, 0, 0]
    with pytest.raises(ControlPlaneSilent):
        cache.ensure(RAW)
    part = tmp_path / "base" / f".{RAW.checksum}.part"
    cache.upkeep.tidy()
    assert part.stat().st_size == MIB
    hour_ago = time.time() - HOUR - 1
    os.utime(part, (hour_ago, hour_ago))
    cache.upkeep.tidy()
    assert list((tmp_path / "base").iterdir()) == []
