"""What can go wrong between two image services. Every message names the place it speaks of."""

from pileus.kernel.errors import PileusError


class ReplicationError(PileusError):
    """Base of all: one image, or the whole call, has failed for the reason in the message."""


class UsageError(ReplicationError):
    """The call itself makes no sense: arguments, clouds.yaml, environment."""


class LoginFailed(ReplicationError):
    """A place does not let us in, or is not an image service."""


class Refused(ReplicationError):
    """A definite answer that trying again does not change. `code` is its HTTP status."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Unreachable(ReplicationError):
    """No answer, a broken connection, or a server that is busy: trying again may help.

    `retry_after`: seconds that the server asked to wait, or None.
    """

    transient = True

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CannotResume(ReplicationError):
    """A download broke off and the server reads only from the beginning: what was written must begin anew too."""


class Vanished(ReplicationError):
    """The image was deleted or deactivated where it was read, after it had been listed."""


class Mismatch(ReplicationError):
    """Data is not what a record says it is."""


class Differs(ReplicationError):
    """There is something else under the same id, and nobody allowed to replace it."""


class Cancelled(ReplicationError):
    """The user wants no more."""

    def __init__(self) -> None:
        super().__init__("cancelled")
