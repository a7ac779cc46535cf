"""The life of an image through the API."""

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pileus.image.settings import ImageSettings
from pileus.kernel.db import Database
from tests.image.conftest import PATCH, Api, Names, make_api

DATA = os.urandom(3 << 20)
OTHER = "bob@p2:member"
ADMIN = "root@adm:admin"


def test_register_upload_download(api_everywhere: Api) -> None:
    api = api_everywhere
    image_id = api.create(name="guest", min_ram=64, min_disk=1, tags=["b", "a"], hw_disk_bus="ide")
    queued = api.show(image_id)
    assert (queued["status"], queued["size"], queued["hw_disk_bus"], queued["owner"]) == ("queued", None, "ide", "p1")
    assert api.call("GET", f"/images/{image_id}/file").status_code == 204
    assert api.upload(image_id, DATA).status_code == 204
    active = api.show(image_id)
    assert active["status"] == "active"
    assert (active["size"], active["virtual_size"]) == (len(DATA), len(DATA))
    assert active["checksum"] == hashlib.md5(DATA, usedforsecurity=False).hexdigest()
    assert (active["os_hash_algo"], active["os_hash_value"]) == ("sha512", hashlib.sha512(DATA).hexdigest())
    got = api.call("GET", f"/images/{image_id}/file")
    assert got.content == DATA
    assert got.headers["Content-MD5"] == active["checksum"]
    assert got.headers["Content-Length"] == str(len(DATA))


@pytest.mark.parametrize(
    ("header", "expected"),
    [("bytes=0-9", DATA[:10]), ("bytes=100-", DATA[100:]), ("bytes=-5", DATA[-5:]), ("bytes=5-99999999", DATA[5:])],
)
def test_ranges(api: Api, header: str, expected: bytes) -> None:
    image_id = api.create()
    api.upload(image_id, DATA)
    got = api.call("GET", f"/images/{image_id}/file", headers={"Range": header})
    assert (got.status_code, got.content) == (206, expected)
    assert got.headers["Content-Range"].endswith(f"/{len(DATA)}")


@pytest.mark.parametrize("header", ["bytes=99999999-", "bytes=5-1", "bytes=a-b", "lines=1-2", "bytes=1-2,4-5"])
def test_bad_ranges(api: Api, header: str) -> None:
    image_id = api.create()
    api.upload(image_id, DATA)
    assert api.call("GET", f"/images/{image_id}/file", headers={"Range": header}).status_code == 416


def make_qcow2(path: Path, *options: str) -> bytes:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), "16M"], check=True)
    return path.read_bytes()


def test_a_qcow2_is_accepted_with_its_virtual_size(api: Api, tmp_path: Path) -> None:
    image_id = api.create(disk_format="qcow2")
    assert api.upload(image_id, make_qcow2(tmp_path / "a")).status_code == 204
    assert api.show(image_id)["virtual_size"] == 16 << 20


def hostile(kind: str, path: Path) -> tuple[str, bytes]:
    """A declared format and content that is not it, or is not safe."""
    if kind == "raw that is qcow2":
        return "raw", make_qcow2(path / "a")
    if kind == "qcow2 that is raw":
        return "qcow2", os.urandom(1 << 20)
    if kind == "qcow2 with a backing file":
        return "qcow2", make_qcow2(path / "a", "-u", "-b", "/etc/passwd", "-F", "raw")
    if kind == "qcow2 with a data file":
        return "qcow2", make_qcow2(path / "a", "-o", f"data_file={path}/outside,data_file_raw=on")
    if kind == "vmdk that names a file of the host":
        descriptor = (
            b'# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
            b'\n# Extent description\nRW 2048 FLAT "/etc/passwd" 0\n'
        )
        return "vmdk", descriptor.ljust(4096, b"\0")
    return "qcow2", make_qcow2(path / "a")[:100]  # cut off in the header


