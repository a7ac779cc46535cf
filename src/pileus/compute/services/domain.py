"""What a service is: a kind of process on a host."""

import msgspec

COMPUTE, CONDUCTOR, SCHEDULER = "nova-compute", "nova-conductor", "nova-scheduler"
INTERNAL_ZONE = "internal"


class ComputeService(msgspec.Struct, frozen=True, kw_only=True):
    """One service. Times are microseconds since the epoch. `number` is the id in versions before 2.53."""

    id: str
    number: int
    binary: str
    host: str
    zone: str
    enabled: bool
    up: bool
    updated_at: int | None
    disabled_reason: str | None = None
    forced_down: bool = False


class ServiceUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """What an administrator changes of a service; what is None stays. `disabled_reason` goes with `enabled` False."""

    enabled: bool | None = None
    disabled_reason: str | None = None
    forced_down: bool | None = None
