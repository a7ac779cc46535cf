"""What callers try who mean harm, or who all come at once: nothing is lost, nothing is an error of ours."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pileus.kernel.errors import UnsupportedMediaType
from tests.image.conftest import PATCH, Api

ROOT = "root@p9:admin"
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
        ("&".join(f"tag=a{number}" for number in range(128)), 200),
        ("&".join(f"p{number}=a" for number in range(128)), 200),
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