@pytest.mark.parametrize(
    "kind",
    [
        "raw that is qcow2",
        "qcow2 that is raw",
        "qcow2 with a backing file",
        "qcow2 with a data file",
        "vmdk that names a file of the host",
        "qcow2 that is cut off",
    ],
)
def test_content_that_is_not_what_it_says_is_refused(api: Api, tmp_path: Path, kind: str) -> None:
    disk_format, data = hostile(kind, tmp_path)
    image_id = api.create(disk_format=disk_format)
    answer = api.upload(image_id, data)
    assert answer.status_code == 415, answer.text
    after = api.show(image_id)
    assert (after["status"], after["size"], after["checksum"]) == ("queued", None, None)
    assert api.stores.default.images() == ()
    assert api.upload(image_id, DATA).status_code == (204 if disk_format == "raw" else 415)


def test_uploads_are_refused_where_they_cannot_be(api: Api) -> None:
    image_id = api.create()
    assert (
        api.call("PUT", f"/images/{image_id}/file", body=b"x", headers={"Content-Type": "text/plain"}).status_code
        == 415
    )
    assert api.upload(image_id, b"x" * 1024).status_code == 204
    assert api.upload(image_id, b"y").status_code == 409
    unformatted = api.call("POST", "/images", json={"name": "n"}).json["id"]
    assert api.upload(unformatted, b"x").status_code == 400
    assert api.upload("00000000-0000-4000-8000-000000000000", b"x").status_code == 404


def test_too_large(sqlite: Database, tmp_path: Path) -> None:
    api = make_api(sqlite, tmp_path, ImageSettings(size_limit=1000))
    image_id = api.create()
    assert api.upload(image_id, b"x" * 1001).status_code == 413
    chunked = api.images.stored.upload
    with api.db.read() as tx:
        image = api.images.get(tx, _actor(), image_id)
    with pytest.raises(Exception, match="larger than 1000"):
        chunked(image, iter([b"x" * 600, b"x" * 600]))
    assert api.show(image_id)["status"] == "queued"
    assert api.stores.default.images() == ()


def _actor() -> Any:
    return Names().authenticate("ann@p1:member")


def test_a_client_that_goes_away_leaves_nothing(api: Api) -> None:
    image_id = api.create()
    with api.db.read() as tx:
        image = api.images.get(tx, _actor(), image_id)

    def broken() -> Any:
        yield b"x" * 1000
        raise ConnectionResetError("gone")

    with pytest.raises(Exception, match="could not be stored"):
        api.images.stored.upload(image, broken())
    assert api.show(image_id)["status"] == "queued"
    assert api.stores.default.images() == ()


def test_an_image_deleted_while_its_data_arrives(api: Api) -> None:
    image_id = api.create()
    with api.db.read() as tx:
        image = api.images.get(tx, _actor(), image_id)

    def slow() -> Any:
        yield b"x" * 1000
        assert api.call("DELETE", f"/images/{image_id}").status_code == 204
        yield b"x" * 1000

    with pytest.raises(Exception, match="deleted while"):
        api.images.stored.upload(image, slow())
    assert api.stores.default.images() == ()
    assert api.call("GET", f"/images/{image_id}").status_code == 404


def test_an_upload_whose_process_died_is_taken_back(api: Api) -> None:
    image_id = api.create()
    child = os.fork()
    if child == 0:  # the uploader: dies in the middle

        def chunks() -> Any:
            yield b"x" * 1000
            os._exit(9)

        with api.db.read() as tx:
            image = api.images.get(tx, _actor(), image_id)
        api.images.stored.upload(image, chunks())
        os._exit(0)
    os.waitpid(child, 0)
    assert api.show(image_id)["status"] == "saving"
    api.images.reconcile()
    assert api.show(image_id)["status"] == "queued"
    assert api.stores.default.images() == ()
    assert api.upload(image_id, DATA).status_code == 204


