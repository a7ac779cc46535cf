"""Operations of OS-ENDPOINT-POLICY."""

from typing import Any

from pileus.identity.catalog.routes import show_an_endpoint
from pileus.identity.credentials.routes import show_a_policy
from pileus.identity.endpoint_policy.domain import Place
from pileus.identity.rest import many, wanted
from pileus.identity.service import Identity
from pileus.kernel.http import Call, Route


def _place(call: Call) -> Place:
    params = call.params
    return Place(
        endpoint_id=params.get("endpoint_id"), service_id=params.get("service_id"), region_id=params.get("region_id")
    )


def associate(call: Call, svc: Identity) -> None:
    """PUT .../OS-ENDPOINT-POLICY/{endpoints or services}/..."""
    call.transact(lambda tx: svc.endpoint_policies.associate(tx, call.params["policy_id"], _place(call)))


def check(call: Call, svc: Identity) -> None:
    """GET and HEAD .../OS-ENDPOINT-POLICY/{endpoints or services}/..."""
    with call.read() as tx:
        svc.endpoint_policies.check(tx, call.params["policy_id"], _place(call))


def dissociate(call: Call, svc: Identity) -> None:
    """DELETE .../OS-ENDPOINT-POLICY/{endpoints or services}/..."""
    call.transact(lambda tx: svc.endpoint_policies.dissociate(tx, call.params["policy_id"], _place(call)))


def list_endpoints(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /policies/{policy_id}/OS-ENDPOINT-POLICY/endpoints"""
    with call.read() as tx:
        policy = svc.credentials.policy(tx, call.params["policy_id"])
        found = svc.endpoint_policies.endpoints_of(tx, policy, wanted(call, svc.max_limit, {}, alike=()))
    return many(call, "endpoints", found, lambda endpoint: show_an_endpoint(call, endpoint))


def show_policy_of_endpoint(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /endpoints/{endpoint_id}/OS-ENDPOINT-POLICY/policy"""
    with call.read() as tx:
        endpoint = svc.catalog.endpoint(tx, call.params["endpoint_id"])
        return {"policy": show_a_policy(call, svc.endpoint_policies.policy_of(tx, endpoint))}


_POLICY = "/policies/{policy_id}/OS-ENDPOINT-POLICY"
_PLACES = {
    "endpoint": f"{_POLICY}/endpoints/{{endpoint_id}}",
    "service": f"{_POLICY}/services/{{service_id}}",
    "region_and_service": f"{_POLICY}/services/{{service_id}}/regions/{{region_id}}",
}


def _association_routes() -> tuple[Route[Identity], ...]:
    verbs = (("GET", "check", check), ("PUT", "create", associate), ("DELETE", "delete", dissociate))
    return tuple(
        Route(method, path, handler, f"identity:{verb}_policy_association_for_{kind}", 204)
        for kind, path in _PLACES.items()
        for method, verb, handler in verbs
    )


ROUTES: tuple[Route[Identity], ...] = (
    *_association_routes(),
    Route("GET", f"{_POLICY}/endpoints", list_endpoints, "identity:list_endpoints_for_policy"),
    Route(
        "GET",
        "/endpoints/{endpoint_id}/OS-ENDPOINT-POLICY/policy",
        show_policy_of_endpoint,
        "identity:get_policy_for_endpoint",
    ),
)
