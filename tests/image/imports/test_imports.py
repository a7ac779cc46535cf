"""Staging and importing through the API."""

import errno
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pileus.image import store as image_store
from pileus.image.imports.regions import Regions
from pileus.image.protection import load_protection
from pileus.kernel.db import Database
from pileus.kernel.errors import TooLarge, Unavailable
from pileus.kernel.owner import new_owner
from tests.image.imports.conftest import Importer, make_importer
from tests.web import Web, serving

DATA = b"an image's data " * 500


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        yield server


def download(importer: Importer, image_id: str) -> bytes:
    return importer.api.call("GET", f"/images/{image_id}/file").content


def break_store(importer: Importer, name: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_image_id: str, _chunks: Iterator[bytes]) -> str:
        raise error

    monkeypatch.setattr(importer.api.stores.get(name), "write", write)


# --- staging ------------------------------------------------------------------------------------------------


def test_staged_data_waits_for_its_import(importer: Importer) -> None:
    image = importer.api.create()
    assert importer.stage(image, DATA).status_code == 204
    shown = importer.api.show(image)
    assert (shown["status"], shown["size"]) == ("uploading", len(DATA))
    assert importer.kept() == {"first": (), "second": ()}
    assert importer.stage(image, DATA).status_code == 409
    assert importer.api.upload(image, DATA).status_code == 409
    importer.api.images.reconcile()
    assert importer.staged() == (image,)


def test_what_cannot_be_staged_leaves_nothing(importer: Importer, monkeypatch: pytest.MonkeyPatch) -> None:
    image = importer.api.create()
    wrong = {"Content-Type": "application/json"}
    assert importer.api.call("PUT", f"/images/{image}/stage", body=DATA, headers=wrong).status_code == 415
    assert importer.stage(image, DATA, **{"X-Openstack-Image-Size": "many"}).status_code == 400
    assert importer.stage(image, DATA, **{"X-Openstack-Image-Size": "7"}).status_code == 400
    assert importer.api.show(image)["status"] == "queued"
    monkeypatch.setattr(importer.api.images.imports, "size_limit", 10)
    assert importer.stage(image, DATA).status_code == 413
    assert (importer.api.show(image)["status"], importer.staged()) == ("queued", ())


def test_a_caller_that_goes_away_while_staging_leaves_nothing(importer: Importer) -> None:
    image = importer.api.create()
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(2 * len(DATA))}
    assert importer.api.call("PUT", f"/images/{image}/stage", body=DATA, headers=headers).status_code == 400
    assert (importer.api.show(image)["status"], importer.staged()) == ("queued", ())


def test_what_dead_processes_were_staging_is_taken_back(importer: Importer) -> None:
    image, imports = importer.api.create(), importer.api.images.imports
    assert importer.stage(image, DATA).status_code == 204
    host, _, _, count = new_owner().split(":")
    with importer.api.db.write() as tx:
        image_store.update(tx, image, {"uploader": f"{host}:1:never:{count}"})
    assert importer.ask(image).status_code == 409
    importer.api.images.reconcile()
    assert (importer.api.show(image)["status"], imports.staging.images()) == ("queued", ())


def test_staged_data_goes_with_its_image(importer: Importer) -> None:
    image = importer.api.create()
    importer.stage(image, DATA)
    assert importer.api.call("DELETE", f"/images/{image}").status_code == 204
    assert importer.staged() == ()


# --- the methods --------------------------------------------------------------------------------------------


def test_staged_data_is_imported(importer: Importer) -> None:
    image = importer.api.create()
    importer.stage(image, DATA)
    asked = importer.ask(image)
    assert (asked.status_code, asked.content) == (202, b"")
    shown = importer.api.show(image)
    assert (shown["status"], shown["os_glance_importing_to_stores"]) == ("importing", "first")
    (task,) = importer.tasks(image)
    assert shown["os_glance_import_task"] == task["id"]
    importer.run()
    shown = importer.api.show(image)
    assert (shown["status"], shown["size"], shown["os_hash_value"]) == (
        "active", len(DATA), hashlib.sha512(DATA).hexdigest(),
    )  # fmt: skip
    assert (shown["os_glance_importing_to_stores"], shown["os_glance_failed_import"]) == ("", "")
    assert "os_glance_import_task" not in shown
    assert importer.kept() == {"first": (image,), "second": ()}
    assert (importer.staged(), download(importer, image)) == ((), DATA)
    (task,) = importer.tasks(image)
    assert (task["status"], task["type"], task["result"]) == ("success", "api_image_import", {"image_id": image})
    assert task["request_id"] == asked.headers["X-Openstack-Request-Id"]
    assert task["input"]["import_req"]["method"]["name"] == "glance-direct"
    assert task["image_id"] == image


