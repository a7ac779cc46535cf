"""The sagas of locations under every fault, and data that is moved while it is read."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pileus.image.domain import Image
from pileus.image.locations.domain import Validation
from pileus.image.locations.sagas import SAGAS
from pileus.image.locations.service import ADD, MOVE, REMOVE
from pileus.image.stores.rbd import RbdStore
from pileus.image.stores.settings import StoreSettings
from pileus.kernel.db import Database, DatabaseSettings, Tx
from pileus.kernel.errors import BadRequest, Conflict, NotFound
from pileus.kernel.saga import Sagas, State, listing
from tests.image.conftest import Names
from tests.image.stores.fake_ceph import Cluster
from tests.image.stores.servers import WebServer
from tests.image.test_locations import ADMIN, DATA, LAB, Lab, make_lab
from tests.saga_harness import exercise

BY_NAME = {saga.name: saga for saga in SAGAS}
SMALL = os.urandom(5000)
ROOT = Names().authenticate(ADMIN)


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.stop()


@pytest.fixture
def lab(sqlite: Database, tmp_path: Path, web: WebServer) -> Lab:
    return make_lab(sqlite, tmp_path, web)


# --- under faults -------------------------------------------------------------------------------------------


class SagaWorld:
    """One image on which one saga is exercised. It begins as that needs it: queued, in one store, or in two."""

    def __init__(self, template: Path, directory: Path, web: WebServer) -> None:
        directory.mkdir()
        shutil.copyfile(template, directory / "pileus.db")
        self.db = Database(DatabaseSettings(url=f"sqlite:///{directory}/pileus.db", sqlite_synchronous="OFF"))
        self.lab = make_lab(self.db, directory, web, LAB)
        self.url = web.put("small", SMALL)
        self.clock = self.lab.api.clock
        self.images = self.lab.api.images
        self.services: Any = SimpleNamespace(images=self.images)
        self.image_id = self.lab.api.create()
        self.prepare()

    def prepare(self) -> None:
        self.lab.api.upload(self.image_id, SMALL)

    def begin(self, tx: Tx, sagas: Sagas) -> str:
        self.images.locations.sagas = sagas
        self.start(tx)
        return listing(tx, resource=self.image_id)[0].id

    def start(self, tx: Tx) -> None:
        raise NotImplementedError

    def image(self) -> Image:
        with self.db.read() as tx:
            return self.images.get(tx, ROOT, self.image_id)

    def held(self) -> set[str]:
        """The stores that have something of the image."""
        return {store.name for store in self.images.stored.stores.all() if self.image_id in store.images()}

    def audit(self, state: State) -> list[str]:
        image = self.image()
        problems = [] if image.import_task is None else ["the image waits for data for ever"]
        if image.status == "active" and b"".join(self.images.stored.of(image).read()) != SMALL:
            problems.append("the data is not what it was")
        return problems + self.differences(image, state is State.DONE)

    def differences(self, image: Image, done: bool) -> list[str]:
        raise NotImplementedError

    def close(self) -> None:
        self.db.close()


class AddWorld(SagaWorld):
    """An image that is given its first location."""

    validation: Validation | None = None

    def prepare(self) -> None:
        """It is queued."""

    def start(self, tx: Tx) -> None:
        image = self.images.get(tx, ROOT, self.image_id)
        _, place = self.images.locations.place(ROOT, self.image_id, self.url)
        self.images.locations.add(tx, ROOT, image, place, self.validation, "req-1")

    def differences(self, image: Image, done: bool) -> list[str]:
        with self.db.read() as tx:
            (task,) = self.images.tasks.of_image(tx, image.id)
        found = (image.status, task.status, image.size, image.os_hash_algo, image.os_hash_value)
        if done:
            expected = ("active", "success", len(SMALL), "sha512", hashlib.sha512(SMALL).hexdigest())
        else:
            expected = ("queued", "failure", None, None, None)  # type: ignore[assignment]
        return [] if found == expected else [f"{found} instead of {expected}"]


class HashedWorld(AddWorld):
    """The same with a hash to verify."""

    validation = Validation("sha512", hashlib.sha512(SMALL).hexdigest())


class MoveWorld(SagaWorld):
    """An image that is moved from one store to another."""

    def start(self, tx: Tx) -> None:
        self.images.locations.move(tx, self.image_id, "local", "second")

    def differences(self, image: Image, done: bool) -> list[str]:
        place = "second" if done else "local"
        found = ([location.store for location in image.locations], self.held())
        return [] if found == ([place], {place}) else [f"{found} instead of {place}"]


class RemoveWorld(SagaWorld):
    """An image of whose two copies one is removed."""

    def prepare(self) -> None:
        super().prepare()
        in_both(self.lab, self.image_id)

    def start(self, tx: Tx) -> None:
        self.images.locations.remove_from_store(tx, ROOT, self.image_id, "local")

    def differences(self, image: Image, done: bool) -> list[str]:
        stores = [location.store for location in image.locations]
        if stores != ["second"] or "second" not in self.held() or (done and self.held() != {"second"}):
            return [f"the image is in {stores}, its data in {self.held()}"]
        return []


@pytest.mark.parametrize(
    ("saga", "world"), [(ADD, AddWorld), (ADD, HashedWorld), (MOVE, MoveWorld), (REMOVE, RemoveWorld)]
)
def test_a_saga_survives_everything(
    saga: str, world: type[SagaWorld], _sqlite_template: Path, tmp_path: Path, web: WebServer
) -> None:
    numbers = count()
    others = [other for name, other in BY_NAME.items() if name != saga]
    assert exercise(BY_NAME[saga], lambda: world(_sqlite_template, tmp_path / str(next(numbers)), web), others) > 30


# --- moved --------------------------------------------------------------------------------------------------


def in_both(lab: Lab, image_id: str) -> None:
    """Have the data of an image that is in `local` in `second` too."""
    copy = {"method": {"name": "copy-image"}, "stores": ["second"]}
    assert lab.api.call("POST", f"/images/{image_id}/import", ADMIN, json=copy).status_code == 202
    lab.run()
    assert lab.api.show(image_id)["stores"] == "second,local"


def move(lab: Lab, image_id: str, source: str = "local", target: str = "second") -> None:
    lab.api.db.transact(partial(lab.api.images.locations.move, image_id=image_id, source=source, target=target))


def held(lab: Lab, image_id: str) -> set[str]:
    return {store.name for store in lab.api.stores.all() if image_id in store.images()}


def test_an_image_is_moved(database: Database, tmp_path: Path, web: WebServer) -> None:
    lab = make_lab(database, tmp_path, web)
    image_id = lab.api.create()
    lab.api.upload(image_id, DATA)
    before = lab.api.show(image_id)
    move(lab, image_id)
    lab.run()
    after = lab.api.show(image_id)
    assert (after["stores"], held(lab, image_id), lab.content(image_id)) == ("second", {"second"}, DATA)
    changed = {"stores", "locations", "direct_url", "os_glance_importing_to_stores", "os_glance_failed_import"}
    same = set(before) - changed - {"updated_at"}
    assert {name: before[name] for name in same} == {name: after[name] for name in same}
    move(lab, image_id, "second", "local")
    lab.run()
    assert (lab.api.show(image_id)["stores"], held(lab, image_id)) == ("local", {"local"})


def test_readers_notice_nothing_of_a_move(lab: Lab) -> None:
    data = os.urandom(5 << 20)
    image_id = lab.api.create()
    lab.api.upload(image_id, data)
    with lab.api.db.read() as tx:
        image = lab.api.images.get(tx, ROOT, image_id)
    stored = lab.api.images.stored.of(image)
    middle = stored.read()
    first = next(middle)
    move(lab, image_id)
    lab.run()
    assert held(lab, image_id) == {"second"}
    assert first + b"".join(middle) == data
    assert b"".join(stored.read(1000)) == data[1000:]  # by one who looked before where the data is, and reads after


def test_a_move_to_where_a_copy_is_only_removes(lab: Lab) -> None:
    image_id = lab.api.create()
    lab.api.upload(image_id, DATA)
    in_both(lab, image_id)
    move(lab, image_id)
    lab.run()
    assert (lab.api.show(image_id)["stores"], held(lab, image_id), lab.content(image_id)) == (
        "second",
        {"second"},
        DATA,
    )


def test_damaged_data_is_not_moved(lab: Lab, tmp_path: Path) -> None:
    image_id = lab.api.create()
    lab.api.upload(image_id, DATA)
    (tmp_path / "images" / image_id).write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
    move(lab, image_id)
    lab.run()
    assert (lab.api.show(image_id)["stores"], held(lab, image_id)) == ("local", {"local"})
    assert lab.api.show(image_id)["os_glance_failed_import"] == "second"


def test_moves_that_cannot_be(lab: Lab) -> None:
    image_id = lab.api.create()
    with pytest.raises(NotFound):
        move(lab, image_id)
    lab.api.upload(image_id, DATA)
    for source, target, error in (
        ("second", "local", NotFound), ("local", "local", BadRequest), ("local", "web", BadRequest),
        ("local", "nowhere", BadRequest),
    ):  # fmt: skip
        with pytest.raises(error):
            move(lab, image_id, source, target)
    move(lab, image_id)
    with pytest.raises(Conflict):
        move(lab, image_id)
    with lab.api.db.read() as tx:
        assert lab.api.images.locations.in_store(tx, "local") == [image_id]


def test_an_image_deleted_while_it_is_moved_leaves_nothing(lab: Lab) -> None:
    image_id = lab.api.create()
    lab.api.upload(image_id, DATA)
    move(lab, image_id)
    assert lab.api.call("DELETE", f"/images/{image_id}").status_code == 204
    lab.run()
    assert held(lab, image_id) == set()


# --- removed from one store ---------------------------------------------------------------------------------


def delete(lab: Lab, store: str, image_id: str, token: str = ADMIN) -> int:
    return lab.api.call("DELETE", f"/stores/{store}/{image_id}", token).status_code


def test_a_copy_is_removed_from_a_store(lab: Lab) -> None:
    image_id = lab.api.create()
    assert delete(lab, "local", image_id) == 409
    lab.api.upload(image_id, DATA)
    assert delete(lab, "local", image_id) == 403
    in_both(lab, image_id)
    assert delete(lab, "local", image_id, "ann@p1:member") == 403
    assert delete(lab, "local", image_id, "bob@p2:member") == 404
    assert delete(lab, "web", image_id) == 404
    assert delete(lab, "nowhere", image_id) == 409
    assert delete(lab, "local", "00000000-0000-4000-8000-000000000000") == 404
    assert delete(lab, "local", image_id) == 204
    lab.run()
    assert (lab.api.show(image_id)["stores"], held(lab, image_id), lab.content(image_id)) == (
        "second",
        {"second"},
        DATA,
    )
    assert delete(lab, "second", image_id) == 403


def test_a_copy_that_disks_depend_on_stays(sqlite: Database, tmp_path: Path, web: WebServer) -> None:
    lab = make_lab(sqlite, tmp_path, web)
    cluster = Cluster()
    stores = lab.api.stores
    stores._stores["second"] = RbdStore("second", StoreSettings(kind="rbd"), cluster.bindings)
    image_id = lab.api.create()
    lab.api.upload(image_id, DATA)
    in_both(lab, image_id)
    cluster.devices[image_id].clones = 1
    assert delete(lab, "second", image_id) == 409
    assert lab.api.show(image_id)["stores"] == "second,local"
    assert lab.api.call("DELETE", f"/images/{image_id}").status_code == 204
    assert set(cluster.devices) == {image_id}
    cluster.devices[image_id].clones = 0
    lab.api.images.reconcile()
    assert (cluster.devices, held(lab, image_id)) == ({}, set())


def test_a_location_that_is_removed_by_patch_takes_its_data_along(lab: Lab) -> None:
    image_id = lab.api.create()
    lab.api.upload(image_id, DATA)
    in_both(lab, image_id)
    assert lab.change(image_id, {"op": "remove", "path": "/locations/0"}, token=ADMIN).status_code == 200
    lab.run()
    assert (lab.api.show(image_id)["stores"], held(lab, image_id)) == ("local", {"local"})


# --- what else may happen meanwhile -----------------------------------------------------------------------------


@pytest.mark.parametrize("work", ["copy", "move"])
def test_locations_stay_as_they_are_while_data_is_copied(lab: Lab, work: str) -> None:
    image_id = lab.api.create()
    lab.api.upload(image_id, SMALL)
    if work == "copy":
        wanted = {"method": {"name": "copy-image"}, "stores": ["second"]}
        assert lab.api.call("POST", f"/images/{image_id}/import", ADMIN, json=wanted).status_code == 202
    else:
        with lab.api.db.write() as tx:
            lab.api.images.locations.move(tx, image_id, "local", "second")
    before = lab.api.show(image_id)["locations"]
    assert lab.add(image_id, lab.web.put("small", SMALL)).status_code == 409
    for path in ("/locations/0", "/locations/-"):
        assert lab.change(image_id, {"op": "remove", "path": path}, token=ADMIN).status_code == 409
    again = [{"url": before[0]["url"], "metadata": {"a": 1}}]
    assert lab.change(image_id, {"op": "replace", "path": "/locations", "value": again}).status_code == 409
    assert lab.post(image_id) == 409
    assert lab.api.call("DELETE", f"/stores/local/{image_id}", ADMIN).status_code == 409
    assert lab.api.show(image_id)["locations"] == before
    lab.run()
    assert lab.content(image_id) == SMALL


def test_an_image_that_is_deleted_while_it_is_copied_leaves_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    image_id = lab.api.create()
    lab.api.upload(image_id, SMALL)
    wanted = {"method": {"name": "copy-image"}, "stores": ["second"]}
    assert lab.api.call("POST", f"/images/{image_id}/import", ADMIN, json=wanted).status_code == 202
    second: Any = lab.api.stores.get("second")
    write = second.write

    def deleted_before(*arguments: Any) -> Any:
        assert lab.api.call("DELETE", f"/images/{image_id}").status_code == 204
        assert lab.api.call("POST", "/images", json={"id": image_id}).status_code == 409
        return write(*arguments)

    monkeypatch.setattr(second, "write", deleted_before)
    lab.run()
    monkeypatch.undo()
    assert {store.name: store.images() for store in lab.api.stores.all() if not store.read_only} == {
        "local": (), "second": (),
    }  # fmt: skip
    assert lab.api.call("POST", "/images", json={"id": image_id}).status_code == 201
