"""The image cache: one fetch for all, nothing unverified, nothing left behind."""

import errno
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from pileus.agent import image_cache
from pileus.agent.errors import AgentError, ImageUnusable, NoSpace
from pileus.agent.image_cache import ImageCache, convert
from pileus.kernel.qemu_img import Limits
from tests.agent.images import Source, make_image, pattern, reference
from tests.real_things import require

MIB = 1 << 20
CONTENT = pattern(3 * MIB + 512)
RAW = reference(CONTENT)


def files(directory: Path) -> list[str]:
    """What the cache's directory holds besides locks."""
    return sorted(path.name for path in (directory / "base").iterdir() if not path.name.endswith(".lock"))


def cache_of(directory: Path, data: bytes = CONTENT) -> tuple[ImageCache, Source]:
    source = Source(i1=data)
    return ImageCache(directory, source), source


def test_twenty_want_one_image_and_one_fetches_it(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path)
    source.hold = True
    with ThreadPoolExecutor(20) as pool:
        wishes = [pool.submit(cache.ensure, RAW) for _ in range(20)]
        assert source.begun.wait(10)
        assert not any(wish.done() for wish in wishes)
        source.go_on.set()
        paths = {wish.result(30) for wish in wishes}
    assert source.fetches == ["i1"]
    assert [path.read_bytes() for path in paths] == [CONTENT]
    assert cache.cached() == (RAW.checksum,)
    assert files(tmp_path) == [RAW.checksum]


def test_another_id_for_the_same_content_is_not_fetched_again(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path)
    assert cache.ensure(RAW) == cache.ensure(reference(CONTENT, image_id="i2"))
    assert source.fetches == ["i1"]


@pytest.mark.parametrize(
    ("arrives", "refusal", "says"),
    [
        (CONTENT[:-1] + b"!", AgentError, "damaged"),
        (CONTENT[:-1], AgentError, "broke off after"),
        (CONTENT + b"!", ImageUnusable, "more data"),
        (b"", AgentError, "broke off after 0"),
    ],
    ids=["checksum", "short", "long", "nothing"],
)
def test_what_is_not_the_image_is_not_kept(
    tmp_path: Path, arrives: bytes, refusal: type[AgentError], says: str
) -> None:
    cache, source = cache_of(tmp_path, arrives)
    with pytest.raises(refusal, match=says) as caught:
        cache.ensure(RAW)
    assert type(caught.value) is refusal
    assert files(tmp_path) == []
    source.images["i1"] = CONTENT
    assert cache.ensure(RAW).read_bytes() == CONTENT


def test_an_image_without_a_usable_checksum_is_refused(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path)
    for broken in ({"checksum": ""}, {"checksum": "../../etc"}, {"hash_algo": "rot13"}):
        with pytest.raises(ImageUnusable, match="no checksum"):
            cache.ensure(msgspec.structs.replace(RAW, **broken))
    assert source.fetches == []


def test_hostile_images_are_refused_before_they_are_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("qemu-img")
    monkeypatch.setattr(image_cache, "convert", lambda *_: pytest.fail("it was converted"))
    secret = tmp_path / "secret.raw"
    secret.write_bytes(CONTENT)

    def made(*options: str) -> bytes:
        path = tmp_path / "hostile.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options[:-1], path, options[-1]], check=True)
        return path.read_bytes()

    cases = [
        (made("1M"), "raw", "says it is raw, but its content is qcow2"),
        (CONTENT, "qcow2", "says it is qcow2, but its content is raw"),
        (made("-b", str(secret), "-F", "raw", "4M"), "qcow2", "backing"),
        (made("-o", f"data_file={tmp_path / 'data.raw'}", "1M"), "qcow2", "data_file"),
        (made("1P"), "qcow2", "larger than any host"),
        (made("1M")[:200], "qcow2", "content is raw"),
    ]
    for data, declared, says in cases:
        cache, _ = cache_of(tmp_path / "cache", data)
        with pytest.raises(ImageUnusable, match=says):
            cache.ensure(reference(data, declared))
        assert files(tmp_path / "cache") == []


def test_an_image_larger_than_the_disk_it_is_for_is_not_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("qemu-img")
    data = make_image(tmp_path, "qcow2", bytes(8 * MIB))
    cache, _ = cache_of(tmp_path, data)
    with monkeypatch.context() as patch:
        patch.setattr(image_cache, "convert", lambda *_: pytest.fail("it was converted"))
        with pytest.raises(ImageUnusable, match=f"disk of {8 * MIB} bytes"):
            cache.ensure(reference(data, "qcow2"), 4 * MIB)
    assert files(tmp_path) == []
    cache.ensure(reference(data, "qcow2"), 8 * MIB)
    with pytest.raises(ImageUnusable, match=f"disk of {8 * MIB} bytes"):
        cache.ensure(reference(data, "qcow2"), 4 * MIB)


@pytest.mark.parametrize("disk_format", ["qcow2", "vdi", "vhdx", "vmdk"])
def test_conversion_keeps_every_byte(tmp_path: Path, disk_format: str) -> None:
    require("qemu-img", "prlimit")
    content = CONTENT[: 2 * MIB] + bytes(MIB)
    data = make_image(tmp_path, disk_format, content)
    cache, _ = cache_of(tmp_path, data)
    path = cache.ensure(reference(data, disk_format))
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o644
    assert files(tmp_path) == [path.name]


def test_qemu_img_is_ended_at_its_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("qemu-img", "prlimit")
    source = tmp_path / "image.qcow2"
    source.write_bytes(make_image(tmp_path, "qcow2", CONTENT))
    monkeypatch.setattr(image_cache, "CONVERT_LIMITS", Limits(address_space=8 * MIB))
    with pytest.raises(ImageUnusable, match="cannot be converted"):
        convert(source, "qcow2", tmp_path / "target")


