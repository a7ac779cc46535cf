"""Security groups in Nova's form, which knows only what comes in."""

from collections.abc import Mapping
from typing import Any

from pileus.compute.security_groups.service import ANY
from pileus.network.domain import SecurityGroup, SecurityGroupRule

_PORTS = {"tcp": (1, 65535), "udp": (1, 65535)}


def render_group(group: SecurityGroup, names: Mapping[str, str]) -> dict[str, Any]:
    """A group. `names`: those of the groups that its rules name as their source."""
    return {
        "id": group.id,
        "name": group.name,
        "description": group.description,
        "tenant_id": group.project_id,
        "rules": [render_rule(rule, names) for rule in group.rules if rule.direction == "ingress"],
    }


def render_rule(rule: SecurityGroupRule, names: Mapping[str, str]) -> dict[str, Any]:
    """A rule. Where it leaves the ports open, all of them are shown."""
    low, high = rule.port_range_min, rule.port_range_max
    if rule.protocol and low is None and high is None:
        low, high = _PORTS.get(rule.protocol, (ANY, ANY))
    remote = rule.remote_group_id
    anywhere = "::/0" if rule.ethertype == "IPv6" else "0.0.0.0/0"
    return {
        "id": rule.id,
        "parent_group_id": rule.security_group_id,
        "ip_protocol": rule.protocol,
        "from_port": low,
        "to_port": high,
        "ip_range": {} if remote else {"cidr": rule.remote_ip_prefix or anywhere},
        "group": {"name": names.get(remote, remote), "tenant_id": rule.project_id} if remote else {},
    }
