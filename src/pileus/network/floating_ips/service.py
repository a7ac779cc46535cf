"""Rules of floating IPs."""

from typing import Any

from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Conflict, NotFound
from pileus.network import models, rows
from pileus.network.domain import Attributes, DeviceOwner, FixedIp, FloatingIp
from pileus.network.errors import not_found
from pileus.network.floating_ips import store
from pileus.network.lists import ListRequest
from pileus.network.networks import store as network_store
from pileus.network.ports import store as port_store
from pileus.network.ports.service import PortService
from pileus.network.quotas import Quotas
from pileus.network.routers import store as router_store
from pileus.network.subnets import store as subnet_store
from pileus.network.sync.marks import Marker

_NOWHERE: dict[str, Any] = {"port_id": None, "fixed_ip_address": None, "router_id": None, "status": store.DOWN}


class FloatingIpService:
    """Shows, creates, changes and deletes floating IPs."""

    listing = store.LISTING

    def __init__(self, clock: Clock, quotas: Quotas, ports: PortService, marker: Marker) -> None:
        self._clock = clock
        self._quotas = quotas
        self._ports = ports
        self._marker = marker

    def get(self, tx: Tx, actor: Actor, floating_id: str) -> FloatingIp:
        """A floating IP that the caller may see. NotFound else."""
        return store.get(tx, actor, floating_id)

    def page(self, tx: Tx, actor: Actor, request: ListRequest) -> tuple[list[FloatingIp], bool]:
        """One page of floating IPs, and whether there are more."""
        return store.page(tx, actor, request)

    def create(self, tx: Tx, actor: Actor, project_id: str, attributes: Attributes) -> FloatingIp:
        """Take an address of an external network, and lead it to a port if one is named."""
        network = network_store.get(tx, actor, attributes["floating_network_id"])
        if not network.external:
            raise _bad(f"Network {network.id} is not a valid external network")
        if not any(subnet.ip_version == 4 for subnet in subnet_store.of_network(tx, network.id)):
            raise _bad(f"Network {network.id} does not contain any IPv4 subnet")
        self._quotas.reserve(tx, project_id, floatingip=1)
        standard = rows.standard(project_id, attributes, self._clock.now())
        wanted = {
            key: attributes[name]
            for key, name in (("subnet_id", "subnet_id"), ("ip_address", "floating_ip_address"))
            if attributes.get(name)
        }
        port = self._ports.create_for_service(
            tx,
            network,
            DeviceOwner.FLOATING_IP,
            project_id="",
            device_id=standard["id"],
            fixed_ips=[wanted] if wanted else None,
            ip_version=4,
        )
        values: dict[str, Any] = {
            **standard,
            "floating_network_id": network.id,
            "floating_ip_address": port.fixed_ips[0].ip,
            "floating_port_id": port.id,
            **_NOWHERE,
        }
        floating = FloatingIp(**values)
        if attributes.get("port_id") or attributes.get("fixed_ip_address"):
            values |= self._association(tx, actor, floating, attributes)
        store.insert(tx, values)
        self._mark(tx, values["router_id"])
        self._marker.servers.port(tx, values["port_id"])
        return FloatingIp(**values)

    def update(self, tx: Tx, actor: Actor, floating: FloatingIp, attributes: Attributes) -> FloatingIp:
        """Lead a floating IP elsewhere, or nowhere (`port_id` null)."""
        changes: dict[str, Any] = {}
        if "description" in attributes:
            changes["description"] = attributes["description"]
        if "port_id" in attributes and attributes["port_id"] is None:
            if attributes.get("fixed_ip_address"):
                raise _bad("fixed_ip_address cannot be specified without a port_id")
            changes |= _NOWHERE
        elif "port_id" in attributes or attributes.get("fixed_ip_address"):
            wanted = {"port_id": floating.port_id, **attributes}
            changes |= self._association(tx, actor, floating, wanted)
        rows.change(tx, models.floating_ip, floating.id, self._clock.now(), changes)
        self._mark(tx, floating.router_id, changes.get("router_id"))
        self._marker.servers.port(tx, floating.port_id, changes.get("port_id"))
        return store.get(tx, actor, floating.id)

    def delete(self, tx: Tx, floating: FloatingIp) -> None:
        """Give the address back."""
        store.delete(tx, floating.id)
        port = port_store.find(tx, floating.floating_port_id)
        if port is not None:
            self._ports.remove(tx, port)
        self._mark(tx, floating.router_id)
        self._marker.servers.port(tx, floating.port_id)

    def _mark(self, tx: Tx, *router_ids: str | None) -> None:
        for router_id in {router_id for router_id in router_ids if router_id}:
            self._marker.router(tx, router_id)

    def _association(self, tx: Tx, actor: Actor, floating: FloatingIp, attributes: Attributes) -> dict[str, Any]:
        """What changes when a floating IP is led to a port: the address there, and the router in between."""
        port_id = attributes.get("port_id")
        if not port_id:
            raise _bad("fixed_ip_address cannot be specified without a port_id")
        port = port_store.lock(tx, port_store.get(tx, actor, port_id).id)
        if port is None:
            raise not_found("port", port_id)
        if port.project_id != floating.project_id and not actor.is_admin:
            raise _bad(
                f"Port {port.id} is associated with a different tenant than Floating IP {floating.id} and therefore "
                "cannot be bound."
            )
        fixed = _chosen_address(port.id, port.fixed_ips, attributes.get("fixed_ip_address"))
        for other in store.of_ports(tx, [port.id]):
            if (
                other.id != floating.id
                and other.fixed_ip_address == fixed.ip
                and other.floating_network_id == floating.floating_network_id
            ):
                raise Conflict(
                    f"Cannot associate floating IP {floating.floating_ip_address} ({floating.id}) with port {port.id} "
                    f"using fixed IP {fixed.ip}, as that fixed IP already has a floating IP on external network "
                    f"{floating.floating_network_id}.",
                    kind="FloatingIPPortAlreadyAssociated",
                )
        subnet = subnet_store.by_ids(tx, [fixed.subnet_id])[fixed.subnet_id]
        router_id = router_store.reaching(tx, subnet.id, floating.floating_network_id, subnet.gateway_ip)
        if router_id is None:
            raise NotFound(
                f"External network {floating.floating_network_id} is not reachable from subnet {subnet.id}. "
                f"Therefore, cannot associate Port {port.id} with a Floating IP.",
                kind="ExternalGatewayForFloatingIPNotFound",
            )
        return {
            "port_id": port.id,
            "fixed_ip_address": fixed.ip,
            "router_id": router_id,
            "status": store.DOWN,
        }


def _chosen_address(port_id: str, fixed_ips: tuple[FixedIp, ...], wanted: str | None) -> FixedIp:
    four = [fixed for fixed in fixed_ips if "." in fixed.ip]
    if wanted is not None:
        for fixed in four:
            if fixed.ip == wanted:
                return fixed
        raise _bad(f"Port {port_id} does not have fixed ip {wanted}")
    if not four:
        raise _bad(f"Cannot add floating IP to port {port_id} that has no fixed IPv4 addresses")
    if len(four) > 1:
        raise _bad(
            f"Port {port_id} has multiple fixed IPv4 addresses. Must provide a specific IPv4 address when assigning a "
            "floating IP"
        )
    return four[0]


def _bad(message: str) -> BadRequest:
    return BadRequest(f"Bad floatingip request: {message}.", kind="BadRequest")
