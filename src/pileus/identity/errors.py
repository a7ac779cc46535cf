"""Keystone's error shape."""

from http import HTTPStatus
from typing import Any

from pileus.kernel.app import JSON
from pileus.kernel.errors import PileusError


def error_shape(error: PileusError, status: int, _accept: str) -> tuple[dict[str, Any], str]:
    """`{"error": {"code", "title", "message"}}`."""
    return {"error": {"code": status, "title": HTTPStatus(status).phrase, "message": error.message}}, JSON
