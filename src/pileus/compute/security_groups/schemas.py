"""Request bodies of security groups."""

from pileus.kernel.fields import Body, Integer, Param, Pattern, Text

_UUID = Pattern(r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_PORT = Integer(-1, 65535) | Pattern(r"^-?[0-9]{1,5}\Z")
"""Old clients send ports as text. -1 is any, for ICMP's type and code."""

CREATE = Body("security_group", Param("name", Text(0, 255), required=True), Param("description", Text(0, 255)))
UPDATE = Body("security_group", Param("name", Text(0, 255)), Param("description", Text(0, 255), nullable=True))
CREATE_RULE = Body(
    "security_group_rule",
    Param("parent_group_id", _UUID, required=True),
    Param("ip_protocol", Text(0, 255), default=None, nullable=True),
    Param("from_port", _PORT, default=None, nullable=True),
    Param("to_port", _PORT, default=None, nullable=True),
    Param("cidr", Text(0, 64), default=None, nullable=True),
    Param("group_id", _UUID, default=None, nullable=True),
)