def test_data_is_downloaded_from_the_web(importer: Importer, web: Web) -> None:
    web.files["/image"] = DATA * 100
    web.breaks = [100_000, 200_000]
    image = importer.api.create()
    assert importer.ask(image, "web-download", with_={"uri": f"{web.url}/image"}).status_code == 202
    importer.run()
    assert (importer.api.show(image)["status"], download(importer, image)) == ("active", DATA * 100)
    assert [seen[1] for seen in web.seen] == [None, "bytes=100000-", "bytes=300000-"]


def test_a_download_that_breaks_off_too_often_fails(importer: Importer, web: Web) -> None:
    web.files["/image"] = DATA
    web.breaks = [10] * 10
    image = importer.api.create()
    importer.ask(image, "web-download", with_={"uri": f"{web.url}/image"})
    importer.run()
    shown = importer.api.show(image)
    assert (shown["status"], shown["size"], shown["os_glance_failed_import"]) == ("queued", None, "first")
    assert (importer.tasks(image)[0]["status"], len(web.seen), importer.staged()) == ("failure", 4, ())


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "http://169.254.169.254/latest", "http://10.0.0.1/x", "nothing"])
def test_addresses_that_are_not_for_users_are_refused_at_once(importer: Importer, uri: str) -> None:
    image = importer.api.create()
    assert importer.ask(image, "web-download", with_={"uri": uri}).status_code == 400
    assert (importer.api.show(image)["status"], importer.tasks(image)) == ("queued", [])


def test_a_copy_goes_to_the_stores_that_lack_one(importer: Importer) -> None:
    image = importer.api.create()
    assert importer.api.upload(image, DATA).status_code == 204
    admin = "root@p0:admin"
    assert importer.ask(image, "copy-image", all_stores=True).status_code == 403
    assert importer.ask(image, "copy-image", admin, stores=["first"]).status_code == 400
    assert importer.ask(image, "copy-image", admin, all_stores=True).status_code == 202
    assert importer.api.show(image)["os_glance_importing_to_stores"] == "second"
    assert importer.ask(image, "copy-image", admin, all_stores=True).status_code == 409
    importer.run()
    shown = importer.api.show(image)
    assert (shown["status"], shown["os_glance_importing_to_stores"], shown["os_glance_failed_import"]) == (
        "active", "", "",
    )  # fmt: skip
    assert importer.kept() == {"first": (image,), "second": (image,)}
    assert importer.ask(image, "copy-image", admin, all_stores=True).status_code == 202
    importer.run()
    assert [task["status"] for task in importer.tasks(image)] == ["success", "success"]


def test_an_image_of_this_region_is_downloaded_with_some_properties(importer: Importer) -> None:
    taken = {"hw_cpu_cores": "5", "trait:STORAGE_DISK_SSD": "required", "os_distro": "rhel"}
    source = importer.api.create(speed="88mph", **taken)
    importer.api.upload(source, DATA)
    image = importer.api.create(disk_format="iso", container_format="ovf", hw_cpu_cores="1", os_type="linux")
    wanted = {"glance_region": "RegionOne", "glance_image_id": source}
    assert importer.ask(image, "glance-download", with_=wanted).status_code == 202
    importer.run()
    shown = importer.api.show(image)
    assert taken.items() <= shown.items()
    assert (shown["disk_format"], shown["container_format"], shown["os_type"]) == ("raw", "bare", "linux")
    assert "speed" not in shown
    assert download(importer, image) == DATA


def test_images_that_the_caller_may_not_download_are_not(importer: Importer) -> None:
    source = importer.api.create("bob@p2:member", visibility="private")
    importer.api.upload(source, DATA, "bob@p2:member")
    image = importer.api.create(hw_cpu_cores="1")
    for image_id in (source, image.replace(image[:8], "00000000")):
        wanted = {"glance_region": "RegionOne", "glance_image_id": image_id}
        assert importer.ask(image, "glance-download", with_=wanted).status_code == 202
        importer.run()
    assert {task["message"] for task in importer.tasks(image)} == {
        "There is no such image that can be downloaded in this region."
    }
    shown = importer.api.show(image)
    assert (shown["status"], shown["hw_cpu_cores"]) == ("queued", "1")


