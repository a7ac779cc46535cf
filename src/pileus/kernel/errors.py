"""The tree of errors that a caller of the API may see. The HTTP layer maps it once, in each service's own shape.

The message is written for the caller and says what to do; it never holds internals. `kind` is the service's own
name of the error where its contract has one (Neutron's `NetworkInUse`).
"""

from typing import Any, ClassVar


class PileusError(Exception):
    """Base of all errors with a meaning for the caller."""

    status: ClassVar[int] = 500
    transient: ClassVar[bool] = False  # whether trying the same thing again may help

    def __init__(self, message: str, *, kind: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.details = details


class BadRequest(PileusError):
    """The request is malformed or makes no sense."""

    status = 400


class Unauthorized(PileusError):
    """Nobody is logged in, or the credentials are wrong."""

    status = 401


class Forbidden(PileusError):
    """The caller is known and may not do this."""

    status = 403


class OverLimit(Forbidden):
    """A quota is exhausted."""

    status = 403


class NotFound(PileusError):
    """There is no such thing, or the caller may not know of it."""

    status = 404


class MethodNotAllowed(PileusError):
    """The path exists, the method does not."""

    status = 405


class NotAcceptable(PileusError):
    """The version or media type that the caller wants does not exist."""

    status = 406


class Conflict(PileusError):
    """The thing is in a state in which this cannot be done."""

    status = 409


class Gone(PileusError):
    """It was here once."""

    status = 410


class PreconditionFailed(PileusError):
    """A condition in the request's headers does not hold."""

    status = 412


class TooLarge(PileusError):
    """The body, or what it would make, is over a limit."""

    status = 413


class UnsupportedMediaType(PileusError):
    """The body's media type is not accepted here."""

    status = 415


class RangeNotSatisfiable(PileusError):
    """The byte range does not exist."""

    status = 416


class Unprocessable(PileusError):
    """Well formed, and yet it cannot be done."""

    status = 422


class NotBuilt(PileusError):
    """A documented operation that this cloud does not offer."""

    status = 501


class Unavailable(PileusError):
    """Something that is needed does not answer; trying again later may help."""

    status = 503
    transient = True
