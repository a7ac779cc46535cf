"""Telling the compute service which servers' addresses, groups or networks changed, in the transaction that does it.

What a server may learn of itself is made from these, so hosts must hear of them.
"""

from collections.abc import Callable, Collection

import sqlalchemy as sa

from pileus.kernel.db import Tx
from pileus.network.domain import COMPUTE_OWNER_PREFIX, Port
from pileus.network.models import port, port_security_group

ServersChanged = Callable[[Tx, Collection[str]], None]
"""Called with the ids of servers. It runs in the caller's transaction."""

_SERVERS = sa.select(port.c.device_id).where(port.c.device_owner.like(f"{COMPUTE_OWNER_PREFIX}%")).distinct()
_OF_PORT = _SERVERS.where(port.c.id == sa.bindparam("port"))
_ON_NETWORK = _SERVERS.where(port.c.network_id == sa.bindparam("network"))
_IN_GROUP = _SERVERS.join(port_security_group, port_security_group.c.port_id == port.c.id).where(
    port_security_group.c.security_group_id == sa.bindparam("group")
)


def nobody(_tx: Tx, _server_ids: Collection[str]) -> None:
    """Servers are of no interest to anybody: a network service without a compute service."""


class ServerNotices:
    """Finds the servers that a change is about."""

    def __init__(self, changed: ServersChanged) -> None:
        self._changed = changed

    def of(self, tx: Tx, *ports: Port) -> None:
        """These ports changed, or are about to."""
        self._tell(tx, {one.device_id for one in ports if one.device_owner.startswith(COMPUTE_OWNER_PREFIX)})

    def port(self, tx: Tx, *port_ids: str | None) -> None:
        """What leads to these ports changed."""
        for port_id in {port_id for port_id in port_ids if port_id}:
            self._tell(tx, {row.device_id for row in tx.all(_OF_PORT, {"port": port_id})})

    def network(self, tx: Tx, network_id: str) -> None:
        """What ports take from their network or its subnets changed."""
        self._tell(tx, {row.device_id for row in tx.all(_ON_NETWORK, {"network": network_id})})

    def group(self, tx: Tx, group_id: str) -> None:
        """A security group has another name."""
        self._tell(tx, {row.device_id for row in tx.all(_IN_GROUP, {"group": group_id})})

    def _tell(self, tx: Tx, server_ids: Collection[str]) -> None:
        if server_ids:
            self._changed(tx, server_ids)
