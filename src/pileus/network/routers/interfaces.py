"""A router's interfaces: which subnets and ports may be connected to it, and what holds them there."""

from typing import NamedTuple

from pileus.kernel.auth import Actor
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, NotFound
from pileus.network import addresses, models, rows
from pileus.network.domain import DeviceOwner, FixedIp, Port, PortStatus, Router, Subnet
from pileus.network.errors import in_use, not_found
from pileus.network.floating_ips import store as floating_store
from pileus.network.networks import store as network_store
from pileus.network.ports import store as port_store
from pileus.network.ports.service import PortService
from pileus.network.subnets import store as subnet_store


class Interface(NamedTuple):
    """An interface that was added or removed."""

    port: Port
    subnet_ids: tuple[str, ...]


class Interfaces:
    """Connects subnets and ports to routers that the caller has locked."""

    def __init__(self, ports: PortService) -> None:
        self._ports = ports

    def of(self, tx: Tx, router_id: str) -> list[Port]:
        """A router's interface ports, oldest first."""
        ports = port_store.of_devices(tx, [router_id])
        return [port for port in ports if port.device_owner == DeviceOwner.ROUTER_INTERFACE]

    def add_subnet(self, tx: Tx, actor: Actor, router: Router, subnet_id: str) -> Interface:
        """Connect a subnet: the router takes the subnet's gateway address."""
        subnet = subnet_store.get(tx, actor, subnet_id)
        if subnet.gateway_ip is None:
            raise BadRequest(
                "Bad router request: Subnet for router interface must have a gateway IP.", kind="BadRequest"
            )
        present = self.of(tx, router.id)
        self._check_overlap(tx, present, [subnet])
        wanted = {"subnet_id": subnet.id, "ip_address": subnet.gateway_ip}
        sharing = _with_ipv6(present, subnet)
        if sharing is not None:
            held = [{"subnet_id": fixed.subnet_id, "ip_address": fixed.ip} for fixed in sharing.fixed_ips]
            return Interface(self._ports.update(tx, sharing, {"fixed_ips": [*held, wanted]}), (subnet.id,))
        network = network_store.find(tx, subnet.network_id)
        if network is None:
            raise not_found("network", subnet.network_id)
        port = self._ports.create_for_service(
            tx,
            network,
            DeviceOwner.ROUTER_INTERFACE,
            project_id=router.project_id,
            device_id=router.id,
            fixed_ips=[wanted],
            host=router.host,
        )
        return Interface(port, (subnet.id,))

    def add_port(self, tx: Tx, actor: Actor, router: Router, port_id: str, now: int) -> Interface:
        """Connect a port that nobody uses. PortInUse else."""
        port = port_store.lock(tx, port_store.get(tx, actor, port_id).id)
        if port is None:
            raise not_found("port", port_id)
        if port.device_id:
            raise in_use(
                "PortInUse",
                f"Unable to complete operation on port {port.id} for network {port.network_id}. "
                f"Port already has an attached device {port.device_id}.",
            )
        if not port.fixed_ips:
            raise BadRequest("Bad router request: Router port must have at least one fixed IP.", kind="BadRequest")
        subnets = list(subnet_store.by_ids(tx, {fixed.subnet_id for fixed in port.fixed_ips}).values())
        if sum(1 for subnet in subnets if subnet.ip_version == 4) > 1:
            raise BadRequest("Bad router request: Cannot have multiple IPv4 subnets on router port.", kind="BadRequest")
        self._check_overlap(tx, self.of(tx, router.id), subnets)
        port_store.set_groups(tx, port.id, ())
        changes = {
            "device_id": router.id,
            "device_owner": str(DeviceOwner.ROUTER_INTERFACE),
            "host": router.host,
            "status": PortStatus.BUILD if router.host else PortStatus.DOWN,
            "port_security_enabled": False,
            "allowed_address_pairs": (),
        }
        rows.change(tx, models.port, port.id, now, changes)
        return Interface(self._ports.find(tx, port.id), tuple(subnet.id for subnet in subnets))

    def remove(self, tx: Tx, router: Router, subnet_id: str | None, port_id: str | None) -> Interface:
        """Disconnect a port, or a subnet: of an IPv6 port with several subnets only that one."""
        port = self._find(tx, router, subnet_id, port_id)
        held = tuple(fixed.subnet_id for fixed in port.fixed_ips)
        if subnet_id is not None and subnet_id not in held:
            raise BadRequest(
                f"Subnet on port {port.id} does not match the requested subnet {subnet_id}.",
                kind="SubnetMismatchForPort",
            )
        leaving = (subnet_id,) if subnet_id is not None and port_id is None else held
        self._check_unused(tx, router, port, leaving)
        staying = [fixed for fixed in port.fixed_ips if fixed.subnet_id not in leaving]
        if staying:
            items = [{"subnet_id": fixed.subnet_id, "ip_address": fixed.ip} for fixed in staying]
            self._ports.update(tx, port, {"fixed_ips": items})
        else:
            self._ports.remove(tx, port)
        return Interface(port, leaving)

    def _find(self, tx: Tx, router: Router, subnet_id: str | None, port_id: str | None) -> Port:
        for port in self.of(tx, router.id):
            if port_id is not None:
                if port.id == port_id:
                    return port
            elif any(fixed.subnet_id == subnet_id for fixed in port.fixed_ips):
                return port
        if port_id is not None:
            raise NotFound(
                f"Router {router.id} does not have an interface with id {port_id}", kind="RouterInterfaceNotFound"
            )
        raise NotFound(
            f"Router {router.id} has no interface on subnet {subnet_id}", kind="RouterInterfaceNotFoundForSubnet"
        )

    def _check_overlap(self, tx: Tx, present: list[Port], added: list[Subnet]) -> None:
        connected = subnet_store.by_ids(tx, {fixed.subnet_id for port in present for fixed in port.fixed_ips})
        for subnet in added:
            if subnet.id in connected:
                raise BadRequest(
                    f"Bad router request: Router already has a port on subnet {subnet.id}.", kind="BadRequest"
                )
            for other in connected.values():
                if addresses.overlap(subnet.cidr, other.cidr):
                    raise BadRequest(
                        f"Bad router request: Cidr {subnet.cidr} of subnet {subnet.id} overlaps with cidr "
                        f"{other.cidr} of subnet {other.id}.",
                        kind="BadRequest",
                    )

    def _check_unused(self, tx: Tx, router: Router, port: Port, leaving: tuple[str, ...]) -> None:
        subnets = subnet_store.by_ids(tx, leaving)
        for floating in floating_store.of_router(tx, router.id):
            used = floating_store.subnet_of(tx, floating)
            if used in leaving:
                raise in_use(
                    "RouterInterfaceInUseByFloatingIP",
                    f"Router interface for subnet {used} on router {router.id} cannot be deleted, as it is required "
                    "by one or more floating IPs.",
                )
        for _destination, nexthop in router.routes:
            for subnet in subnets.values():
                if addresses.contains(subnet.cidr, nexthop):
                    raise in_use(
                        "RouterInterfaceInUseByRoute",
                        f"Router interface for subnet {subnet.id} on router {router.id} cannot be deleted, as it is "
                        "required by one or more routes.",
                    )


def _with_ipv6(present: list[Port], subnet: Subnet) -> Port | None:
    """The router's IPv6 port on the same network: IPv6 subnets share one port."""
    if subnet.ip_version != 6:
        return None
    for port in present:
        if port.network_id == subnet.network_id and all(_is_ipv6(fixed) for fixed in port.fixed_ips):
            return port
    return None


def _is_ipv6(fixed: FixedIp) -> bool:
    return ":" in fixed.ip
