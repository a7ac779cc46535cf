"""Why the agent does not do as it was asked. The server turns these into agent.api.Refused."""

from pileus.agent.api import RefusalKind


class AgentError(Exception):
    """Base of the agent's own refusals."""

    kind = RefusalKind.FAILED


class InvalidRequest(AgentError):
    """The description makes no sense."""

    kind = RefusalKind.INVALID


class NotHere(AgentError):
    """What the request is about, or refers to, is not on this host."""

    kind = RefusalKind.NOT_FOUND


class ImageUnusable(AgentError):
    """The image is not what it says it is, or does not fit the disk."""

    kind = RefusalKind.IMAGE_UNUSABLE


class NoSpace(AgentError):
    """The host's disk is full."""

    kind = RefusalKind.NO_SPACE


class ControlPlaneSilent(AgentError):
    """The control plane does not answer."""


class Busy(AgentError):
    """Too many wait for the same already: later, they may not."""
