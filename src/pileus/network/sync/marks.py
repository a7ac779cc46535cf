"""Which descriptions on which hosts a change touches. Every write calls this in its own transaction."""

from collections.abc import Callable, Iterable

import sqlalchemy as sa

from pileus.kernel.db import Tx
from pileus.network.domain import COMPUTE_OWNER_PREFIX, ROUTER_OWNERS, Port
from pileus.network.models import network_sync, port, port_security_group, router, security_group_rule
from pileus.network.notices import ServerNotices
from pileus.network.sync.store import Key, Kind, mark

_HOSTS_OF_NETWORK = (
    sa.select(port.c.host).where(port.c.network_id == sa.bindparam("network"), port.c.host != "").distinct()
)
_TOLD_OF_NETWORK = sa.select(network_sync.c.host).where(
    network_sync.c.kind == str(Kind.NETWORK), network_sync.c.resource_id == sa.bindparam("network")
)
_HOSTS_USING_SETS = (
    sa.select(port.c.host, security_group_rule.c.remote_group_id)
    .select_from(security_group_rule)
    .join(port_security_group, port_security_group.c.security_group_id == security_group_rule.c.security_group_id)
    .join(port, port.c.id == port_security_group.c.port_id)
    .where(security_group_rule.c.remote_group_id.in_(sa.bindparam("groups", expanding=True)), port.c.host != "")
    .distinct()
)
_SETS_OF_GROUPS = (
    sa.select(security_group_rule.c.remote_group_id)
    .where(
        security_group_rule.c.security_group_id.in_(sa.bindparam("groups", expanding=True)),
        security_group_rule.c.remote_group_id.is_not(None),
    )
    .distinct()
)
_WIRED_PORTS = (
    sa.select(port.c.id, port.c.host)
    .join(port_security_group, port_security_group.c.port_id == port.c.id)
    .where(
        port_security_group.c.security_group_id == sa.bindparam("group"),
        port.c.host != "",
        port.c.device_owner.like(f"{COMPUTE_OWNER_PREFIX}%"),
    )
)
_WIRED_ON_NETWORK = sa.select(port.c.id, port.c.host).where(
    port.c.network_id == sa.bindparam("network"),
    port.c.host != "",
    port.c.device_owner.like(f"{COMPUTE_OWNER_PREFIX}%"),
)
_ROUTERS_ON_NETWORK = (
    sa.select(port.c.device_id, port.c.host)
    .where(
        port.c.network_id == sa.bindparam("network"),
        port.c.host != "",
        port.c.device_owner.in_([str(owner) for owner in ROUTER_OWNERS]),
    )
    .distinct()
)
_HOST_OF_ROUTER = sa.select(router.c.host).where(router.c.id == sa.bindparam("router"))
_NETWORKS_OF_ROUTER = (
    sa.select(port.c.network_id)
    .where(
        port.c.device_id == sa.bindparam("router"),
        port.c.device_owner.in_([str(owner) for owner in ROUTER_OWNERS]),
    )
    .distinct()
)


def is_wired(one: Port) -> bool:
    """Whether a port is a server's on some host, so that it has a tap there."""
    return bool(one.host) and one.device_owner.startswith(COMPUTE_OWNER_PREFIX)


class Marker:
    """Marks what hosts must be told, and nudges the loop that tells them. `servers` marks what guests may learn."""

    def __init__(self, nudge: Callable[[Tx], None], servers: ServerNotices) -> None:
        self._nudge = nudge
        self.servers = servers

    def mark(self, tx: Tx, keys: Iterable[Key], awaited: str | None = None) -> None:
        """Mark these, in this transaction. `awaited`: a host which the caller will have told himself, by `Pusher.push`:
        for its sake the loop is not nudged."""
        marked = set(keys)
        if marked:
            mark(tx, marked)
            if any(key.host != awaited for key in marked):
                self._nudge(tx)

    def port_keys(self, tx: Tx, one: Port) -> set[Key]:
        """What a port's being, as it is now, touches. Of a change, both what was and what is must be marked."""
        keys: set[Key] = set()
        if one.security_groups:
            for row in tx.all(_HOSTS_USING_SETS, {"groups": list(one.security_groups)}):
                keys.add(Key(row.host, Kind.ADDRESS_SET, row.remote_group_id))
        if not one.host:
            return keys
        keys.add(Key(one.host, Kind.NETWORK, one.network_id))
        if is_wired(one):
            keys.add(Key(one.host, Kind.PORT, one.id))
            if one.security_groups:
                for row in tx.all(_SETS_OF_GROUPS, {"groups": list(one.security_groups)}):
                    keys.add(Key(one.host, Kind.ADDRESS_SET, row.remote_group_id))
        elif one.device_owner in ROUTER_OWNERS:
            keys.add(Key(one.host, Kind.ROUTER, one.device_id))
        return keys

    def network(self, tx: Tx, network_id: str) -> None:
        """A network, its subnets or its DHCP changed, or it is about to go."""
        hosts = {row.host for row in tx.all(_HOSTS_OF_NETWORK, {"network": network_id})}
        hosts |= {row.host for row in tx.all(_TOLD_OF_NETWORK, {"network": network_id})}
        self.mark(tx, (Key(host, Kind.NETWORK, network_id) for host in hosts))

    def ports(self, tx: Tx, network_id: str) -> None:
        """What ports take from their network changed: its state or its largest packet."""
        wired = tx.all(_WIRED_ON_NETWORK, {"network": network_id})
        self.mark(tx, (Key(row.host, Kind.PORT, row.id) for row in wired))

    def subnet(self, tx: Tx, network_id: str) -> None:
        """A network's subnets changed, so its routers too."""
        self.network(tx, network_id)
        rows = tx.all(_ROUTERS_ON_NETWORK, {"network": network_id})
        self.mark(tx, (Key(row.host, Kind.ROUTER, row.device_id) for row in rows))

    def group_rules(self, tx: Tx, group_id: str, sets: Iterable[str | None]) -> None:
        """A group's rules changed; `sets` are the remote groups that the rules in question name."""
        keys: set[Key] = set()
        remote = {name for name in sets if name is not None}
        for row in tx.all(_WIRED_PORTS, {"group": group_id}):
            keys.add(Key(row.host, Kind.PORT, row.id))
            keys |= {Key(row.host, Kind.ADDRESS_SET, name) for name in remote}
        self.mark(tx, keys)

    def router(self, tx: Tx, router_id: str) -> None:
        """A router changed, or is about to go."""
        host = tx.scalar(_HOST_OF_ROUTER, {"router": router_id})
        if host:
            networks = tx.all(_NETWORKS_OF_ROUTER, {"router": router_id})
            keys = {Key(host, Kind.NETWORK, row.network_id) for row in networks}
            self.mark(tx, {Key(host, Kind.ROUTER, router_id), *keys})
