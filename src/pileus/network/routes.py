"""The network API: Neutron's v2.0."""

from pileus.kernel.http import Reply, Route, Service
from pileus.network import extensions, quota_routes, tag_routes
from pileus.network.agents import routes as agents
from pileus.network.errors import error_shape
from pileus.network.floating_ips import routes as floating_ips
from pileus.network.networks import routes as networks
from pileus.network.ports import routes as ports
from pileus.network.routers import routes as routers
from pileus.network.security_groups import routes as security_groups
from pileus.network.service import Networks
from pileus.network.subnets import routes as subnets

ROOT = "/network"
PREFIX = "/network/v2.0"

ROUTES: tuple[Route[Networks], ...] = (
    *networks.ROUTES,
    *subnets.ROUTES,
    *ports.ROUTES,
    *routers.ROUTES,
    *floating_ips.ROUTES,
    *security_groups.ROUTES,
    *tag_routes.ROUTES,
    *quota_routes.ROUTES,
    *agents.ROUTES,
    *extensions.ROUTES,
)

_RESOURCES = (
    ("network", "networks"),
    ("subnet", "subnets"),
    ("port", "ports"),
    ("router", "routers"),
    ("floatingip", "floatingips"),
    ("security_group", "security-groups"),
    ("security_group_rule", "security-group-rules"),
    ("quota", "quotas"),
    ("agent", "agents"),
    ("availability_zone", "availability_zones"),
    ("service_provider", "service-providers"),
    ("extension", "extensions"),
)


def _versions(base: str) -> Reply:
    """GET /network: the versions of the API."""
    links = [{"rel": "self", "href": f"{base}{PREFIX}/"}]
    return Reply({"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]})


def _resources(base: str) -> Reply:
    """GET /network/v2.0: the collections of this version."""
    listed = [
        {
            "name": name,
            "collection": collection.replace("-", "_"),
            "links": [{"rel": "self", "href": f"{base}{PREFIX}/{collection}"}],
        }
        for name, collection in _RESOURCES
    ]
    return Reply({"resources": listed})


def make_service(impl: Networks) -> Service[Networks]:
    """The network API over HTTP."""
    return Service(
        name="network",
        prefix=PREFIX,
        routes=ROUTES,
        impl=impl,
        error_shape=error_shape,
        documents={ROOT: _versions, PREFIX: _resources},
    )
