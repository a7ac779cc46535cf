"""The fields of tasks in requests and responses, and their JSON schemas."""

from typing import Any

import msgspec

from pileus.image.tasks.domain import Task, TaskStatus, TaskType
from pileus.kernel.clock import iso
from pileus.kernel.fields import Body, Field, Param, View

CREATE = Body(None, Param("type", str, required=True), Param("input", dict[str, Any], required=True))

_BRIEF = (
    Field("id", lambda t: t.id),
    Field("type", lambda t: t.type),
    Field("status", lambda t: t.status),
    Field("owner", lambda t: t.owner),
    Field("created_at", lambda t: iso(t.created_at)),
    Field("updated_at", lambda t: iso(t.updated_at)),
    Field("self", lambda t: f"/v2/tasks/{t.id}"),
    Field("schema", lambda _: "/v2/schemas/task"),
)
_MORE = (
    Field("input", lambda t: t.input),
    Field("result", lambda t: t.result or {}),
    Field("message", lambda t: t.message),
)
_ORIGIN = (
    Field("image_id", lambda t: t.image_id),
    Field("request_id", lambda t: t.request_id),
    Field("user_id", lambda t: t.user_id),
)
BRIEF = View(*_BRIEF)
TASK = View(*_BRIEF, *_MORE)
TASK_OF_IMAGE = View(*_BRIEF, *_MORE, *_ORIGIN)


def render(task: Task, view: View = TASK) -> dict[str, Any]:
    """A task as the API shows it. A task that has not ended has no `expires_at`."""
    expires = {} if task.expires_at is None else {"expires_at": iso(task.expires_at)}
    shown: dict[str, Any] = msgspec.to_builtins({**view.render(task), **expires})
    return shown


_TEXT = {"type": "string"}
_BRIEF_SCHEMA: dict[str, Any] = {
    "id": {"type": "string", "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"},
    "type": {"type": "string", "enum": [member.value for member in TaskType]},
    "status": {"type": "string", "enum": [member.value for member in TaskStatus]},
    "owner": _TEXT,
    "expires_at": _TEXT,
    "created_at": _TEXT,
    "updated_at": _TEXT,
    "self": _TEXT,
    "schema": _TEXT,
}
TASK_SCHEMA: dict[str, Any] = {
    "name": "task",
    "properties": {
        **_BRIEF_SCHEMA,
        "input": {"type": ["null", "object"]},
        "result": {"type": ["null", "object"]},
        "message": _TEXT,
        "image_id": {"type": ["null", "string"]},
        "request_id": _TEXT,
        "user_id": _TEXT,
    },
}
TASKS_SCHEMA: dict[str, Any] = {
    "name": "tasks",
    "properties": {
        "tasks": {"type": "array", "items": {"name": "task", "properties": _BRIEF_SCHEMA}},
        "first": _TEXT,
        "next": _TEXT,
        "schema": _TEXT,
    },
    "links": [
        {"rel": "first", "href": "{first}"},
        {"rel": "next", "href": "{next}"},
        {"rel": "describedby", "href": "{schema}"},
    ],
}
