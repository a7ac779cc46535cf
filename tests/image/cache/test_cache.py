"""The cache of the machine that serves images: its calls, and what is kept true of it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pileus.image.cache import store
from pileus.image.cache.service import ImageCache
from pileus.image.cache.settings import CacheSettings
from pileus.image.domain import Image
from pileus.kernel.clock import MICROSECONDS
from pileus.kernel.errors import NotFound
from tests.image.conftest import Api

ADMIN = "root@admin:admin"
DATA = b"the bytes of an image" * 1000


def active(api: Api, data: bytes = DATA) -> str:
    image_id = api.create(token=ADMIN)
    assert api.upload(image_id, data, ADMIN).status_code == 204
    return image_id


def fill(api: Api) -> None:
    images = api.images
    images.cache.fill(images.find, lambda image: images.stored.of(image, cached=False).read(), lambda: False)


def status(api: Api) -> tuple[list[str], list[str]]:
    answer = api.call("GET", "/cache", ADMIN)
    assert answer.status_code == 200, answer.text
    return [entry["image_id"] for entry in answer.json["cached_images"]], answer.json["queued_images"]


def download(api: Api, image_id: str, **headers: str) -> bytes:
    answer = api.call("GET", f"/images/{image_id}/file", ADMIN, headers=headers)
    assert answer.status_code in (200, 206), answer.text
    content: bytes = answer.content
    return content


def copies(api: Api) -> set[str]:
    return {path.name for path in api.cache_dir.iterdir() if not path.name.startswith(".")}


def test_an_image_is_queued_cached_read_and_taken_out(api_everywhere: Api) -> None:
    api = api_everywhere
    image_id = active(api)
    assert api.call("PUT", f"/cache/{image_id}", ADMIN).status_code == 202
    assert status(api) == ([], [image_id])
    fill(api)
    assert status(api) == ([image_id], [])
    (entry,) = api.call("GET", "/cache", ADMIN).json["cached_images"]
    assert entry["size"] == len(DATA)
    assert (entry["hits"], entry["last_accessed"]) == (0, 0)
    assert entry["last_modified"] == api.clock.now() / MICROSECONDS
    assert download(api, image_id) == DATA
    assert download(api, image_id, Range="bytes=4-8") == b"bytes"
    (entry,) = api.call("GET", "/cache", ADMIN).json["cached_images"]
    assert entry["hits"] == 2
    assert entry["last_accessed"] == api.clock.now() / MICROSECONDS
    assert api.call("DELETE", f"/cache/{image_id}", ADMIN).status_code == 204
    assert status(api) == ([], [])
    assert copies(api) == set()
    assert api.call("DELETE", f"/cache/{image_id}", ADMIN).status_code == 404


def test_the_copy_is_what_is_read(api: Api) -> None:
    image_id = active(api)
    api.call("PUT", f"/cache/{image_id}", ADMIN)
    fill(api)
    api.stores.default.discard(image_id)
    assert download(api, image_id) == DATA


def test_a_copy_is_not_served_to_who_may_not_download_the_image(api: Api) -> None:
    image_id = api.create(visibility="private")
    api.upload(image_id, DATA)
    api.call("PUT", f"/cache/{image_id}", ADMIN)
    fill(api)
    api.stores.default.discard(image_id)
    refused = {"bob@p2:member": 404, "bob@p2:reader": 404, "eve@p1:reader": 403}
    for headers in ({}, {"Range": "bytes=0-1"}):
        for token, code in refused.items():
            answer = api.call("GET", f"/images/{image_id}/file", token, headers=headers)
            assert (answer.status_code, DATA in answer.content) == (code, False)
    api.call("POST", f"/images/{image_id}/actions/deactivate")
    assert api.call("GET", f"/images/{image_id}/file").status_code == 403
    assert status(api)[0] == [image_id]
    (entry,) = api.call("GET", "/cache", ADMIN).json["cached_images"]
    assert entry["hits"] == 0


def test_what_cannot_be_queued(api: Api) -> None:
    assert api.call("PUT", "/cache/no-such-image", ADMIN).status_code == 404
    assert api.call("PUT", f"/cache/{api.create(ADMIN)}", ADMIN).status_code == 400
    assert status(api) == ([], [])


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("DELETE", ""), ("PUT", "/x"), ("DELETE", "/x"), ("POST", "/clean"), ("POST", "/prune")],
)
def test_for_administrators_alone(api: Api, method: str, path: str) -> None:
    assert api.call(method, f"/cache{path}").status_code == 403


@pytest.mark.parametrize(
    ("target", "cached", "queued"), [("cache", 0, 1), ("queue", 1, 0), ("", 0, 0)], ids=["cache", "queue", "both"]
)
def test_clearing(api: Api, target: str, cached: int, queued: int) -> None:
    first, second = active(api), active(api)
    api.call("PUT", f"/cache/{first}", ADMIN)
    fill(api)
    api.call("PUT", f"/cache/{second}", ADMIN)
    headers = {"x-image-cache-clear-target": target} if target else {}
    assert api.call("DELETE", "/cache", ADMIN, headers=headers).status_code == 204
    left = status(api)
    assert (len(left[0]), len(left[1])) == (cached, queued)
    assert len(copies(api)) == cached


def test_a_target_that_there_is_not(api: Api) -> None:
    answer = api.call("DELETE", "/cache", ADMIN, headers={"x-image-cache-clear-target": "all"})
    assert answer.status_code == 400
    assert "'cache' or 'queue'" in answer.text


def test_cleaning_removes_what_belongs_to_nothing(api: Api) -> None:
    image_id, lost = active(api), active(api)
    for each in (image_id, lost):
        api.call("PUT", f"/cache/{each}", ADMIN)
    fill(api)
    (api.cache_dir / lost).unlink()
    (api.cache_dir / "11111111-2222-4333-8444-555555555555").write_bytes(b"stray")
    (api.cache_dir / "11111111-2222-4333-8444-666666666666.part").write_bytes(b"cut off")
    assert api.call("POST", "/cache/clean", ADMIN).status_code == 200
    assert copies(api) == {image_id}
    assert status(api) == ([image_id], [])


def test_pruning_removes_the_least_recently_used_first(api: Api) -> None:
    ids = [active(api) for _ in range(3)]
    for image_id in ids:
        api.call("PUT", f"/cache/{image_id}", ADMIN)
    fill(api)
    for image_id in (ids[1], ids[0], ids[2]):
        api.clock.advance(1)
        download(api, image_id)
    cache = api.images.cache
    cache._settings = replace(cache._settings, max_size=2 * len(DATA))
    answer = api.call("POST", "/cache/prune", ADMIN)
    assert answer.json == {"total_bytes_pruned": len(DATA), "total_files_pruned": 1}
    assert set(status(api)[0]) == {ids[0], ids[2]}
    assert copies(api) == {ids[0], ids[2]}
    assert api.call("POST", "/cache/prune", ADMIN).json == {"total_bytes_pruned": 0, "total_files_pruned": 0}


def test_damaged_or_vanished_data_is_not_cached(api: Api) -> None:
    damaged, vanished = active(api), active(api)
    for each in (damaged, vanished):
        api.call("PUT", f"/cache/{each}", ADMIN)
    store = api.stores.default
    store.write(damaged, iter([DATA.replace(b"bytes", b"bites")]))
    store.discard(vanished)
    fill(api)
    assert status(api) == ([], [])
    assert copies(api) == set()


def test_a_deleted_image_leaves_no_copy(api: Api) -> None:
    image_id = active(api)
    api.call("PUT", f"/cache/{image_id}", ADMIN)
    fill(api)
    assert api.call("DELETE", f"/images/{image_id}", ADMIN).status_code == 204
    assert status(api) == ([], [])
    assert copies(api) == set()


def test_the_copy_of_a_deleted_image_is_not_served_for_its_successor(api: Api) -> None:
    """An id may be taken again; another machine may not have removed its copy by then."""
    image_id = active(api)
    api.call("PUT", f"/cache/{image_id}", ADMIN)
    fill(api)
    stale = (api.cache_dir / image_id).read_bytes()
    api.call("DELETE", f"/images/{image_id}", ADMIN)
    (api.cache_dir / image_id).write_bytes(stale)
    api.create(ADMIN, id=image_id)
    api.upload(image_id, b"something else", ADMIN)
    assert download(api, image_id) == b"something else"


def test_taken_from_the_queue_while_it_is_fetched(api: Api) -> None:
    image_id = active(api)
    api.call("PUT", f"/cache/{image_id}", ADMIN)

    def fetch(image: Image) -> Iterator[bytes]:
        assert api.call("DELETE", f"/cache/{image.id}", ADMIN).status_code == 204
        yield DATA

    api.images.cache.fill(api.images.find, fetch, lambda: False)
    assert copies(api) == set()


def test_each_node_has_a_cache_of_its_own(api: Api, tmp_path: Path) -> None:
    image_id = active(api)
    api.call("PUT", f"/cache/{image_id}", ADMIN)
    fill(api)
    other = ImageCache(CacheSettings("node2", tmp_path / "other"), api.db, api.clock, lambda _: None)
    with api.db.read() as tx:
        assert other.entries(tx) == ([], [])
        image = api.images.find(tx, image_id)
    assert image is not None
    assert other.read(image, 0, 1) is None
    with pytest.raises(NotFound), api.db.write() as tx:
        other.delete(tx, image_id)
    assert status(api)[0] == [image_id]


def test_one_process_of_a_node_fills_at_a_time(api: Api) -> None:
    image_id = active(api)
    api.call("PUT", f"/cache/{image_id}", ADMIN)
    cache = api.images.cache
    twin = ImageCache(CacheSettings("node1", api.cache_dir), api.db, api.clock, lambda _: None)
    fetched = []

    def fetch(image: Image) -> Iterator[bytes]:
        fetched.append(image.id)
        twin.fill(api.images.find, fetch, lambda: False)
        yield DATA

    cache.fill(api.images.find, fetch, lambda: False)
    assert fetched == [image_id]
    with api.db.read() as tx:
        assert store.find(tx, "node1", image_id) is not None
