"""Servers' ports: what compute asks the network service for."""

import ipaddress
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from pileus.kernel import quota
from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Row, Tx
from pileus.kernel.errors import BadRequest, Conflict, Forbidden, NotFound, OverLimit
from pileus.kernel.ids import new_uuid
from pileus.network import models, rows
from pileus.network.domain import (
    COMPUTE_OWNER_PREFIX,
    FixedIp,
    PlannedNic,
    Port,
    PortAddress,
    PortInfo,
    PortStatus,
    RequestedNic,
    SecurityGroupRef,
    Unplugged,
)
from pileus.network.networks import store as network_store
from pileus.network.ports import store as port_store
from pileus.network.ports.service import PortService
from pileus.network.quotas import Quotas
from pileus.network.specs import hostname_of
from pileus.network.subnets import store as subnet_store
from pileus.network.sync.marks import Marker


class Plugging:
    """Checks, makes, takes over and releases servers' ports."""

    def __init__(self, clock: Clock, quotas: Quotas, ports: PortService, marker: Marker) -> None:
        self._clock = clock
        self._quotas = quotas
        self._ports = ports
        self._marker = marker

    def check(self, tx: Tx, actor: Actor, requested: Sequence[RequestedNic], servers: int = 1) -> list[PlannedNic]:
        """Whether a server may have these interfaces; the plan names every port, existing or to be made. The quota must
        have room for those of `servers` such servers."""
        planned = [
            self._check_port(tx, actor, nic) if nic.port_id else self._check_network(tx, actor, nic)
            for nic in requested
        ]
        ports = [nic.port_id for nic in planned]
        for port_id in ports:
            if ports.count(port_id) > 1:
                raise BadRequest(f"Port {port_id} is requested more than once.")
        self.check_quota(tx, actor.owner, servers * sum(1 for nic in planned if not nic.existing))
        return planned

    def check_quota(self, tx: Tx, project_id: str, more: int) -> None:
        """OverLimit if the project may not have that many more ports. Nothing is reserved."""
        limit = self._quotas.show(tx, project_id)["port"]
        if more and limit != quota.UNLIMITED and self._quotas.used(tx, project_id, ["port"])["port"] + more > limit:
            raise OverLimit("Maximum number of ports exceeded")

    def _check_port(self, tx: Tx, actor: Actor, nic: RequestedNic) -> PlannedNic:
        port_id = nic.port_id or ""
        try:
            port = port_store.get(tx, actor, port_id)
        except NotFound as err:
            raise BadRequest(f"Port id {port_id} could not be found.") from err
        if port.device_id:
            raise Conflict(f"Port {port.id} is still in use.")
        if nic.network_id is not None and nic.network_id != port.network_id:
            raise BadRequest(f"Port {port.id} is not on network {nic.network_id}.")
        if not port.fixed_ips and subnet_store.of_network(tx, port.network_id):
            raise BadRequest(f"Port {port.id} requires a FixedIP in order to be used.")
        return PlannedNic(network_id=port.network_id, port_id=port.id, existing=True, tag=nic.tag)

    def _check_network(self, tx: Tx, actor: Actor, nic: RequestedNic) -> PlannedNic:
        if nic.network_id is None:
            raise BadRequest("A network interface needs a network or a port.")
        try:
            network = network_store.get(tx, actor, nic.network_id)
        except NotFound as err:
            raise BadRequest(f"Network {nic.network_id} could not be found.") from err
        if network.external and not network.shared and network.project_id != actor.owner and not actor.is_admin:
            raise Forbidden(f"It is not allowed to create an interface on external network {network.id}")
        if not network.subnets:
            raise BadRequest(f"Network {network.id} requires a subnet in order to boot instances on.")
        if nic.fixed_ip is not None:
            self._check_address(tx, network.id, nic.fixed_ip)
        return PlannedNic(network_id=network.id, port_id=new_uuid(), fixed_ip=nic.fixed_ip, existing=False, tag=nic.tag)

    def _check_address(self, tx: Tx, network_id: str, text: str) -> None:
        try:
            address = ipaddress.ip_address(text)
        except ValueError as err:
            raise BadRequest(f"Invalid fixed IP address ({text}).") from err
        for subnet in subnet_store.of_network(tx, network_id):
            if address in ipaddress.ip_network(subnet.cidr):
                if subnet_store.holder(tx, FixedIp(subnet.id, str(address))) is not None:
                    raise BadRequest(f"Fixed IP address {text} is already in use.")
                return
        raise BadRequest(f"Fixed IP address {text} is not in any subnet of network {network_id}.")

    # --- plug and unplug ------------------------------------------------------------------------------------------

    def plug(
        self,
        tx: Tx,
        *,
        port: PlannedNic,
        server_id: str,
        server_name: str,
        project_id: str,
        host: str,
        availability_zone: str,
        security_group_ids: Sequence[str],
    ) -> Port:
        """Make the planned port, or take over the existing one, and bind it to the host. May be repeated."""
        binding = {
            "device_id": server_id,
            "device_owner": f"{COMPUTE_OWNER_PREFIX}{availability_zone}",
            "binding:host_id": host,
        }
        present = port_store.lock(tx, port.port_id)
        if present is not None:
            return self._take(tx, present, server_id, server_name, binding)
        if port.existing:
            raise BadRequest(f"Port id {port.port_id} could not be found.")
        network = network_store.find(tx, port.network_id)
        if network is None:
            raise BadRequest(f"Network {port.network_id} could not be found.")
        attributes: dict[str, Any] = dict(binding)
        if port.fixed_ip is not None:
            attributes["fixed_ips"] = [{"ip_address": port.fixed_ip}]
        if security_group_ids and network.port_security_enabled:
            attributes["security_groups"] = list(security_group_ids)
        return self._ports.create(
            tx,
            project_id,
            network,
            attributes,
            port_id=port.port_id,
            made_by_compute=True,
            hostname=hostname_of(server_name),
        )

    def _take(self, tx: Tx, port: Port, server_id: str, server_name: str, binding: dict[str, Any]) -> Port:
        if port.device_id not in ("", server_id):
            raise Conflict(f"Port {port.id} is still in use.")
        host = binding["binding:host_id"]
        if port.device_id == server_id and port.host == host and port.device_owner == binding["device_owner"]:
            return port
        changes = {
            "device_id": server_id,
            "device_owner": binding["device_owner"],
            "host": host,
            "hostname": hostname_of(server_name),
            "status": PortStatus.BUILD,
        }
        return self._rebind(tx, port, changes)

    def _rebind(self, tx: Tx, port: Port, changes: dict[str, Any]) -> Port:
        before = self._marker.port_keys(tx, port)
        rows.change(tx, models.port, port.id, self._clock.now(), changes)
        changed = self._ports.find(tx, port.id)
        self._marker.mark(tx, before | self._marker.port_keys(tx, changed))
        return changed

    def unplug(self, tx: Tx, server_id: str, port_ids: Collection[str] | None = None) -> list[Unplugged]:
        """Delete the ports that were made for a server and release those it took over; all of them, or those named.

        A port that was taken over keeps its addresses, and with them its floating IPs.
        """
        gone = []
        for port in port_store.of_devices(tx, [server_id]):
            if port_ids is not None and port.id not in port_ids:
                continue
            gone.append(Unplugged(port_id=port.id, network_id=port.network_id, host=port.host))
            if port.made_by_compute:
                self._ports.remove(tx, port)
            else:
                cleared = {"device_id": "", "device_owner": "", "host": "", "hostname": "", "status": PortStatus.DOWN}
                self._rebind(tx, port, cleared)
        return gone


