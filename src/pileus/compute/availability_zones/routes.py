"""URLs of availability zones."""

from typing import Any

from pileus.compute.availability_zones.policy import ZONES
from pileus.compute.availability_zones.service import AvailabilityZones, Zone
from pileus.compute.services.domain import INTERNAL_ZONE
from pileus.kernel.clock import iso_micro
from pileus.kernel.http import Call, Route


def _rendered(zone: Zone, hosts: dict[str, Any] | None) -> dict[str, Any]:
    return {"zoneName": zone.name, "zoneState": {"available": zone.available}, "hosts": hosts}


def list_zones(call: Call, svc: AvailabilityZones) -> dict[str, Any]:
    with call.read() as tx:
        zones = svc.all(tx)
    return {"availabilityZoneInfo": [_rendered(zone, None) for zone in zones if zone.name != INTERNAL_ZONE]}


def _hosts(zone: Zone) -> dict[str, Any]:
    """Host -> binary -> state. `active` is whether it takes servers, `available` whether it is alive."""
    hosts: dict[str, Any] = {}
    for one in zone.services:
        state = {"active": one.enabled, "available": one.up, "updated_at": iso_micro(one.updated_at)}
        hosts.setdefault(one.host, {})[one.binary] = state
    return hosts


def list_zones_detailed(call: Call, svc: AvailabilityZones) -> dict[str, Any]:
    with call.read() as tx:
        zones = svc.all(tx)
    return {"availabilityZoneInfo": [_rendered(zone, _hosts(zone) if zone.available else None) for zone in zones]}


ROUTES: tuple[Route[AvailabilityZones], ...] = (
    Route("GET", "/os-availability-zone", list_zones, f"{ZONES}list"),
    Route("GET", "/os-availability-zone/detail", list_zones_detailed, f"{ZONES}detail"),
)
