"""An import ends complete or undone, whatever fails or dies on the way."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pileus.image.domain import Status
from pileus.image.imports.domain import Method
from pileus.image.imports.sagas import SAGAS
from pileus.kernel.auth import Actor
from pileus.kernel.db import Database, DatabaseSettings, Tx
from pileus.kernel.saga import Sagas, State, events, listing
from pileus.migrations import tables
from tests.image.imports.conftest import make_importer
from tests.saga_harness import exercise

ANN = Actor(user_id="ann", project_id="p1", roles=frozenset({"member"}))
DATA = b"data of an image " * 1000


class ImportWorld:
    """An image whose import begins, with two stores."""

    method = Method.GLANCE_DIRECT

    def __init__(self, directory: Path) -> None:
        database = DatabaseSettings(url=f"sqlite:///{directory}/pileus.db", sqlite_synchronous="OFF")
        self.db = Database(database)
        with self.db.write() as tx:
            tables.all_tables().create_all(tx.connection)
        self.importer = make_importer(self.db, directory)
        self.images = self.importer.api.images
        self.clock = self.importer.api.clock
        self.services: Any = SimpleNamespace(images=self.images)
        self.image_id = self.importer.api.create()
        self.prepare()

    def prepare(self) -> None:
        assert self.importer.stage(self.image_id, DATA).status_code == 204

    def begin(self, tx: Tx, sagas: Sagas) -> str:
        image = self.images.get(tx, ANN, self.image_id)
        stores = self.images.imports.choose_stores(image, (), every=True, method=self.method)
        self.task = self.images.imports.start(
            tx, ANN, image, self.method, request_id="req-1", stores=stores, shown={}
        ).id
        self.sagas, self.saga_id = sagas, listing(tx, resource=self.image_id)[0].id
        return self.saga_id

    def audit(self, state: State) -> list[str]:
        with self.db.read() as tx:
            image = self.images.get(tx, ANN, self.image_id)
            task = self.images.tasks.get(tx, ANN, self.task)
            begun = events(tx, self.sagas, self.saga_id)
        if not begun:  # a saga that was cancelled at once had nothing to undo: what was staged before is the loop's
            self.images.imports.reconcile()
        problems = [] if image.import_task is None else ["the import never ended"]
        if self.importer.staged():
            problems.append("something is staged still")
        where = {name for name, images in self.importer.kept().items() if images}
        if {location.store for location in image.locations} != where:
            problems.append(f"the image is in {where}, and says {image.locations}")
        expected = ("success", *self.done()) if state is State.DONE else ("failure", *self.undone())
        found = (task.status, image.status, image.size, where)
        return problems if found == expected else [*problems, f"{found} instead of {expected}"]

    def done(self) -> tuple[Any, ...]:
        return Status.ACTIVE, len(DATA), {"first", "second"}

    def undone(self) -> tuple[Any, ...]:
        return Status.QUEUED, None, set()

    def close(self) -> None:
        self.db.close()


class CopyWorld(ImportWorld):
    """An image that is in one store already."""

    method = Method.COPY_IMAGE

    def prepare(self) -> None:
        assert self.importer.api.upload(self.image_id, DATA).status_code == 204

    def undone(self) -> tuple[Any, ...]:
        return Status.ACTIVE, len(DATA), {"first"}


@pytest.mark.parametrize("world", [ImportWorld, CopyWorld])
def test_an_import_survives_everything(world: type[ImportWorld], tmp_path: Path) -> None:
    made = 0

    def make() -> ImportWorld:
        nonlocal made
        made += 1
        directory = tmp_path / str(made)
        directory.mkdir()
        return world(directory)

    assert exercise(SAGAS[0], make) > 100
