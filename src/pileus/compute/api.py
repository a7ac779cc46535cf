"""The compute API, composed of its parts: all their rules, and all their routes under one prefix."""

from dataclasses import dataclass

from pileus.compute.aggregates.policy import RULES as AGGREGATES_RULES
from pileus.compute.aggregates.routes import ROUTES as AGGREGATES
from pileus.compute.aggregates.service import Aggregates
from pileus.compute.availability_zones.policy import RULES as AVAILABILITY_ZONES_RULES
from pileus.compute.availability_zones.routes import ROUTES as AVAILABILITY_ZONES
from pileus.compute.availability_zones.service import AvailabilityZones
from pileus.compute.extensions.policy import RULES as EXTENSIONS_RULES
from pileus.compute.extensions.routes import ROUTES as EXTENSIONS
from pileus.compute.flavors.policy import RULES as FLAVORS_RULES
from pileus.compute.flavors.routes import ROUTES as FLAVORS
from pileus.compute.flavors.service import Flavors
from pileus.compute.floating_ips.policy import RULES as FLOATING_IPS_RULES
from pileus.compute.floating_ips.routes import ROUTES as FLOATING_IPS
from pileus.compute.floating_ips.service import FloatingIps
from pileus.compute.hypervisors.policy import RULES as HYPERVISORS_RULES
from pileus.compute.hypervisors.routes import ROUTES as HYPERVISORS
from pileus.compute.hypervisors.service import Hypervisors
from pileus.compute.keypairs.policy import RULES as KEYPAIRS_RULES
from pileus.compute.keypairs.routes import ROUTES as KEYPAIRS
from pileus.compute.keypairs.service import Keypairs
from pileus.compute.limits.policy import RULES as LIMITS_RULES
from pileus.compute.limits.routes import ROUTES as LIMITS
from pileus.compute.policy import BASE
from pileus.compute.quotas.policy import RULES as QUOTAS_RULES
from pileus.compute.quotas.routes import ROUTES as QUOTAS
from pileus.compute.quotas.service import Quotas
from pileus.compute.routes import bound, make_legacy_service, make_service
from pileus.compute.security_groups.policy import RULES as SECURITY_GROUPS_RULES
from pileus.compute.security_groups.routes import ROUTES as SECURITY_GROUPS
from pileus.compute.security_groups.service import SecurityGroups
from pileus.compute.servers.policy import RULES as SERVERS_RULES
from pileus.compute.servers.routes import ROUTES as SERVERS
from pileus.compute.servers.service import Servers
from pileus.compute.services.policy import RULES as SERVICES_RULES
from pileus.compute.services.routes import ROUTES as SERVICES
from pileus.compute.services.service import ComputeServices
from pileus.compute.tenant_networks.policy import RULES as NETWORKS_RULES
from pileus.compute.tenant_networks.routes import ROUTES as NETWORKS
from pileus.kernel.http import Service
from pileus.kernel.policy import Rule
from pileus.network.service import Networks

RULES: tuple[Rule, ...] = (
    *BASE,
    *SERVERS_RULES,
    *FLAVORS_RULES,
    *KEYPAIRS_RULES,
    *QUOTAS_RULES,
    *LIMITS_RULES,
    *HYPERVISORS_RULES,
    *SERVICES_RULES,
    *AVAILABILITY_ZONES_RULES,
    *AGGREGATES_RULES,
    *EXTENSIONS_RULES,
    *SECURITY_GROUPS_RULES,
    *FLOATING_IPS_RULES,
    *NETWORKS_RULES,
)


@dataclass(frozen=True)
class ComputeApi:
    """What the routes act on."""

    servers: Servers
    flavors: Flavors
    keypairs: Keypairs
    quotas: Quotas
    hypervisors: Hypervisors
    services: ComputeServices
    availability_zones: AvailabilityZones
    aggregates: Aggregates
    security_groups: SecurityGroups
    floating_ips: FloatingIps
    networks: Networks


def make_services(api: ComputeApi) -> tuple[Service[None], ...]:
    """The API at its version 2.1 with microversions, and at version 2.0, which is 2.1 without them."""
    tables = (
        bound(SERVERS, api.servers),
        bound(FLAVORS, api.flavors),
        bound(KEYPAIRS, api.keypairs),
        bound(QUOTAS, api.quotas),
        bound(LIMITS, api.quotas),
        bound(HYPERVISORS, api.hypervisors),
        bound(SERVICES, api.services),
        bound(AVAILABILITY_ZONES, api.availability_zones),
        bound(AGGREGATES, api.aggregates),
        bound(EXTENSIONS, None),
        bound(SECURITY_GROUPS, api.security_groups),
        bound(FLOATING_IPS, api.floating_ips),
        bound(NETWORKS, api.networks),
    )
    return make_service(*tables), make_legacy_service(*tables)
