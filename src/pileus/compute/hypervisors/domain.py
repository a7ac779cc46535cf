"""What a hypervisor is: a host with what is used of it."""

import msgspec

from pileus.hosts.domain import Host


class HostedServer(msgspec.Struct, frozen=True):
    """A server on a host."""

    id: str
    name: str


class Load(msgspec.Struct, frozen=True):
    """What is on a host: its servers, and how many of them something is being done with."""

    servers: int = 0
    busy: int = 0


class Usage(msgspec.Struct, frozen=True):
    """What of a host's CPUs, memory (MiB) and disk (GiB) is taken: by servers, and kept from them by the operator."""

    vcpus: int = 0
    memory_mb: int = 0
    disk_gb: int = 0


class Hypervisor(msgspec.Struct, frozen=True):
    """A host as the API shows it. `servers` is None where they were not asked for."""

    host: Host
    usage: Usage = Usage()
    load: Load = Load()
    servers: list[HostedServer] | None = None


class Statistics(msgspec.Struct, frozen=True):
    """Sums over all hypervisors that are enabled."""

    count: int
    vcpus: int
    vcpus_used: int
    memory_mb: int
    memory_mb_used: int
    free_ram_mb: int
    local_gb: int
    local_gb_used: int
    free_disk_gb: int
    disk_available_least: int
    running_vms: int
    current_workload: int
