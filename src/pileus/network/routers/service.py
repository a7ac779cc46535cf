"""Rules of routers."""

from collections.abc import Sequence
from typing import Any

from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.network import addresses, models, rows
from pileus.network.domain import Attributes, DeviceOwner, PortStatus, Router
from pileus.network.errors import in_use, not_found
from pileus.network.floating_ips import store as floating_store
from pileus.network.hosts import HostRegistry
from pileus.network.lists import ListRequest
from pileus.network.networks import store as network_store
from pileus.network.ports import store as port_store
from pileus.network.ports.service import PortService
from pileus.network.quotas import Quotas
from pileus.network.routers import store
from pileus.network.routers.interfaces import Interface, Interfaces
from pileus.network.settings import NetworkSettings
from pileus.network.subnets import store as subnet_store
from pileus.network.subnets.service import parse_routes
from pileus.network.sync.marks import Marker


class RouterService:
    """Shows, creates, changes and deletes routers, and gives each a host once it is connected to something."""

    listing = store.LISTING

    def __init__(
        self,
        clock: Clock,
        settings: NetworkSettings,
        quotas: Quotas,
        ports: PortService,
        marker: Marker,
        hosts: HostRegistry,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._quotas = quotas
        self._ports = ports
        self._marker = marker
        self._hosts = hosts
        self._interfaces = Interfaces(ports)

    def get(self, tx: Tx, actor: Actor, router_id: str) -> Router:
        """A router that the caller may see. NotFound else."""
        return store.get(tx, actor, router_id)

    def page(self, tx: Tx, actor: Actor, request: ListRequest) -> tuple[list[Router], bool]:
        """One page of routers, and whether there are more."""
        return store.page(tx, actor, request)

    def create(self, tx: Tx, actor: Actor, project_id: str, attributes: Attributes) -> Router:
        """Make a router, with a gateway if one is asked for."""
        self._quotas.reserve(tx, project_id, router=1)
        values: dict[str, Any] = {
            **rows.standard(project_id, attributes, self._clock.now()),
            "admin_state_up": attributes.get("admin_state_up", True),
            "enable_snat": True,
            "gateway_network_id": None,
            "gateway_port_id": None,
            "routes": (),
            "host": "",
        }
        store.insert(tx, values)
        router = Router(**values)
        if attributes.get("external_gateway_info"):
            self._set_gateway(tx, actor, router, attributes["external_gateway_info"])
        return self._changed(tx, router.id)

    def update(self, tx: Tx, actor: Actor, router_id: str, attributes: Attributes) -> Router:
        """Change a router, its gateway or its extra routes."""
        router = self._locked(tx, router_id)
        changes = {name: attributes[name] for name in ("name", "description", "admin_state_up") if name in attributes}
        if "external_gateway_info" in attributes:
            info = attributes["external_gateway_info"]
            if info and info.get("network_id"):
                self._set_gateway(tx, actor, router, info)
            elif not info:
                self._clear_gateway(tx, router)
            else:
                raise BadRequest("Invalid input for external_gateway_info. Reason: network_id is missing.")
        if "routes" in attributes:
            changes["routes"] = self._checked_routes(tx, router, parse_routes("routes", attributes["routes"] or ()))
        rows.change(tx, models.router, router.id, self._clock.now(), changes)
        return self._changed(tx, router.id)

    def change_routes(self, tx: Tx, router_id: str, routes: Sequence[Any], *, add: bool) -> Router:
        """Add or remove extra routes without touching the others."""
        router = self._locked(tx, router_id)
        named = parse_routes("routes", routes)
        if add:
            wanted = (*router.routes, *(pair for pair in named if pair not in router.routes))
        else:
            wanted = tuple(pair for pair in router.routes if pair not in named)
        changes = {"routes": self._checked_routes(tx, router, wanted)}
        rows.change(tx, models.router, router.id, self._clock.now(), changes)
        return self._changed(tx, router.id)

    def delete(self, tx: Tx, router_id: str) -> None:
        """Delete a router. RouterInUse while it has interfaces."""
        router = self._locked(tx, router_id)
        if self._interfaces.of(tx, router.id):
            raise in_use("RouterInUse", f"Router {router.id} still has ports")
        self._marker.router(tx, router.id)
        self._clear_gateway(tx, router)
        rows.remove(tx, models.router, router.id)

    # --- interfaces ---------------------------------------------------------------------------------------------

    def add_interface(self, tx: Tx, actor: Actor, router_id: str, attributes: Attributes) -> Interface:
        """Connect a subnet or a port."""
        router = self._settle(tx, self._locked(tx, router_id))
        subnet_id, port_id = attributes.get("subnet_id"), attributes.get("port_id")
        if subnet_id and port_id:
            raise BadRequest("Bad router request: Cannot specify both subnet-id and port-id.", kind="BadRequest")
        if subnet_id:
            interface = self._interfaces.add_subnet(tx, actor, router, subnet_id)
        elif port_id:
            interface = self._interfaces.add_port(tx, actor, router, port_id, self._clock.now())
        else:
            raise BadRequest("Bad router request: Either subnet_id or port_id must be specified.", kind="BadRequest")
        rows.change(tx, models.router, router.id, self._clock.now(), {})
        self._marker.router(tx, router.id)
        return interface

    def remove_interface(self, tx: Tx, router_id: str, attributes: Attributes) -> Interface:
        """Disconnect a subnet or a port."""
        router = self._locked(tx, router_id)
        subnet_id, port_id = attributes.get("subnet_id"), attributes.get("port_id")
        if not subnet_id and not port_id:
            raise BadRequest("Bad router request: Either subnet_id or port_id must be specified.", kind="BadRequest")
        self._marker.router(tx, router.id)
        interface = self._interfaces.remove(tx, router, subnet_id, port_id)
        rows.change(tx, models.router, router.id, self._clock.now(), {})
        return interface

    # --- gateway ------------------------------------------------------------------------------------------------

    def _set_gateway(self, tx: Tx, actor: Actor, router: Router, info: Attributes) -> None:
        network_id = info["network_id"]
        changes: dict[str, Any] = {"enable_snat": info.get("enable_snat", True)}
        fixed_ips = info.get("external_fixed_ips")
        if network_id == router.gateway_network_id and router.gateway_port_id is not None:
            if fixed_ips:
                self._ports.update(tx, self._ports.find(tx, router.gateway_port_id), {"fixed_ips": fixed_ips})
        else:
            network = network_store.get(tx, actor, network_id)
            if not network.external:
                raise BadRequest(
                    f"Bad router request: Network {network_id} is not an external network.", kind="BadRequest"
                )
            self._clear_gateway(tx, router)
            router = self._settle(tx, router)
            port = self._ports.create_for_service(
                tx,
                network,
                DeviceOwner.ROUTER_GATEWAY,
                project_id="",
                device_id=router.id,
                fixed_ips=fixed_ips or None,
                host=router.host,
            )
            if not port.fixed_ips:
                raise BadRequest(
                    f"Bad router request: No IPs available for external network {network_id}.", kind="BadRequest"
                )
            changes |= {"gateway_network_id": network_id, "gateway_port_id": port.id}
        rows.change(tx, models.router, router.id, self._clock.now(), changes)

    def _clear_gateway(self, tx: Tx, router: Router) -> None:
        if router.gateway_port_id is None:
            return
        if floating_store.of_router(tx, router.id):
            raise in_use(
                "RouterExternalGatewayInUseByFloatingIp",
                f"Gateway cannot be updated for router {router.id}, since a gateway to external network "
                f"{router.gateway_network_id} is required by one or more floating IPs.",
            )
        port = port_store.find(tx, router.gateway_port_id)
        changes = {"gateway_network_id": None, "gateway_port_id": None, "enable_snat": True}
        rows.change(tx, models.router, router.id, self._clock.now(), changes)
        if port is not None:
            self._ports.remove(tx, port)

    # --- hosts --------------------------------------------------------------------------------------------------

    def _settle(self, tx: Tx, router: Router) -> Router:
        """Give a router a host, if there is one: of those that are up the one with the fewest routers."""
        if router.host:
            return router
        loads = store.loads(tx)
        names = sorted(host.name for host in self._hosts.all(tx) if host.up and host.enabled)
        if not names:
            return router
        host = min(names, key=lambda name: loads.get(name, 0))
        store.set_host(tx, router.id, host)
        port_store.set_host(tx, router.id, host, PortStatus.BUILD)
        return store.find(tx, router.id) or router

    def homeless(self, tx: Tx) -> bool:
        """Whether there are routers that were connected while no host was up."""
        return bool(store.homeless(tx))

    def settle_homeless(self, tx: Tx) -> None:
        """Give hosts to routers that were connected while no host was up."""
        for router_id in store.homeless(tx):
            router = store.find(tx, router_id, lock=True)
            if router is not None and self._settle(tx, router).host:
                self._marker.router(tx, router_id)

    # --- parts --------------------------------------------------------------------------------------------------

    def _locked(self, tx: Tx, router_id: str) -> Router:
        router = store.find(tx, router_id, lock=True)
        if router is None:
            raise not_found("router", router_id)
        return router

    def _changed(self, tx: Tx, router_id: str) -> Router:
        self._marker.router(tx, router_id)
        router = store.find(tx, router_id)
        if router is None:
            raise not_found("router", router_id)
        return router

    def _checked_routes(
        self, tx: Tx, router: Router, routes: tuple[tuple[str, str], ...]
    ) -> tuple[tuple[str, str], ...]:
        if len(routes) > self._settings.max_routes:
            raise BadRequest(
                f"Unable to complete operation for {router.id}. The number of routes exceeds the maximum "
                f"{self._settings.max_routes}.",
                kind="RoutesExhausted",
            )
        ports = port_store.of_devices(tx, [router.id]) if routes else []
        subnets = subnet_store.by_ids(tx, {fixed.subnet_id for port in ports for fixed in port.fixed_ips})
        own = {fixed.ip for port in ports for fixed in port.fixed_ips}
        for _destination, nexthop in routes:
            if not any(addresses.contains(subnet.cidr, nexthop) for subnet in subnets.values()):
                raise _bad_routes(routes, "the nexthop is not connected with router")
            if nexthop in own:
                raise _bad_routes(routes, "the nexthop is used by router")
        return routes


def _bad_routes(routes: Sequence[tuple[str, str]], reason: str) -> BadRequest:
    return BadRequest(f"Invalid format for routes: {[list(pair) for pair in routes]}, {reason}.", kind="InvalidRoutes")
