"""Availability zones. A host is in exactly one; the default zone is there even without hosts."""

from collections.abc import Sequence

import msgspec

from pileus.compute.services.domain import INTERNAL_ZONE, ComputeService
from pileus.compute.services.service import ComputeServices
from pileus.compute.settings import ComputeSettings
from pileus.kernel.db import Tx


class Zone(msgspec.Struct, frozen=True):
    """A zone with the services in it. `available`: some of them is enabled, so servers can be asked into it."""

    name: str
    available: bool
    services: Sequence[ComputeService]


class AvailabilityZones:
    """Zones, read from the services that are in them."""

    def __init__(self, settings: ComputeSettings, services: ComputeServices) -> None:
        self._default = settings.default_availability_zone
        self._services = services

    def all(self, tx: Tx) -> list[Zone]:
        """All zones by name, the one of the control plane's own services last."""
        members: dict[str, list[ComputeService]] = {self._default: []}
        for service in self._services.all(tx):
            members.setdefault(service.zone, []).append(service)
        zones = [Zone(name, any(one.enabled for one in inside), inside) for name, inside in members.items()]
        return sorted(zones, key=lambda zone: (zone.name == INTERNAL_ZONE, zone.name))
