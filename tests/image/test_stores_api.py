"""Several stores over HTTP, and what goes wrong while data comes: full disks, clients and stores that go away."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import falcon.testing
import pytest

from pileus.image import store as image_store
from pileus.image.settings import ImageSettings
from pileus.image.stores.settings import StoreSettings
from pileus.kernel.db import Database
from tests.image.conftest import Api, make_api

ADMIN = "root@adm:admin"
DATA = os.urandom((1 << 20) + 5)
SEVERAL = ImageSettings(
    stores={
        "fast": StoreSettings(directory=Path("fast"), weight=20, description="SSDs"),
        "cheap": StoreSettings(directory=Path("cheap"), weight=10, layout="content"),
        "web": StoreSettings(kind="http", weight=5),
        "plain": StoreSettings(directory=Path("plain")),
    },
    default_store="cheap",
)


@pytest.fixture
def several(sqlite: Database, tmp_path: Path) -> Api:
    return make_api(sqlite, tmp_path, SEVERAL)


def upload(api: Api, image_id: str, store: str = "", data: bytes = DATA) -> falcon.testing.Result:
    headers = {"Content-Type": "application/octet-stream", **({"X-Image-Meta-Store": store} if store else {})}
    return api.call("PUT", f"/images/{image_id}/file", body=data, headers=headers)


def held(api: Api) -> dict[str, tuple[str, ...]]:
    """What stores hold."""
    return {store.name: store.images() for store in api.stores.all() if store.images()}


# --- discovery ----------------------------------------------------------------------------------------------


def test_stores_are_listed(several: Api) -> None:
    assert several.call("GET", "/info/stores").json == {
        "stores": [
            {"id": "fast", "description": "SSDs", "weight": 20},
            {"id": "cheap", "default": "true", "weight": 10},
            {"id": "web", "read-only": "true", "weight": 5},
            {"id": "plain"},
        ]
    }


def test_details_of_stores_are_for_administrators(several: Api, tmp_path: Path) -> None:
    assert several.call("GET", "/info/stores/detail").status_code == 403
    found = {store["id"]: store for store in several.call("GET", "/info/stores/detail", ADMIN).json["stores"]}
    assert (found["fast"]["type"], found["fast"]["weight"], found["web"]["type"]) == ("file", 20, "http")
    assert found["web"]["properties"] == {}
    assert found["fast"]["properties"]["data_dir"].endswith("/fast")
    assert found["plain"]["weight"] == 0


def test_secrets_of_stores_are_never_shown(sqlite: Database, tmp_path: Path) -> None:
    bucket = StoreSettings(kind="s3", s3_bucket="b", s3_access_key="the-key", s3_secret_key="the-secret")
    api = make_api(sqlite, tmp_path, replace(SEVERAL, stores={**SEVERAL.stores, "bucket": bucket}))
    shown = api.call("GET", "/info/stores/detail", ADMIN).text + api.call("GET", "/info/stores").text
    assert "bucket" in shown
    assert "the-key" not in shown
    assert "the-secret" not in shown


def test_a_new_image_says_what_can_be_done_with_it(several: Api) -> None:
    answer = several.call("POST", "/images", json={"name": "a"})
    assert answer.headers["OpenStack-image-store-ids"] == "fast,cheap,web,plain"
    assert "web-download" in answer.headers["OpenStack-image-import-methods"].split(",")


# --- choosing and reading -----------------------------------------------------------------------------------


def test_an_upload_names_its_store(several: Api) -> None:
    default, named = several.create(), several.create()
    assert upload(several, default).status_code == 204
    assert upload(several, named, "fast").status_code == 204
    assert (several.show(default)["stores"], several.show(named)["stores"]) == ("cheap", "fast")
    assert held(several) == {"cheap": (default,), "fast": (named,)}
    for store in ("web", "nowhere", "os_glance_staging_store", "../fast"):
        refused = several.create()
        assert upload(several, refused, store).status_code == 400
        assert several.show(refused)["status"] == "queued"
    listed = {image["id"]: image.get("stores") for image in several.call("GET", "/images").json["images"]}
    assert listed[named] == "fast"


def test_what_stores_hold_is_not_for_users_to_set(several: Api) -> None:
    assert several.call("POST", "/images", json={"stores": "fast"}).status_code == 403
    assert several.call("POST", "/images", json={"os_glance_x": "1"}).status_code == 403
    image_id = several.create()
    for name in (
        "stores",
        "direct_url",
        "status",
        "size",
        "checksum",
        "os_hash_value",
        "os_glance_importing_to_stores",
    ):
        assert several.patch(image_id, [{"op": "add", "path": f"/{name}", "value": "x"}]).status_code == 403
    headers = {
        "Content-Type": "application/octet-stream", "X-Image-Meta-Status": "active", "X-Image-Meta-Owner": "p2",
        "X-Image-Meta-Size": "1", "X-Image-Meta-Checksum": "x", "X-Image-Meta-Location": "file:///etc/passwd",
    }  # fmt: skip
    assert several.call("PUT", f"/images/{image_id}/file", body=DATA, headers=headers).status_code == 204
    shown = several.show(image_id)
    assert (shown["owner"], shown["size"], shown["stores"]) == ("p1", len(DATA), "cheap")


def test_a_store_that_is_configured_no_more_is_passed_over(several: Api, sqlite: Database, tmp_path: Path) -> None:
    image_id = several.create()
    upload(several, image_id, "fast")
    stores = {name: store for name, store in SEVERAL.stores.items() if name != "fast"}
    fewer = make_api(sqlite, tmp_path, replace(SEVERAL, stores=stores, show_multiple_locations=True))
    assert fewer.show(image_id)["locations"] == []
    assert fewer.call("GET", f"/images/{image_id}/file").status_code == 404
    assert fewer.call("DELETE", f"/images/{image_id}").status_code == 204
    with sqlite.read() as tx:
        assert not image_store.known(tx, image_id)
    assert held(several) == {"fast": (image_id,)}
    several.images.reconcile()
    assert held(several) == {}


def test_an_upload_that_was_cut_off_is_not_over_while_its_store_is_away(several: Api, tmp_path: Path) -> None:
    image_id = several.create()
    child = os.fork()
    if child == 0:

        def chunks() -> Iterator[bytes]:
            yield DATA
            os._exit(9)

        with several.db.read() as tx:
            image = several.images.find(tx, image_id)
        assert image is not None
        several.images.stored.upload(image, chunks())
        os._exit(0)
    os.waitpid(child, 0)
    (tmp_path / "images" / "cheap").rename(tmp_path / "away")
    several.images.reconcile()
    assert several.show(image_id)["status"] == "saving"
    (tmp_path / "away").rename(tmp_path / "images" / "cheap")
    assert held(several) == {"cheap": (image_id,)}
    several.images.reconcile()
    assert (several.show(image_id)["status"], held(several)) == ("queued", {})


# --- while data comes ---------------------------------------------------------------------------------------


@pytest.fixture
def full(sqlite: Database, tmp_path: Path) -> Iterator[Api]:
    """A cloud whose images are on a disk of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: mounting needs root")
    (tmp_path / "images").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path / "images"], check=True)
    yield make_api(sqlite, tmp_path)
    subprocess.run(["umount", "-l", tmp_path / "images"], check=True)


