"""What callers try who mean harm, or who all come at once: nothing is lost, nothing is an error of ours."""

import io
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pileus.kernel.db import Database
from pileus.kernel.errors import Conflict, Forbidden, UnsupportedMediaType
from tests.image.conftest import PATCH, Api
from tests.image.imports.conftest import make_importer

ROOT = "root@p9:admin"
BARE = {"disk_format": "raw", "container_format": "bare"}
MANY = 1200
NUL, WIDE = "\0", "\N{GRINNING FACE}"
Operations = list[dict[str, Any]]


# --- changes at once ----------------------------------------------------------------------------------------


def at_once(*work: Callable[[], object]) -> None:
    gate = threading.Barrier(len(work))

    def run(one: Callable[[], object]) -> object:
        gate.wait()
        return one()

    with ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(run, one) for one in work]:
            done.result()


def test_properties_that_are_added_at_once_are_all_there(api_everywhere: Api) -> None:
    api = api_everywhere
    image_id = api.create()

    def add(number: int) -> None:
        for step in range(6):
            operation = {"op": "add", "path": f"/p{number}_{step}", "value": "x"}
            assert api.patch(image_id, [operation]).status_code == 200

    at_once(*(lambda n=number: add(n) for number in range(6)))
    shown = api.show(image_id)
    assert {name for name in shown if name.startswith("p")} >= {f"p{n}_{step}" for n in range(6) for step in range(6)}


def test_tags_that_are_added_at_once_are_all_there(api_everywhere: Api) -> None:
    api = api_everywhere
    image_id = api.create()

    def add(tag: str) -> None:
        assert api.call("PUT", f"/images/{image_id}/tags/{tag}").status_code == 204

    tags = [f"tag{number}" for number in range(12)]
    at_once(*(lambda t=tag: add(t) for tag in tags))
    assert sorted(api.show(image_id)["tags"]) == sorted(tags)


def test_a_format_that_changes_while_data_begins_to_arrive_is_what_the_data_must_be(api: Api) -> None:
    image_id = api.create(disk_format="raw")
    with api.db.read() as tx:
        seen = api.images.find(tx, image_id)
    assert seen is not None
    assert api.patch(image_id, [{"op": "replace", "path": "/disk_format", "value": "qcow2"}]).status_code == 200
    with pytest.raises(UnsupportedMediaType, match="says it is qcow2"):
        api.images.stored.upload(seen, iter([b"\1" * 512]))
    assert api.show(image_id)["status"] == "queued"


def test_a_format_cannot_change_while_data_arrives(api: Api) -> None:
    image_id = api.create(disk_format="raw")
    answers: list[int] = []

    def chunks() -> Iterator[bytes]:
        yield b"\1" * 512
        replace = {"op": "replace", "path": "/disk_format", "value": "qcow2"}
        answers.append(api.patch(image_id, [replace]).status_code)

    with api.db.read() as tx:
        image = api.images.find(tx, image_id)
    assert image is not None
    api.images.stored.upload(image, chunks())
    assert (answers, api.show(image_id)["disk_format"]) == ([403], "raw")


# --- what is not for callers to say -------------------------------------------------------------------------

SMUGGLED = {
    f"X-Image-Meta-{name}": value
    for name, value in {
        "Status": "active", "Size": "1", "Checksum": "0" * 32, "Owner": "p2", "Is-Public": "True", "Id": "x",
        "Property-Secret": "x", "Location": "file:///etc/passwd", "Protected": "True", "Virtual-Size": "1",
    }.items()
}  # fmt: skip


def test_headers_set_nothing(api: Api) -> None:
    image_id = api.call("POST", "/images", json={"disk_format": "raw", "container_format": "bare"}, headers=SMUGGLED)
    before = image_id.json
    assert (before["status"], before["owner"], before["visibility"]) == ("queued", "p1", "shared")
    assert not [name for name in before if "secret" in name.lower() or "location" in name.lower()]
    headers = {**SMUGGLED, "Content-Type": "application/octet-stream"}
    assert api.call("PUT", f"/images/{before['id']}/file", body=b"\1" * 9, headers=headers).status_code == 204
    after = api.show(before["id"])
    assert (after["size"], after["virtual_size"], after["owner"], after["protected"]) == (9, 9, "p1", False)
    assert after["checksum"] != "0" * 32


