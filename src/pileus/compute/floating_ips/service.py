"""What Nova once did with floating IPs, done by the network service. A pool is an external network."""

from collections.abc import Sequence
from urllib.parse import urlencode

import msgspec

from pileus.compute.servers.domain import Server
from pileus.compute.servers.service import Servers
from pileus.kernel.auth import Actor
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Conflict, NotFound
from pileus.kernel.http import Query
from pileus.network.domain import FloatingIp, Network
from pileus.network.service import Networks


class ShownFloatingIp(msgspec.Struct, frozen=True):
    """A floating IP with what Nova shows of it: the pool's name and the server that it leads to."""

    id: str
    ip: str
    project_id: str
    pool: str
    fixed_ip: str | None
    instance_id: str | None


class FloatingIps:
    """Floating IPs as Nova's API speaks of them. Methods run in the caller's transaction."""

    def __init__(self, networks: Networks, servers: Servers) -> None:
        self._networks = networks
        self._floating = networks.floating_ips
        self.servers = servers

    def pools(self, tx: Tx, actor: Actor) -> list[Network]:
        """The external networks that the actor may see."""
        request = self._networks.networks.listing.parse(Query(urlencode({"router:external": "true"})))
        return self._networks.networks.page(tx, actor, request)[0]

    def all(self, tx: Tx, actor: Actor) -> list[ShownFloatingIp]:
        """The floating IPs of the actor's project."""
        return self._shown(tx, actor, self._found(tx, actor, project_id=actor.owner))

    def get(self, tx: Tx, actor: Actor, floating_id: str) -> ShownFloatingIp:
        """A floating IP that the actor may see. NotFound."""
        return self._shown(tx, actor, [self._floating.get(tx, actor, floating_id)])[0]

    def create(self, tx: Tx, actor: Actor, pool: str | None) -> ShownFloatingIp:
        """Take an address of a pool (its id or name; of the only one or the first, if none is named). NotFound if there
        is no such pool."""
        found = [one for one in self.pools(tx, actor) if pool is None or pool in (one.id, one.name)]
        if not found:
            raise NotFound("Floating IP pool not found." if pool else "No floating IP pools available.")
        attributes = {"floating_network_id": found[0].id}
        return self._shown(tx, actor, [self._floating.create(tx, actor, actor.owner, attributes)])[0]

    def delete(self, tx: Tx, actor: Actor, floating_id: str) -> None:
        """Give an address back."""
        self._floating.delete(tx, self._floating.get(tx, actor, floating_id))

    # --- servers' -------------------------------------------------------------------------------------------

    def add(self, tx: Tx, actor: Actor, server: Server, address: str, fixed_address: str | None) -> None:
        """Lead a floating IP to a server, wherever it led before. NotFound if the project has none of this address,
        BadRequest if it cannot lead there."""
        floating = self._of_address(tx, actor, address)
        port_id, fixed_ip = self._target(tx, server, fixed_address)
        try:
            self._floating.update(tx, actor, floating, {"port_id": port_id, "fixed_ip_address": fixed_ip})
        except (Conflict, NotFound) as err:
            raise BadRequest(f"Unable to associate floating IP {address} to server {server.id}: {err.message}") from err

    def remove(self, tx: Tx, actor: Actor, server: Server, address: str) -> None:
        """Lead a server's floating IP nowhere. NotFound if the project has none of this address, Conflict if it does
        not lead to the server."""
        floating = self._of_address(tx, actor, address)
        ports = {port.id for port in self.servers.ports(tx, [server.id]).get(server.id, ())}
        if floating.port_id not in ports:
            raise Conflict(f"Floating IP {address} is not associated with instance {server.id}.")
        self._floating.update(tx, actor, floating, {"port_id": None})

    def _target(self, tx: Tx, server: Server, fixed_address: str | None) -> tuple[str, str]:
        """The port and the address there that a floating IP is to lead to."""
        found = [
            (port.id, address.ip)
            for port in self.servers.ports(tx, [server.id]).get(server.id, ())
            for address in port.addresses
            if address.version == 4
        ]
        if not found:
            raise BadRequest(f"No fixed IPs associated to instance {server.id}.")
        if fixed_address is None:
            return found[0]
        for port_id, ip in found:
            if ip == fixed_address:
                return port_id, ip
        raise BadRequest("Specified fixed address not assigned to instance")

    # --- finding --------------------------------------------------------------------------------------------

    def _found(self, tx: Tx, actor: Actor, **filters: str) -> list[FloatingIp]:
        return self._floating.page(tx, actor, self._floating.listing.parse(Query(urlencode(filters))))[0]

    def _of_address(self, tx: Tx, actor: Actor, address: str) -> FloatingIp:
        found = self._found(tx, actor, floating_ip_address=address)
        if not found:
            raise NotFound("floating IP not found")
        return found[0]

    def _shown(self, tx: Tx, actor: Actor, floating: Sequence[FloatingIp]) -> list[ShownFloatingIp]:
        """With their pools and servers: two queries for any number of them."""
        networks, ports = self._networks.networks, self._networks.ports
        pools = {network.id: network.name for network in self.pools(tx, actor)} if floating else {}
        wanted = [("id", one.port_id) for one in floating if one.port_id is not None]
        listed = ports.page(tx, actor, ports.listing.parse(Query(urlencode(wanted))))[0] if wanted else []
        servers = {port.id: port.device_id or None for port in listed}
        return [
            ShownFloatingIp(
                id=one.id,
                ip=one.floating_ip_address,
                project_id=one.project_id,
                pool=pools.get(one.floating_network_id) or networks.find(tx, one.floating_network_id).name,
                fixed_ip=one.fixed_ip_address,
                instance_id=servers.get(one.port_id or ""),
            )
            for one in floating
        ]