def test_protected_properties_do_not_come_in_by_a_download(
    importer: Importer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = importer.api.create(hw_machine_type="q35", hw_cpu_cores="5")
    importer.api.upload(source, DATA)
    rules = tmp_path / "protections.conf"
    operations = "\n".join(f"{operation} = admin" for operation in ("create", "read", "update", "delete"))
    rules.write_text(f"[^hw_machine]\n{operations}\n[.*]\n{operations.replace('admin', '@')}\n")
    monkeypatch.setattr(importer.api.images, "protection", load_protection(rules))
    image = importer.api.create()
    importer.ask(image, "glance-download", with_={"glance_region": "RegionOne", "glance_image_id": source})
    importer.run()
    shown = importer.api.show(image, "root@p0:admin")
    assert (shown["hw_cpu_cores"], "hw_machine_type" in shown) == ("5", False)


def test_an_image_that_is_unshared_after_a_download_was_asked_for_is_not_downloaded(importer: Importer) -> None:
    bob = "bob@p2:member"
    source = importer.api.create(bob, visibility="community")
    importer.api.upload(source, DATA, bob)
    image = importer.api.create()
    wanted = {"glance_region": "RegionOne", "glance_image_id": source}
    assert importer.ask(image, "glance-download", with_=wanted).status_code == 202
    private = [{"op": "replace", "path": "/visibility", "value": "private"}]
    assert importer.api.patch(source, private, bob).status_code == 200
    importer.run()
    assert (importer.api.show(image)["status"], importer.tasks(image)[0]["status"]) == ("queued", "failure")


@pytest.mark.parametrize("operation", ["create", "read", "update"])
def test_properties_that_the_caller_may_not_read_or_set_do_not_come_in(
    importer: Importer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    source = importer.api.create(hw_secret="x", hw_cpu_cores="5")
    importer.api.upload(source, DATA)
    rules = tmp_path / "protections.conf"
    operations = "\n".join(f"{each} = @" for each in ("create", "read", "update", "delete"))
    closed = operations.replace(f"{operation} = @", f"{operation} = admin")
    rules.write_text(f"[^hw_secret]\n{closed}\n[.*]\n{operations}\n")
    monkeypatch.setattr(importer.api.images, "protection", load_protection(rules))
    image = importer.api.create()
    importer.ask(image, "glance-download", with_={"glance_region": "RegionOne", "glance_image_id": source})
    importer.run()
    shown = importer.api.show(image, "root@p0:admin")
    assert (shown["hw_cpu_cores"], "hw_secret" in shown) == ("5", False)


def remote_record(data: bytes, **more: Any) -> bytes:
    digest = hashlib.sha512(data).hexdigest()
    record = {"disk_format": "raw", "container_format": "bare", "os_hash_algo": "sha512", "os_hash_value": digest}
    return json.dumps({**record, "os_distro": "debian", "speed": "1", **more}).encode()


REMOTE = "36d4b546-64a2-4bb9-bdd0-ba676aa48f2c"


def test_an_image_of_another_region_is_downloaded_with_the_callers_token(
    importer: Importer, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = {("north", "public"): f"{web.url}/image"}
    regions = Regions("RegionOne", lambda region, interface: addresses.get((region, interface)))
    monkeypatch.setattr(importer.api.images.imports, "regions", regions)
    web.files = {f"/image/v2/images/{REMOTE}": remote_record(DATA), f"/image/v2/images/{REMOTE}/file": DATA}
    web.breaks = [len(remote_record(DATA)), 1000]
    image = importer.api.create()
    wanted = {"glance_region": "north", "glance_image_id": REMOTE}
    assert importer.ask(image, "glance-download", with_=wanted).status_code == 202
    with importer.api.db.read() as tx:
        assert importer.api.token not in str(tx.connection.exec_driver_sql("SELECT params FROM saga").all())
    importer.run()
    shown = importer.api.show(image)
    assert (shown["status"], shown["os_distro"], download(importer, image)) == ("active", "debian", DATA)
    assert {seen[2] for seen in web.seen} == {importer.api.token}

    web.files[f"/image/v2/images/{REMOTE}"] = remote_record(b"other data")
    damaged = importer.api.create()
    importer.ask(damaged, "glance-download", with_=wanted)
    importer.run()
    assert "sha512 is not as recorded" in importer.tasks(damaged)[0]["message"]


def test_a_region_that_is_not_there_fails_the_task(importer: Importer) -> None:
    image = importer.api.create()
    wanted = {"glance_region": "nowhere", "glance_image_id": REMOTE, "glance_service_interface": "no interface"}
    assert importer.ask(image, "glance-download", with_=wanted).status_code == 202
    importer.run()
    assert (importer.api.show(image)["status"], importer.tasks(image)[0]["status"]) == ("queued", "failure")


def test_methods_that_the_operator_does_not_want_are_not_there(sqlite: Database, tmp_path: Path) -> None:
    importer = make_importer(sqlite, tmp_path, methods=("glance-direct",))
    assert importer.api.call("GET", "/info/import").json["import-methods"]["value"] == ["glance-direct"]
    image = importer.api.create()
    assert importer.ask(image, "web-download", with_={"uri": "http://1.1.1.1/"}).status_code == 400


# --- requests that make no sense ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [
        ("glance-direct", {}, 409),  # nothing is staged
        ("copy-image", {}, 409),  # there is nothing to copy
        ("fetch", {}, 400),
        ("web-download", {}, 400),
        ("glance-download", {"with_": {"glance_region": "RegionOne"}}, 400),
        ("glance-download", {"with_": {"glance_image_id": REMOTE}}, 400),
        ("glance-download", {"with_": {"glance_region": "RegionOne", "glance_image_id": "foo"}}, 400),
        ("web-download", {"with_": {"uri": "http://1.1.1.1/"}, "stores": ["third"]}, 409),
        ("web-download", {"with_": {"uri": "http://1.1.1.1/"}, "stores": ["first"], "all_stores": True}, 400),
        ("web-download", {"with_": {"uri": "http://1.1.1.1/"}, "all_stores": "yes"}, 400),
        ("web-download", {"with_": {"uri": "http://1.1.1.1/"}, "all_stores_must_succeed": 1}, 400),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    importer: Importer, method: str, body: dict[str, Any], status: int
) -> None:
    image = importer.api.create()
    token = "root@p1:admin" if method == "copy-image" else None
    answer = importer.ask(image, method, token, **body)
    assert answer.status_code == status, answer.text
    if body.get("with_", {}).get("glance_image_id") == "foo":
        assert "image id does not look like a UUID" in answer.json["message"]
    assert (importer.api.show(image)["status"], importer.tasks(image)) == ("queued", [])


def test_only_who_may_change_an_image_imports_it(importer: Importer) -> None:
    image = importer.api.create()
    importer.stage(image, DATA)
    assert importer.ask(image, token="bob@p2:member").status_code == 404
    assert importer.ask(image, token="ann@p1:reader").status_code == 403
    assert importer.api.call("GET", f"/images/{image}/tasks", "bob@p2:member").status_code == 404


def test_an_image_must_say_what_it_is_before_its_import(importer: Importer) -> None:
    image = importer.api.create(disk_format=None)
    importer.stage(image, DATA)
    assert importer.ask(image).status_code == 409


def test_nobody_sets_the_properties_of_imports(importer: Importer) -> None:
    image = importer.api.create()
    for name in ("os_glance_import_task", "os_glance_failed_import", "os_glance_anything"):
        change = [{"op": "add", "path": f"/{name}", "value": "x"}]
        assert importer.api.patch(image, change).status_code == 403
        body = {"disk_format": "raw", "container_format": "bare", name: "x"}
        assert importer.api.call("POST", "/images", json=body).status_code == 403


# --- several stores -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "header", "stores"),
    [
        ({"all_stores": True}, None, ("first", "second")),
        ({"stores": ["second"]}, None, ("second",)),
        ({}, "second", ("second",)),
    ],
)
def test_data_goes_to_the_stores_that_are_asked_for(
    importer: Importer, asked: dict[str, Any], header: str | None, stores: tuple[str, ...]
) -> None:
    image = importer.api.create()
    importer.stage(image, DATA)
    headers = {"X-Image-Meta-Store": header} if header else {}
    body = {"method": {"name": "glance-direct"}, **asked}
    assert importer.api.call("POST", f"/images/{image}/import", json=body, headers=headers).status_code == 202
    importer.run()
    assert {name for name, images in importer.kept().items() if images} == set(stores)
    with importer.api.db.read() as tx:
        found = importer.api.images.find(tx, image)
    assert found is not None
    assert tuple(location.store for location in found.locations) == stores


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), Unavailable("The store is away.")])
@pytest.mark.parametrize("method", ["glance-direct", "copy-image"])
def test_a_store_that_fails_fails_the_import_or_is_told_of(
    importer: Importer, error: Exception, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_store(importer, "second", error, monkeypatch)
    results = []
    for must_succeed in (True, False):
        image = importer.api.create()
        if method == "copy-image":
            importer.api.upload(image, DATA)
        else:
            importer.stage(image, DATA)
        admin = "root@p1:admin"
        answer = importer.ask(image, method, admin, all_stores=True, all_stores_must_succeed=must_succeed)
        assert answer.status_code == 202
        importer.run()
        shown, (task,) = importer.api.show(image), importer.tasks(image)
        assert importer.staged() == ()
        results.append((shown["status"], shown["os_glance_failed_import"], task["status"]))
    if method == "copy-image":
        assert results == [("active", "second", "failure"), ("active", "second", "failure")]
    else:
        assert results == [("queued", "first,second", "failure"), ("active", "second", "success")]
        assert len(importer.kept()["first"]) == 1


# --- what is not as declared --------------------------------------------------------------------------------


def test_content_that_is_not_as_declared_is_queued_again(importer: Importer) -> None:
    image = importer.api.create(disk_format="qcow2")
    importer.stage(image, DATA)
    importer.ask(image)
    importer.run()
    shown, (task,) = importer.api.show(image), importer.tasks(image)
    assert (shown["status"], shown["size"], shown["os_glance_failed_import"]) == ("queued", None, "first")
    assert (task["status"], "says it is qcow2" in task["message"]) == ("failure", True)
    assert (importer.staged(), importer.kept()) == ((), {"first": (), "second": ()})
    assert importer.stage(image, DATA).status_code == 204


# --- deletion -----------------------------------------------------------------------------------------------


def test_an_image_that_is_deleted_while_it_waits_is_not_imported(importer: Importer) -> None:
    image = importer.api.create()
    importer.stage(image, DATA)
    importer.ask(image)
    assert importer.api.call("DELETE", f"/images/{image}").status_code == 204
    importer.run()
    assert (importer.staged(), importer.kept()) == ((), {"first": (), "second": ()})
    with importer.api.db.read() as tx:
        assert [task.status for task in importer.api.images.tasks.of_image(tx, image)] == ["failure"]


@pytest.mark.parametrize("when", ["fetch", "store"])
def test_an_image_that_is_deleted_while_it_is_imported_leaves_nothing(
    importer: Importer, web: Web, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.files["/image"] = DATA
    image = importer.api.create()
    importer.ask(image, "web-download", with_={"uri": f"{web.url}/image"}, all_stores=True)
    imports = importer.api.images.imports
    target: Any = imports.staging if when == "fetch" else importer.api.stores.get("second")
    write = target.write

    def deleted_before(*arguments: Any) -> Any:
        assert importer.api.call("DELETE", f"/images/{image}").status_code == 204
        return write(*arguments)

    monkeypatch.setattr(target, "write", deleted_before)
    importer.run()
    monkeypatch.undo()
    importer.api.images.reconcile()
    assert (importer.staged(), importer.kept()) == ((), {"first": (), "second": ()})
    assert importer.api.call("GET", f"/images/{image}").status_code == 404


# --- a disk that is full ------------------------------------------------------------------------------------


def test_a_full_disk_leaves_nothing(importer: Importer, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    web.files["/image"] = DATA

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    staged, fetched = importer.api.create(), importer.api.create()
    monkeypatch.setattr("pileus.image.imports.staging.os.fsync", full)
    assert importer.stage(staged, DATA).status_code == 413
    importer.ask(fetched, "web-download", with_={"uri": f"{web.url}/image"})
    importer.run()
    assert importer.tasks(fetched)[0]["message"] == "There is not enough disk space for the image."
    assert {importer.api.show(image)["status"] for image in (staged, fetched)} == {"queued"}
    assert (importer.staged(), importer.kept()) == ((), {"first": (), "second": ()})


# --- bounds -------------------------------------------------------------------------------------------------


def test_imports_wait_for_their_turn(importer: Importer) -> None:
    imports = importer.api.images.imports
    held = [imports.turn() for _ in range(imports.settings.at_once)]
    for turn in held:
        turn.__enter__()
    with pytest.raises(Unavailable), imports.turn():
        raise AssertionError("there was a place")
    held[0].__exit__(None, None, None)
    with imports.turn():
        pass
    for turn in held[1:]:
        turn.__exit__(None, None, None)


def test_a_download_is_cut_at_the_limit(importer: Importer, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    web.files["/image"] = DATA
    monkeypatch.setattr(importer.api.images.imports, "size_limit", 100)
    image = importer.api.create()
    importer.ask(image, "web-download", with_={"uri": f"{web.url}/image"})
    importer.run()
    assert importer.tasks(image)[0]["message"] == TooLarge("The image is larger than 100 bytes.").message
    assert importer.staged() == ()
