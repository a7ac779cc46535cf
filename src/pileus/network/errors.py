"""Neutron's errors: their names are part of the contract, clients match on them."""

from typing import Any

from pileus.kernel.errors import BadRequest, Conflict, NotFound, OverLimit, PileusError

_KINDS = {
    400: "HTTPBadRequest",
    403: "PolicyNotAuthorized",
    404: "HTTPNotFound",
    409: "HTTPConflict",
    405: "HTTPMethodNotAllowed",
    413: "HTTPRequestEntityTooLarge",
    415: "HTTPUnsupportedMediaType",
    501: "HTTPNotImplemented",
    503: "HTTPServiceUnavailable",
}


def error_shape(error: PileusError, status: int, _accept: str) -> tuple[Any, str]:
    """`{"NeutronError": {"type", "message", "detail"}}`; a missing token is answered as keystonemiddleware does."""
    if status == 401:
        return {"error": {"code": 401, "title": "Unauthorized", "message": error.message}}, "application/json"
    kind = error.kind or _KINDS.get(status, "HTTPInternalServerError")
    return {"NeutronError": {"type": kind, "message": error.message, "detail": ""}}, "application/json"


_NOUNS = {
    "agent": ("AgentNotFound", "Agent"),
    "network": ("NetworkNotFound", "Network"),
    "subnet": ("SubnetNotFound", "Subnet"),
    "port": ("PortNotFound", "Port"),
    "router": ("RouterNotFound", "Router"),
    "floatingip": ("FloatingIPNotFound", "Floating IP"),
    "security_group": ("SecurityGroupNotFound", "Security group"),
    "security_group_rule": ("SecurityGroupRuleNotFound", "Security group rule"),
}


def not_found(resource: str, resource_id: str) -> NotFound:
    """The error for a thing that is not there, or that the caller may not see."""
    kind, noun = _NOUNS[resource]
    if resource.startswith("security"):
        return NotFound(f"{noun} {resource_id} does not exist", kind=kind)
    return NotFound(f"{noun} {resource_id} could not be found.", kind=kind)


def invalid(message: str) -> BadRequest:
    """An input that cannot be taken."""
    return BadRequest(f"Invalid input for operation: {message}.", kind="InvalidInput")


def bad_attribute(name: str, reason: str) -> BadRequest:
    """An attribute whose value is malformed."""
    return BadRequest(f"Invalid input for {name}. Reason: {reason}.")


def in_use(kind: str, message: str) -> Conflict:
    """Something else depends on the thing."""
    return Conflict(message, kind=kind)


class OverQuota(OverLimit):
    """A quota is exhausted. Neutron answers 409 where other services answer 403."""

    status = 409

    def __init__(self, resource: str) -> None:
        super().__init__(f"Quota exceeded for resources: ['{resource}'].", kind="OverQuota")
        self.resource = resource
