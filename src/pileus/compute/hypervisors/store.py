"""Queries of what is on hosts."""

from collections.abc import Sequence

import sqlalchemy as sa

from pileus.compute.hypervisors.domain import HostedServer, Load
from pileus.compute.servers.models import server
from pileus.kernel.db import Tx

_s = server.c
_LOADS = (
    sa.select(_s.host, sa.func.count().label("servers"), sa.func.count(_s.task_state).label("busy"))
    .where(_s.host.is_not(None), _s.deleted == 0)
    .group_by(_s.host)
)
_LOADS_OF = _LOADS.where(_s.host.in_(sa.bindparam("hosts", expanding=True)))
_ON = (
    sa.select(_s.host, _s.id, _s.name)
    .where(_s.host.in_(sa.bindparam("hosts", expanding=True)), _s.deleted == 0)
    .order_by(_s.number)
)


def loads(tx: Tx, hosts: Sequence[str] | None = None) -> dict[str, Load]:
    """What is on hosts (None: on all); a host without servers may be left out."""
    rows = tx.all(_LOADS) if hosts is None else tx.all(_LOADS_OF, {"hosts": list(hosts)})
    return {row.host: Load(row.servers, row.busy) for row in rows}


def servers_on(tx: Tx, hosts: Sequence[str]) -> dict[str, list[HostedServer]]:
    """The servers on hosts; a host without servers is left out."""
    found: dict[str, list[HostedServer]] = {}
    for row in tx.all(_ON, {"hosts": list(hosts)}):
        found.setdefault(row.host, []).append(HostedServer(row.id, row.name))
    return found
