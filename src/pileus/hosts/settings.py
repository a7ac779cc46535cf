"""Settings of the registry of hosts."""

from dataclasses import dataclass

from pileus.kernel.config import setting


@dataclass(frozen=True)
class HostsSettings:
    """`[hosts]`: when a host counts as down."""

    down_after: int = setting(
        60, "a host whose agent was not heard for so long is down: it gets no new servers", unit="seconds", minimum=1
    )
    availability_zone: str = setting("nova", "the availability zone of hosts that are in no other")