@pytest.mark.parametrize(
    "name", ["status", "size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value", "id", "file", "created_at"]
)
@pytest.mark.parametrize("kind", ["add", "replace", "remove"])
def test_patches_set_nothing_that_is_ours(api: Api, name: str, kind: str) -> None:
    image_id = api.create()
    before = api.show(image_id)
    assert api.patch(image_id, [{"op": kind, "path": f"/{name}", "value": before[name] or "x"}]).status_code == 403
    assert api.show(image_id) == before


def test_nobody_gives_an_image_away(api: Api) -> None:
    image_id = api.create()
    assert api.patch(image_id, [{"op": "replace", "path": "/owner", "value": "p2"}]).status_code == 403
    assert api.call("POST", "/images", json={"owner": "p2"}).status_code == 403
    assert api.patch(image_id, [{"op": "replace", "path": "/owner", "value": "p2"}], ROOT).status_code == 200
    assert api.call("GET", f"/images/{image_id}").status_code == 404


# --- nonsense -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("&".join(f"tag=a{number}" for number in range(MANY)), 400),
        ("&".join(f"p{number}=a" for number in range(MANY)), 400),
        ("size_min=1&" * MANY, 400),
        ("&".join(f"tag=a{number}" for number in range(32)), 200),
        ("&".join(f"p{number}=a" for number in range(32)), 200),
        (f"id=in:{'a,' * MANY}", 400),
        (f"id=in:{'a,' * 999}", 200),
        (f"id=in:{'a' * 140_000}", 400),
        (f"sort={','.join(['name'] * MANY)}", 200),
        (f"sort={'9' * 5000}", 400),
        (f"limit={'9' * 5000}", 400),
        ("limit=%C2%B2", 400),
        (f"size_min={'9' * 30}", 400),
        (f"marker={'x' * 5000}", 404),
        ("created_at=gte:9999-99-99T00:00:00Z", 400),
        ("min_ram=99999999999999", 400),
        (f"size={(1 << 63) - 1}", 200),
    ],
)
def test_lists_that_nobody_needs(api_everywhere: Api, query: str, status: int) -> None:
    api_everywhere.create()
    assert api_everywhere.call("GET", "/images", query_string=query).status_code == status


def test_a_key_that_is_sorted_by_again_and_again(api: Api) -> None:
    ids = {api.create(name=name) for name in "aab"}
    seen: list[str] = []
    query = "sort=" + ",".join(["name:asc", "name:desc", *["size", "name"] * 500])
    while len(seen) < len(ids):
        marker = f"&marker={seen[-1]}" if seen else ""
        (image,) = api.call("GET", "/images", query_string=f"{query}&limit=1{marker}").json["images"]
        seen.append(image["id"])
    assert (set(seen), api.list(query)) == (ids, ["a", "a", "b"])


def test_links_of_lists_are_of_the_same_list(api: Api) -> None:
    api.create(name="a&b=c d")
    first = api.call("GET", "/images", query_string="name=a%26b%3Dc%20d&limit=1").json["first"]
    assert first == "/v2/images?name=a%26b%3Dc+d&limit=1"


@pytest.mark.parametrize(
    "span",
    ["\xb2-", "0-\xb2", "9" * 5000 + "-", "-" + "9" * 5000, ",".join(f"{n}-{n}" for n in range(3000)), "-", "5-2"],
)
def test_ranges_that_make_no_sense(api: Api, span: str) -> None:
    image_id = api.create()
    api.upload(image_id, b"\1" * 1000)
    answer = api.call("GET", f"/images/{image_id}/file", headers={"Range": f"bytes={span}"})
    assert answer.status_code == 416


@pytest.mark.parametrize("size", ["\xb2", "9" * 5000, "-1", "1e3", ""])
def test_announced_sizes_that_make_no_sense(api: Api, size: str) -> None:
    image_id = api.create()
    headers = {"Content-Type": "application/octet-stream", "X-Openstack-Image-Size": size}
    assert api.call("PUT", f"/images/{image_id}/stage", body=b"x", headers=headers).status_code == 400
    assert api.show(image_id)["status"] == "queued"


