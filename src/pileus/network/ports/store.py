"""Queries over ports, their addresses and their security groups."""

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from pileus.kernel.auth import Actor
from pileus.kernel.db import Row, Tx
from pileus.network.domain import DeviceOwner, FixedIp, Port, PortStatus
from pileus.network.lists import Filter, Listing, ListRequest, Values
from pileus.network.models import ip_allocation, port, port_security_group
from pileus.network.rows import built, remove


def visible(me: Values) -> tuple[sa.ColumnElement[bool], ...]:
    """Ports that a project may see: its own, and all those on its own networks."""
    return port.c.project_id == me, port.c.network_project_id == me


def _canonical(_name: str, text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def _with_allocation(term: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return port.c.id.in_(sa.select(ip_allocation.c.port_id).where(term))


def _part_of_address(texts: Sequence[str]) -> sa.ColumnElement[bool]:
    terms = [ip_allocation.c.ip.contains(text, autoescape=True) for text in texts]
    return port.c.id.in_(sa.select(ip_allocation.c.port_id).where(sa.or_(*terms)))


def _in_group(term: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return port.c.id.in_(sa.select(port_security_group.c.port_id).where(term))


LISTING = Listing(
    "port",
    port,
    visible,
    columns={
        "network_id": port.c.network_id,
        "mac_address": port.c.mac,
        "admin_state_up": port.c.admin_state_up,
        "status": port.c.status,
        "device_id": port.c.device_id,
        "device_owner": port.c.device_owner,
        "binding:host_id": port.c.host,
        "binding:vnic_type": port.c.vnic_type,
        "port_security_enabled": port.c.port_security_enabled,
    },
    filters={
        "mac_address": Filter(port.c.mac, lambda _name, text: text.lower()),
        "fixed_ips.ip_address": Filter(ip_allocation.c.ip, _canonical, _with_allocation),
        "fixed_ips.subnet_id": Filter(ip_allocation.c.subnet_id, within=_with_allocation),
        "security_groups": Filter(port_security_group.c.security_group_id, within=_in_group),
    },
    special={"fixed_ips.ip_address_substr": _part_of_address},
)


def _parts(addresses_of: sa.ColumnElement[bool], groups_of: sa.ColumnElement[bool]) -> sa.CompoundSelect[Any]:
    """Ports' addresses (subnet, address) and groups (group, empty) in one query, addresses in their order."""
    addresses = sa.select(
        ip_allocation.c.port_id, ip_allocation.c.subnet_id.label("what"), ip_allocation.c.ip, ip_allocation.c.position
    ).where(addresses_of)
    groups = sa.select(
        port_security_group.c.port_id,
        port_security_group.c.security_group_id.label("what"),
        sa.literal_column("''").label("ip"),
        sa.literal_column("0").label("position"),
    ).where(groups_of)
    return sa.union_all(addresses, groups).order_by("position", "ip", "what")


_SOME: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_ONE: sa.BindParameter[Any] = sa.bindparam("id", type_=sa.String())
_PARTS = _parts(ip_allocation.c.port_id.in_(_SOME), port_security_group.c.port_id.in_(_SOME))
_PARTS_OF_ONE = _parts(ip_allocation.c.port_id == _ONE, port_security_group.c.port_id == _ONE)
_BY_IDS = sa.select(port).where(port.c.id.in_(sa.bindparam("ids", expanding=True)))
_LOCKED = sa.select(port).where(port.c.id == sa.bindparam("id")).with_for_update()
_OF_DEVICES = (
    sa.select(port)
    .where(port.c.device_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(port.c.created_at, port.c.id)
)
_ON_NETWORK = sa.select(port).where(port.c.network_id == sa.bindparam("network"))
_ON_HOST = (
    sa.select(
        port.c.id,
        port.c.mac,
        port.c.hostname,
        port.c.device_owner,
        port.c.host,
        ip_allocation.c.subnet_id,
        ip_allocation.c.ip,
    )
    .outerjoin(ip_allocation, ip_allocation.c.port_id == port.c.id)
    .where(
        port.c.network_id == sa.bindparam("network"),
        sa.or_(port.c.host == sa.bindparam("on"), port.c.device_owner == str(DeviceOwner.DHCP)),
    )
    .order_by(port.c.id, ip_allocation.c.position, ip_allocation.c.ip)
)
_SET_STATUS = (
    sa.update(port)
    .where(port.c.id.in_(sa.bindparam("ids", expanding=True)), port.c.status != sa.bindparam("now"))
    .values(status=sa.bindparam("now"))
)
_SET_DHCP_ACTIVE = (
    sa.update(port)
    .where(
        port.c.network_id.in_(sa.bindparam("ids", expanding=True)),
        port.c.device_owner == str(DeviceOwner.DHCP),
        port.c.status != str(PortStatus.ACTIVE),
    )
    .values(status=str(PortStatus.ACTIVE))
)
_MAC_TAKEN = sa.select(port.c.id).where(port.c.network_id == sa.bindparam("network"), port.c.mac == sa.bindparam("mac"))


def complete(tx: Tx, rows: Sequence[Row]) -> list[Port]:
    """Ports from their rows, with addresses and security groups: one more query for any number of them."""
    if not rows:
        return []
    if len(rows) == 1:
        parts = tx.all(_PARTS_OF_ONE, {"id": rows[0][0]})
    else:
        parts = tx.all(_PARTS, {"ids": [row[0] for row in rows]})
    fixed: dict[str, list[FixedIp]] = {}
    groups: dict[str, list[str]] = {}
    for part in parts:
        if part.ip:
            fixed.setdefault(part.port_id, []).append(FixedIp(part.what, part.ip))
        else:
            groups.setdefault(part.port_id, []).append(part.what)
    return [built(Port, row, tuple(fixed.get(row[0], ())), tuple(groups.get(row[0], ()))) for row in rows]


def get(tx: Tx, actor: Actor, port_id: str) -> Port:
    """A port that the caller may see. NotFound else."""
    return complete(tx, [LISTING.one(tx, actor, port_id)])[0]


def page(tx: Tx, actor: Actor, request: ListRequest) -> tuple[list[Port], bool]:
    """One page of ports, and whether there are more."""
    rows, more = LISTING.rows(tx, actor, request)
    return complete(tx, rows), more


def find(tx: Tx, port_id: str) -> Port | None:
    """A port whoever may see it."""
    return by_ids(tx, [port_id]).get(port_id)


def lock(tx: Tx, port_id: str) -> Port | None:
    """A port as it is now; other writers who lock it wait until this transaction ends."""
    row = tx.one(_LOCKED, {"id": port_id})
    return None if row is None else complete(tx, [row])[0]


def by_ids(tx: Tx, port_ids: Collection[str]) -> dict[str, Port]:
    """Several ports."""
    if not port_ids:
        return {}
    return {one.id: one for one in complete(tx, tx.all(_BY_IDS, {"ids": sorted(port_ids)}))}


def of_devices(tx: Tx, device_ids: Collection[str]) -> list[Port]:
    """The ports of servers or routers, oldest first."""
    return complete(tx, tx.all(_OF_DEVICES, {"ids": sorted(device_ids)})) if device_ids else []


def on_network(tx: Tx, network_id: str) -> list[Port]:
    """All ports on a network."""
    return complete(tx, tx.all(_ON_NETWORK, {"network": network_id}))


class PortOnHost(NamedTuple):
    """What a host's DHCP server must know of a port."""

    id: str
    mac: str
    hostname: str
    device_owner: str
    host: str
    fixed_ips: tuple[FixedIp, ...]


def on_host(tx: Tx, network_id: str, host: str) -> list[PortOnHost]:
    """The ports of a network on one host, and that of its DHCP server wherever it is bound, by id."""
    found: dict[str, PortOnHost] = {}
    for row in tx.all(_ON_HOST, {"network": network_id, "on": host}):
        before = found[row.id].fixed_ips if row.id in found else ()
        fixed_ips = before if row.ip is None else (*before, FixedIp(row.subnet_id, row.ip))
        found[row.id] = PortOnHost(row.id, row.mac, row.hostname, row.device_owner, row.host, fixed_ips)
    return list(found.values())


def dhcp_port(tx: Tx, network_id: str) -> Port | None:
    """The port of a network's DHCP server."""
    found = complete(
        tx, tx.all(_ON_NETWORK.where(port.c.device_owner == str(DeviceOwner.DHCP)), {"network": network_id})
    )
    return found[0] if found else None


def goes_with_network(one: Port) -> bool:
    """Whether a port does not keep its network from being deleted."""
    return one.device_owner == DeviceOwner.DHCP


def mac_taken(tx: Tx, network_id: str, mac: str) -> bool:
    """Whether a port of the network has this MAC."""
    return tx.one(_MAC_TAKEN, {"network": network_id, "mac": mac}) is not None


def insert(tx: Tx, values: Mapping[str, Any]) -> None:
    """Add a port."""
    tx.execute(sa.insert(port), dict(values))


def delete(tx: Tx, port_id: str) -> bool:
    """Delete a port with its addresses and group memberships. Whether it was there."""
    tx.execute(sa.delete(ip_allocation).where(ip_allocation.c.port_id == port_id))
    tx.execute(sa.delete(port_security_group).where(port_security_group.c.port_id == port_id))
    return remove(tx, port, port_id)


def set_groups(tx: Tx, port_id: str, group_ids: Collection[str]) -> None:
    """Make these, and no others, the port's security groups."""
    tx.execute(sa.delete(port_security_group).where(port_security_group.c.port_id == port_id))
    add_groups(tx, port_id, group_ids)


def add_groups(tx: Tx, port_id: str, group_ids: Collection[str]) -> None:
    """Put a port into security groups."""
    if group_ids:
        tx.execute(
            sa.insert(port_security_group),
            [{"port_id": port_id, "security_group_id": group} for group in sorted(group_ids)],
        )


def set_host(tx: Tx, device_id: str, host: str, status: str) -> None:
    """Move all ports of a router to a host."""
    tx.execute(sa.update(port).where(port.c.device_id == device_id).values(host=host, status=status))


def set_status(tx: Tx, port_ids: Collection[str], status: str) -> None:
    """Set what a host reported. This is an observation: the revision stays."""
    if port_ids:
        tx.execute(_SET_STATUS, {"ids": sorted(port_ids), "now": status})


def set_dhcp_active(tx: Tx, network_ids: Collection[str]) -> None:
    """The DHCP servers of these networks answer on a host."""
    if network_ids:
        tx.execute(_SET_DHCP_ACTIVE, {"ids": sorted(network_ids)})
