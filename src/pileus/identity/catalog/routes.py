"""Operations on regions, services and endpoints."""

from collections.abc import Mapping
from typing import Any

from pileus.identity.catalog.schemas import (
    ENDPOINT,
    ENDPOINT_CREATE,
    ENDPOINT_UPDATE,
    REGION,
    REGION_CREATE,
    REGION_UPDATE,
    SERVICE,
    SERVICE_CREATE,
    SERVICE_UPDATE,
)
from pileus.identity.domain import CatalogService, Endpoint, Region
from pileus.identity.rest import many, one, wanted
from pileus.identity.service import Identity
from pileus.kernel.http import Call, Route


def show_a_region(call: Call, region: Region) -> dict[str, Any]:
    """A region in a response."""
    return one(call, "regions", REGION, region)


def list_regions(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /regions"""
    want = wanted(call, svc.max_limit, {"parent_region_id": "parent_region_id"}, alike=())
    with call.read() as tx:
        found = svc.catalog.regions(tx, want)
    return many(call, "regions", found, lambda region: show_a_region(call, region))


def create_region(call: Call, svc: Identity) -> dict[str, Any]:
    """POST /regions"""
    region = call.transact(lambda tx: svc.catalog.create_region(tx, call.body.sent_id, call.body))
    return {"region": show_a_region(call, region)}


def create_named_region(call: Call, svc: Identity) -> dict[str, Any]:
    """PUT /regions/{region_id}: Keystone's other way to choose the id"""
    region = call.transact(lambda tx: svc.catalog.create_region(tx, call.params["region_id"], call.body))
    return {"region": show_a_region(call, region)}


def show_region(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /regions/{region_id}"""
    with call.read() as tx:
        return {"region": show_a_region(call, svc.catalog.region(tx, call.params["region_id"]))}


def update_region(call: Call, svc: Identity) -> dict[str, Any]:
    """PATCH /regions/{region_id}"""
    region_id = call.params["region_id"]
    region = call.transact(lambda tx: svc.catalog.update_region(tx, svc.catalog.region(tx, region_id), call.body))
    return {"region": show_a_region(call, region)}


def delete_region(call: Call, svc: Identity) -> None:
    """DELETE /regions/{region_id}"""
    region_id = call.params["region_id"]
    call.transact(lambda tx: svc.catalog.delete_region(tx, svc.catalog.region(tx, region_id)))


def show_a_service(call: Call, service: CatalogService) -> dict[str, Any]:
    """A service in a response: name and description only where it has them."""
    shown = one(call, "services", SERVICE, service)
    return {key: value for key, value in shown.items() if value is not None or key not in ("name", "description")}


def list_services(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /services"""
    with call.read() as tx:
        found = svc.catalog.services(tx, wanted(call, svc.max_limit, {"type": "type", "name": "name"}))
    return many(call, "services", found, lambda service: show_a_service(call, service))


def create_service(call: Call, svc: Identity) -> dict[str, Any]:
    """POST /services"""
    service = call.transact(lambda tx: svc.catalog.create_service(tx, call.body))
    return {"service": show_a_service(call, service)}


def show_service(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /services/{service_id}"""
    with call.read() as tx:
        return {"service": show_a_service(call, svc.catalog.service(tx, call.params["service_id"]))}


def update_service(call: Call, svc: Identity) -> dict[str, Any]:
    """PATCH /services/{service_id}"""
    service_id = call.params["service_id"]
    service = call.transact(lambda tx: svc.catalog.update_service(tx, svc.catalog.service(tx, service_id), call.body))
    return {"service": show_a_service(call, service)}


def delete_service(call: Call, svc: Identity) -> None:
    """DELETE /services/{service_id}"""
    service_id = call.params["service_id"]
    call.transact(lambda tx: svc.catalog.delete_service(tx, svc.catalog.service(tx, service_id)))


def show_an_endpoint(call: Call, endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint in a response."""
    return one(call, "endpoints", ENDPOINT, endpoint)


_FILTERS: Mapping[str, str] = {
    "interface": "interface",
    "service_id": "service_id",
    "region_id": "region_id",
    "region": "region_id",
}


def list_endpoints(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /endpoints"""
    with call.read() as tx:
        found = svc.catalog.endpoints(tx, wanted(call, svc.max_limit, _FILTERS, ("enabled",), alike=()))
    return many(call, "endpoints", found, lambda endpoint: show_an_endpoint(call, endpoint))


def create_endpoint(call: Call, svc: Identity) -> dict[str, Any]:
    """POST /endpoints"""
    endpoint = call.transact(lambda tx: svc.catalog.create_endpoint(tx, call.body))
    return {"endpoint": show_an_endpoint(call, endpoint)}


def show_endpoint(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /endpoints/{endpoint_id}"""
    with call.read() as tx:
        return {"endpoint": show_an_endpoint(call, svc.catalog.endpoint(tx, call.params["endpoint_id"]))}


def update_endpoint(call: Call, svc: Identity) -> dict[str, Any]:
    """PATCH /endpoints/{endpoint_id}"""
    endpoint_id = call.params["endpoint_id"]
    endpoint = call.transact(
        lambda tx: svc.catalog.update_endpoint(tx, svc.catalog.endpoint(tx, endpoint_id), call.body)
    )
    return {"endpoint": show_an_endpoint(call, endpoint)}


def delete_endpoint(call: Call, svc: Identity) -> None:
    """DELETE /endpoints/{endpoint_id}"""
    endpoint_id = call.params["endpoint_id"]
    call.transact(lambda tx: svc.catalog.delete_endpoint(tx, svc.catalog.endpoint(tx, endpoint_id)))


_REGION = "/regions/{region_id}"
_SERVICE = "/services/{service_id}"
_ENDPOINT = "/endpoints/{endpoint_id}"
ROUTES: tuple[Route[Identity], ...] = (
    Route("GET", "/regions", list_regions, "identity:list_regions"),
    Route("POST", "/regions", create_region, "identity:create_region", 201, REGION_CREATE),
    Route("GET", _REGION, show_region, "identity:get_region"),
    Route("PUT", _REGION, create_named_region, "identity:create_region", 201, REGION_CREATE),
    Route("PATCH", _REGION, update_region, "identity:update_region", body=REGION_UPDATE),
    Route("DELETE", _REGION, delete_region, "identity:delete_region", 204),
    Route("GET", "/services", list_services, "identity:list_services"),
    Route("POST", "/services", create_service, "identity:create_service", 201, SERVICE_CREATE),
    Route("GET", _SERVICE, show_service, "identity:get_service"),
    Route("PATCH", _SERVICE, update_service, "identity:update_service", body=SERVICE_UPDATE),
    Route("DELETE", _SERVICE, delete_service, "identity:delete_service", 204),
    Route("GET", "/endpoints", list_endpoints, "identity:list_endpoints"),
    Route("POST", "/endpoints", create_endpoint, "identity:create_endpoint", 201, ENDPOINT_CREATE),
    Route("GET", _ENDPOINT, show_endpoint, "identity:get_endpoint"),
    Route("PATCH", _ENDPOINT, update_endpoint, "identity:update_endpoint", body=ENDPOINT_UPDATE),
    Route("DELETE", _ENDPOINT, delete_endpoint, "identity:delete_endpoint", 204),
)
