"""Settings of the scheduler."""

from dataclasses import dataclass

from pileus.kernel.config import setting


@dataclass(frozen=True)
class SchedulerSettings:
    """`[scheduler]`: how a host is chosen among those that pass all filters: the one with the highest score.

    A host's score is the sum of its free shares (0 to 1) of each resource, and of 1 if it holds the server's image
    in its cache, each times its multiplier.
    """

    ram_weight_multiplier: float = setting(1.0, "weight of free memory; negative packs hosts instead of spreading")
    cpu_weight_multiplier: float = setting(1.0, "weight of free virtual CPUs")
    disk_weight_multiplier: float = setting(0.5, "weight of free disk")
    image_weight_multiplier: float = setting(
        0.5, "weight of holding the image: how much emptier a host without it must be to be preferred"
    )
    host_subset_size: int = setting(
        1, "choose at random among so many best hosts; more means fewer collisions of several conductors", minimum=1
    )
    snapshot_age: float = setting(
        1.0, "how old the scheduler's view of the hosts may be. Claims are always checked", unit="seconds", minimum=0.0
    )
    max_attempts: int = setting(3, "hosts on which a server is tried before it is given up", minimum=1)
