"""Settings of the process that runs durable operations."""

from dataclasses import dataclass

from pileus.kernel.config import setting


@dataclass(frozen=True)
class ConductorSettings:
    """`[conductor]`: the process that runs durable operations and loops."""

    threads: int = setting(64, "operations that one conductor works on at the same time", minimum=1, maximum=1000)
    lease_seconds: float = setting(
        15.0,
        "how long an operation stays with a conductor that has stopped answering; on the same machine a dead one's "
        "operations are taken over at once",
        unit="seconds",
        minimum=1,
    )
    poll_seconds: float = setting(
        1.0, "how often to look for operations that were started on another machine", unit="seconds", minimum=0.05
    )
    stop_seconds: float = setting(
        10.0, "how long a conductor that is told to stop waits for steps that are running", unit="seconds", minimum=0
    )
    keep_days: float = setting(90.0, "how long the history of finished operations is kept", unit="days", minimum=0)
