"""Tasks over HTTP."""

from typing import Any
from urllib.parse import urlencode

from pileus.image import schemas as image_schemas
from pileus.image.common import check_owner, check_visibility, own_image
from pileus.image.domain import DISK_FORMATS
from pileus.image.imports.domain import Method
from pileus.image.imports.routes import check_uri
from pileus.image.service import Images
from pileus.image.tasks import schemas
from pileus.image.tasks.domain import Task, TaskStatus, TaskType
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call, Query, Reply, Route
from pileus.kernel.ids import is_uuid
from pileus.kernel.paging import Page, next_link, parse_limit, parse_sort

_SORT_KEYS = {key: key for key in ("created_at", "updated_at", "expires_at", "id", "type", "status", "owner")}
_DEFAULT_SORT = (("created_at", "desc"), ("id", "desc"))
_FILTERS = {"type": tuple(TaskType), "status": tuple(TaskStatus), "owner": None}
_NEEDED = ("import_from", "import_from_format", "image_properties")


def create_task(call: Call, images: Images) -> Reply:
    """Create task: of type import, the only one that callers may create."""
    call.authorize({}, "add_task")
    if call.body.type != TaskType.IMPORT:
        raise BadRequest(f"Tasks of type '{call.body.type}' cannot be created, only of type '{TaskType.IMPORT}'.")
    values = _image_values(call, images)
    uri, source_format = call.body.input["import_from"], call.body.input["import_from_format"]
    check_uri(images, uri)

    def begin(tx: Tx) -> Task:
        image = images.create(tx, call.actor, values)
        images.imports.check(image, Method.FETCH)
        return images.imports.start(
            tx,
            call.actor,
            image,
            Method.FETCH,
            request_id=call.request_id,
            stores=images.imports.choose_stores(image, (), False, Method.FETCH),
            shown=call.body.input,
            task_type=TaskType.IMPORT,
            uri=uri,
            source_format=source_format,
            delete_on_failure=True,
        )

    task = call.transact(begin)
    return Reply(schemas.render(task), headers={"Location": f"{call.base_url}/tasks/{task.id}"})


def _image_values(call: Call, images: Images) -> dict[str, Any]:
    """The fields of the image that the task makes. BadRequest, Forbidden."""
    given = call.body.input
    if missing := [name for name in _NEEDED if name not in given]:
        raise BadRequest(f"The input of an import lacks: {', '.join(missing)}.")
    if not isinstance(given["import_from"], str):
        raise BadRequest("import_from must be a URL.")
    if given["import_from_format"] not in DISK_FORMATS:
        raise BadRequest(f"import_from_format must be one of: {', '.join(DISK_FORMATS)}.")
    values = image_schemas.parse_create(given["image_properties"])
    values.setdefault("disk_format", given["import_from_format"])
    values.setdefault("container_format", "bare")
    check_owner(call.actor, values)
    check_visibility(call, values, {"project_id": call.actor.project_id, "owner": call.actor.project_id})
    images.protection.check(call.actor, {}, values.get("properties", {}))
    return values


def list_tasks(call: Call, images: Images) -> dict[str, Any]:
    """List tasks."""
    call.authorize({}, "get_tasks")
    equal = _filters(call.query)
    limit = parse_limit(call.query.get("limit"), images.settings.page_limit, images.settings.page_default)
    sort = parse_sort(call.query.all("sort_key"), call.query.all("sort_dir"), _SORT_KEYS, _DEFAULT_SORT)
    marker = call.query.get("marker")
    if marker is not None and not is_uuid(marker):
        raise BadRequest("marker must be the id of a task.")
    with call.read() as tx:
        found, more = images.tasks.page(tx, call.actor, equal, Page(limit, marker, sort))
    query = urlencode([(key, value) for key, value in call.query.pairs if key != "marker"])
    answer: dict[str, Any] = {
        "tasks": [schemas.render(task, schemas.BRIEF) for task in found],
        "schema": "/v2/schemas/tasks",
        "first": f"/v2/tasks?{query}" if query else "/v2/tasks",
    }
    if more and found:
        answer["next"] = next_link("/v2/tasks", call.query.pairs, found[-1].id)
    return answer


def _filters(query: Query) -> dict[str, str]:
    equal: dict[str, str] = {}
    for name, allowed in _FILTERS.items():
        value = query.get(name)
        if value is None:
            continue
        if allowed is not None and value not in allowed:
            raise BadRequest(f"Invalid {name} value: {value}")
        equal[name] = value
    return equal


def show_task(call: Call, images: Images) -> dict[str, Any]:
    """Show task details."""
    call.authorize({}, "get_task")
    with call.read() as tx:
        return schemas.render(images.tasks.get(tx, call.actor, call.params["task_id"]))


def list_image_tasks(call: Call, images: Images) -> dict[str, Any]:
    """Show tasks associated with image: to its owner all, to others who see the image those of their own project."""
    with call.read() as tx:
        image = own_image(call, images, tx)
        tasks = images.tasks.of_image(tx, image.id)
    everything = call.actor.is_admin or image.owner == call.actor.owner
    seen = [task for task in tasks if everything or task.owner == call.actor.owner]
    return {"tasks": [schemas.render(task, schemas.TASK_OF_IMAGE) for task in seen]}


ROUTES: tuple[Route[Images], ...] = (
    Route("POST", "/tasks", create_task, "tasks_api_access", status=201, body=schemas.CREATE),
    Route("GET", "/tasks", list_tasks, "tasks_api_access"),
    Route("GET", "/tasks/{task_id}", show_task, "tasks_api_access"),
    Route("GET", "/images/{image_id}/tasks", list_image_tasks, "get_image", targeted=True),
)