def test_data_without_an_image_is_removed(api: Api) -> None:
    api.stores.default.write("00000000-0000-4000-8000-000000000000", iter([b"x"]))
    kept = api.create()
    api.upload(kept, DATA)
    api.images.reconcile()
    assert api.stores.default.images() == (kept,)


def test_delete(api: Api) -> None:
    image_id = api.create()
    api.upload(image_id, DATA)
    assert api.call("DELETE", f"/images/{image_id}").status_code == 204
    assert api.call("GET", f"/images/{image_id}").status_code == 404
    assert api.call("DELETE", f"/images/{image_id}").status_code == 404
    assert api.stores.default.images() == ()
    protected = api.create(protected=True)
    assert api.call("DELETE", f"/images/{protected}").status_code == 403
    assert api.patch(protected, [{"op": "replace", "path": "/protected", "value": False}]).status_code == 200
    assert api.call("DELETE", f"/images/{protected}").status_code == 204


def test_deactivate_and_reactivate(api: Api) -> None:
    image_id = api.create()
    assert api.call("POST", f"/images/{image_id}/actions/deactivate").status_code == 403
    api.upload(image_id, DATA)
    assert api.call("POST", f"/images/{image_id}/actions/deactivate").status_code == 204
    assert api.show(image_id)["status"] == "deactivated"
    assert api.call("GET", f"/images/{image_id}/file").status_code == 403
    assert api.call("POST", f"/images/{image_id}/actions/reactivate").status_code == 204
    assert api.call("GET", f"/images/{image_id}/file").content == DATA


def test_others_see_only_what_is_public_or_community(api: Api) -> None:
    private = api.create(name="private", visibility="private")
    community = api.create(name="community", visibility="community")
    public = api.create(ADMIN, name="public", visibility="public")
    assert api.list(token=OTHER) == ["public"]
    assert api.list("visibility=community", token=OTHER) == ["community"]
    assert sorted(api.list()) == ["community", "private", "public"]
    for method, path in (
        ("GET", ""), ("DELETE", ""), ("GET", "/file"), ("PUT", "/tags/t"), ("POST", "/actions/deactivate"),
    ):  # fmt: skip
        assert api.call(method, f"/images/{private}{path}", OTHER).status_code == 404
    assert api.call("GET", f"/images/{community}", OTHER).status_code == 200
    for image_id in (community, public):
        assert api.call("DELETE", f"/images/{image_id}", OTHER).status_code == 403
        assert api.patch(image_id, [{"op": "replace", "path": "/name", "value": "x"}], OTHER).status_code == 403
        assert api.upload(image_id, b"x", OTHER).status_code == 403
    assert api.call("POST", "/images", json={"visibility": "public"}).status_code == 403
    assert api.patch(private, [{"op": "replace", "path": "/visibility", "value": "public"}]).status_code == 403
    assert api.call("POST", "/images", "eve@p1:reader", json={}).status_code == 403
    assert api.call("GET", "/images", "nonsense").status_code == 401


def test_readers_see_and_only_members_of_the_project_download(api: Api) -> None:
    image_id = api.create()
    api.upload(image_id, DATA)
    reader = "eve@p1:reader"
    assert api.call("GET", f"/images/{image_id}", reader).status_code == 200
    assert api.call("GET", f"/images/{image_id}/file", reader).status_code == 403


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH"])
def test_an_image_without_an_id_is_not_the_list(api: Api, method: str) -> None:
    image_id = api.create(name="a")
    for path in ("/images/", f"/images/{image_id}/"):
        answer = api.call(method, path)
        assert (answer.status_code, answer.json["code"]) == (404, "404 Not Found")
    assert api.list() == ["a"]


