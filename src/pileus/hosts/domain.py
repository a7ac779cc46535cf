"""A host as the control plane knows it."""

import msgspec

from pileus.agent.api import Inventory


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """One host. Times are microseconds since the epoch.

    `id` is the UUID that the API shows for its hypervisor and its service. `up`: its agent was heard lately,
    and no administrator has declared the host to be down.
    """

    id: str
    number: int
    name: str
    address: str
    inventory: Inventory
    availability_zone: str
    enabled: bool
    disabled_reason: str | None
    forced_down: bool
    last_seen: int
    booted_at: int
    created_at: int
    up: bool
