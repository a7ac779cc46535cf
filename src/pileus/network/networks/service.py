"""Rules of networks."""

from typing import Any

from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.network import models, rows
from pileus.network.domain import EXTERNAL_TYPE, PROJECT_TYPE, Attributes, Network
from pileus.network.errors import in_use, invalid, not_found
from pileus.network.floating_ips import store as floating_store
from pileus.network.lists import ListRequest
from pileus.network.networks import store
from pileus.network.ports import store as port_store
from pileus.network.quotas import Quotas
from pileus.network.security_groups.service import SecurityGroupService
from pileus.network.settings import NetworkSettings
from pileus.network.subnets import store as subnet_store
from pileus.network.sync.marks import Marker

_COLUMNS = {
    "name": "name",
    "description": "description",
    "admin_state_up": "admin_state_up",
    "shared": "shared",
    "router:external": "external",
    "mtu": "mtu",
    "port_security_enabled": "port_security_enabled",
}


class NetworkService:
    """Shows, creates, changes and deletes networks."""

    listing = store.LISTING

    def __init__(
        self, clock: Clock, settings: NetworkSettings, quotas: Quotas, groups: SecurityGroupService, marker: Marker
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._quotas = quotas
        self._groups = groups
        self._marker = marker

    def get(self, tx: Tx, actor: Actor, network_id: str) -> Network:
        """A network that the caller may see. NotFound else."""
        return store.get(tx, actor, network_id)

    def find(self, tx: Tx, network_id: str) -> Network:
        """A network whoever may see it. NotFound if it is not there."""
        network = store.find(tx, network_id)
        if network is None:
            raise not_found("network", network_id)
        return network

    def page(self, tx: Tx, actor: Actor, request: ListRequest) -> tuple[list[Network], bool]:
        """One page of networks, and whether there are more."""
        return store.page(tx, actor, request)

    def create(self, tx: Tx, project_id: str, attributes: Attributes) -> Network:
        """Make a network for a project."""
        self._quotas.reserve(tx, project_id, network=1)
        if project_id:
            self._groups.ensure_default(tx, project_id)
        external = attributes.get("router:external", False)
        values: dict[str, Any] = {
            **rows.standard(project_id, attributes, self._clock.now()),
            "admin_state_up": attributes.get("admin_state_up", True),
            "shared": attributes.get("shared", False),
            "external": external,
            "mtu": self._mtu(external, attributes.get("mtu")),
            "segment": self._segment(tx, attributes),
            "physical_network": self._physical_network(external, attributes),
            "port_security_enabled": attributes.get("port_security_enabled", True),
        }
        store.insert(tx, values)
        return Network(**values)

    def update(self, tx: Tx, network: Network, attributes: Attributes) -> Network:
        """Change a network; ports of others keep it shared, gateways and floating IPs keep it external."""
        changes = {_COLUMNS[name]: value for name, value in attributes.items()}
        if changes.get("shared") is False and network.shared and store.other_users(tx, network.id, network.project_id):
            raise in_use(
                "InvalidSharedSetting",
                f"Unable to reconfigure sharing settings for network {network.id}. Multiple tenants are using it.",
            )
        if "external" in changes and changes["external"] != network.external:
            self._change_external(tx, network, changes)
        if "mtu" in changes:
            changes["mtu"] = self._mtu(changes.get("external", network.external), changes["mtu"])
        rows.change(tx, models.network, network.id, self._clock.now(), changes)
        self._marker.network(tx, network.id)
        if "admin_state_up" in changes or "mtu" in changes:
            self._marker.ports(tx, network.id)
            self._marker.servers.network(tx, network.id)
        return self.find(tx, network.id)

    def _change_external(self, tx: Tx, network: Network, changes: dict[str, Any]) -> None:
        if network.external:
            if store.gateway_of_routers(tx, network.id) or floating_store.on_network(tx, network.id):
                raise in_use(
                    "ExternalNetworkInUse",
                    f"External network {network.id} cannot be updated to be made non-external, since it has existing "
                    "gateway ports.",
                )
            changes["physical_network"] = None
        else:
            changes["physical_network"] = self._settings.external_physical_network

    def delete(self, tx: Tx, network: Network) -> None:
        """Delete a network with its subnets. NetworkInUse while ports other than DHCP's are on it.

        Floating IPs of an external network that lead nowhere go with it.
        """
        network_id = network.id
        for floating in floating_store.on_network(tx, network_id):
            if floating.port_id is None:
                floating_store.delete(tx, floating.id)
                port_store.delete(tx, floating.floating_port_id)
        ports = port_store.on_network(tx, network_id)
        if any(not port_store.goes_with_network(port) for port in ports):
            raise in_use(
                "NetworkInUse",
                f"Unable to complete operation on network {network_id}. "
                "There are one or more ports still in use on the network.",
            )
        self._marker.network(tx, network_id)
        for port in ports:
            port_store.delete(tx, port.id)
        for subnet_id in network.subnets:
            subnet_store.delete(tx, subnet_id)
        rows.remove(tx, models.network, network_id)

    def _mtu(self, external: bool, wanted: int | None) -> int:
        largest = self._settings.external_mtu if external else self._settings.mtu
        if wanted is not None and wanted > largest:
            raise invalid(f"Requested MTU is too big, maximum is {largest}")
        return largest if wanted is None else wanted

    def _segment(self, tx: Tx, attributes: Attributes) -> int:
        segment: int | None = attributes.get("provider:segmentation_id")
        if segment is None:
            return store.free_segment(tx)
        if attributes.get("provider:network_type") != PROJECT_TYPE:
            raise invalid("segmentation_id is only for networks of type vxlan")
        if store.segment_taken(tx, segment):
            raise in_use("TunnelIdInUse", f"Unable to create the network. The tunnel ID {segment} is in use.")
        return segment

    def _physical_network(self, external: bool, attributes: Attributes) -> str | None:
        kind = attributes.get("provider:network_type")
        name: str | None = attributes.get("provider:physical_network")
        if kind not in (None, PROJECT_TYPE, EXTERNAL_TYPE):
            raise invalid(f"Unknown provider network type '{kind}'")
        if kind == EXTERNAL_TYPE and not external:
            raise invalid("networks of type flat are external networks here: set router:external")
        if name is not None and (kind == PROJECT_TYPE or not external):
            raise invalid("provider:physical_network is only for networks of type flat")
        if name is not None and name != self._settings.external_physical_network:
            raise invalid(f"physical_network '{name}' unknown for flat provider network")
        return self._settings.external_physical_network if external else None
