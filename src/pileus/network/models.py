"""Tables. What has an owner starts with the same columns (`_standard`), in the order of `domain.Standard`."""

from typing import Any

import sqlalchemy as sa

from pileus.kernel.db import Json, Name, Timestamp, Uuid, metadata

MAC_LENGTH = 17
IP_LENGTH = 45  # an IPv6 address as text, or one with a prefix length


def _standard() -> tuple[sa.Column[Any], ...]:
    """Neutron's standard attributes. `project_id` is empty for what no project owns (a router's gateway port)."""
    return (
        sa.Column("id", Uuid(), primary_key=True),
        sa.Column("project_id", Uuid(), nullable=False),
        sa.Column("name", Name(), nullable=False),
        sa.Column("description", Name(), nullable=False),
        sa.Column("tags", Json(tuple[str, ...]), nullable=False),
        sa.Column("revision_number", sa.Integer, nullable=False),
        sa.Column("created_at", Timestamp, nullable=False),
        sa.Column("updated_at", Timestamp, nullable=False),
    )


network = sa.Table(
    "network",
    metadata,
    *_standard(),
    sa.Column("admin_state_up", sa.Boolean, nullable=False),
    sa.Column("shared", sa.Boolean, nullable=False),
    sa.Column("external", sa.Boolean, nullable=False),
    sa.Column("mtu", sa.Integer, nullable=False),
    sa.Column("segment", sa.Integer, nullable=False, unique=True),
    sa.Column("physical_network", Name(64)),
    sa.Column("port_security_enabled", sa.Boolean, nullable=False),
    sa.Index("ix_network_project_id", "project_id", "id"),
    sa.Index("ix_network_shared", "shared"),
    sa.Index("ix_network_external", "external"),
)

subnet = sa.Table(
    "subnet",
    metadata,
    *_standard(),
    sa.Column("network_id", Uuid(), sa.ForeignKey("network.id"), nullable=False),
    sa.Column("ip_version", sa.Integer, nullable=False),
    sa.Column("cidr", sa.String(IP_LENGTH + 4), nullable=False),
    sa.Column("gateway_ip", sa.String(IP_LENGTH)),
    sa.Column("enable_dhcp", sa.Boolean, nullable=False),
    sa.Column("dns_nameservers", Json(tuple[str, ...]), nullable=False),
    sa.Column("host_routes", Json(tuple[tuple[str, str], ...]), nullable=False),  # destination, next hop
    sa.Column("allocation_pools", Json(tuple[tuple[str, str], ...]), nullable=False),  # first, last
    sa.Column("ipv6_ra_mode", sa.String(16)),
    sa.Column("ipv6_address_mode", sa.String(16)),
    sa.Index("ix_subnet_project_id", "project_id", "id"),
    sa.Index("ix_subnet_network_id", "network_id"),
)

