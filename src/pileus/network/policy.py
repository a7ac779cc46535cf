"""Who may do what with networks, under Neutron's rule names. Checks are those of its current defaults.

Where Neutron looks into the target with a check of its own kind (`field:networks:shared=True`), the target carries the
answer and a literal is compared with it.
"""

from pileus.kernel.policy import Rule

_ADMIN = "role:admin"
_READER = "role:admin or (role:reader and project_id:%(project_id)s)"
_MEMBER = "role:admin or (role:member and project_id:%(project_id)s)"
_NET_OWNER = "role:admin or (role:member and project_id:%(network:project_id)s)"
_MEMBER_OR_NET_OWNER = (
    "role:admin or (role:member and project_id:%(project_id)s) or (role:member and project_id:%(network:project_id)s)"
)
_ON_SHARED = f"{_NET_OWNER} or (role:member and 'True':%(shared)s)"
_NOT_NETWORK_DEVICE = f"'False':%(network_device)s or {_NET_OWNER}"


def _crud(resource: str, noun: str, change: str = _MEMBER) -> tuple[Rule, ...]:
    return (
        Rule(f"create_{resource}", change, f"Create a {noun}"),
        Rule(f"get_{resource}", _READER, f"Show and list {noun}s"),
        Rule(f"update_{resource}", change, f"Change a {noun}"),
        Rule(f"delete_{resource}", change, f"Delete a {noun}"),
    )


def _admin_only(*names: str) -> tuple[Rule, ...]:
    return tuple(
        Rule(name, _ADMIN, f"{'See' if name.startswith('get_') else 'Set'} {name.partition(':')[2]}") for name in names
    )


_NETWORKS = (
    *_crud("network", "network"),
    *_admin_only(
        "create_network:shared",
        "create_network:router:external",
        "create_network:provider:network_type",
        "create_network:provider:physical_network",
        "create_network:provider:segmentation_id",
        "get_network:provider:network_type",
        "get_network:provider:physical_network",
        "get_network:provider:segmentation_id",
        "update_network:shared",
        "update_network:router:external",
    ),
)

_SUBNETS = (
    Rule("create_subnet", _NET_OWNER, "Create a subnet on a network of one's own"),
    Rule("get_subnet", _READER, "Show and list subnets"),
    Rule("update_subnet", _MEMBER_OR_NET_OWNER, "Change a subnet"),
    Rule("delete_subnet", _MEMBER_OR_NET_OWNER, "Delete a subnet"),
)

_PORTS = (
    Rule("create_port", _MEMBER, "Create a port"),
    Rule("create_port:device_owner", _NOT_NETWORK_DEVICE, "Say that a port belongs to the network service"),
    Rule("create_port:mac_address", _NET_OWNER, "Choose a port's MAC address"),
    Rule("create_port:fixed_ips", _ON_SHARED, "Choose a port's addresses"),
    Rule("create_port:fixed_ips:ip_address", _NET_OWNER, "Choose a port's address"),
    Rule("create_port:fixed_ips:subnet_id", _ON_SHARED, "Choose a port's subnet"),
    Rule("create_port:port_security_enabled", _NET_OWNER, "Make a port without filters"),
    Rule("create_port:allowed_address_pairs", _NET_OWNER, "Let a port send from further addresses"),
    Rule("create_port:allowed_address_pairs:ip_address", _NET_OWNER, "Let a port send from further addresses"),
    Rule("create_port:allowed_address_pairs:mac_address", _NET_OWNER, "Let a port send from further MAC addresses"),
    Rule("create_port:binding:vnic_type", _MEMBER, "Choose a port's kind of interface"),
    Rule("get_port", _READER, "Show and list ports"),
    Rule("update_port", _MEMBER_OR_NET_OWNER, "Change a port"),
    Rule("update_port:device_owner", _NOT_NETWORK_DEVICE, "Say that a port belongs to the network service"),
    Rule("update_port:mac_address", _ADMIN, "Change a port's MAC address"),
    Rule("update_port:fixed_ips", _NET_OWNER, "Change a port's addresses"),
    Rule("update_port:fixed_ips:ip_address", _NET_OWNER, "Change a port's address"),
    Rule("update_port:fixed_ips:subnet_id", _ON_SHARED, "Change a port's subnet"),
    Rule("update_port:port_security_enabled", _NET_OWNER, "Take a port's filters away"),
    Rule("update_port:allowed_address_pairs", _NET_OWNER, "Let a port send from further addresses"),
    Rule("update_port:binding:vnic_type", _MEMBER_OR_NET_OWNER, "Change a port's kind of interface"),
    Rule("delete_port", _MEMBER_OR_NET_OWNER, "Delete a port"),
    *_admin_only(
        "create_port:binding:host_id",
        "create_port:binding:profile",
        "get_port:binding:host_id",
        "get_port:binding:profile",
        "get_port:binding:vif_type",
        "get_port:binding:vif_details",
        "update_port:binding:host_id",
        "update_port:binding:profile",
    ),
)

_ROUTERS = (
    *_crud("router", "router"),
    Rule("add_router_interface", _MEMBER, "Connect a subnet or port to a router"),
    Rule("remove_router_interface", _MEMBER, "Disconnect a subnet or port from a router"),
    Rule("add_extraroutes", _MEMBER, "Add routes to a router"),
    Rule("remove_extraroutes", _MEMBER, "Remove routes from a router"),
    *_admin_only(
        "create_router:external_gateway_info:enable_snat",
        "create_router:external_gateway_info:external_fixed_ips",
        "update_router:external_gateway_info:enable_snat",
        "update_router:external_gateway_info:external_fixed_ips",
    ),
    *_crud("floatingip", "floating IP"),
    *_admin_only("create_floatingip:floating_ip_address"),
)

_SECURITY_GROUPS = (
    *_crud("security_group", "security group"),
    *_crud("security_group_rule", "security group rule"),
)

_TAGS = tuple(
    Rule(f"{verb}_{collection}_tags", check, f"{word} tags of {collection.replace('_', ' ')}")
    for collection in ("networks", "subnets", "ports", "routers", "floatingips", "security_groups")
    for verb, check, word in (
        ("get", _READER, "See"),
        ("update", _MEMBER, "Set"),
        ("delete", _MEMBER, "Remove"),
    )
)

_OTHERS = (
    Rule("list_quotas", _ADMIN, "List projects that have limits of their own"),
    Rule("get_quota", _READER, "Show a project's limits"),
    Rule("update_quota", _ADMIN, "Set a project's limits"),
    Rule("delete_quota", _ADMIN, "Return a project to the default limits"),
    Rule("get_agent", _ADMIN, "See what serves the networks on the hosts"),
    Rule("get_availability_zone", "role:reader", "List the zones that networks and routers can be in"),
    Rule("get_service_provider", "role:reader", "List the implementations of network services"),
    Rule("get_extension", "@", "See which extensions of the network API there are"),
)

RULES: tuple[Rule, ...] = (*_NETWORKS, *_SUBNETS, *_PORTS, *_ROUTERS, *_SECURITY_GROUPS, *_TAGS, *_OTHERS)