@pytest.mark.parametrize("path", ["file", "stage"])
@pytest.mark.parametrize(("announced", "status"), [("512", 204), ("511", 400), ("513", 400), ("0", 400)])
def test_data_that_is_not_as_much_as_was_announced(api: Api, path: str, announced: str, status: int) -> None:
    """A body in chunks that breaks off looks like one that is complete: only what was announced tells."""
    image_id = api.create()
    headers = {"Content-Type": "application/octet-stream", "X-Openstack-Image-Size": announced}
    for _ in range(2):
        if status != 204:
            with_length = {**headers, "Content-Length": "512"}
            answer = api.call("PUT", f"/images/{image_id}/{path}", body=b"\1" * 512, headers=with_length)
            assert answer.status_code == 400
        environ = {"wsgi.input": io.BytesIO(b"\1" * 512), "HTTP_TRANSFER_ENCODING": "chunked"}
        answer = api.call("PUT", f"/images/{image_id}/{path}", headers=headers, extras=environ)
        assert answer.status_code == status
        if status == 204:
            break
        assert (api.show(image_id)["status"], api.stores.default.images()) == ("queued", ())


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({"name": f"a{NUL}b"}, 400),
        ({f"p{NUL}": "x"}, 400),
        ({"p": NUL}, 400),
        ({"tags": [NUL]}, 400),
        ({"name": WIDE * 255}, 201),
        ({"name": WIDE * 256}, 400),
        ({WIDE * 255: WIDE}, 201),
        ({"tags": [WIDE * 255]}, 201),
        ({"p": "x" * 65535}, 201),
        ({"p": "x" * 65532 + "\N{GREEK SMALL LETTER ALPHA}"}, 201),
        ({"p": "\N{GREEK SMALL LETTER ALPHA}" * 65535}, 400),
        ({f"p{number}": "x" for number in range(5000)}, 413),
        ({"tags": [str(number) for number in range(5000)]}, 413),
        ({"min_ram": 1 << 31}, 400),
        ({"min_disk": -1}, 400),
        ({"visibility": {}}, 400),
        ({"disk_format": ["raw"]}, 400),
        ({"": "x"}, 400),
    ],
)
def test_documents_that_databases_may_not_like(api_everywhere: Api, document: dict[str, Any], status: int) -> None:
    answer = api_everywhere.call("POST", "/images", json=document)
    assert answer.status_code == status
    if status == 201:
        shown = api_everywhere.show(answer.json["id"])
        assert {name: shown[name] for name in document} == document


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("[" * 500_000, 400),
        ('{"a":' * 100_000, 400),
        ('{"min_ram": 1' + "0" * 5000 + "}", 400),
        ('{"name": "\\ud800"}', 400),
        (b'{"name": "\xff"}', 400),
        ("{" + " " * (2 << 20) + "}", 413),
    ],
)
def test_bodies_that_are_no_documents(api: Api, body: str | bytes, status: int) -> None:
    image_id = api.create()
    assert api.call("POST", "/images", body=body).status_code == status
    assert api.call("PATCH", f"/images/{image_id}", body=body, headers={"Content-Type": PATCH}).status_code == status


@pytest.mark.parametrize(
    ("operations", "status"),
    [
        ([{"op": "add", "path": "/p", "value": "x"}] * 100_000, 413),
        ([{"op": "add", "path": "/p", "value": "x"}] * 20_000, 200),
        ([{"op": "add", "path": f"/p{number}", "value": "x"} for number in range(20_000)], 413),
        ([{"op": "add", "path": f"/p{NUL}", "value": "x"}], 400),
        ([{"op": ["add"], "path": "/p", "value": "x"}], 400),
        ([{"op": "replace", "path": "/visibility", "value": {}}], 400),
        ([{"op": "replace", "path": "/tags", "value": [["a"]]}], 400),
    ],
)
def test_patch_bombs(api: Api, operations: Operations, status: int) -> None:
    image_id = api.create(kept="x")
    assert api.patch(image_id, operations).status_code == status
    assert api.show(image_id)["kept"] == "x"


@pytest.mark.parametrize("tag", ["%00", "a%00b", "x" * 256])
def test_tags_that_cannot_be(api: Api, tag: str) -> None:
    image_id = api.create()
    assert api.call("PUT", f"/images/{image_id}/tags/{tag}").status_code == 400


# --- an id that is taken again while data still comes to the image that had it ------------------------------


