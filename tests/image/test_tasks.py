"""Tasks: seen by administrators, and by users through their images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pileus.image.tasks.domain import TaskType
from pileus.image.tasks.loops import purge
from pileus.kernel.auth import Actor
from pileus.kernel.db import Database
from pileus.kernel.loops import LoopCtx
from tests.agent.images import make_image
from tests.image.conftest import Api
from tests.image.imports.conftest import Importer, make_importer
from tests.real_things import require
from tests.web import Web, serving

ADMIN = "root@p0:admin"
DATA = b"bytes of an image" * 1000


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        yield server


@pytest.fixture
def importer(database: Database, tmp_path: Path) -> Importer:
    """On every kind of database."""
    importer = make_importer(database, tmp_path)
    importer.api.token = ADMIN
    return importer


def create(importer: Importer, uri: str, **properties: Any) -> Any:
    given = {"import_from": uri, "import_from_format": "raw", "image_properties": {"name": "made", **properties}}
    return importer.api.call("POST", "/tasks", json={"type": "import", "input": given})


def test_a_task_makes_an_image(importer: Importer, web: Web) -> None:
    web.files["/image"] = DATA
    answer = create(importer, f"{web.url}/image", visibility="public", os_distro="debian")
    assert answer.status_code == 201, answer.text
    task = answer.json
    assert answer.headers["Location"].endswith(f"/v2/tasks/{task['id']}")
    assert (task["status"], task["type"], task["message"], task["result"]) == ("pending", "import", "", {})
    assert "expires_at" not in task
    importer.run()
    task = importer.api.call("GET", f"/tasks/{task['id']}").json
    assert (task["status"], task["owner"]) == ("success", "p0")
    image = importer.api.show(task["result"]["image_id"])
    assert (image["status"], image["name"], image["visibility"], image["os_distro"]) == (
        "active", "made", "public", "debian",
    )  # fmt: skip
    assert importer.api.call("GET", f"/images/{image['id']}/file").content == DATA
    assert importer.api.call("GET", f"/images/{image['id']}/tasks", "bob@p2:member").json == {"tasks": []}
    (shown,) = importer.tasks(image["id"])
    assert (shown["id"], shown["user_id"], shown["request_id"][:4]) == (task["id"], "root", "req-")


def test_a_task_that_fails_leaves_no_image(importer: Importer, web: Web) -> None:
    task = create(importer, f"{web.url}/missing").json
    importer.run()
    importer.api.images.reconcile()
    task = importer.api.call("GET", f"/tasks/{task['id']}").json
    assert (task["status"], task["result"]) == ("failure", {})
    assert task["message"].startswith("There is nothing at")
    assert importer.api.list() == []


def test_a_task_converts_to_the_format_of_its_image(importer: Importer, web: Web, tmp_path: Path) -> None:
    require("qemu-img")
    web.files["/image"] = make_image(tmp_path, "qcow2", DATA[:16384])
    given = {"import_from": f"{web.url}/image", "import_from_format": "qcow2"}
    properties = {"disk_format": "raw", "container_format": "bare"}
    task = importer.api.call(
        "POST", "/tasks", json={"type": "import", "input": {**given, "image_properties": properties}}
    ).json
    importer.run()
    image = importer.api.show(importer.api.call("GET", f"/tasks/{task['id']}").json["result"]["image_id"])
    assert (image["disk_format"], image["size"]) == ("raw", 16384)


@pytest.mark.parametrize(
    "body",
    [
        {"type": "api_image_import", "input": {}},
        {"type": "export", "input": {}},
        {"type": "import"},
        {"type": "import", "input": {"import_from": "http://a/", "import_from_format": "raw"}},
        {"type": "import", "input": {"import_from": 1, "import_from_format": "raw", "image_properties": {}}},
        {"type": "import", "input": {"import_from": "http://a/", "import_from_format": "x", "image_properties": {}}},
        {"type": "import", "input": {"import_from": "file:///", "import_from_format": "raw", "image_properties": {}}},
        {"type": "import", "input": {"import_from": "http://x-y", "import_from_format": "raw", "image_properties": []}},
    ],
)  # fmt: skip
def test_tasks_that_make_no_sense_are_refused(api: Api, body: dict[str, Any]) -> None:
    assert api.call("POST", "/tasks", ADMIN, json=body).status_code == 400
    assert api.call("GET", "/tasks", ADMIN).json["tasks"] == []


def test_tasks_are_for_administrators(api: Api) -> None:
    for method, path in (("GET", "/tasks"), ("POST", "/tasks"), ("GET", "/tasks/36d4b546-64a2-4bb9-bdd0-ba676aa48f2c")):
        assert api.call(method, path, json={"type": "import", "input": {}}).status_code == 403
    assert api.call("GET", "/tasks/36d4b546-64a2-4bb9-bdd0-ba676aa48f2c", ADMIN).status_code == 404
    refused = api.call("DELETE", "/tasks/36d4b546-64a2-4bb9-bdd0-ba676aa48f2c", ADMIN)
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET")


def test_tasks_are_listed_by_pages(importer: Importer, web: Web) -> None:
    ids = []
    for _ in range(3):
        ids.append(create(importer, f"{web.url}/missing").json["id"])
        importer.api.clock.advance(1)
    importer.run()
    first = importer.api.call("GET", "/tasks", query_string="limit=2").json
    assert [task["id"] for task in first["tasks"]] == ids[:0:-1]
    assert "input" not in first["tasks"][0]
    query = first["next"].partition("?")[2]
    second = importer.api.call("GET", "/tasks", query_string=query).json
    assert ([task["id"] for task in second["tasks"]], "next" in second) == (ids[:1], False)
    for query, count in (("status=failure", 3), ("status=success", 0), ("type=import", 3), ("sort_key=status", 3)):
        assert len(importer.api.call("GET", "/tasks", query_string=query).json["tasks"]) == count
    for query in ("status=x", "type=x", "marker=x", "sort_key=input", "limit=-1"):
        assert importer.api.call("GET", "/tasks", query_string=query).status_code == 400


def test_finished_tasks_are_forgotten_after_a_while(importer: Importer, web: Web) -> None:
    done = create(importer, f"{web.url}/missing").json["id"]
    importer.run()
    assert importer.api.call("GET", f"/tasks/{done}").json["expires_at"].startswith("20")
    tasks, actor = importer.api.images.tasks, Actor(user_id="u", project_id="p0")
    with importer.api.db.write() as tx:
        going_on = tasks.create(tx, actor, TaskType.LOCATION_IMPORT, request_id="req-1", values={}).id
        tasks.progress(tx, going_on, "half")
    context = LoopCtx(importer.api.db, importer.api, importer.api.clock, lambda: False)
    for hours, left in ((47, {done, going_on}), (2, {going_on})):
        importer.api.clock.advance(hours * 3600)
        purge(context)
        listed = importer.api.call("GET", "/tasks").json["tasks"]
        assert {task["id"] for task in listed} == left
    with importer.api.db.write() as tx:
        tasks.succeed(tx, going_on, {})
        tasks.fail(tx, going_on, "too late")
    assert importer.api.call("GET", f"/tasks/{going_on}").json["status"] == "success"


def test_the_schemas_of_tasks_are_there(api: Api) -> None:
    task, tasks = (api.call("GET", f"/schemas/{name}").json for name in ("task", "tasks"))
    assert (task["name"], tasks["name"]) == ("task", "tasks")
    assert task["properties"]["status"]["enum"] == ["pending", "processing", "success", "failure"]