def test_a_conversion_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = tmp_path / "qemu-img"
    endless.write_text("#!/bin/sh\nwhile :; do :; done\n")
    endless.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(image_cache, "CONVERT_LIMITS", Limits(seconds=1))
    begun = time.monotonic()
    with pytest.raises(ImageUnusable, match=r"more than 1 s|cannot be converted"):
        convert(tmp_path / "a", "qcow2", tmp_path / "b")
    assert time.monotonic() - begun < 20


def test_a_full_disk_while_fetching_leaves_nothing(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path)
    source.trouble = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(NoSpace):
        cache.ensure(RAW)
    assert files(tmp_path) == []
    source.trouble = None
    assert cache.ensure(RAW).read_bytes() == CONTENT


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A directory on a file system of 2 MiB, if this process may mount one."""
    require("mount", "umount")
    directory = tmp_path / "small"
    directory.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "pileus-test", directory], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"NOT TESTED: no tmpfs can be mounted: {done.stderr.decode().strip()}")
    return directory


@pytest.mark.real
def test_a_disk_that_is_really_full(small_disk: Path, tmp_path: Path) -> None:
    require("qemu-img")
    try:
        cache, _ = cache_of(small_disk)
        with pytest.raises(NoSpace):
            cache.ensure(RAW)
        assert files(small_disk) == []
        packed = make_image(tmp_path, "qcow2", (CONTENT[:64] * (4 * MIB // 64)), "-c")
        cache, _ = cache_of(small_disk, packed)
        with pytest.raises(NoSpace):
            cache.ensure(reference(packed, "qcow2"))
        assert files(small_disk) == []
    finally:
        subprocess.run(["umount", small_disk], check=True)


def _fetch_until_killed(directory: Path, ready: str) -> None:
    source = Source(i1=CONTENT)
    source.hold = True

    def tell() -> None:
        source.begun.wait()
        Path(ready).touch()

    threading.Thread(target=tell, daemon=True).start()
    ImageCache(directory, source).ensure(RAW)


def _in_a_process(directory: Path, ready: Path) -> multiprocessing.context.SpawnProcess:
    process = multiprocessing.get_context("spawn").Process(target=_fetch_until_killed, args=(directory, str(ready)))
    process.start()
    deadline = time.monotonic() + 30
    while not ready.exists():
        assert time.monotonic() < deadline
        assert process.is_alive()
        time.sleep(0.01)
    return process


def test_another_process_fetches_and_is_killed(tmp_path: Path) -> None:
    """While it lives its fetch is waited for and its file is kept; after its death neither is in the way."""
    process = _in_a_process(tmp_path, tmp_path / "ready")
    try:
        partial = [f".{RAW.checksum}.part"]
        cache, source = cache_of(tmp_path)
        cache.remove_partial()
        assert files(tmp_path) == partial
        with ThreadPoolExecutor(1) as pool:
            wish = pool.submit(cache.ensure, RAW)
            time.sleep(0.1)
            assert (wish.done(), source.fetches) == (False, [])
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join(10)
            assert wish.result(20).read_bytes() == CONTENT
        assert files(tmp_path) == [RAW.checksum]
    finally:
        process.kill()
        process.join(10)


def test_what_a_killed_fetch_left_is_removed(tmp_path: Path) -> None:
    process = _in_a_process(tmp_path, tmp_path / "ready")
    process.kill()
    process.join(10)
    cache, _ = cache_of(tmp_path)
    assert files(tmp_path) == [f".{RAW.checksum}.part"]
    assert cache.cached() == ()
    cache.remove_partial()
    assert files(tmp_path) == []


def test_clean_up_does_not_wait_for_a_fetch(tmp_path: Path) -> None:
    cache, source = cache_of(tmp_path)
    source.hold = True
    with ThreadPoolExecutor(2) as pool:
        wish = pool.submit(cache.ensure, RAW)
        assert source.begun.wait(10)
        pool.submit(cache.remove_partial).result(5)
        source.go_on.set()
        assert wish.result(10).read_bytes() == CONTENT


def test_prune_removes_what_nobody_uses(tmp_path: Path) -> None:
    images = {name: pattern(4096, seed) for seed, name in enumerate(("used", "old", "new"))}
    cache = ImageCache(tmp_path, Source(**images))
    paths = {name: cache.ensure(reference(data, image_id=name)) for name, data in images.items()}
    for name in ("used", "old"):
        os.utime(paths[name], (0, 0))
    assert cache.prune(lambda: {paths["used"]}, 3600) == (paths["old"].name,)
    assert set(cache.cached()) == {paths["used"].name, paths["new"].name}
    os.utime(paths["used"], (0, 0))
    cache.ensure(reference(images["used"], image_id="used"))
    assert cache.prune(set, 3600) == ()


def test_who_wants_an_image_while_it_is_pruned_gets_it(tmp_path: Path) -> None:
    """The wish is recorded first: either the pruning sees it, or the image is fetched again."""
    cache, source = cache_of(tmp_path)
    base = cache.ensure(RAW)
    wanted: set[Path] = set()
    stop = threading.Event()

    def prune() -> None:
        while not stop.is_set():
            cache.prune(lambda: set(wanted), 0)

    pruner = threading.Thread(target=prune)
    pruner.start()
    try:
        for _ in range(50):
            wanted.add(base)
            assert cache.ensure(RAW) == base
            assert base.stat().st_size == len(CONTENT)
            wanted.clear()
    finally:
        stop.set()
        pruner.join(10)
    assert set(source.fetches) == {"i1"}
