"""What is particular to file stores: sharing of equal content, crashes, space, mounts."""

import contextlib
import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import uuid4

import pytest

from pileus.image.stores import files
from pileus.image.stores.files import FileStore
from pileus.image.stores.settings import StoreSettings
from pileus.kernel.errors import NotFound, Unavailable

A, B, C = (str(uuid4()) for _ in range(3))
BY_CONTENT = StoreSettings(layout="content")


def make(directory: Path, settings: StoreSettings = BY_CONTENT) -> FileStore:
    return FileStore("local", directory / "store", settings)


def contents(directory: Path) -> list[str]:
    """The names of shared contents."""
    return sorted(path.name for path in (directory / "store" / "by-content").iterdir() if path.name != ".lock")


def read(store: FileStore, image_id: str) -> bytes:
    return b"".join(store.read(image_id))


def problems(directory: Path, store: FileStore, expected: dict[str, bytes]) -> list[str]:
    """Where the directory is not what these images need: a wrong byte, a file too many, a content of nobody."""
    found = [f"{name} is wrong" for name, data in expected.items() if read(store, name) != data]
    names = {path.name for path in (directory / "store").iterdir()} - {"by-content"}
    found += [f"{name} is too much" for name in names - set(expected)]
    inodes = {(directory / "store" / name).stat().st_ino for name in expected}
    for name in contents(directory):
        stat = (directory / "store" / "by-content" / name).stat()
        if stat.st_ino not in inodes:
            found.append(f"content {name} belongs to no image")
    return found


# --- sharing ------------------------------------------------------------------------------------------------


def test_equal_content_is_on_the_disk_once(tmp_path: Path) -> None:
    store = make(tmp_path)
    for image_id, data in ((A, b"same"), (B, b"same"), (C, b"other")):
        store.write(image_id, iter([data]))
    inodes = {image_id: (tmp_path / "store" / image_id).stat().st_ino for image_id in (A, B, C)}
    assert inodes[A] == inodes[B] != inodes[C]
    assert len(contents(tmp_path)) == 2
    store.remove(A)
    assert read(store, B) == b"same"
    assert len(contents(tmp_path)) == 2
    store.remove(B)
    assert len(contents(tmp_path)) == 1
    assert problems(tmp_path, store, {C: b"other"}) == []


def test_an_image_written_again_lets_go_of_its_old_content(tmp_path: Path) -> None:
    store = make(tmp_path)
    for data in (b"old", b"new", b"new"):
        store.write(A, iter([data]))
    assert problems(tmp_path, store, {A: b"new"}) == []
    assert len(contents(tmp_path)) == 1


def test_damaged_content_is_not_shared_on(tmp_path: Path) -> None:
    store = make(tmp_path)
    store.write(A, iter([b"same"]))
    (tmp_path / "store" / A).write_bytes(b"rott")
    store.write(B, iter([b"same"]))
    assert read(store, B) == b"same"
    store.write(C, iter([b"same"]))
    store.remove(A)
    assert problems(tmp_path, store, {B: b"same", C: b"same"}) == []


def test_the_layout_may_change(tmp_path: Path) -> None:
    make(tmp_path, StoreSettings()).write(A, iter([b"same"]))
    store = make(tmp_path)
    store.write(B, iter([b"same"]))
    plain = make(tmp_path, StoreSettings())
    plain.remove(A)
    assert problems(tmp_path, store, {B: b"same"}) == []
    plain.remove(B)
    assert contents(tmp_path) == []


def test_many_write_and_remove_the_same_content_at_once(tmp_path: Path) -> None:
    failed: list[Exception] = []

    def work() -> None:
        store, mine = make(tmp_path), str(uuid4())
        try:
            for _ in range(30):
                store.write(mine, iter([b"same"]))
                assert read(store, mine) == b"same"
                store.remove(mine)
        except (AssertionError, NotFound, OSError) as err:
            failed.append(err)

    store = make(tmp_path)
    store.write(A, iter([b"same"]))
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert problems(tmp_path, store, {A: b"same"}) == []
    store.remove(A)
    assert problems(tmp_path, store, {}) == []
    assert contents(tmp_path) == []


