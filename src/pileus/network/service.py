"""The network service: its resources' rules put together, and what other services may ask of it."""

from collections.abc import Collection, Sequence
from typing import Any

from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Database, Tx
from pileus.kernel.loops import nudge_loop
from pileus.kernel.nudge import Nudges
from pileus.network import plugging
from pileus.network.agents.service import AgentService
from pileus.network.domain import (
    Network,
    PlannedNic,
    Port,
    PortInfo,
    RequestedNic,
    SecurityGroupRef,
    Unplugged,
)
from pileus.network.floating_ips.service import FloatingIpService
from pileus.network.hosts import HostRegistry
from pileus.network.network_data import network_data
from pileus.network.networks import store as network_store
from pileus.network.networks.service import NetworkService
from pileus.network.notices import ServerNotices, ServersChanged, nobody
from pileus.network.plugging import Plugging
from pileus.network.ports import store as port_store
from pileus.network.ports.service import PortService
from pileus.network.quotas import Quotas
from pileus.network.routers.service import RouterService
from pileus.network.security_groups.service import SecurityGroupService
from pileus.network.settings import NetworkSettings
from pileus.network.specs import SpecBuilder
from pileus.network.subnets import store as subnet_store
from pileus.network.subnets.service import SubnetService
from pileus.network.sync.marks import Marker
from pileus.network.sync.pusher import AgentCaller, Pusher
from pileus.network.sync.store import Key, Kind
from pileus.network.tags import Tags

SYNC_LOOP = "network-sync"


class Networks:
    """Neutron's part of the cloud. `on_servers_changed` hears of servers whose addresses, groups or networks change."""

    def __init__(
        self,
        *,
        db: Database,
        clock: Clock,
        settings: NetworkSettings,
        hosts: HostRegistry,
        nudges: Nudges,
        on_servers_changed: ServersChanged = nobody,
    ) -> None:
        self._db = db
        self.settings = settings
        self._marker = Marker(lambda tx: nudge_loop(tx, nudges, SYNC_LOOP), ServerNotices(on_servers_changed))
        self.quotas = Quotas(settings)
        self.security_groups = SecurityGroupService(clock, self.quotas, self._marker)
        self.networks = NetworkService(clock, settings, self.quotas, self.security_groups, self._marker)
        self.ports = PortService(clock, settings, self.quotas, self.security_groups, self._marker)
        self.subnets = SubnetService(clock, settings, self.quotas, self.ports, self._marker)
        self.routers = RouterService(clock, settings, self.quotas, self.ports, self._marker, hosts)
        self.floating_ips = FloatingIpService(clock, self.quotas, self.ports, self._marker)
        self.agents = AgentService(hosts)
        self.tags = Tags(clock)
        self.specs = SpecBuilder(settings)
        self.pusher = Pusher(db, clock, settings, self.specs)
        self._plugging = Plugging(clock, self.quotas, self.ports, self._marker)

    # --- for compute, before a server is made ---------------------------------------------------------------------

    def check_requested(
        self, tx: Tx, actor: Actor, requested: Sequence[RequestedNic], servers: int = 1
    ) -> list[PlannedNic]:
        """Check the interfaces that a user wants for a server, and plan them. `servers` like it are to be made.

        BadRequest: no such network, port or address, or the address is in use. Conflict: the port is in use. Forbidden:
        an external network, or the port quota (OverLimit).
        """
        return self._plugging.check(tx, actor, requested, servers)

    def default_networks(self, tx: Tx, actor: Actor) -> list[Network]:
        """What a server may be put on when none is asked for: the project's own and shared networks, oldest first."""
        return network_store.usable(tx, actor.owner)

    def resolve_security_groups(self, tx: Tx, actor: Actor, names_or_ids: Collection[str]) -> list[SecurityGroupRef]:
        """The project's groups by name or id. BadRequest if there is none, Conflict if a name means several."""
        return self.security_groups.resolve(tx, actor.owner, names_or_ids)

    # --- for compute's durable operations -------------------------------------------------------------------------

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
        """Make or take over a server's port and bind it to a host. May be repeated; another host moves the binding.

        `security_group_ids` are for ports that are made; none means the project's default group.
        """
        return self._plugging.plug(
            tx,
            port=port,
            server_id=server_id,
            server_name=server_name,
            project_id=project_id,
            host=host,
            availability_zone=availability_zone,
            security_group_ids=security_group_ids,
        )

    def unplug(self, tx: Tx, server_id: str, port_ids: Collection[str] | None = None) -> list[Unplugged]:
        """Delete or release a server's ports, all or those named. A server that has none is fine."""
        return self._plugging.unplug(tx, server_id, port_ids)

    def wire(self, agents: AgentCaller, host: str, server_id: str, *, again: bool = False) -> None:
        """Have the host apply what a server's ports need: networks, address sets, the ports themselves.

        Holds no transaction while it waits. `again`: push also what the host has had before (it was restarted).
        AgentUnreachable or AgentRefused as the host answers.
        """
        with self._db.read() as tx:
            ports = [port for port in port_store.of_devices(tx, [server_id]) if port.host == host]
            keys = {key for port in ports for key in self._marker.port_keys(tx, port) if key.host == host}
        if again:
            self._db.transact(lambda tx: self._marker.mark(tx, keys))
        self.pusher.push(agents, keys)

    def unwire(self, agents: AgentCaller, host: str, ports: Sequence[Unplugged]) -> None:
        """Have the host drop ports that were unplugged, and networks that no port needs any more."""
        here = [port for port in ports if port.host == host]
        keys = {Key(host, Kind.PORT, port.port_id) for port in here}
        keys |= {Key(host, Kind.NETWORK, port.network_id) for port in here}
        self.pusher.push(agents, keys)

    # --- what servers have ----------------------------------------------------------------------------------------

    def server_ports(self, tx: Tx, server_ids: Sequence[str]) -> dict[str, list[PortInfo]]:
        """The ports of servers, in two queries; servers without ports are left out."""
        return plugging.server_ports(tx, server_ids)

    def network_data(self, tx: Tx, server_id: str) -> dict[str, Any]:
        """The server's network_data.json."""
        ports = plugging.server_ports(tx, [server_id]).get(server_id, [])
        ids = {address.subnet_id for port in ports for address in port.addresses}
        return network_data(ports, subnet_store.by_ids(tx, ids))

    # --- a new cloud ----------------------------------------------------------------------------------------------

    def bootstrap(self, tx: Tx, admin: Actor) -> Network:
        """Make the external network of the settings, owned by the administrator's project, if it is not there."""
        request = self.networks.listing.by_name(self.settings.public_name)
        for network in self.networks.page(tx, admin, request)[0]:
            if network.external:
                return network
        network = self.networks.create(tx, admin.owner, {"name": self.settings.public_name, "router:external": True})
        self.subnets.create(
            tx,
            admin.owner,
            network,
            {
                "name": f"{self.settings.public_name}-subnet",
                "ip_version": 4,
                "cidr": self.settings.public_cidr,
                "gateway_ip": self.settings.public_gateway,
                "enable_dhcp": False,
                "allocation_pools": [{"start": self.settings.public_pool_start, "end": self.settings.public_pool_end}],
            },
        )
        return self.networks.find(tx, network.id)