def taken_again(api: Api, image_id: str) -> int:
    """Delete an image, and register another one of the same id: how that is answered."""
    assert api.call("DELETE", f"/images/{image_id}").status_code == 204
    return api.call("POST", "/images", json={"id": image_id, **BARE}).status_code


def test_an_id_is_not_free_while_data_is_uploaded(api: Api) -> None:
    image_id = api.create()
    answers: list[int] = []

    def chunks() -> Iterator[bytes]:
        yield b"\1" * 512
        answers.append(taken_again(api, image_id))
        api.images.reconcile()
        answers.append(api.call("POST", "/images", json={"id": image_id, **BARE}).status_code)

    with api.db.read() as tx:
        image = api.images.find(tx, image_id)
    assert image is not None
    with pytest.raises(Conflict, match="was deleted"):
        api.images.stored.upload(image, chunks())
    assert answers == [409, 409]
    assert api.call("POST", "/images", json={"id": image_id, **BARE}).status_code == 201
    assert api.upload(image_id, b"\2" * 512).status_code == 204
    api.images.reconcile()
    assert api.call("GET", f"/images/{image_id}/file").content == b"\2" * 512


def test_an_id_is_free_once_its_deleted_images_uploader_is_dead(api: Api) -> None:
    image_id = api.create()
    child = os.fork()
    if child == 0:

        def chunks() -> Iterator[bytes]:
            yield b"\1" * 512
            api.call("DELETE", f"/images/{image_id}")
            os._exit(9)

        with api.db.read() as tx:
            image = api.images.find(tx, image_id)
        assert image is not None
        api.images.stored.upload(image, chunks())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert api.call("POST", "/images", json={"id": image_id, **BARE}).status_code == 409
    api.images.reconcile()
    assert api.stores.default.images() == ()
    assert api.call("POST", "/images", json={"id": image_id, **BARE}).status_code == 201


def test_an_id_is_not_free_while_data_is_imported(sqlite: Database, tmp_path: Path) -> None:
    importer = make_importer(sqlite, tmp_path)
    api = importer.api
    image_id = api.create()
    assert importer.stage(image_id, b"\1" * 512).status_code == 204
    assert importer.ask(image_id).status_code == 202
    assert taken_again(api, image_id) == 409
    api.images.reconcile()
    assert api.call("POST", "/images", json={"id": image_id, **BARE}).status_code == 409
    importer.run()
    assert api.call("POST", "/images", json={"id": image_id, **BARE}).status_code == 201
    assert api.upload(image_id, b"\2" * 512).status_code == 204
    api.images.reconcile()
    assert (importer.staged(), api.call("GET", f"/images/{image_id}/file").content) == ((), b"\2" * 512)


# --- data that was taken back -------------------------------------------------------------------------------


def test_a_deactivated_image_is_read_on_no_way(sqlite: Database, tmp_path: Path) -> None:
    importer = make_importer(sqlite, tmp_path)
    api = importer.api
    image_id, other = api.create(visibility="community"), api.create()
    assert api.upload(image_id, b"\1" * 512).status_code == 204
    assert api.call("PUT", f"/cache/{image_id}", ROOT).status_code == 202
    api.images.cache.fill(
        api.images.find, lambda image: api.images.stored.of(image, cached=False).read(), lambda: False
    )
    assert [entry["image_id"] for entry in api.call("GET", "/cache", ROOT).json["cached_images"]] == [image_id]
    assert api.call("POST", f"/images/{image_id}/actions/deactivate").status_code == 204
    for token in ("ann@p1:member", "bob@p2:member"):
        assert api.call("GET", f"/images/{image_id}/file", token).status_code == 403
    with api.db.read() as tx, pytest.raises(Forbidden):  # what hosts ask for
        api.images.open(tx, image_id)
    assert api.call("PUT", f"/cache/{image_id}", ROOT).status_code == 400
    assert importer.ask(image_id, "copy-image", ROOT, stores=["second"]).status_code == 409
    here = {"glance_region": "RegionOne", "glance_image_id": image_id}
    assert importer.ask(other, "glance-download", with_=here).status_code == 202
    importer.run()
    assert (api.show(other)["status"], importer.tasks(other)[0]["status"]) == ("queued", "failure")
    assert "second" not in api.show(image_id)["stores"]
    examined = api.call("GET", f"/images/{image_id}/file", ROOT)
    assert (examined.status_code, examined.content) == (200, b"\1" * 512)


