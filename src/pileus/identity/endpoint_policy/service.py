"""The rules of associations between policy documents and endpoints."""

from collections.abc import Iterator

from pileus.identity.catalog import store as catalog_store
from pileus.identity.catalog.service import Catalog
from pileus.identity.credentials.service import Credentials
from pileus.identity.domain import Endpoint, PolicyDocument
from pileus.identity.endpoint_policy import store
from pileus.identity.endpoint_policy.domain import Place
from pileus.identity.rest import missing
from pileus.identity.rows import Found, Wanted, page_of
from pileus.kernel.db import Tx
from pileus.kernel.errors import NotFound


class EndpointPolicies:
    """Which policy document an endpoint has: its own; else that of its service in its region or the nearest region
    above; else that of its service.
    """

    def __init__(self, catalog: Catalog, credentials: Credentials) -> None:
        self._catalog = catalog
        self._credentials = credentials

    def check_parts(self, tx: Tx, policy_id: str, place: Place) -> None:
        """NotFound unless the policy document exists, and all that the place names."""
        self._credentials.policy(tx, policy_id)
        if place.endpoint_id is not None:
            self._catalog.endpoint(tx, place.endpoint_id)
        if place.service_id is not None:
            self._catalog.service(tx, place.service_id)
        if place.region_id is not None:
            self._catalog.region(tx, place.region_id)

    def associate(self, tx: Tx, policy_id: str, place: Place) -> None:
        """Give a place a policy document, instead of the one it had. NotFound as `check_parts`."""
        self.check_parts(tx, policy_id, place)
        store.associate(tx, place, policy_id)

    def check(self, tx: Tx, policy_id: str, place: Place) -> None:
        """NotFound unless exactly this place has the policy document."""
        self.check_parts(tx, policy_id, place)
        if store.policy_of(tx, place) != policy_id:
            raise missing("policy association", f"{policy_id} for {place.key}")

    def dissociate(self, tx: Tx, policy_id: str, place: Place) -> None:
        """Take a policy document from a place; nothing happens if it had another one. NotFound as `check_parts`."""
        self.check_parts(tx, policy_id, place)
        store.dissociate(tx, place, policy_id)

    def policy_of(self, tx: Tx, endpoint: Endpoint) -> PolicyDocument:
        """The policy document of an endpoint. NotFound if there is none."""
        for place in _places(endpoint, _parents(tx)):
            policy_id = store.policy_of(tx, place)
            if policy_id is not None:
                return self._credentials.policy(tx, policy_id)
        raise NotFound(f"No policy is associated with endpoint {endpoint.id}.")

    def endpoints_of(self, tx: Tx, policy: PolicyDocument, wanted: Wanted) -> Found[Endpoint]:
        """A page of the endpoints at the places that have a policy document.

        As Keystone answers, an endpoint is among them even if a nearer place gives it another document.
        """
        keys = {place.key for place in store.places_of(tx, policy.id)}
        if not keys:
            return Found([])
        parents = _parents(tx)
        endpoints = catalog_store.ENDPOINTS.some(tx)
        return page_of([one for one in endpoints if any(place.key in keys for place in _places(one, parents))], wanted)


def _parents(tx: Tx) -> dict[str, str | None]:
    return {region.id: region.parent_region_id for region in catalog_store.REGIONS.some(tx)}


def _places(endpoint: Endpoint, parents: dict[str, str | None]) -> Iterator[Place]:
    """The places that an endpoint is at, the nearest first."""
    yield Place(endpoint_id=endpoint.id)
    seen = set()
    region_id = endpoint.region_id
    while region_id is not None and region_id not in seen:
        seen.add(region_id)
        yield Place(service_id=endpoint.service_id, region_id=region_id)
        region_id = parents.get(region_id)
    yield Place(service_id=endpoint.service_id)
