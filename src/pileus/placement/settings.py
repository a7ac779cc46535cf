"""Settings of placement."""

from dataclasses import dataclass

from pileus.kernel.config import setting


@dataclass(frozen=True)
class PlacementSettings:
    """`[placement]`: how far hosts may be filled. A host's capacity is (total - reserved) * ratio."""

    cpu_allocation_ratio: float = setting(16.0, "virtual CPUs sold for each CPU of a host", minimum=0.01)
    ram_allocation_ratio: float = setting(1.0, "memory sold for each MiB of a host's memory", minimum=0.01)
    disk_allocation_ratio: float = setting(1.0, "disk sold for each GiB of a host's disk", minimum=0.01)
    reserved_host_cpus: int = setting(0, "CPUs of each host that are kept from servers", minimum=0)
    reserved_host_memory_mb: int = setting(512, "memory of each host that is kept from servers", unit="MiB", minimum=0)
    reserved_host_disk_mb: int = setting(0, "disk of each host that is kept from servers", unit="MiB", minimum=0)
