"""Nova's error documents, and the errors that only compute has."""

from typing import Any

from pileus.kernel.errors import Conflict, PileusError

_NAMES = {
    400: "badRequest",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}
JSON = "application/json"


def error_shape(error: PileusError, status: int, _accept: str) -> tuple[Any, str]:
    """`{"itemNotFound": {"code": 404, "message": ...}}`; 401 as the token middleware of OpenStack words it."""
    if status == 401:
        return {"error": {"code": 401, "title": "Unauthorized", "message": error.message}}, JSON
    document: dict[str, Any] = {"code": status, "message": error.message}
    if status in (413, 429):
        document["retryAfter"] = "0"
    return {_NAMES.get(status, "computeFault"): document}, JSON


class InstanceInvalidState(Conflict):
    """The server's state does not allow the action."""


class InstanceIsLocked(Conflict):
    """The server is locked, and the caller may not override that."""


class InstanceNotReady(Conflict):
    """The server is on no host yet."""


class AmbiguousNetworks(Conflict):
    """The request leaves open which network is meant."""
