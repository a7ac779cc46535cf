"""What the API says of floating IPs and takes for them."""

from operator import attrgetter

from pileus.kernel.fields import Field, Param, Text, View
from pileus.network.wire import STANDARD_VIEW, AttributesBody, CreateBody

VIEW = STANDARD_VIEW + View(
    Field("status", attrgetter("status")),
    Field("floating_network_id", attrgetter("floating_network_id")),
    Field("floating_ip_address", attrgetter("floating_ip_address")),
    Field("port_id", attrgetter("port_id")),
    Field("fixed_ip_address", attrgetter("fixed_ip_address")),
    Field("router_id", attrgetter("router_id")),
)

_CHANGEABLE = (
    Param("port_id", Text(1, 36), nullable=True),
    Param("fixed_ip_address", Text(1, 64), nullable=True),
    Param("description", Text()),
)

CREATE = CreateBody(
    "floatingip",
    "floatingips",
    *_CHANGEABLE,
    Param("floating_network_id", Text(1, 36), required=True),
    Param("floating_ip_address", Text(1, 64), nullable=True),
    Param("subnet_id", Text(1, 36), nullable=True),
)
UPDATE = AttributesBody("floatingip", *_CHANGEABLE)
