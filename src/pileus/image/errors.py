"""Errors in the shape that Glance's clients read."""

from http import HTTPStatus
from typing import Any

from pileus.kernel.errors import PileusError


def error_shape(error: PileusError, status: int) -> tuple[dict[str, Any], str]:
    """`{"message", "code", "title"}`."""
    title = HTTPStatus(status).phrase
    return {"message": error.message, "code": f"{status} {title}", "title": title}, "application/json"
