"""What holds for every kind of store."""

import itertools
import threading
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from pileus.image.stores.base import CHUNK
from pileus.kernel.errors import NotFound, Unavailable
from tests.image.stores.conftest import Case

ONE, OTHER = str(uuid4()), str(uuid4())


def pieces(data: bytes, size: int = 700_001) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def content(case: Case, locator: str, start: int = 0, length: int | None = None) -> bytes:
    return b"".join(case.store.read(locator, start, length))


# --- reading ------------------------------------------------------------------------------------------------


def test_reading(case: Case, data: bytes) -> None:
    locator = case.put(ONE, data)
    assert content(case, locator) == data
    assert case.store.size(locator) == len(data)
    assert not case.store.in_use(locator)
    for start, length in ((0, 10), (5, 0), (1, len(data)), (len(data) - 3, None), (7_000_000, 3_000_000)):
        end = None if length is None else start + length
        assert content(case, locator, start, length) == data[start:end], (start, length)
    assert max(len(chunk) for chunk in case.store.read(locator)) <= CHUNK


def test_two_readers_and_one_who_loses_interest(case: Case, data: bytes) -> None:
    locator = case.put(ONE, data)
    first, second = case.store.read(locator), case.store.read(locator)
    both = list(itertools.zip_longest(first, second, fillvalue=b""))
    assert b"".join(one for one, _ in both) == b"".join(other for _, other in both) == data
    bored = case.store.read(locator)
    assert data.startswith(next(bored))
    bored.close()  # type: ignore[attr-defined]  # a generator
    assert content(case, locator) == data


def test_an_empty_image(writable: Case) -> None:
    locator = writable.store.write(ONE, iter([]))
    assert (writable.store.size(locator), content(writable, locator)) == (0, b"")


def test_what_is_not_there_is_not_found_at_once(case: Case) -> None:
    locator = case.put(ONE, b"x")
    for other in (locator.replace(ONE, OTHER), "../../etc/passwd", "/etc/passwd", "", f"../store/{ONE}", f"{ONE}/.."):
        if case.store.kind == "http" and "://" not in other:
            continue
        with pytest.raises(NotFound):
            case.store.read(other)
        with pytest.raises(NotFound):
            case.store.size(other)


# --- writing ------------------------------------------------------------------------------------------------


def test_writing_in_pieces(writable: Case, data: bytes) -> None:
    locator = writable.store.write(ONE, pieces(data))
    assert content(writable, locator) == data
    assert writable.store.images() == (ONE,)


def test_written_again_the_new_data_replaces_the_old(writable: Case, data: bytes) -> None:
    writable.store.write(ONE, pieces(data))
    locator = writable.store.write(ONE, pieces(data[::-1]))
    assert content(writable, locator) == data[::-1]
    assert content(writable, writable.store.write(ONE, iter([b"small"]))) == b"small"
    assert writable.store.images() == (ONE,)


@pytest.mark.parametrize("where", [0, 1_000_000, 9_000_000])
def test_a_source_that_fails_leaves_nothing(writable: Case, data: bytes, where: int) -> None:
    def failing() -> Iterator[bytes]:
        yield from pieces(data[:where])
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        writable.store.write(ONE, failing())
    assert writable.store.images() == ()
    with pytest.raises(NotFound):
        writable.store.read(ONE)
    locator = writable.store.write(OTHER, iter([b"kept"]))
    with pytest.raises(ConnectionResetError):
        writable.store.write(OTHER, failing())
    assert content(writable, locator) == b"kept"
    assert writable.store.images() == (OTHER,)


def test_writers_at_the_same_time(writable: Case, data: bytes) -> None:
    ids = [str(uuid4()) for _ in range(4)]

    def work(image_id: str) -> None:
        writable.store.write(image_id, pieces(data))

    threads = [threading.Thread(target=work, args=(image_id,)) for image_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writable.store.images() == tuple(sorted(ids))
    for image_id in ids:
        assert content(writable, image_id) == data


# --- removing -----------------------------------------------------------------------------------------------


def test_removing(writable: Case, data: bytes) -> None:
    locator, other = writable.put(ONE, data), writable.put(OTHER, data)
    writable.store.remove(locator)
    writable.store.remove(locator)
    with pytest.raises(NotFound):
        writable.store.read(locator)
    assert content(writable, other) == data
    writable.store.discard(OTHER)
    writable.store.discard(OTHER)
    assert writable.store.images() == ()


def test_a_store_that_only_reads_leaves_things_alone(make_case: Callable[[str], Case]) -> None:
    case = make_case("http")
    locator = case.put(ONE, b"x")
    case.store.remove(locator)
    case.store.discard(ONE)
    assert content(case, locator) == b"x"
    assert case.store.images() == ()
    with pytest.raises(Exception, match="only reads"):
        case.store.write(ONE, iter([b"x"]))


# --- addresses ----------------------------------------------------------------------------------------------


def test_addresses(case: Case) -> None:
    locator = case.put(ONE, b"x")
    url = case.store.url(locator)
    assert "testing" not in url
    if case.store.kind == "file":
        assert url == f"file://{case.directory}/{ONE}"  # type: ignore[attr-defined]
        assert case.store.locator_of(url) is None
    else:
        assert case.store.locator_of(url) == locator
    for other in (
        "file:///etc/passwd", "ftp://a/b", "", "nonsense", f"s3://other/images/{ONE}", "s3://", f"rbd://x/images/{ONE}",
        f"rbd://x/{ONE}/snap", f"{url.rpartition('/')[0]}/../../etc/passwd",
    ):  # fmt: skip
        if case.store.kind != "http":
            assert case.store.locator_of(other) is None, other


# --- stores that go away ------------------------------------------------------------------------------------


def test_a_store_that_is_gone_is_unavailable_and_comes_back(case: Case, data: bytes) -> None:
    locator = case.put(ONE, data)
    case.leave()
    with pytest.raises(Unavailable):
        list(case.store.read(locator))
    with pytest.raises(Unavailable):
        case.store.size(locator)
    if not case.store.read_only:
        with pytest.raises(Unavailable):
            case.store.write(OTHER, iter([b"x"]))
        for ask in (case.store.images, lambda: case.store.remove(locator), lambda: case.store.discard(locator)):
            with pytest.raises(Unavailable):
                ask()
    case.come_back()
    assert content(case, locator) == data