port = sa.Table(
    "port",
    metadata,
    *_standard(),
    sa.Column("network_id", Uuid(), sa.ForeignKey("network.id"), nullable=False),
    sa.Column("network_project_id", Uuid(), nullable=False),  # the network's, for lists; it never changes
    sa.Column("mac", sa.String(MAC_LENGTH), nullable=False),
    sa.Column("admin_state_up", sa.Boolean, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("device_id", Name(), nullable=False),
    sa.Column("device_owner", Name(), nullable=False),
    sa.Column("host", Name(), nullable=False),
    sa.Column("vnic_type", sa.String(64), nullable=False),
    sa.Column("profile", Json(dict[str, Any]), nullable=False),
    sa.Column("port_security_enabled", sa.Boolean, nullable=False),
    sa.Column("allowed_address_pairs", Json(tuple[tuple[str, str], ...]), nullable=False),  # address, MAC
    sa.Column("made_by_compute", sa.Boolean, nullable=False),  # goes with its server
    sa.Column("hostname", Name(), nullable=False),  # what DHCP and DNS call the guest
    sa.UniqueConstraint("network_id", "mac"),
    sa.Index("ix_port_project_id", "project_id", "id"),
    sa.Index("ix_port_network_project_id", "network_project_id", "id"),
    sa.Index("ix_port_device_id", "device_id"),
    sa.Index("ix_port_host", "host", "network_id"),
)

ip_cursor = sa.Table(
    "ip_cursor",
    metadata,
    sa.Column("subnet_id", Uuid(), sa.ForeignKey("subnet.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("last_ip", sa.String(IP_LENGTH), nullable=False),  # empty before the first allocation
)

ip_allocation = sa.Table(
    "ip_allocation",
    metadata,
    sa.Column("subnet_id", Uuid(), sa.ForeignKey("subnet.id"), primary_key=True),
    sa.Column("ip", sa.String(IP_LENGTH), primary_key=True),  # in canonical form
    sa.Column("port_id", Uuid(), sa.ForeignKey("port.id", ondelete="CASCADE"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),  # among the port's addresses
    sa.Index("ix_ip_allocation_port_id", "port_id"),
)

security_group = sa.Table(
    "security_group",
    metadata,
    *_standard(),
    sa.Index("ix_security_group_project_id", "project_id", "id"),
)

default_security_group = sa.Table(
    "default_security_group",
    metadata,
    sa.Column("project_id", Uuid(), primary_key=True),
    sa.Column(
        "security_group_id", Uuid(), sa.ForeignKey("security_group.id", ondelete="CASCADE"), nullable=False, unique=True
    ),
)

security_group_rule = sa.Table(
    "security_group_rule",
    metadata,
    *_standard(),
    sa.Column(
        "security_group_id", Uuid(), sa.ForeignKey("security_group.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column("direction", sa.String(8), nullable=False),
    sa.Column("ethertype", sa.String(8), nullable=False),
    sa.Column("protocol", sa.String(40)),
    sa.Column("port_range_min", sa.Integer),
    sa.Column("port_range_max", sa.Integer),
    sa.Column("remote_ip_prefix", sa.String(IP_LENGTH + 4)),
    sa.Column("remote_group_id", Uuid(), sa.ForeignKey("security_group.id", ondelete="CASCADE"), index=True),
    sa.Index("ix_security_group_rule_project_id", "project_id", "id"),
)

port_security_group = sa.Table(
    "port_security_group",
    metadata,
    sa.Column("port_id", Uuid(), sa.ForeignKey("port.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("security_group_id", Uuid(), sa.ForeignKey("security_group.id"), primary_key=True, index=True),
)

router = sa.Table(
    "router",
    metadata,
    *_standard(),
    sa.Column("admin_state_up", sa.Boolean, nullable=False),
    sa.Column("enable_snat", sa.Boolean, nullable=False),
    sa.Column("gateway_network_id", Uuid(), sa.ForeignKey("network.id"), index=True),
    sa.Column("gateway_port_id", Uuid()),
    sa.Column("routes", Json(tuple[tuple[str, str], ...]), nullable=False),  # destination, next hop
    sa.Column("host", Name(), nullable=False, index=True),  # empty until it is needed on one
    sa.Index("ix_router_project_id", "project_id", "id"),
)

floating_ip = sa.Table(
    "floating_ip",
    metadata,
    *_standard(),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("floating_network_id", Uuid(), sa.ForeignKey("network.id"), nullable=False, index=True),
    sa.Column("floating_ip_address", sa.String(IP_LENGTH), nullable=False),
    sa.Column("floating_port_id", Uuid(), nullable=False),
    sa.Column("port_id", Uuid(), index=True),
    sa.Column("fixed_ip_address", sa.String(IP_LENGTH)),
    sa.Column("router_id", Uuid(), index=True),
    sa.UniqueConstraint("floating_network_id", "port_id", "fixed_ip_address"),
    sa.Index("ix_floating_ip_project_id", "project_id", "id"),
)

network_sync = sa.Table(
    "network_sync",
    metadata,
    sa.Column("host", Name(), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("resource_id", Uuid(), primary_key=True),
    sa.Column("wanted", sa.BigInteger, nullable=False),
    sa.Column("applied", sa.BigInteger, nullable=False),
    sa.Column("owner", Name(128)),  # who is applying it now: kernel.owner
    sa.Column("lease_until", Timestamp, nullable=False),
    sa.Column("retry_at", Timestamp, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
)