# --- crashes ------------------------------------------------------------------------------------------------


def dies_at(line: int, work: Callable[[], Any]) -> bool:
    """Run `work` in a process that dies before the n-th line that it runs of the store's code; whether it died."""
    child = os.fork()
    if child == 0:
        left = line

        def trace(frame: FrameType, event: str, _arg: Any) -> Any:
            nonlocal left
            if frame.f_code.co_filename != files.__file__:
                return None
            if event == "line":
                left -= 1
                if left < 0:
                    os._exit(9)
            return trace

        sys.settrace(trace)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


OPERATIONS: dict[str, Callable[[FileStore], Any]] = {
    "write new content": lambda store: store.write(A, iter([b"new"])),
    "write known content": lambda store: store.write(A, iter([b"same"])),
    "write over other content": lambda store: store.write(C, iter([b"same"])),
    "remove the last of a content": lambda store: store.remove(C),
    "remove one of two": lambda store: store.remove(B),
}


@pytest.mark.parametrize("layout", ["id", "content"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_crash_at_any_line_leaves_nothing_that_is_not_found(tmp_path: Path, name: str, layout: str) -> None:
    for line in range(1000):
        directory = tmp_path / str(line)
        store = make(directory, StoreSettings(layout=layout))
        (directory / "store" / "by-content").mkdir(exist_ok=True)
        store.write(B, iter([b"same"]))
        store.write(C, iter([b"mine"]))
        if not dies_at(line, lambda store=store: OPERATIONS[name](store)):  # type: ignore[misc]
            break
        expected = {B: b"same", C: b"mine"}
        for image_id in store.images():  # each is known and whole, or is found and can be discarded
            with contextlib.suppress(NotFound):
                assert read(store, image_id) in (b"same", b"mine", b"new")
        doomed = {"write": A, "remove": C}.get(name.partition(" ")[0], A)
        if "over" in name or "remove" in name:
            doomed = B if "two" in name else C
        store.discard(doomed)
        expected.pop(doomed, None)
        assert problems(directory, store, expected) == [], f"after a crash at line {line}"
    assert line > 10


# --- space --------------------------------------------------------------------------------------------------


def test_space_is_left_free(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path)
    store = make(tmp_path, StoreSettings(reserve=free.f_bavail * free.f_frsize + (1 << 30)))
    with pytest.raises(OSError) as caught:
        store.write(A, iter([b"x"]))
    assert caught.value.errno == errno.ENOSPC
    assert store.images() == ()


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: mounting needs root")
    point = tmp_path / "store"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", point], check=True)
    yield point
    subprocess.run(["umount", "-l", point], check=False, capture_output=True)


@pytest.mark.parametrize("layout", ["id", "content"])
def test_a_full_disk_keeps_nothing(mount: Path, tmp_path: Path, layout: str) -> None:
    store = make(tmp_path, StoreSettings(layout=layout))
    store.write(A, iter([b"x" * 1000]))
    with pytest.raises(OSError) as caught:
        store.write(B, iter([b"x" * 700_000, b"y" * 700_000]))
    assert caught.value.errno == errno.ENOSPC
    assert store.images() == (A,)
    store.write(B, iter([b"x" * 700_000]))
    assert mount.is_mount()


def test_without_its_mount_a_store_is_not_there(mount: Path, tmp_path: Path) -> None:
    store = make(tmp_path, StoreSettings(mounted=True))
    store.write(A, iter([b"x"]))
    subprocess.run(["umount", mount], check=True)
    for ask in (lambda: store.write(B, iter([b"x"])), lambda: store.read(A), store.images, lambda: store.remove(A)):
        with pytest.raises(Unavailable):
            ask()
    assert list(mount.iterdir()) == []
    late = make(tmp_path, StoreSettings(mounted=True))
    assert list(mount.iterdir()) == []
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], check=True)
    late.write(A, iter([b"again"]))
    assert read(store, A) == b"again"