def test_patch(api: Api) -> None:
    image_id = api.create(name="a", kept="1", gone="2")
    answer = api.patch(
        image_id,
        [
            {"op": "replace", "path": "/name", "value": "b"},
            {"op": "add", "path": "/with~1slash", "value": "x"},
            {"op": "remove", "path": "/gone"},
            {"op": "replace", "path": "/tags", "value": ["t", "t"]},
            {"op": "replace", "path": "/disk_format", "value": "qcow2"},
        ],
    )
    assert answer.status_code == 200, answer.text
    after = answer.json
    assert (after["name"], after["with/slash"], after["kept"], after["tags"]) == ("b", "x", "1", ["t"])
    assert "gone" not in after
    assert api.show(image_id) == after


@pytest.mark.parametrize(
    ("operations", "status"),
    [
        ({"op": "replace"}, 400),
        (["replace"], 400),
        ([{"op": "move", "path": "/name", "from": "/x"}], 400),
        ([{"op": "replace", "path": "name", "value": "x"}], 400),
        ([{"op": "replace", "path": "/a/b", "value": "x"}], 400),
        ([{"op": "replace", "path": "/a~2b", "value": "x"}], 400),
        ([{"op": "replace", "path": "/name"}], 400),
        ([{"op": "replace", "path": "/missing", "value": "x"}], 409),
        ([{"op": "remove", "path": "/missing"}], 409),
        ([{"op": "replace", "path": "/status", "value": "active"}], 403),
        ([{"op": "replace", "path": "/checksum", "value": "x"}], 403),
        ([{"op": "replace", "path": "/size", "value": 1}], 403),
        ([{"op": "replace", "path": "/id", "value": "00000000-0000-4000-8000-000000000000"}], 403),
        ([{"op": "replace", "path": "/locations", "value": []}], 403),
        ([{"op": "replace", "path": "/owner", "value": "p2"}], 403),
        ([{"op": "remove", "path": "/visibility"}], 403),
        ([{"op": "replace", "path": "/min_ram", "value": -1}], 400),
        ([{"op": "add", "path": "/property", "value": 1}], 400),
    ],
)
def test_bad_patches_change_nothing(api: Api, operations: Any, status: int) -> None:
    image_id = api.create(name="a")
    before = api.show(image_id)
    assert api.patch(image_id, operations).status_code == status
    assert api.show(image_id) == before


