"""What a task is."""

from enum import StrEnum
from typing import Any

import msgspec


class TaskStatus(StrEnum):
    """States of a task. The last two are final."""

    PENDING = "pending"
    PROCESSING = "processing"
    SUCCESS = "success"
    FAILURE = "failure"


class TaskType(StrEnum):
    """What a task does. Users create only the first; the others are made by the image API's own operations."""

    IMPORT = "import"
    API_IMAGE_IMPORT = "api_image_import"
    LOCATION_IMPORT = "location_import"


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One task. Times: microseconds. `expires_at` is set when it has ended. It has a `result` only if it succeeded."""

    id: str
    type: str
    status: str
    owner: str  # a project
    user_id: str
    request_id: str
    image_id: str | None
    input: dict[str, Any]
    result: dict[str, Any] | None
    message: str
    created_at: int
    updated_at: int
    expires_at: int | None
