"""What hosts are told: complete descriptions for agents, built from the database and from nothing else.

Each builder answers None where the host must not (or no longer) have the thing.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

import sqlalchemy as sa

from pileus.agent import api
from pileus.kernel.db import Tx
from pileus.network import addresses
from pileus.network.domain import COMPUTE_OWNER_PREFIX, DeviceOwner, FixedIp, Network, Port, SecurityGroupRule, Subnet
from pileus.network.floating_ips import store as floating_store
from pileus.network.models import ip_allocation, port, port_security_group, security_group_rule
from pileus.network.networks import store as network_store
from pileus.network.ports import store as port_store
from pileus.network.ports.store import PortOnHost
from pileus.network.routers import store as router_store
from pileus.network.security_groups import protocols
from pileus.network.security_groups import store as group_store
from pileus.network.settings import NetworkSettings
from pileus.network.subnets import store as subnet_store
from pileus.network.sync.marks import is_wired
from pileus.network.sync.store import Key, Kind

_ALL_MARK = re.compile(r"[^a-z0-9-]+")
_NAMED_PROTOCOLS = {6: "tcp", 17: "udp", protocols.ICMP: "icmp", protocols.ICMP6: "ipv6-icmp"}

_MEMBERS = (
    sa.select(ip_allocation.c.ip)
    .join(port_security_group, port_security_group.c.port_id == ip_allocation.c.port_id)
    .where(port_security_group.c.security_group_id == sa.bindparam("group"))
)
_MEMBERS_PAIRS = (
    sa.select(port.c.allowed_address_pairs)
    .join(port_security_group, port_security_group.c.port_id == port.c.id)
    .where(
        port_security_group.c.security_group_id == sa.bindparam("group"),
        sa.type_coerce(port.c.allowed_address_pairs, sa.Text) != "[]",
    )
)
_SET_USED = (
    sa.select(port.c.id)
    .join(port_security_group, port_security_group.c.port_id == port.c.id)
    .join(security_group_rule, security_group_rule.c.security_group_id == port_security_group.c.security_group_id)
    .where(security_group_rule.c.remote_group_id == sa.bindparam("group"), port.c.host == sa.bindparam("on"))
    .limit(1)
)


def hostname_of(server_name: str) -> str:
    """A server's name as a DNS label: what DHCP tells the guest. Empty if nothing of it can be used."""
    return _ALL_MARK.sub("-", server_name.lower()).strip("-")[:63].strip("-")


class SpecBuilder:
    """Builds the descriptions of one cloud's networks."""

    def __init__(self, settings: NetworkSettings) -> None:
        self._settings = settings
        self._builders: Mapping[str, Callable[[Tx, str, str], api.Spec | None]] = {
            Kind.NETWORK: self.network,
            Kind.ADDRESS_SET: self.address_set,
            Kind.ROUTER: self.router,
        }

    def build_all(self, tx: Tx, keys: Sequence[Key]) -> dict[Key, api.Spec | None]:
        """The descriptions of resources for their hosts; None where the host must not have the thing."""
        sources = _Sources(tx, [key.resource_id for key in keys if key.kind == Kind.PORT])
        found: dict[Key, api.Spec | None] = {}
        for key in keys:
            if key.kind == Kind.PORT:
                found[key] = self._port(sources, key.resource_id, key.host)
            else:
                found[key] = self._builders[key.kind](tx, key.resource_id, key.host)
        return found

    def network(self, tx: Tx, network_id: str, host: str) -> api.NetworkSpec | None:
        """A network on a host that has ports of it. DHCP there answers the host's own guests only."""
        network = network_store.find(tx, network_id)
        if network is None:
            return None
        ports = port_store.on_host(tx, network_id, host)
        if not any(one.host == host for one in ports):
            return None
        dhcp = next((one for one in ports if one.device_owner == DeviceOwner.DHCP), None)
        return api.NetworkSpec(
            id=network.id,
            segment=network.segment,
            mtu=network.mtu,
            external=network.external,
            physical_network=network.physical_network,
            dns_domain=self._settings.dns_domain,
            dhcp_mac=dhcp.mac if dhcp is not None and network.admin_state_up else None,
            subnets=tuple(_subnet_spec(subnet, dhcp) for subnet in subnet_store.of_network(tx, network_id)),
            dhcp_hosts=tuple(
                api.DhcpHost(
                    port_id=one.id,
                    mac=one.mac,
                    ips=tuple(fixed.ip for fixed in one.fixed_ips),
                    hostname=one.hostname or _hostname_by_address(one.fixed_ips),
                )
                for one in ports
                if one.host == host and one.device_owner.startswith(COMPUTE_OWNER_PREFIX) and one.fixed_ips
            ),
        )

    @staticmethod
    def _port(sources: "_Sources", port_id: str, host: str) -> api.PortSpec | None:
        """A server's port on the host that it is bound to."""
        one = sources.ports.get(port_id)
        if one is None or one.host != host or not is_wired(one):
            return None
        network = sources.networks.get(one.network_id)
        if network is None:
            return None
        return _port_spec(one, network, sources.rules(one.security_groups) if one.port_security_enabled else [])

    def address_set(self, tx: Tx, group_id: str, host: str) -> api.AddressSetSpec | None:
        """The addresses of a group's members, on a host where a rule names the group."""
        if tx.one(_SET_USED, {"group": group_id, "on": host}) is None:
            return None
        found = {row.ip for row in tx.all(_MEMBERS, {"group": group_id})}
        for row in tx.all(_MEMBERS_PAIRS, {"group": group_id}):
            found |= {ip for ip, _mac in row.allowed_address_pairs}
        return api.AddressSetSpec(
            id=group_id,
            ipv4=tuple(sorted((ip for ip in found if ":" not in ip), key=_numerically)),
            ipv6=tuple(sorted((ip for ip in found if ":" in ip), key=_numerically)),
        )

    def router(self, tx: Tx, router_id: str, host: str) -> api.RouterSpec | None:
        """A router on its host."""
        router = router_store.find(tx, router_id)
        if router is None or router.host != host:
            return None
        ports = port_store.of_devices(tx, [router_id])
        subnets = subnet_store.by_ids(tx, {fixed.subnet_id for one in ports for fixed in one.fixed_ips})
        gateway = next((one for one in ports if one.id == router.gateway_port_id), None)
        return api.RouterSpec(
            id=router.id,
            admin_state_up=router.admin_state_up,
            interfaces=tuple(
                api.RouterInterface(
                    port_id=one.id,
                    network_id=one.network_id,
                    mac=one.mac,
                    addresses=_with_prefixes(one, subnets),
                )
                for one in ports
                if one.device_owner == DeviceOwner.ROUTER_INTERFACE and one.admin_state_up
            ),
            gateway=None if gateway is None else _gateway(gateway, subnets, snat=router.enable_snat),
            floating=tuple(
                api.FloatingAddress(
                    id=floating.id,
                    floating_ip=floating.floating_ip_address,
                    fixed_ip=floating.fixed_ip_address,
                )
                for floating in floating_store.of_router(tx, router_id)
                if floating.fixed_ip_address is not None
            ),
            routes=_host_routes(router.routes),
        )


