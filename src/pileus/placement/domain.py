"""Resource classes, inventories and what is left of them."""

import msgspec

VCPU = "VCPU"
MEMORY_MB = "MEMORY_MB"
DISK_GB = "DISK_GB"
RESOURCE_CLASSES = (VCPU, MEMORY_MB, DISK_GB)


class Inventory(msgspec.Struct, frozen=True):
    """What a host has of one resource class. `used` is the sum of the allocations, kept beside them."""

    host: str
    resource_class: str
    total: int
    reserved: int
    allocation_ratio: float
    used: int

    @property
    def capacity(self) -> int:
        """How much may be allocated altogether."""
        return int((self.total - self.reserved) * self.allocation_ratio)

    @property
    def free(self) -> int:
        """How much may still be allocated; negative where a host lost some of what was allocated."""
        return self.capacity - self.used


class Allocation(msgspec.Struct, frozen=True):
    """What a consumer (a server) takes of one resource class of a host."""

    consumer_id: str
    host: str
    resource_class: str
    used: int
    project_id: str
    user_id: str
