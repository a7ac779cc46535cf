"""URLs of host aggregates."""

from typing import Any

from pileus.compute.aggregates import schemas
from pileus.compute.aggregates.domain import Aggregate
from pileus.compute.aggregates.policy import AGGREGATES, IMAGES
from pileus.compute.aggregates.schemas import AGGREGATE, CREATED, changes, image_ids
from pileus.compute.aggregates.service import Aggregates
from pileus.kernel.http import Call, Route


def _rendered(call: Call, aggregate: Aggregate) -> dict[str, Any]:
    return {"aggregate": AGGREGATE.render(aggregate, call.version)}


def list_aggregates(call: Call, svc: Aggregates) -> dict[str, Any]:
    with call.read() as tx:
        return {"aggregates": [AGGREGATE.render(one, call.version) for one in svc.all(tx)]}


def show_aggregate(call: Call, svc: Aggregates) -> dict[str, Any]:
    with call.read() as tx:
        return _rendered(call, svc.get(tx, call.params["aggregate_id"]))


def create_aggregate(call: Call, svc: Aggregates) -> dict[str, Any]:
    created = call.transact(lambda tx: svc.create(tx, call.body.name, call.body.availability_zone))
    return {"aggregate": CREATED.render(created, call.version)}


def update_aggregate(call: Call, svc: Aggregates) -> dict[str, Any]:
    wanted = changes(call.body)
    return _rendered(call, call.transact(lambda tx: svc.update(tx, call.params["aggregate_id"], wanted)))


def delete_aggregate(call: Call, svc: Aggregates) -> None:
    call.transact(lambda tx: svc.delete(tx, call.params["aggregate_id"]))


def add_host(call: Call, svc: Aggregates) -> dict[str, Any]:
    aggregate_id = call.params["aggregate_id"]
    return _rendered(call, call.transact(lambda tx: svc.add_host(tx, aggregate_id, call.body.host)))


def remove_host(call: Call, svc: Aggregates) -> dict[str, Any]:
    aggregate_id = call.params["aggregate_id"]
    return _rendered(call, call.transact(lambda tx: svc.remove_host(tx, aggregate_id, call.body.host)))


def set_metadata(call: Call, svc: Aggregates) -> dict[str, Any]:
    aggregate_id = call.params["aggregate_id"]
    return _rendered(call, call.transact(lambda tx: svc.set_metadata(tx, aggregate_id, call.body.metadata)))


def cache_images(call: Call, svc: Aggregates) -> None:
    ids = image_ids(call.body)
    call.transact(lambda tx: svc.cache_images(tx, call.actor, call.params["aggregate_id"], ids))


_ALL, _ONE = "/os-aggregates", "/os-aggregates/{aggregate_id}"
_ACTION = f"{_ONE}/action"

# fmt: off
ROUTES: tuple[Route[Aggregates], ...] = (
    Route("GET", _ALL, list_aggregates, f"{AGGREGATES}index"),
    Route("POST", _ALL, create_aggregate, f"{AGGREGATES}create", body=schemas.CREATE),
    Route("GET", _ONE, show_aggregate, f"{AGGREGATES}show"),
    Route("PUT", _ONE, update_aggregate, f"{AGGREGATES}update", body=schemas.UPDATE),
    Route("DELETE", _ONE, delete_aggregate, f"{AGGREGATES}delete"),
    Route("POST", _ACTION, add_host, f"{AGGREGATES}add_host", body=schemas.ADD_HOST, action="add_host"),
    Route("POST", _ACTION, remove_host, f"{AGGREGATES}remove_host", body=schemas.REMOVE_HOST, action="remove_host"),
    Route("POST", _ACTION, set_metadata, f"{AGGREGATES}set_metadata", body=schemas.SET_METADATA, action="set_metadata"),
    # Clients send POST. What is asked for is idempotent, and PUT says so.
    Route("POST", f"{_ONE}/images", cache_images, IMAGES, status=202, body=schemas.IMAGES, since="2.81"),
    Route("PUT", f"{_ONE}/images", cache_images, IMAGES, status=202, body=schemas.IMAGES, since="2.81"),
)
# fmt: on
