"""The cloud, put together: every service with its collaborators, in one readable place.

Each process builds its own `Cloud` after it was forked; database connections and sockets do not survive a fork.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pileus.agent.api import Inventory, PowerState
from pileus.agent.injection.settings import InjectionSettings
from pileus.compute import api as compute_api
from pileus.compute.aggregates.service import Aggregates, metadata_by_host
from pileus.compute.api import ComputeApi
from pileus.compute.availability_zones.service import AvailabilityZones
from pileus.compute.flavors.service import Flavors
from pileus.compute.floating_ips.service import FloatingIps
from pileus.compute.hypervisors.service import Hypervisors
from pileus.compute.image_cache.loops import precache_loops
from pileus.compute.image_cache.policies import policy_of
from pileus.compute.image_cache.service import PRECACHE_LOOP, ImageCaches
from pileus.compute.keypairs.service import Keypairs
from pileus.compute.metadata_sync.loops import metadata_loop
from pileus.compute.metadata_sync.service import METADATA_LOOP, MetadataSync
from pileus.compute.quotas.service import Quotas
from pileus.compute.security_groups.service import SecurityGroups
from pileus.compute.servers.injection import InjectionChoice
from pileus.compute.servers.sagas import SAGAS as SERVER_SAGAS
from pileus.compute.servers.service import Neighbours
from pileus.compute.service import Compute
from pileus.compute.services.service import ComputeServices
from pileus.hosts.service import HostAddresses, Hosts
from pileus.identity import policy as identity_policy
from pileus.identity.generation import Generation
from pileus.identity.service import Identity
from pileus.image import policy as image_policy
from pileus.image.cache.loops import LOOPS as IMAGE_CACHE_LOOPS
from pileus.image.cache.service import CACHE_LOOP
from pileus.image.imports.regions import Regions
from pileus.image.imports.sagas import SAGAS as IMPORT_SAGAS
from pileus.image.locations.sagas import SAGAS as LOCATION_SAGAS
from pileus.image.loops import LOOPS as IMAGE_LOOPS
from pileus.image.protection import Protection, load_protection
from pileus.image.service import Images
from pileus.image.stores.registry import build_stores
from pileus.image.tasks.loops import LOOPS as IMAGE_TASK_LOOPS
from pileus.kernel.clock import Clock, SystemClock
from pileus.kernel.db import Database, Tx
from pileus.kernel.fetch import Fetcher
from pileus.kernel.loops import Loop, LoopRunner, nudge_loop
from pileus.kernel.nudge import Nudges
from pileus.kernel.policy import Policy, Rule, load_overrides, load_service_overrides
from pileus.kernel.rpc import Agents, host_secret
from pileus.kernel.saga import Conductor, Sagas
from pileus.kernel.saga.purge import purge_loop
from pileus.kernel.seal import Seal
from pileus.network import policy as network_policy
from pileus.network.loops import loops as network_loops
from pileus.network.service import Networks
from pileus.placement.service import Placement
from pileus.scheduler.service import Scheduler
from pileus.settings import Settings
from pileus.supervisor.credentials import load_or_create

RULES_OF: Mapping[str, tuple[Rule, ...]] = {
    "identity": identity_policy.RULES,
    "image": image_policy.RULES,
    "network": network_policy.RULES,
    "compute": compute_api.RULES,
}
RULES: tuple[Rule, ...] = tuple(rule for rules in RULES_OF.values() for rule in rules)


@dataclass(frozen=True)
class Cloud:
    """All services. Sagas and loops find it as `ctx.services`."""

    settings: Settings
    clock: Clock
    db: Database
    nudges: Nudges
    policy: Policy
    sagas: Sagas
    agents: Agents
    identity: Identity
    images: Images
    networks: Networks
    placement: Placement
    scheduler: Scheduler
    hosts: Hosts
    compute: Compute
    compute_api: ComputeApi
    image_caches: ImageCaches

    def close(self) -> None:
        """Let go of connections and sockets."""
        self.agents.close()
        self.nudges.close()
        self.db.close()


def build(settings: Settings, secret: str, clock: Clock | None = None, agents: Agents | None = None) -> Cloud:
    """Build all services.

    `secret`: the cloud's own, from which the hosts' are derived. `agents`: how hosts are reached, if not by HTTP.
    """
    clock = clock or SystemClock()
    db = Database(settings.database)
    nudges = Nudges(settings.site.run_dir)
    policy = make_policy(settings)
    sagas = Sagas(clock, nudges, (*SERVER_SAGAS, *IMPORT_SAGAS, *LOCATION_SAGAS))
    agents = agents or Agents(HostAddresses(db, clock), lambda host: host_secret(secret, host))
    placement = Placement(settings.placement)

    def on_inventory(tx: Tx, host: str, inventory: Inventory) -> None:
        compute.observe_inventory(tx, host, inventory)

    def on_power(tx: Tx, host: str, states: Mapping[str, PowerState], complete: bool) -> None:
        compute.observe_power(tx, host, states, complete)

    hosts = Hosts(settings.hosts, clock, on_inventory=on_inventory, on_power=on_power)
    identity = Identity(
        settings.identity, clock, db, policy, Generation(settings.site.run_dir), region=settings.site.region
    )
    images = _images(settings, db, clock, nudges, identity, policy, sagas, secret)
    metadata_sync = MetadataSync(lambda tx: nudge_loop(tx, nudges, METADATA_LOOP))
    networks = Networks(
        db=db,
        clock=clock,
        settings=settings.network,
        hosts=hosts,
        nudges=nudges,
        on_servers_changed=metadata_sync.changed,
    )
    image_caches = ImageCaches(
        settings.precache, images, hosts, agents, clock, lambda tx: nudge_loop(tx, nudges, PRECACHE_LOOP)
    )
    scheduler = Scheduler(settings.scheduler, hosts, placement, clock, metadata_by_host)
    flavors = Flavors(settings.compute, identity.projects, clock)
    quotas = Quotas(settings.compute, identity.projects)
    keypairs = Keypairs(settings.compute, quotas, clock)
    neighbours = Neighbours(
        images=images,
        flavors=flavors,
        keypairs=keypairs,
        quotas=quotas,
        networks=networks,
        hosts=hosts,
        placement=placement,
        scheduler=scheduler,
        agents=agents,
    )
    seal = Seal(secret, "server-create")
    injection = _injection(settings.injection)
    compute = Compute.build(settings.compute, neighbours, sagas, clock, metadata_sync, seal, injection)
    api = _compute_api(settings, clock, hosts, placement, image_caches, networks, compute, flavors, keypairs, quotas)
    return Cloud(
        settings, clock, db, nudges, policy, sagas, agents, identity, images, networks, placement, scheduler, hosts,
        compute, api, image_caches,
    )  # fmt: skip


def _images(
    settings: Settings,
    db: Database,
    clock: Clock,
    nudges: Nudges,
    identity: Identity,
    policy: Policy,
    sagas: Sagas,
    secret: str,
) -> Images:
    def address(region: str, interface: str) -> str | None:
        with db.read() as tx:
            return identity.catalog.address(tx, "image", region, interface)

    return Images(
        settings.image,
        db,
        build_stores(
            settings.image.stores,
            settings.image.files_dir,
            settings.image.default_store,
            Fetcher(settings.image.fetch),
        ),
        clock,
        sagas,
        Seal(secret, "image-import"),
        Regions(settings.site.region, address),
        wake_cache=lambda tx: nudge_loop(tx, nudges, CACHE_LOOP),
        limits=identity.limits,
        protection=make_protection(settings, policy),
    )


def _injection(settings: InjectionSettings) -> InjectionChoice:
    return InjectionChoice(
        enabled=settings.enabled,
        with_config_drive=settings.with_config_drive,
        key=settings.key,
        password=settings.password,
        network=settings.network,
        metadata=settings.metadata,
    )


def _compute_api(
    settings: Settings,
    clock: Clock,
    hosts: Hosts,
    placement: Placement,
    image_caches: ImageCaches,
    networks: Networks,
    compute: Compute,
    flavors: Flavors,
    keypairs: Keypairs,
    quotas: Quotas,
) -> ComputeApi:
    """What the compute API's routes act on."""
    aggregates = Aggregates(hosts, image_caches, compute.servers.neighbours.scheduler.forget, clock)
    services = ComputeServices(hosts, placement, aggregates, clock)
    return ComputeApi(
        servers=compute.servers,
        flavors=flavors,
        keypairs=keypairs,
        quotas=quotas,
        hypervisors=Hypervisors(settings.compute, hosts, placement, clock),
        services=services,
        availability_zones=AvailabilityZones(settings.compute, services),
        aggregates=aggregates,
        security_groups=SecurityGroups(networks),
        floating_ips=FloatingIps(networks, compute.servers),
        networks=networks,
    )


