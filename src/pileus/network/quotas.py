"""How much a project may have: limits by the kernel, usage counted from the rows themselves."""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from pileus.kernel import quota
from pileus.kernel.db import Tx
from pileus.network import models
from pileus.network.errors import OverQuota
from pileus.network.settings import NetworkSettings

SERVICE = "network"

_TABLES = {
    "network": models.network,
    "subnet": models.subnet,
    "port": models.port,
    "router": models.router,
    "floatingip": models.floating_ip,
    "security_group": models.security_group,
    "security_group_rule": models.security_group_rule,
}
_COUNTS = {
    resource: sa.select(sa.func.count()).select_from(table).where(table.c.project_id == sa.bindparam("project"))
    for resource, table in _TABLES.items()
}


class Quotas:
    """Limits and usage of projects."""

    def __init__(self, settings: NetworkSettings) -> None:
        self.defaults = settings.quota_defaults()

    def reserve(self, tx: Tx, project_id: str, **wanted: int) -> None:
        """OverQuota unless that many more fit; other requests of the project wait until this one is decided."""
        quota.reserve(
            tx,
            project_id,
            SERVICE,
            wanted,
            self.defaults,
            lambda: self.used(tx, project_id, wanted),
            lambda resource, _more, _used, _limit: OverQuota(resource),
        )

    def used(self, tx: Tx, project_id: str, resources: Collection[str]) -> dict[str, int]:
        """How many of these resources a project has."""
        return {resource: int(tx.scalar(_COUNTS[resource], {"project": project_id})) for resource in resources}

    def show(self, tx: Tx, project_id: str) -> dict[str, int]:
        """A project's limits."""
        return quota.limits(tx, project_id, SERVICE, self.defaults)

    def details(self, tx: Tx, project_id: str) -> dict[str, dict[str, int]]:
        """A project's limits with what is used of each."""
        limits = self.show(tx, project_id)
        used = self.used(tx, project_id, limits)
        return {name: {"limit": limit, "used": used[name], "reserved": 0} for name, limit in limits.items()}

    def update(self, tx: Tx, project_id: str, changes: dict[str, Any]) -> dict[str, int]:
        """Set limits of one project; its limits afterwards."""
        for resource, value in changes.items():
            quota.set_limit(tx, project_id, SERVICE, resource, value)
        return self.show(tx, project_id)

    def reset(self, tx: Tx, project_id: str) -> None:
        """Return a project to the defaults."""
        quota.clear_limits(tx, project_id, SERVICE)

    def customised(self, tx: Tx) -> list[tuple[str, dict[str, int]]]:
        """Projects that have limits of their own, with all their limits."""
        table = quota.quota_limit
        rows = tx.all(sa.select(table.c.project_id).where(table.c.service == SERVICE).distinct())
        return [(row.project_id, self.show(tx, row.project_id)) for row in rows]
