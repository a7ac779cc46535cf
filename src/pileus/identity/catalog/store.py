"""Every query about the catalog."""

import sqlalchemy as sa

from pileus.identity import models
from pileus.identity.domain import CatalogService, Endpoint, Region
from pileus.identity.rows import Rows
from pileus.kernel.db import Tx

REGIONS = Rows(models.region, Region, "region")
SERVICES = Rows(models.service, CatalogService, "service")
ENDPOINTS = Rows(models.endpoint, Endpoint, "endpoint")


def enabled(tx: Tx) -> list[tuple[CatalogService, list[Endpoint]]]:
    """The enabled services with their enabled endpoints."""
    endpoints: dict[str, list[Endpoint]] = {}
    for endpoint in ENDPOINTS.some(tx, models.endpoint.c.enabled == sa.true()):
        endpoints.setdefault(endpoint.service_id, []).append(endpoint)
    return [(one, endpoints.get(one.id, [])) for one in SERVICES.some(tx, models.service.c.enabled == sa.true())]
