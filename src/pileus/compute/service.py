"""The compute service as a whole: what other services and the process that composes them see of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from pileus.agent.api import Inventory, PowerState
from pileus.compute.metadata_sync.service import MetadataSync
from pileus.compute.servers import loops
from pileus.compute.servers.injection import NO_INJECTION, InjectionChoice
from pileus.compute.servers.service import Neighbours, Servers
from pileus.compute.settings import ComputeSettings
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.saga import Sagas
from pileus.kernel.seal import Seal
from pileus.placement.service import DISK_GB, MEMORY_MB, VCPU


@dataclass(frozen=True)
class Compute:
    """Servers, and what hosts tell about them. Sagas find it as `ctx.services.compute`."""

    servers: Servers

    @classmethod
    def build(
        cls,
        settings: ComputeSettings,
        neighbours: Neighbours,
        sagas: Sagas,
        clock: Clock,
        metadata_sync: MetadataSync,
        seal: Seal,
        injection: InjectionChoice = NO_INJECTION,
    ) -> "Compute":
        """The service with its collaborators."""
        return cls(Servers(settings, neighbours, sagas, clock, metadata_sync, seal, injection))

    def observe_power(self, tx: Tx, host: str, states: Mapping[str, PowerState], complete: bool) -> None:
        """Take over the power states that a host reports. `complete`: these are all its guests."""
        loops.observe_power(self.servers, tx, host, states, complete=complete)

    def observe_inventory(self, tx: Tx, host: str, inventory: Inventory) -> None:
        """Take over what a host has."""
        totals = {VCPU: inventory.vcpus, MEMORY_MB: inventory.memory_mb, DISK_GB: inventory.disk_gb}
        self.servers.neighbours.placement.set_inventory(tx, host, totals)
        tx.after_commit(self.servers.neighbours.scheduler.forget)
