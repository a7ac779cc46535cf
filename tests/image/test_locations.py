"""Locations: shown, given by users, verified, changed, kept from those whom they do not concern."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import falcon.testing
import pytest

from pileus.image.settings import ImageSettings
from pileus.image.stores.http import HttpStore
from pileus.image.stores.settings import StoreSettings
from pileus.kernel.db import Database
from pileus.kernel.errors import NotFound
from pileus.kernel.fetch import FetchSettings
from pileus.kernel.saga import Engine, drain
from tests.image.conftest import Api, make_api
from tests.image.stores.servers import WebServer

ADMIN, OTHER, READER = "root@adm:admin", "bob@p2:member", "eve@p1:reader"
DATA = os.urandom((1 << 20) + 5)
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
LAB = ImageSettings(
    stores={
        "local": StoreSettings(weight=5),
        "second": StoreSettings(directory=Path("second"), weight=10),
        "web": StoreSettings(kind="http", weight=1),
    },
    show_multiple_locations=True,
    show_image_direct_url=True,
    fetch=FetchSettings(
        allowed_ports=(), allowed_networks=("127.0.0.1/32",), connect_timeout=1, answer_timeout=1, silence_timeout=1
    ),
)


@dataclass
class Lab:
    """The image API with a web server that it may fetch from."""

    api: Api
    web: WebServer
    url: str

    def change(self, image_id: str, *operations: dict[str, Any], token: str | None = None) -> falcon.testing.Result:
        return self.api.patch(image_id, list(operations), token)

    def add(
        self, image_id: str, url: str | None = None, token: str | None = None, **more: Any
    ) -> falcon.testing.Result:
        value = {"url": self.url if url is None else url, "metadata": {}, **more}
        return self.change(image_id, {"op": "add", "path": "/locations/-", "value": value}, token=token)

    def post(self, image_id: str, url: str | None = None, validation: Any = None, token: str | None = None) -> int:
        body = {"url": self.url if url is None else url, "validation_data": {} if validation is None else validation}
        return self.api.call("POST", f"/images/{image_id}/locations", token, json=body).status_code

    def run(self) -> None:
        drain(self.engine())

    def engine(self) -> Engine:
        api = self.api
        return Engine(api.db, api.images.locations.sagas, SimpleNamespace(images=api.images), api.clock)

    def urls(self, image_id: str) -> list[str]:
        return [location["url"] for location in self.api.show(image_id)["locations"]]

    def located(self) -> str:
        """An active image with one location on the web."""
        image_id = self.api.create()
        assert self.add(image_id).status_code == 200
        return image_id

    def content(self, image_id: str) -> bytes:
        return bytes(self.api.call("GET", f"/images/{image_id}/file").content)


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.stop()


def make_lab(db: Database, directory: Path, web: WebServer, settings: ImageSettings = LAB) -> Lab:
    return Lab(make_api(db, directory, settings), web, web.put("disk", DATA))


@pytest.fixture
def lab(sqlite: Database, tmp_path: Path, web: WebServer) -> Lab:
    return make_lab(sqlite, tmp_path, web)


@pytest.fixture
def lab_everywhere(database: Database, tmp_path: Path, web: WebServer) -> Lab:
    """On every kind of database."""
    return make_lab(database, tmp_path, web)


# --- told ---------------------------------------------------------------------------------------------------


def test_locations_after_an_upload(lab: Lab) -> None:
    image_id = lab.api.create()
    assert lab.api.show(image_id)["locations"] == []
    assert "stores" not in lab.api.show(image_id)
    lab.api.upload(image_id, DATA)
    shown = lab.api.show(image_id)
    assert shown["stores"] == "local"
    assert [location["metadata"] for location in shown["locations"]] == [{"store": "local"}]
    assert shown["direct_url"] == shown["locations"][0]["url"]
    assert shown["direct_url"].startswith("file://")


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("direct", [False, True])
def test_what_is_shown_is_for_the_operator_to_say(
    sqlite: Database, tmp_path: Path, web: WebServer, several: bool, direct: bool
) -> None:
    settings = replace(LAB, show_multiple_locations=several, show_image_direct_url=direct)
    lab = make_lab(sqlite, tmp_path, web, settings)
    image_id = lab.api.create(ADMIN, visibility="public")
    lab.api.upload(image_id, DATA, ADMIN)
    assert ("locations" in lab.api.show(image_id, ADMIN), "direct_url" in lab.api.show(image_id, ADMIN)) == (
        several,
        direct,
    )
    for stranger in (OTHER, "ann@p1:member", READER):
        for shown in (lab.api.show(image_id, stranger), lab.api.call("GET", "/images", stranger).json["images"][0]):
            assert "locations" not in shown
            assert "direct_url" not in shown
            assert str(tmp_path) not in json.dumps(shown)
            assert shown["stores"] == "local"
    if not several:
        for operation in (
            {"op": "replace", "path": "/locations", "value": []},
            {"op": "remove", "path": "/locations/0"},
            {"op": "add", "path": "/locations/-", "value": {"url": lab.url, "metadata": {}}},
        ):
            assert lab.change(image_id, operation, token=ADMIN).status_code == 403


def test_the_list_of_locations_is_for_services(lab: Lab) -> None:
    image_id = lab.located()
    assert lab.api.call("GET", f"/images/{image_id}/locations").status_code == 403
    listed = lab.api.call("GET", f"/images/{image_id}/locations", ADMIN)
    assert listed.json == [{"url": lab.url, "metadata": {"store": "web"}}]
    assert lab.api.call("GET", f"/images/{image_id}/locations", OTHER).status_code == 404


# --- added by patch -----------------------------------------------------------------------------------------


def test_a_location_makes_a_queued_image_active(lab: Lab) -> None:
    image_id = lab.api.create()
    assert lab.add(image_id, metadata={"foo": "bar"}).status_code == 200
    shown = lab.api.show(image_id)
    assert (shown["status"], shown["size"], shown["stores"]) == ("active", len(DATA), "web")
    assert shown["locations"] == [{"url": lab.url, "metadata": {"foo": "bar", "store": "web"}}]
    assert (shown["os_hash_algo"], shown["os_hash_value"], shown["checksum"]) == (None, None, None)
    assert lab.content(image_id) == DATA
    part = lab.api.call("GET", f"/images/{image_id}/file", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, DATA[10:20])


def test_locations_keep_their_order_and_their_metadata_may_change(lab_everywhere: Lab) -> None:
    lab = lab_everywhere
    image_id = lab.located()
    assert lab.add(image_id, f"{lab.url}#new", metadata={"speed": "88mph"}).status_code == 200
    assert lab.urls(image_id) == [lab.url, f"{lab.url}#new"]
    shown = lab.api.show(image_id)["locations"]
    replace_all = {"op": "replace", "path": "/locations"}
    assert lab.change(image_id, {**replace_all, "value": shown}).status_code == 200
    shown[0]["metadata"]["date"] = "2015-10-15"
    assert lab.change(image_id, {**replace_all, "value": shown}).status_code == 200
    for bad in (shown[:1], [], [shown[0], shown[0]], [shown[0], {"url": f"{lab.url}#3", "metadata": {}}], [*shown, 1]):
        assert lab.change(image_id, {**replace_all, "value": bad}).status_code == 400
    assert lab.api.show(image_id)["locations"] == shown
    assert lab.change(image_id, {**replace_all, "value": shown[::-1]}).status_code == 200
    assert lab.urls(image_id) == [f"{lab.url}#new", lab.url]
    between = {"op": "add", "path": "/locations/1", "value": {"url": f"{lab.url}#mid", "metadata": {}}}
    assert lab.change(image_id, between).status_code == 200
    assert lab.urls(image_id) == [f"{lab.url}#new", f"{lab.url}#mid", lab.url]


def test_the_drafts_form_of_patches(lab: Lab) -> None:
    image_id = lab.api.create()
    change = json.dumps([{"add": "/locations/-", "value": {"url": lab.url, "metadata": {}}}])
    draft = {"Content-Type": "application/openstack-images-v2.0-json-patch"}
    answer = lab.api.call("PATCH", f"/images/{image_id}", body=change, headers=draft)
    assert (answer.status_code, answer.json["status"]) == (200, "active")


@pytest.mark.parametrize(
    "url",
    [
        "gopher://info.cern.ch", "file:///etc/passwd", "file://../../etc/passwd", "/etc/passwd", "", "ftp://a.test/x",
        "http://127.0.0.2/x", "http://10.0.0.1/x", "http://169.254.169.254/latest/meta-data/", "http://[::1]/x",
        "http://user:pw@127.0.0.1/x", "s3://bucket/x", "rbd://fsid/pool/image/snap", "swift+https://a/b", "cinder://x",
    ],
)  # fmt: skip
def test_places_that_nobody_may_name(lab: Lab, url: str) -> None:
    for token in ("ann@p1:member", ADMIN):
        image_id = lab.api.create(token)
        before = lab.api.show(image_id, token)
        assert lab.add(image_id, url, token).status_code == 400
        assert lab.post(image_id, url, token=token) == 400
        assert lab.api.show(image_id, token) == before


def test_what_is_not_there_cannot_be_located(lab: Lab) -> None:
    image_id = lab.api.create()
    assert lab.add(image_id, lab.web.url("missing")).status_code == 400
    assert lab.add(image_id, "http://127.0.0.1:9/x").status_code == 400
    assert lab.api.show(image_id)["status"] == "queued"


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "add", "path": "/locations", "value": {"url": "U", "metadata": {}}},
        {"op": "add", "path": "/locations/5", "value": {"url": "U#5", "metadata": {}}},
        {"op": "add", "path": "/locations/x", "value": {"url": "U", "metadata": {}}},
        {"op": "add", "path": "/locations/-/url", "value": "U"},
        {"op": "add", "path": "/locations/-", "value": {"url": "U", "metadata": {}}},
        {"op": "add", "path": "/locations/-", "value": {"url": "U#2"}},
        {"op": "add", "path": "/locations/-", "value": {"url": "U#2", "metadata": []}},
        {"op": "add", "path": "/locations/-", "value": {"url": "U#2", "metadata": {}, "more": 1}},
        {"op": "add", "path": "/locations/-", "value": {"url": "U#2", "metadata": {"a": "x" * 70_000}}},
        {"op": "add", "path": "/locations/-", "value": "U"},
        {"op": "add", "path": "/locations/-", "value": {"url": "U#2", "metadata": {}, "validation_data": {}}},
        {"op": "replace", "path": "/locations", "value": "U"},
        {"op": "replace", "path": "/locations/0", "value": {"url": "U", "metadata": {}}},
        {"op": "remove", "path": "/locations"},
        {"op": "remove", "path": "/locations/7"},
    ],
)
def test_bad_patches_of_locations(lab: Lab, operation: dict[str, Any]) -> None:
    image_id = lab.api.create(ADMIN)
    assert lab.add(image_id, token=ADMIN).status_code == 200
    before = lab.api.show(image_id, ADMIN)
    sent = json.loads(json.dumps(operation).replace('"U', f'"{lab.url}'))
    assert lab.change(image_id, sent, token=ADMIN).status_code == 400
    assert lab.api.show(image_id, ADMIN) == before


def test_a_property_whose_name_looks_like_a_location_is_a_property(lab: Lab) -> None:
    image_id = lab.api.create()
    assert lab.change(image_id, {"op": "add", "path": "/locations~1-", "value": "x"}).json["locations/-"] == "x"


def test_another_size_is_not_the_same_image(lab: Lab) -> None:
    image_id = lab.located()
    other = lab.web.put("other", DATA[:-1])
    assert lab.add(image_id, other).status_code == 400
    assert lab.urls(image_id) == [lab.url]


def test_who_may_change_locations(lab: Lab) -> None:
    image_id = lab.api.create(visibility="community")
    assert lab.add(image_id, token=OTHER).status_code == 403
    assert lab.add(image_id, token=READER).status_code == 403
    assert lab.add(image_id).status_code == 200
    assert lab.add(image_id, f"{lab.url}#2").status_code == 200
    remove = {"op": "remove", "path": "/locations/0"}
    assert lab.change(image_id, remove).status_code == 403
    assert lab.change(image_id, remove, token=ADMIN).status_code == 200
    assert lab.urls(image_id) == [f"{lab.url}#2"]
    assert lab.change(image_id, remove, token=ADMIN).status_code == 403


# --- hashes that are given ----------------------------------------------------------------------------------

SAID = {"checksum": "1" * 32, "os_hash_value": "deadbeef" * 16, "os_hash_algo": "sha512"}


def test_a_hash_that_is_given_with_the_first_location_is_the_images(lab: Lab) -> None:
    image_id = lab.api.create()
    assert lab.add(image_id, validation_data=SAID).status_code == 200
    shown = lab.api.show(image_id)
    assert {name: shown[name] for name in SAID} == SAID
    assert "validation_data" not in shown["locations"][0]
    assert lab.add(image_id, f"{lab.url}#2", validation_data=SAID).status_code == 200


@pytest.mark.parametrize(
    "other", [{"checksum": "2" * 32}, {"os_hash_value": "beefdead" * 16}, {"os_hash_algo": "sha256"}]
)
def test_a_hash_that_contradicts_is_a_conflict(lab: Lab, other: dict[str, str]) -> None:
    image_id = lab.api.create()
    lab.add(image_id, validation_data=SAID)
    before = lab.api.show(image_id)
    assert lab.add(image_id, f"{lab.url}#2", validation_data={**SAID, **other}).status_code == 409
    assert lab.api.show(image_id) == before


@pytest.mark.parametrize(
    "said",
    [
        {**SAID, "checksum": "x" * 32}, {**SAID, "checksum": "1"}, {**SAID, "os_hash_algo": "sha256"},
        {**SAID, "os_hash_value": "zz"}, {**SAID, "os_hash_value": "dead"},
    ],
)  # fmt: skip
def test_a_hash_that_is_none_is_a_conflict(lab: Lab, said: dict[str, str]) -> None:
    image_id = lab.api.create()
    assert lab.add(image_id, validation_data=said).status_code == 409
    assert lab.api.show(image_id)["status"] == "queued"


def test_a_hash_comes_too_late_for_an_active_image(lab: Lab) -> None:
    image_id = lab.located()
    assert lab.add(image_id, f"{lab.url}#2", validation_data=SAID).status_code == 409


# --- added by the API of its own ----------------------------------------------------------------------------


def sha(algorithm: str = "sha512") -> str:
    return hashlib.new(algorithm, DATA).hexdigest()


def tasks(lab: Lab, image_id: str) -> list[tuple[str, str]]:
    found = lab.api.call("GET", f"/images/{image_id}/tasks").json["tasks"]
    return [(task["type"], task["status"]) for task in found]


def test_a_location_is_added_and_hashed(lab_everywhere: Lab) -> None:
    lab = lab_everywhere
    image_id = lab.api.create()
    assert lab.post(image_id) == 202
    assert lab.api.show(image_id)["status"] == "importing"
    assert lab.post(image_id) == 409
    lab.run()
    shown = lab.api.show(image_id)
    assert (shown["status"], shown["size"], shown["stores"]) == ("active", len(DATA), "web")
    assert (shown["checksum"], shown["os_hash_algo"], shown["os_hash_value"]) == (MD5, "sha512", sha())
    assert tasks(lab, image_id) == [("location_import", "success")]
    assert "os_glance_import_task" not in shown
    assert lab.content(image_id) == DATA
    assert lab.post(image_id) == 409


def test_a_location_with_its_hash(lab: Lab) -> None:
    image_id = lab.api.create()
    assert lab.post(image_id, validation={"os_hash_algo": "sha256", "os_hash_value": sha("sha256")}) == 202
    lab.run()
    shown = lab.api.show(image_id)
    assert (shown["status"], shown["checksum"], shown["os_hash_algo"]) == ("active", MD5, "sha256")
    assert shown["os_hash_value"] == sha("sha256")


def test_a_location_with_another_hash_is_refused(lab: Lab) -> None:
    image_id = lab.api.create()
    assert lab.post(image_id, validation={"os_hash_algo": "sha512", "os_hash_value": "beefdead" * 16}) == 202
    lab.run()
    shown = lab.api.show(image_id)
    assert (shown["status"], shown["os_hash_algo"], shown["checksum"], shown["size"]) == ("queued", None, None, None)
    assert shown["stores"] == "web"
    assert tasks(lab, image_id) == [("location_import", "failure")]
    assert lab.content(image_id) == b""
    assert lab.api.upload(image_id, b"other").status_code == 204
    assert (lab.api.show(image_id)["stores"], lab.content(image_id)) == ("local", b"other")


def test_without_secure_hashes_what_is_given_is_believed(sqlite: Database, tmp_path: Path, web: WebServer) -> None:
    lab = make_lab(sqlite, tmp_path, web, replace(LAB, do_secure_hash=False))
    plain, said = lab.api.create(), lab.api.create()
    assert lab.post(plain) == 202
    assert lab.post(said, validation={"os_hash_algo": "sha256", "os_hash_value": "ab" * 32}) == 202
    lab.run()
    shown = lab.api.show(plain)
    assert (shown["status"], shown["size"], shown["os_hash_algo"], shown["checksum"]) == (
        "active",
        len(DATA),
        None,
        None,
    )
    shown = lab.api.show(said)
    assert (shown["status"], shown["os_hash_algo"], shown["os_hash_value"], shown["checksum"]) == (
        "active",
        "sha256",
        "ab" * 32,
        None,
    )


@pytest.mark.parametrize(
    "validation",
    [
        {"os_hash_algo": "sha512", "os_hash_value": "dbc9e0f80d131e64b94913a7b40bb5"},
        {"os_hash_value": "ab" * 64},
        {"os_hash_algo": "sha512"},
        {"os_hash_algo": "sha123", "os_hash_value": "ab" * 64},
        {"os_hash_algo": "shake_128", "os_hash_value": "ab" * 64},
        {"os_hash_algo": "sha512", "os_hash_value": "ab" * 32},
        {"os_hash_algo": "sha512", "os_hash_value": "zz" * 64},
        {"os_hash_algo": "sha512", "os_hash_value": "ab" * 64, "checksum": "1" * 32},
        {"os_hash_algo": "sha512", "os_hash_value": "ab" * 64, "more": 1},
        {"os_hash_algo": 1, "os_hash_value": "ab" * 64},
    ],
)
def test_bad_hashes(lab: Lab, validation: Any) -> None:
    image_id = lab.api.create()
    assert lab.post(image_id, validation=validation) == 400
    assert tasks(lab, image_id) == []


def test_refused_at_once(lab: Lab) -> None:
    unformatted = lab.api.call("POST", "/images", json={}).json["id"]
    assert lab.post(unformatted) == 400
    foreign = lab.api.create(visibility="community")
    assert lab.post(foreign, token=OTHER) == 403
    assert lab.post(foreign, token=READER) == 403
    assert lab.post("00000000-0000-4000-8000-000000000000") == 404
    answer = lab.api.call("POST", f"/images/{foreign}/locations", json={"url": "http://127.0.0.2/x"})
    assert (answer.status_code, "does not pass filtering" in answer.json["message"]) == (400, True)
    assert lab.api.call("POST", f"/images/{foreign}/locations", json={}).status_code == 400


def test_an_image_deleted_while_its_data_is_hashed(lab: Lab) -> None:
    image_id = lab.api.create()
    assert lab.post(image_id) == 202
    assert lab.api.call("DELETE", f"/images/{image_id}").status_code == 204
    lab.run()
    assert lab.api.call("GET", f"/images/{image_id}").status_code == 404
    with lab.api.db.read() as tx:
        assert [task.status for task in lab.api.images.tasks.of_image(tx, image_id)] == ["failure"]


def test_a_place_that_is_gone_when_it_is_looked_at(lab: Lab) -> None:
    image_id = lab.api.create()
    assert lab.post(image_id, lab.web.url("missing")) == 202
    lab.run()
    assert (lab.api.show(image_id)["status"], tasks(lab, image_id)) == ("queued", [("location_import", "failure")])


def test_data_that_cannot_be_read_twice_is_not_hashed_and_yet_the_images(lab: Lab) -> None:
    image_id = lab.api.create()
    assert lab.post(image_id) == 202
    lab.web.fails_after = 1000
    lab.run()
    shown = lab.api.show(image_id)
    assert (shown["status"], shown["size"], shown["os_hash_algo"]) == ("active", len(DATA), None)
    assert tasks(lab, image_id) == [("location_import", "success")]


def test_data_that_cannot_be_read_is_not_verified(lab: Lab) -> None:
    image_id = lab.api.create()
    assert lab.post(image_id, validation={"os_hash_algo": "sha512", "os_hash_value": sha()}) == 202
    lab.web.fails_after = 1000
    lab.run()
    assert (lab.api.show(image_id)["status"], tasks(lab, image_id)) == ("queued", [("location_import", "failure")])


# --- read from where it is ----------------------------------------------------------------------------------


def test_another_location_is_read_where_one_fails(lab: Lab) -> None:
    image_id = lab.located()
    second = WebServer()
    url = second.put("copy", DATA)
    assert lab.add(image_id, url).status_code == 200
    lab.web.files.clear()
    assert lab.content(image_id) == DATA
    second.stop()
    assert lab.api.call("GET", f"/images/{image_id}/file").status_code == 503


def test_a_location_that_grew_short_is_no_end(lab: Lab) -> None:
    image_id = lab.located()
    second = WebServer()
    assert lab.add(image_id, second.put("copy", DATA)).status_code == 200
    lab.web.put("disk", DATA[:1000])
    assert lab.content(image_id) == DATA
    second.put("copy", DATA[:2000])
    with lab.api.db.read() as tx:
        image = lab.api.images.find(tx, image_id)
    assert image is not None
    with pytest.raises(NotFound, match="shorter"):
        list(lab.api.images.stored.of(image).read())
    second.stop()


def test_an_image_is_in_few_places_and_few_are_asked_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    image_id = lab.located()
    asked: list[str] = []
    size = HttpStore.size

    def counted(store: HttpStore, locator: str) -> int:
        asked.append(locator)
        return size(store, locator)

    monkeypatch.setattr(HttpStore, "size", counted)
    add = [
        {"op": "add", "path": "/locations/-", "value": {"url": f"{lab.url}#{number}", "metadata": {}}}
        for number in range(11)
    ]
    assert lab.change(image_id, *add, *add).status_code == 413
    assert asked == [], "a patch is no way to have thousands of requests sent"
    assert lab.change(image_id, *add[:9]).status_code == 200
    assert lab.change(image_id, add[10]).status_code == 413
    assert len(lab.urls(image_id)) == 10