def test_an_image_that_is_deactivated_while_it_is_copied_is_copied_no_further(sqlite: Database, tmp_path: Path) -> None:
    importer = make_importer(sqlite, tmp_path)
    api = importer.api
    image_id = api.create()
    assert api.upload(image_id, b"\1" * 512).status_code == 204
    assert importer.ask(image_id, "copy-image", stores=["second"], token=ROOT).status_code == 202
    assert api.call("POST", f"/images/{image_id}/actions/deactivate").status_code == 204
    importer.run()
    shown = api.show(image_id)
    assert (shown["status"], shown["stores"], importer.kept()["second"]) == ("deactivated", "first", ())


# --- what others may not see --------------------------------------------------------------------------------

MALLORY = "mallory@p6:member"
_WAYS = (
    ("GET", ""), ("GET", "/file"), ("GET", "/members"), ("GET", "/members/p2"), ("GET", "/tasks"),
    ("GET", "/locations"), ("PUT", "/members/p2"), ("DELETE", "/members/p2"), ("POST", "/members"), ("PUT", "/stage"),
    ("PUT", "/tags/t"), ("POST", "/import"), ("POST", "/actions/reactivate"), ("DELETE", ""),
)  # fmt: skip
_BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/members"): {"json": {"member": "p6"}},
    ("PUT", "/members/p2"): {"json": {"status": "accepted"}},
    ("POST", "/import"): {"json": {"method": {"name": "glance-direct"}}},
    ("PUT", "/stage"): {"body": b"x", "headers": {"Content-Type": "application/octet-stream"}},
}


@pytest.mark.parametrize("visibility", ["shared", "private"])
def test_a_stranger_learns_nothing_of_an_image_and_its_members(api: Api, visibility: str) -> None:
    image_id = api.create()
    assert api.upload(image_id, b"\1").status_code == 204
    assert api.call("POST", f"/images/{image_id}/members", json={"member": "p2"}).status_code == 200
    assert api.patch(image_id, [{"op": "replace", "path": "/visibility", "value": visibility}]).status_code == 200
    missing = "00000000-0000-4000-8000-000000000000"
    tokens = [MALLORY] if visibility == "shared" else [MALLORY, "bob@p2:member"]
    for token in tokens:
        for way in _WAYS:
            method, path = way
            answers = [
                api.call(method, f"/images/{one}{path}", token, **_BODIES.get(way, {})) for one in (image_id, missing)
            ]
            assert answers[0].status_code == answers[1].status_code, way
            assert answers[0].text.replace(image_id, missing) == answers[1].text, way
            assert answers[0].status_code in (403, 404), way
        for query in ("", "visibility=all", "visibility=shared&member_status=all", f"id=in:{image_id}", "owner=p1"):
            assert api.list(query, token) == [], query
        assert api.call("GET", "/images", token, query_string=f"marker={image_id}").status_code == 404


def test_a_member_sees_no_other_members_and_not_the_owners_tasks(api: Api) -> None:
    image_id = api.create()
    octets = {"Content-Type": "application/octet-stream"}
    assert api.call("PUT", f"/images/{image_id}/stage", body=b"x", headers=octets).status_code == 204
    assert api.call("POST", f"/images/{image_id}/import", json={"method": {"name": "glance-direct"}}).status_code == 202
    for member in ("p2", "p3"):
        assert api.call("POST", f"/images/{image_id}/members", json={"member": member}).status_code == 200
    bob = "bob@p2:member"
    listed = api.call("GET", f"/images/{image_id}/members", bob).json["members"]
    assert [member["member_id"] for member in listed] == ["p2"]
    assert api.call("GET", f"/images/{image_id}/members/p3", bob).status_code == 404
    assert api.call("PUT", f"/images/{image_id}/members/p3", bob, json={"status": "rejected"}).status_code == 404
    assert api.call("GET", f"/images/{image_id}/tasks", bob).json["tasks"] == []
    assert len(api.call("GET", f"/images/{image_id}/tasks").json["tasks"]) == 1
    assert api.call("GET", f"/images/{image_id}/locations", bob).status_code == 403
