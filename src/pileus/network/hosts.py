"""What the network service asks of the registry of hosts: `pileus.hosts` has it."""

from collections.abc import Sequence
from typing import Protocol

from pileus.kernel.db import Tx


class HostState(Protocol):
    """One host. Times are microseconds since the epoch."""

    @property
    def id(self) -> str:
        """Its UUID."""
        ...

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def availability_zone(self) -> str:
        """The zone it is in."""
        ...

    @property
    def up(self) -> bool:
        """Whether it was heard of lately."""
        ...

    @property
    def enabled(self) -> bool:
        """Whether new work may be put on it."""
        ...

    @property
    def created_at(self) -> int:
        """When it was first heard of."""
        ...

    @property
    def booted_at(self) -> int:
        """When it was started; 0 if it did not say."""
        ...

    @property
    def last_seen(self) -> int:
        """When it was last heard of."""
        ...


class HostRegistry(Protocol):
    """Who knows the hosts."""

    def all(self, tx: Tx) -> Sequence[HostState]:
        """All hosts."""
        ...