# --- what servers have ------------------------------------------------------------------------------------------

_SERVERS: sa.BindParameter[Any] = sa.bindparam("servers", expanding=True)
_SERVER: sa.BindParameter[Any] = sa.bindparam("servers", type_=sa.String())
_PORTS = (
    sa.select(
        models.port.c.device_id,
        models.port.c.id,
        models.port.c.network_id,
        models.network.c.name.label("network_name"),
        models.port.c.project_id,
        models.port.c.mac,
        models.network.c.mtu,
        models.port.c.status,
        models.port.c.host,
        models.port.c.port_security_enabled,
        models.ip_allocation.c.ip,
        models.ip_allocation.c.subnet_id,
        models.subnet.c.ip_version,
        models.subnet.c.cidr,
        models.subnet.c.gateway_ip,
        models.subnet.c.dns_nameservers,
        models.floating_ip.c.floating_ip_address,
    )
    .select_from(models.port)
    .join(models.network, models.network.c.id == models.port.c.network_id)
    .outerjoin(models.ip_allocation, models.ip_allocation.c.port_id == models.port.c.id)
    .outerjoin(models.subnet, models.subnet.c.id == models.ip_allocation.c.subnet_id)
    .outerjoin(
        models.floating_ip,
        sa.and_(
            models.floating_ip.c.port_id == models.port.c.id,
            models.floating_ip.c.fixed_ip_address == models.ip_allocation.c.ip,
        ),
    )
    .where(models.port.c.device_owner.like(f"{COMPUTE_OWNER_PREFIX}%"))
    .order_by(models.port.c.created_at, models.port.c.id, models.ip_allocation.c.position)
)
_GROUPS = (
    sa.select(models.port_security_group.c.port_id, models.security_group.c.id, models.security_group.c.name)
    .join(models.security_group, models.security_group.c.id == models.port_security_group.c.security_group_id)
    .join(models.port, models.port.c.id == models.port_security_group.c.port_id)
    .order_by(models.security_group.c.name, models.security_group.c.id)
)
_PORTS_OF_ONE, _GROUPS_OF_ONE = (query.where(models.port.c.device_id == _SERVER) for query in (_PORTS, _GROUPS))
_PORTS_OF_ALL, _GROUPS_OF_ALL = (query.where(models.port.c.device_id.in_(_SERVERS)) for query in (_PORTS, _GROUPS))


