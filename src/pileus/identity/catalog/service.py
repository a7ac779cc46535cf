"""The rules of the catalog."""

import re
import threading
from collections.abc import Sequence
from typing import Any

import msgspec

from pileus.identity import models
from pileus.identity.catalog import store
from pileus.identity.domain import INTERFACES, CatalogService, Endpoint, Region
from pileus.identity.endpoint_filter import store as filters
from pileus.identity.generation import Generation
from pileus.identity.rest import Sent, changes, missing
from pileus.identity.rows import Found, Wanted
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Conflict
from pileus.kernel.ids import new_hex

_PLACE = re.compile(r"[%$]\((\w+)\)s")
_KNOWN = frozenset({"project_id", "tenant_id", "user_id"})
_MOST_PROJECTS = 4096


class _Snapshot(msgspec.Struct):
    """What one generation's catalogs are made of. `generation` None: it is not to be remembered.

    `filtered`: whether any project is associated with endpoints; `chosen`: those of the projects that were asked for,
    as far as memory is worth it.
    """

    generation: int | None
    services: list[tuple[CatalogService, list[Endpoint]]]
    filtered: bool
    chosen: dict[str, frozenset[str]] = msgspec.field(default_factory=dict)


class Catalog:
    """Regions, services and endpoints, and the catalog that tokens carry.

    `all_without_filter`: whether a project that is associated with no endpoints sees all of them, or none.
    """

    def __init__(self, generation: Generation, *, all_without_filter: bool) -> None:
        self._generation = generation
        self._all_without_filter = all_without_filter
        self._lock = threading.Lock()
        self._known: _Snapshot | None = None

    def of(self, tx: Tx, user_id: str, project_id: str | None) -> list[dict[str, Any]]:
        """The catalog as a token shows it.

        Endpoints whose address needs a project are left out without one; of a project that is associated with
        endpoints (OS-EP-FILTER) those alone are shown, and the services that have some.
        """
        values = {"user_id": user_id} | ({"project_id": project_id, "tenant_id": project_id} if project_id else {})
        present = self._present(tx)
        chosen = self._chosen(tx, present, project_id)
        if chosen is None:
            return [_shown(service, endpoints, values) for service, endpoints in present.services]
        parts = ((service, [one for one in endpoints if one.id in chosen]) for service, endpoints in present.services)
        return [_shown(service, endpoints, values) for service, endpoints in parts if endpoints]

    def address(self, tx: Tx, service_type: str, region: str, interface: str) -> str | None:
        """Where a service is in a region; None if the catalog has no such endpoint, or one that needs a project."""
        for service, endpoints in self._present(tx).services:
            for endpoint in endpoints if service.type == service_type else ():
                if endpoint.region_id == region and endpoint.interface == interface:
                    return _filled(endpoint.url, {})
        return None

    def _present(self, tx: Tx) -> _Snapshot:
        known = self._known
        if known is not None and known.generation == self._generation.value:
            return known
        generation = self._generation.seen_by(tx)
        found = _Snapshot(generation, store.enabled(tx), filters.any_project(tx))
        if generation is not None:
            with self._lock:
                self._known = found
        return found

    def _chosen(self, tx: Tx, present: _Snapshot, project_id: str | None) -> frozenset[str] | None:
        """The ids of the endpoints that a project's catalog is made of; None if all are."""
        chosen: frozenset[str] | None = frozenset()
        if present.filtered and project_id is not None:
            chosen = present.chosen.get(project_id)
            if chosen is None:
                generation = self._generation.seen_by(tx)
                chosen = frozenset(one.id for one in filters.endpoints_of_project(tx, project_id))
                if generation == present.generation and len(present.chosen) < _MOST_PROJECTS:
                    present.chosen[project_id] = chosen
        return None if not chosen and self._all_without_filter else chosen

    # --- regions ---------------------------------------------------------------------------------------------

    def region(self, tx: Tx, region_id: str) -> Region:
        """A region, or NotFound."""
        region = store.REGIONS.get(tx, region_id)
        if region is None:
            raise missing("region", region_id)
        return region

    def regions(self, tx: Tx, wanted: Wanted) -> Found[Region]:
        """A page of regions."""
        return store.REGIONS.page(tx, wanted)

    def create_region(self, tx: Tx, region_id: str | None, sent: Sent) -> Region:
        """Create a region under an id of the caller's choice, or ours."""
        region = Region(
            id=region_id or new_hex(),
            description=sent.get("description", ""),
            parent_region_id=sent.get("parent_region_id"),
            extra=sent.extra,
        )
        if region.parent_region_id is not None:
            self.region(tx, region.parent_region_id)
        store.REGIONS.insert(tx, region)
        return region

    def update_region(self, tx: Tx, region: Region, sent: Sent) -> Region:
        """Change a region. BadRequest if it would become its own ancestor."""
        above = sent.get("parent_region_id")
        while above is not None:
            if above == region.id:
                raise BadRequest(f"Region {region.id} cannot be below itself.")
            above = self.region(tx, above).parent_region_id
        values = changes(region, sent, ("description", "parent_region_id"), {"description": ""})
        store.REGIONS.change(tx, region.id, values)
        return self.region(tx, region.id)

    def delete_region(self, tx: Tx, region: Region) -> None:
        """Delete a region that has no regions below it and no endpoints."""
        if store.REGIONS.some(tx, models.region.c.parent_region_id == region.id):
            raise Conflict(
                f"Unable to delete region {region.id} because it or its child regions have associated endpoints."
            )
        store.REGIONS.delete(tx, region.id)

    # --- services --------------------------------------------------------------------------------------------

    def service(self, tx: Tx, service_id: str) -> CatalogService:
        """A service, or NotFound."""
        service = store.SERVICES.get(tx, service_id)
        if service is None:
            raise missing("service", service_id)
        return service

    def services(self, tx: Tx, wanted: Wanted) -> Found[CatalogService]:
        """A page of services."""
        return store.SERVICES.page(tx, wanted)

    def create_service(self, tx: Tx, sent: Sent) -> CatalogService:
        """Create a service."""
        service = CatalogService(
            id=new_hex(),
            type=sent.known["type"],
            name=sent.get("name"),
            description=sent.get("description"),
            enabled=sent.get("enabled", True),
            extra=sent.extra,
        )
        store.SERVICES.insert(tx, service)
        self._generation.advance(tx)
        return service

    def update_service(self, tx: Tx, service: CatalogService, sent: Sent) -> CatalogService:
        """Change a service."""
        store.SERVICES.change(tx, service.id, changes(service, sent, ("type", "name", "description", "enabled")))
        self._generation.advance(tx)
        return self.service(tx, service.id)

    def delete_service(self, tx: Tx, service: CatalogService) -> None:
        """Delete a service with its endpoints."""
        store.SERVICES.delete(tx, service.id)
        self._generation.advance(tx)

    # --- endpoints -------------------------------------------------------------------------------------------

    def endpoint(self, tx: Tx, endpoint_id: str) -> Endpoint:
        """An endpoint, or NotFound."""
        endpoint = store.ENDPOINTS.get(tx, endpoint_id)
        if endpoint is None:
            raise missing("endpoint", endpoint_id)
        return endpoint

    def endpoints(self, tx: Tx, wanted: Wanted) -> Found[Endpoint]:
        """A page of endpoints."""
        return store.ENDPOINTS.page(tx, wanted)

    def create_endpoint(self, tx: Tx, sent: Sent) -> Endpoint:
        """Create an endpoint. BadRequest for an address or a service that cannot be."""
        endpoint = Endpoint(
            id=new_hex(),
            service_id=sent.known["service_id"],
            interface=sent.known["interface"],
            url=sent.known["url"],
            region_id=self._region_of(tx, sent),
            enabled=sent.get("enabled", True),
            extra=sent.extra,
        )
        self._check_endpoint(tx, endpoint.service_id, endpoint.url)
        store.ENDPOINTS.insert(tx, endpoint)
        self._generation.advance(tx)
        return endpoint

    def update_endpoint(self, tx: Tx, endpoint: Endpoint, sent: Sent) -> Endpoint:
        """Change an endpoint."""
        self._check_endpoint(tx, sent.get("service_id", endpoint.service_id), sent.get("url", endpoint.url))
        values = changes(endpoint, sent, ("service_id", "interface", "url", "enabled"))
        if "region_id" in sent.known or "region" in sent.known:
            values["region_id"] = self._region_of(tx, sent)
        store.ENDPOINTS.change(tx, endpoint.id, values)
        self._generation.advance(tx)
        return self.endpoint(tx, endpoint.id)

    def delete_endpoint(self, tx: Tx, endpoint: Endpoint) -> None:
        """Delete an endpoint."""
        store.ENDPOINTS.delete(tx, endpoint.id)
        self._generation.advance(tx)

    def ensure(self, tx: Tx, service_type: str, name: str, region_id: str, url: str) -> None:
        """Have a service of this type, and its three endpoints in a region at this address."""
        if store.REGIONS.get(tx, region_id) is None:
            store.REGIONS.insert(tx, Region(id=region_id))
        of_type = store.SERVICES.some(tx, models.service.c.type == service_type)
        service = of_type[0] if of_type else CatalogService(id=new_hex(), type=service_type, name=name)
        if not of_type:
            store.SERVICES.insert(tx, service)
        table = models.endpoint
        present = {
            endpoint.interface: endpoint
            for endpoint in store.ENDPOINTS.some(tx, table.c.service_id == service.id, table.c.region_id == region_id)
        }
        for interface in INTERFACES:
            if interface not in present:
                endpoint = Endpoint(
                    id=new_hex(), service_id=service.id, interface=interface, url=url, region_id=region_id
                )
                store.ENDPOINTS.insert(tx, endpoint)
            elif present[interface].url != url:
                store.ENDPOINTS.change(tx, present[interface].id, {"url": url})
            else:
                continue
            self._generation.advance(tx)

    def _region_of(self, tx: Tx, sent: Sent) -> str | None:
        """`region_id` must exist; a `region`, the older spelling, is created where it doesn't."""
        region_id: str | None = sent.get("region_id")
        if region_id is not None:
            if store.REGIONS.get(tx, region_id) is None:
                raise BadRequest(f"Could not find region: {region_id}.")
            return region_id
        region_id = sent.get("region")
        if region_id is not None and store.REGIONS.get(tx, region_id) is None:
            store.REGIONS.insert(tx, Region(id=region_id))
        return region_id

    def _check_endpoint(self, tx: Tx, service_id: str, url: str) -> None:
        if store.SERVICES.get(tx, service_id) is None:
            raise BadRequest(f"Could not find service: {service_id}.")
        rest = _PLACE.sub(lambda place: "" if place[1] in _KNOWN else place[0], url)
        if "$(" in rest or "%(" in rest:
            raise BadRequest(f"Malformed endpoint URL ({url}): it may hold {', '.join(sorted(_KNOWN))} only.")


def _shown(service: CatalogService, endpoints: Sequence[Endpoint], values: dict[str, str]) -> dict[str, Any]:
    return {
        "id": service.id,
        "type": service.type,
        "name": service.name or "",
        "endpoints": [
            {
                "id": endpoint.id,
                "interface": endpoint.interface,
                "region_id": endpoint.region_id,
                "region": endpoint.region_id,
                "url": url,
            }
            for endpoint in endpoints
            if (url := _filled(endpoint.url, values)) is not None
        ],
    }


def _filled(url: str, values: dict[str, str]) -> str | None:
    if any(place not in values for place in _PLACE.findall(url)):
        return None
    return _PLACE.sub(lambda place: values[place[1]], url)