def test_a_patch_needs_its_media_type(api: Api) -> None:
    image_id = api.create()
    answer = api.call("PATCH", f"/images/{image_id}", json=[], headers={"Content-Type": "application/json"})
    assert (answer.status_code, PATCH in answer.json["message"]) == (415, True)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"name": 1}', 400),
        (b'{"name": "%s"}' % (b"x" * 256), 400),
        (b'{"disk_format": "floppy"}', 400),
        (b'{"container_format": "box"}', 400),
        (b'{"visibility": "secret"}', 400),
        (b'{"min_disk": "1"}', 400),
        (b'{"min_disk": 2147483648}', 400),
        (b'{"protected": "yes"}', 400),
        (b'{"tags": "a"}', 400),
        (b'{"id": "not-a-uuid"}', 400),
        (b'{"property": {"a": 1}}', 400),
        (b'{"status": "active"}', 403),
        (b'{"size": 1}', 403),
        (b'{"deleted": true}', 403),
        (b'{"owner": "p2"}', 403),
    ],
)
def test_bad_registrations(api: Api, body: bytes, status: int) -> None:
    answer = api.call("POST", "/images", body=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.json["code"].startswith(str(status))
    assert api.list() == []


def test_ids_are_unique(api: Api) -> None:
    image_id = "0aa11122-3344-4555-8666-777788889999"
    assert api.create(id=image_id) == image_id
    assert api.call("POST", "/images", json={"id": image_id}).status_code == 409


def test_tags(api: Api) -> None:
    image_id = api.create()
    assert api.call("PUT", f"/images/{image_id}/tags/one").status_code == 204
    assert api.call("PUT", f"/images/{image_id}/tags/one").status_code == 204
    assert api.show(image_id)["tags"] == ["one"]
    assert api.call("DELETE", f"/images/{image_id}/tags/one").status_code == 204
    assert api.call("DELETE", f"/images/{image_id}/tags/one").status_code == 404
    assert api.call("PUT", f"/images/{image_id}/tags/{'x' * 256}").status_code == 400


def test_filters(api_everywhere: Api) -> None:
    api = api_everywhere
    first = api.create(name="a", tags=["x", "y"], colour="red", min_ram=64)
    api.create(name="b", tags=["x"], disk_format="qcow2", os_hidden=True)
    api.create(name="a,b", colour="blue", protected=True)
    api.upload(first, b"x" * 2048)
    created = api.show(first)["created_at"]
    expectations = {
        "": ["a,b", "a"],
        "os_hidden=true": ["b"],
        "name=a": ["a"],
        'name=in:a,"a,b"': ["a,b", "a"],
        "tag=x&tag=y": ["a"],
        "tag=x&tag=z": [],
        "colour=blue": ["a,b"],
        "colour=green": [],
        "min_ram=64": ["a"],
        "size=2048": ["a"],
        "size=2047": [],
        "virtual_size=2048": ["a"],
        "size_min=2048": ["a"],
        "size_max=2047": [],
        "protected=true": ["a,b"],
        "status=in:active,saving": ["a"],
        f"created_at=lte:{created}": ["a"],
        f"created_at=gt:{created}": ["a,b"],
        f"id={first}": ["a"],
        "owner=p1": ["a,b", "a"],
        "owner=p2": [],
    }
    assert {query: api.list(query) for query in expectations} == expectations


@pytest.mark.parametrize(
    "query",
    ["limit=x", "limit=-1", "size_min=x", "size_min=-1", "size=9223372036854775808", "size=9" + "9" * 5000,
     "created_at=yesterday", "sort_key=password", "sort_dir=up",
     "sort=name:up", "sort=name&sort_key=name", "visibility=secret", "os_hidden=maybe"],
)  # fmt: skip
def test_bad_queries(api: Api, query: str) -> None:
    assert api.call("GET", "/images", query_string=query).status_code == 400


def test_pages(api_everywhere: Api) -> None:
    api = api_everywhere
    for number in range(7):
        api.create(name=f"n{number % 3}")
    for sort in ("sort=name:asc,created_at:desc", "sort_key=name&sort_dir=desc", "sort_key=size"):
        seen: list[str] = []
        path, query = "/images", f"{sort}&limit=3"
        while True:
            answer = api.call("GET", path, query_string=query).json
            seen += [image["id"] for image in answer["images"]]
            if "next" not in answer:
                break
            path, _, query = answer["next"].removeprefix("/v2").partition("?")
        everything = [i["id"] for i in api.call("GET", "/images", query_string=sort).json["images"]]
        assert seen == everything
        assert len(seen) == 7
    assert api.call("GET", "/images", query_string="marker=nobody").status_code == 404


def test_schemas_and_versions(api: Api) -> None:
    schema = api.call("GET", "/schemas/image").json
    assert set(schema["properties"]) - {"stores", "locations", "direct_url"} == set(api.show(api.create())) | {"name"}
    assert api.call("GET", "/schemas/images").json["properties"]["images"]["items"] == schema
    assert api.call("GET", "/schemas/nothing").status_code == 404
    versions = api.client.simulate_get("/image/versions").json["versions"]
    assert [v["id"] for v in versions if v["status"] == "CURRENT"] == ["v2.18"]
    assert api.client.simulate_get("/image").status_code == 300


def test_errors_are_pages_for_who_does_not_ask_for_json(api: Api) -> None:
    """python-glanceclient sends no Accept header that names JSON, and reads pages alone."""
    answer = api.call("GET", "/images/<x>", headers={"Accept": "*/*"})
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "<h1>404 Not Found</h1>" in answer.text
    assert "ID &lt;x&gt;" in answer.text
    assert api.call("GET", "/images/x").json["title"] == "Not Found"