def server_ports(tx: Tx, server_ids: Sequence[str]) -> dict[str, list[PortInfo]]:
    """The ports of servers, in the order in which they got them: two queries for any number of servers."""
    if not server_ids:
        return {}
    if len(server_ids) == 1:
        of_groups, of_ports = _GROUPS_OF_ONE, _PORTS_OF_ONE
        servers: dict[str, Any] = {"servers": server_ids[0]}
    else:
        of_groups, of_ports = _GROUPS_OF_ALL, _PORTS_OF_ALL
        servers = {"servers": list(server_ids)}
    groups: dict[str, list[SecurityGroupRef]] = {}
    for row in tx.all(of_groups, servers):
        groups.setdefault(row.port_id, []).append(SecurityGroupRef(row.id, row.name))
    by_port: dict[str, list[Row]] = {}
    for row in tx.all(of_ports, servers):
        by_port.setdefault(row.id, []).append(row)
    found: dict[str, list[PortInfo]] = {}
    for port_id, its_rows in by_port.items():
        info = _info(its_rows, groups.get(port_id, ()))
        found.setdefault(info.server_id, []).append(info)
    return found


def _info(its_rows: Sequence[Row], groups: Iterable[SecurityGroupRef]) -> PortInfo:
    first = its_rows[0]
    return PortInfo(
        id=first.id,
        server_id=first.device_id,
        network_id=first.network_id,
        network_name=first.network_name,
        project_id=first.project_id,
        mac=first.mac,
        mtu=first.mtu,
        status=first.status,
        host=first.host,
        port_security_enabled=first.port_security_enabled,
        addresses=tuple(
            PortAddress(
                ip=row.ip,
                subnet_id=row.subnet_id,
                version=row.ip_version,
                cidr=row.cidr,
                gateway=row.gateway_ip,
                dns=row.dns_nameservers,
                floating_ip=row.floating_ip_address,
            )
            for row in its_rows
            if row.ip is not None
        ),
        security_groups=tuple(groups),
    )
