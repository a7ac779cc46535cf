"""Network agents, availability zones and service providers, as they follow from the registry of hosts.

One process serves everything on a host. Neutron's clients know the parts of that as agents of different types, so each
host is shown as one agent of each type, and all of them live and die together.
"""

import uuid
from enum import StrEnum

import msgspec

from pileus.kernel.db import Tx
from pileus.network.errors import not_found
from pileus.network.hosts import HostRegistry, HostState


class AgentType(StrEnum):
    """The parts that a host's agent plays, under Neutron's names."""

    BRIDGE = "Linux bridge agent"
    DHCP = "DHCP agent"
    L3 = "L3 agent"
    METADATA = "Metadata agent"


_PARTS = (
    (AgentType.BRIDGE, "neutron-linuxbridge-agent", "N/A", None),
    (AgentType.DHCP, "neutron-dhcp-agent", "dhcp_agent", "network"),
    (AgentType.L3, "neutron-l3-agent", "l3_agent", "router"),
    (AgentType.METADATA, "neutron-metadata-agent", "N/A", None),
)
"""Type, binary, topic, and the kind of resource that is put on agents of the type by zone."""


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """One part that a host plays. Times are microseconds since the epoch. Only what is put on hosts has a zone."""

    id: str
    agent_type: str
    binary: str
    topic: str
    host: str
    availability_zone: str | None
    admin_state_up: bool
    alive: bool
    created_at: int
    started_at: int
    heartbeat_at: int


class Zone(msgspec.Struct, frozen=True):
    """Where networks or routers (`resource`) can be. `state`: available if some host of the zone takes new work."""

    name: str
    resource: str
    state: str


class Provider(msgspec.Struct, frozen=True):
    """An implementation of a network service."""

    service_type: str
    name: str
    default: bool


PROVIDERS = (Provider("L3_ROUTER_NAT", "single_node", default=True),)


class AgentService:
    """Shows what serves the networks."""

    def __init__(self, hosts: HostRegistry) -> None:
        self._hosts = hosts

    def all(self, tx: Tx) -> list[Agent]:
        """The agents of all hosts."""
        return [_agent(host, part) for host in self._hosts.all(tx) for part in range(len(_PARTS))]

    def get(self, tx: Tx, agent_id: str) -> Agent:
        """One agent. NotFound."""
        for agent in self.all(tx):
            if agent.id == agent_id:
                return agent
        raise not_found("agent", agent_id)

    def zones(self, tx: Tx) -> list[Zone]:
        """The zones that hosts are in, once for each kind of resource."""
        open_zones: dict[str, bool] = {}
        for host in self._hosts.all(tx):
            zone = host.availability_zone
            open_zones[zone] = open_zones.get(zone, False) or host.enabled
        return [
            Zone(name, resource, "available" if is_open else "unavailable")
            for name, is_open in sorted(open_zones.items())
            for _, _, _, resource in _PARTS
            if resource is not None
        ]


def _agent(host: HostState, part: int) -> Agent:
    agent_type, binary, topic, resource = _PARTS[part]
    return Agent(
        id=str(uuid.uuid5(uuid.UUID(host.id), binary)),
        agent_type=agent_type,
        binary=binary,
        topic=topic,
        host=host.name,
        availability_zone=None if resource is None else host.availability_zone,
        admin_state_up=host.enabled,
        alive=host.up,
        created_at=host.created_at,
        started_at=host.booted_at or host.created_at,
        heartbeat_at=host.last_seen,
    )