class _Sources:
    """What the descriptions of several ports are made from, each thing read once."""

    def __init__(self, tx: Tx, port_ids: Sequence[str]) -> None:
        self._tx = tx
        self._rules: dict[tuple[str, ...], list[SecurityGroupRule]] = {}
        self.ports = port_store.by_ids(tx, port_ids)
        self.networks = network_store.by_ids(tx, {one.network_id for one in self.ports.values()})

    def rules(self, groups: tuple[str, ...]) -> list[SecurityGroupRule]:
        """The rules of some groups."""
        found = self._rules.get(groups)
        if found is None:
            found = self._rules[groups] = group_store.rules_of(self._tx, groups)
        return found


@lru_cache(1 << 14)
def _numerically(ip: str) -> tuple[int, int]:
    block = ipaddress.ip_network(ip, strict=False)
    return int(block.network_address), block.prefixlen


def _hostname_by_address(fixed_ips: Sequence[FixedIp]) -> str:
    return "host-" + re.sub(r"[.:]+", "-", fixed_ips[0].ip)


def _host_routes(pairs: Iterable[tuple[str, str]]) -> tuple[api.HostRoute, ...]:
    return tuple(api.HostRoute(destination=destination, nexthop=nexthop) for destination, nexthop in pairs)


def _subnet_spec(subnet: Subnet, dhcp: PortOnHost | None) -> api.SubnetSpec:
    address = next((fixed.ip for fixed in dhcp.fixed_ips if fixed.subnet_id == subnet.id), None) if dhcp else None
    return api.SubnetSpec(
        id=subnet.id,
        cidr=subnet.cidr,
        gateway_ip=subnet.gateway_ip,
        enable_dhcp=subnet.enable_dhcp,
        dhcp_ip=address if subnet.enable_dhcp else None,
        dns_nameservers=subnet.dns_nameservers,
        host_routes=_host_routes(subnet.host_routes),
        ipv6_ra_mode=subnet.ipv6_ra_mode,
        ipv6_address_mode=subnet.ipv6_address_mode,
    )


def _port_spec(one: Port, network: Network, rules: list[SecurityGroupRule]) -> api.PortSpec:
    own = [api.AddressPair(ip=fixed.ip, mac=one.mac) for fixed in one.fixed_ips]
    more = [api.AddressPair(ip=ip, mac=mac) for ip, mac in one.allowed_address_pairs]
    return api.PortSpec(
        id=one.id,
        network_id=one.network_id,
        mac=one.mac,
        mtu=network.mtu,
        admin_state_up=one.admin_state_up and network.admin_state_up,
        filtered=one.port_security_enabled,
        addresses=tuple(dict.fromkeys([*own, *more])),
        rules=tuple(dict.fromkeys(_filter_rule(rule) for rule in rules)),
    )


def _filter_rule(rule: SecurityGroupRule) -> api.FilterRule:
    number = protocols.number(rule.protocol)
    prefix = rule.remote_ip_prefix
    return api.FilterRule(
        direction="ingress" if rule.direction == "ingress" else "egress",
        ethertype="IPv6" if rule.ethertype == "IPv6" else "IPv4",
        protocol=None if number is None else _NAMED_PROTOCOLS.get(number, str(number)),
        port_min=rule.port_range_min,
        port_max=rule.port_range_max,
        remote_prefix=None if prefix is None else str(ipaddress.ip_network(prefix, strict=False)),
        remote_set=rule.remote_group_id,
    )


def _with_prefixes(one: Port, subnets: Mapping[str, Subnet]) -> tuple[str, ...]:
    return tuple(addresses.with_prefix(fixed.ip, subnets[fixed.subnet_id].cidr) for fixed in one.fixed_ips)


def _gateway(one: Port, subnets: Mapping[str, Subnet], *, snat: bool) -> api.RouterGateway:
    hops = [subnets[fixed.subnet_id].gateway_ip for fixed in one.fixed_ips]
    return api.RouterGateway(
        port_id=one.id,
        network_id=one.network_id,
        mac=one.mac,
        addresses=_with_prefixes(one, subnets),
        next_hops=tuple(dict.fromkeys(hop for hop in hops if hop is not None)),
        enable_snat=snat,
    )
