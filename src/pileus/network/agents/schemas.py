"""What the API says of agents, availability zones and service providers."""

from operator import attrgetter

from pileus.kernel.clock import iso
from pileus.kernel.fields import Field, View


def _moment(instant: int) -> str:
    """`2026-11-21 10:00:00`: the form of Neutron's agents."""
    return (iso(instant) or "").replace("T", " ").rstrip("Z")


AGENT = View(
    Field("id", attrgetter("id")),
    Field("agent_type", attrgetter("agent_type")),
    Field("binary", attrgetter("binary")),
    Field("topic", attrgetter("topic")),
    Field("host", attrgetter("host")),
    Field("availability_zone", attrgetter("availability_zone")),
    Field("admin_state_up", attrgetter("admin_state_up")),
    Field("alive", attrgetter("alive")),
    Field("created_at", lambda agent: _moment(agent.created_at)),
    Field("started_at", lambda agent: _moment(agent.started_at)),
    Field("heartbeat_timestamp", lambda agent: _moment(agent.heartbeat_at)),
    Field("description", lambda _agent: None),
    Field("configurations", lambda _agent: {}),
    Field("resources_synced", lambda _agent: None),
)

ZONE = View(
    Field("name", attrgetter("name")),
    Field("resource", attrgetter("resource")),
    Field("state", attrgetter("state")),
)

PROVIDER = View(
    Field("service_type", attrgetter("service_type")),
    Field("name", attrgetter("name")),
    Field("default", attrgetter("default")),
)