def test_a_full_disk(full: Api) -> None:
    image_id, other = full.create(), full.create()
    answer = upload(full, image_id)
    assert (answer.status_code, "disk space" in answer.json["message"]) == (413, True)
    assert (full.show(image_id)["status"], full.show(image_id)["size"], held(full)) == ("queued", None, {})
    assert upload(full, other, data=DATA[:900_000]).status_code == 204
    assert full.call("GET", f"/images/{other}/file").content == DATA[:900_000]


def test_a_store_that_is_gone(several: Api, tmp_path: Path) -> None:
    image_id, waiting = several.create(), several.create()
    upload(several, image_id)
    (tmp_path / "images" / "cheap").rename(tmp_path / "away")
    assert several.call("GET", f"/images/{image_id}/file").status_code == 503
    assert upload(several, waiting).status_code == 503
    assert several.show(waiting)["status"] == "queued"
    assert several.call("DELETE", f"/images/{image_id}").status_code == 204
    several.images.reconcile()
    (tmp_path / "away").rename(tmp_path / "images" / "cheap")
    assert several.call("GET", f"/images/{image_id}").status_code == 404
    several.images.reconcile()
    assert held(several) == {}
    assert upload(several, waiting).status_code == 204


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def port(several: Api) -> Iterator[int]:
    """The API behind a real socket."""
    server = make_server("127.0.0.1", 0, several.client.app, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def begin(port: int, image_id: str) -> socket.socket:
    """An upload of which half has been sent."""
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(
        f"PUT /image/v2/images/{image_id}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: ann@p1:member\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(DATA)}\r\n\r\n".encode()
        + DATA[: len(DATA) // 2]
    )
    return client


def until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_client_that_goes_away_half_way(several: Api, port: int) -> None:
    image_id = several.create()
    client = begin(port, image_id)
    until(lambda: several.show(image_id)["status"] == "saving")
    client.close()
    until(lambda: several.show(image_id)["status"] == "queued")
    assert held(several) == {}
    assert upload(several, image_id).status_code == 204


def test_two_uploads_to_one_image(several: Api, port: int) -> None:
    image_id = several.create()
    client = begin(port, image_id)
    until(lambda: several.show(image_id)["status"] == "saving")
    assert upload(several, image_id, "fast").status_code == 409
    client.sendall(DATA[len(DATA) // 2 :])
    assert b" 204 " in client.recv(1000)
    client.close()
    assert several.call("GET", f"/images/{image_id}/file").content == DATA


def test_a_deletion_during_an_upload_gives_the_space_back(several: Api, port: int) -> None:
    image_id = several.create()
    client = begin(port, image_id)
    until(lambda: several.show(image_id)["status"] == "saving")
    assert several.call("DELETE", f"/images/{image_id}").status_code == 204
    client.sendall(DATA[len(DATA) // 2 :])
    assert b" 409 " in client.recv(1000)
    client.close()
    several.images.reconcile()
    assert held(several) == {}
    with several.db.read() as tx:
        assert several.images.find(tx, image_id) is None