def make_protection(settings: Settings, policy: Policy) -> Protection:
    """Who may do what to images' custom properties, as the operator's file has it."""
    path = settings.image.property_protection_file
    if path is None:
        return Protection()
    by_rule = settings.image.property_protection_rule_format == "policies"
    return load_protection(path, policy.allows if by_rule else None)


def make_policy(settings: Settings) -> Policy:
    """All rules, with the operator's overrides: one file for all services, and one for each."""
    path = settings.site.policy_file
    overrides = load_overrides(path) if path.exists() else {}
    return Policy(RULES, overrides | load_service_overrides(settings.site.policy_dir, RULES_OF))


def loops(cloud: Cloud) -> tuple[Loop, ...]:
    """What is kept true all the time."""
    return (
        *IMAGE_LOOPS,
        *IMAGE_CACHE_LOOPS,
        *IMAGE_TASK_LOOPS,
        *network_loops(cloud.networks, cloud.agents),
        metadata_loop(cloud.compute.servers),
        *precache_loops(cloud.image_caches, policy_of(cloud.settings.precache)),
        purge_loop(cloud.settings.conductor.keep_days),
    )


class ConductorProcess:
    """What `pileus conductor` runs: durable operations and loops."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._conductor = Conductor(cloud.db, cloud.sagas, cloud, cloud.clock, cloud.nudges, cloud.settings.conductor)
        self._loops = LoopRunner(cloud.db, loops(cloud), cloud, cloud.clock, cloud.nudges)

    def run(self) -> None:
        """Work until `stop` is called."""
        self._cloud.nudges.serve()
        self._loops.start()
        self._conductor.run_forever()

    def stop(self) -> None:
        """End, giving back what is held."""
        self._loops.stop()
        self._conductor.stop()
        self._cloud.close()


def make_conductor(settings: Settings) -> ConductorProcess:
    """The conductor of a process that was just forked."""
    return ConductorProcess(build(settings, cloud_secret(settings)))


def cloud_secret(settings: Settings) -> str:
    """The cloud's own secret, from which the hosts' are derived."""
    return load_or_create(settings.site.state_dir).host_secret
