"""When a step is tried again."""

import random
from dataclasses import dataclass

import sqlalchemy as sa


@dataclass(frozen=True)
class Retry:
    """How long, and how often, a step's transient failures are met with another try. Times in seconds.

    An error is transient if its attribute `transient` is true (`AgentUnreachable`, `Unavailable`), if its
    class is in `on`, or if the database was out of reach. Every other error fails the step at once. The pause
    before try n+1 is `first * factor**(n-1)`, at most `longest`, of which `jitter` (0 to 1) is left to chance. No try
    is begun later than `deadline` after the first one of this process: a saga adopted after a long outage gets a new
    one.
    """

    deadline: float = 60.0
    attempts: int = 1_000_000
    first: float = 0.1
    factor: float = 2.0
    longest: float = 5.0
    jitter: float = 0.5
    on: tuple[type[BaseException], ...] = ()

    def transient(self, err: BaseException) -> bool:
        """Whether another try may help."""
        if getattr(err, "transient", False) is True or isinstance(err, self.on):
            return True
        return isinstance(err, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.TimeoutError)

    def pause(self, tries: int) -> float:
        """Seconds to wait after `tries` failed ones."""
        full = min(self.longest, self.first * self.factor ** min(tries - 1, 40))
        return full * (1 - self.jitter * random.random())  # noqa: S311 - spreads load, guards nothing


DEFAULT = Retry()
ONCE = Retry(attempts=1)
STUCK = Retry(first=1.0, longest=60.0)
"""The pauses between the tries of a stuck saga; it has no deadline."""
