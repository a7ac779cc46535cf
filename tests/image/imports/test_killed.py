"""A conductor that is killed in the middle of an import: another one finishes it. One that lives keeps it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pileus.image.domain import ImportState, Status
from pileus.image.imports.domain import Method
from pileus.kernel.auth import Actor
from pileus.kernel.clock import MICROSECONDS
from pileus.kernel.saga import listing
from pileus.migrations import tables
from tests.agent.images import make_image, pattern
from tests.image.imports.conductor import LEASE, build
from tests.real_things import require
from tests.web import Web, serving

ANN = Actor(user_id="ann", project_id="p1", roles=frozenset({"member"}))
DISK = pattern(4 << 20)


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        yield server


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


@pytest.mark.parametrize("where", ["while it downloads", "while it converts"])
def test_another_conductor_finishes_what_a_killed_one_began(
    tmp_path: Path, web: Web, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("qemu-img", "prlimit", "setpriv")
    web.files["/image"] = make_image(tmp_path, "qcow2", DISK)
    pid, go = tmp_path / "pid", tmp_path / "go"
    fake = tmp_path / "bin" / "qemu-img"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\n[ -e {go} ] && exec /usr/bin/qemu-img "$@"\necho $$ > {pid}\nexec sleep 600\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    db, images, conductor = build(tmp_path)
    with db.write() as tx:
        tables.all_tables().create_all(tx.connection)
        image = images.create(tx, ANN, {"disk_format": "qcow2", "container_format": "bare"})
        images.imports.start(
            tx, ANN, image, Method.WEB_DOWNLOAD, request_id="req-1", stores=["first", "second"], shown={},
            uri=f"{web.url}/image",
        )  # fmt: skip
    if where == "while it downloads":
        web.hold.clear()
    with subprocess.Popen([sys.executable, "-m", "tests.image.imports.conductor", tmp_path]) as process:
        try:
            wait_for(lambda: web.seen if where == "while it downloads" else pid.exists() and pid.read_text())
        finally:
            process.kill()
    web.hold.set()
    go.touch()
    if pid.exists():
        wait_for(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists())

    def status() -> str:
        with db.read() as tx:
            found = images.find(tx, image.id)
        assert found is not None
        return found.status

    conductor.start()
    try:
        wait_for(lambda: status() == Status.ACTIVE)
    finally:
        conductor.stop()
    with db.read() as tx:
        done = images.get(tx, ANN, image.id)
    assert (done.import_task, done.import_state, done.size) == (None, ImportState([], []), len(DISK))
    assert b"".join(images.stored.of(done).read()) == DISK
    assert [store.images() for store in images.stored.stores.all()] == [(image.id,), (image.id,)]
    assert images.imports.staging.images() == ()
    db.close()


def test_a_download_that_lasts_many_leases_stays_with_its_conductor(tmp_path: Path, web: Web) -> None:
    web.files["/image"] = DISK
    web.hold.clear()
    db, images, conductor = build(tmp_path)
    _, _, rival = build(tmp_path)
    with db.write() as tx:
        tables.all_tables().create_all(tx.connection)
        image = images.create(tx, ANN, {"disk_format": "raw", "container_format": "bare"})
        images.imports.start(
            tx, ANN, image, Method.WEB_DOWNLOAD, request_id="req-1", stores=["first"], shown={}, uri=f"{web.url}/image"
        )

    def look() -> tuple[str | None, int]:
        with db.read() as tx:
            saga = listing(tx, resource=image.id)[0]
        return saga.owner, saga.lease_until or 0

    conductor.start()
    rival.start()
    try:
        wait_for(lambda: web.seen)
        owner, began = look()
        wait_for(lambda: look()[1] > began + 3 * LEASE * MICROSECONDS)
        assert look()[0] == owner
        web.hold.set()
        wait_for(images.stored.stores.get("first").images)
    finally:
        web.hold.set()
        conductor.stop()
        rival.stop()
    assert len(web.seen) == 1
    db.close()
