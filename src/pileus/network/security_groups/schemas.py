"""What the API says of security groups and their rules, and takes for them."""

import ipaddress
from operator import attrgetter
from typing import Any

from pileus.kernel.fields import Field, Param, Text, View
from pileus.network.domain import SecurityGroup, SecurityGroupRule
from pileus.network.wire import STANDARD_PARAMS, STANDARD_VIEW, AttributesBody, CreateBody


def _normalized(rule: SecurityGroupRule) -> str | None:
    prefix = rule.remote_ip_prefix
    return None if prefix is None else str(ipaddress.ip_network(prefix, strict=False))


RULE_VIEW = STANDARD_VIEW + View(
    Field("security_group_id", attrgetter("security_group_id")),
    Field("direction", attrgetter("direction")),
    Field("ethertype", attrgetter("ethertype")),
    Field("protocol", attrgetter("protocol")),
    Field("port_range_min", attrgetter("port_range_min")),
    Field("port_range_max", attrgetter("port_range_max")),
    Field("remote_ip_prefix", attrgetter("remote_ip_prefix")),
    Field("normalized_cidr", _normalized),
    Field("remote_group_id", attrgetter("remote_group_id")),
)


def _rules(group: SecurityGroup) -> list[dict[str, Any]]:
    return [RULE_VIEW.render(rule) for rule in group.rules]


VIEW = STANDARD_VIEW + View(Field("name", attrgetter("name")), Field("security_group_rules", _rules))

CREATE = CreateBody("security_group", "security_groups", *STANDARD_PARAMS)
UPDATE = AttributesBody("security_group", *STANDARD_PARAMS)

_PORT: Any = int
CREATE_RULE = CreateBody(
    "security_group_rule",
    "security_group_rules",
    Param("security_group_id", Text(1, 36), required=True),
    Param("direction", str, required=True),
    Param("ethertype", str, nullable=True),
    Param("protocol", int | str, nullable=True),
    Param("port_range_min", _PORT, nullable=True),
    Param("port_range_max", _PORT, nullable=True),
    Param("remote_ip_prefix", Text(), nullable=True),
    Param("remote_group_id", Text(1, 36), nullable=True),
    Param("description", Text(), nullable=True),
)
UPDATE_RULE = AttributesBody("security_group_rule", Param("description", Text()))
