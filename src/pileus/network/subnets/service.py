"""Rules of subnets."""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.network import addresses, models, rows
from pileus.network.addresses import Block
from pileus.network.domain import ROUTER_OWNERS, SLAAC_MODES, Attributes, FixedIp, Network, Subnet
from pileus.network.errors import bad_attribute, in_use, invalid, not_found
from pileus.network.lists import ListRequest
from pileus.network.ports.service import PortService
from pileus.network.quotas import Quotas
from pileus.network.settings import NetworkSettings
from pileus.network.subnets import store
from pileus.network.sync.marks import Marker

_IPV6_MODES = (None, "slaac", "dhcpv6-stateful", "dhcpv6-stateless")


class SubnetService:
    """Shows, creates, changes and deletes subnets; keeps the network's DHCP port in step."""

    listing = store.LISTING

    def __init__(
        self, clock: Clock, settings: NetworkSettings, quotas: Quotas, ports: PortService, marker: Marker
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._quotas = quotas
        self._ports = ports
        self._marker = marker

    def get(self, tx: Tx, actor: Actor, subnet_id: str) -> Subnet:
        """A subnet that the caller may see. NotFound else."""
        return store.get(tx, actor, subnet_id)

    def page(self, tx: Tx, actor: Actor, request: ListRequest) -> tuple[list[Subnet], bool]:
        """One page of subnets, and whether there are more."""
        return store.page(tx, actor, request)

    def create(self, tx: Tx, project_id: str, network: Network, attributes: Attributes) -> Subnet:
        """Make a subnet. InvalidInput if its block overlaps another of the network."""
        if attributes.get("subnetpool_id") is not None or attributes.get("prefixlen") is not None:
            raise invalid("this cloud has no subnet pools: give a cidr")
        if attributes.get("cidr") is None:
            raise invalid("a cidr must be specified in the absence of a subnet pool")
        version = attributes["ip_version"]
        if version not in (4, 6):
            raise bad_attribute("ip_version", f"'{version}' is not in [4, 6]")
        block = addresses.parse_block("cidr", attributes["cidr"])
        _check_block(block, version, attributes.get("enable_dhcp", True))
        ra_mode, address_mode = _check_modes(block, attributes)
        self._quotas.reserve(tx, project_id, subnet=1)
        for other in store.of_network(tx, network.id):
            if addresses.overlap(other.cidr, str(block)):
                raise invalid(
                    f"Requested subnet with cidr: {block} for network: {network.id} overlaps with another subnet"
                )
        gateway = self._new_gateway(block, attributes)
        values: dict[str, Any] = {
            **rows.standard(project_id, attributes, self._clock.now()),
            "network_id": network.id,
            "ip_version": version,
            "cidr": str(block),
            "gateway_ip": gateway,
            "enable_dhcp": attributes.get("enable_dhcp", True),
            "dns_nameservers": self._nameservers(attributes.get("dns_nameservers") or ()),
            "host_routes": self._host_routes(version, attributes.get("host_routes") or ()),
            "allocation_pools": _new_pools(block, gateway, attributes.get("allocation_pools")),
            "ipv6_ra_mode": ra_mode,
            "ipv6_address_mode": address_mode,
        }
        store.insert(tx, values)
        subnet = Subnet(**values)
        self._ports.ensure_dhcp(tx, network)
        if subnet.is_slaac:
            self._ports.derive_addresses(tx, subnet)
        self._marker.subnet(tx, network.id)
        return subnet

    def update(self, tx: Tx, network: Network, subnet: Subnet, attributes: Attributes) -> Subnet:
        """Change a subnet. What its block is stays."""
        changes = {name: attributes[name] for name in ("name", "description", "enable_dhcp") if name in attributes}
        block = ipaddress.ip_network(subnet.cidr)
        if "allocation_pools" in attributes:
            changes["allocation_pools"] = addresses.check_pools(block, _pairs(attributes["allocation_pools"] or ()))
        if "gateway_ip" in attributes:
            changes["gateway_ip"] = self._changed_gateway(tx, subnet, block, attributes["gateway_ip"])
        gateway = changes.get("gateway_ip", subnet.gateway_ip)
        if "allocation_pools" in changes or "gateway_ip" in changes:
            addresses.check_gateway_outside(gateway, changes.get("allocation_pools", subnet.allocation_pools))
        if "dns_nameservers" in attributes:
            changes["dns_nameservers"] = self._nameservers(attributes["dns_nameservers"] or ())
        if "host_routes" in attributes:
            changes["host_routes"] = self._host_routes(subnet.ip_version, attributes["host_routes"] or ())
        rows.change(tx, models.subnet, subnet.id, self._clock.now(), changes)
        if "enable_dhcp" in changes:
            self._ports.ensure_dhcp(tx, network)
        self._marker.subnet(tx, network.id)
        self._marker.servers.network(tx, network.id)
        changed = store.by_ids(tx, [subnet.id]).get(subnet.id)
        if changed is None:
            raise not_found("subnet", subnet.id)
        return changed

    def delete(self, tx: Tx, network: Network, subnet: Subnet) -> None:
        """Delete a subnet. SubnetInUse while ports have addresses of it that they did not derive themselves."""
        self._ports.lock_subnet(tx, subnet.id)
        users = store.users(tx, subnet.id)
        blocking = [row for row in users if not subnet.is_slaac or row.device_owner in ROUTER_OWNERS]
        if blocking:
            raise in_use(
                "SubnetInUse",
                f"Unable to complete operation on subnet {subnet.id}: One or more ports have an IP allocation from "
                "this subnet.",
            )
        self._marker.subnet(tx, network.id)
        self._ports.mark(tx, {row.port_id for row in users})
        store.delete(tx, subnet.id)
        self._ports.ensure_dhcp(tx, network)

    def _new_gateway(self, block: Block, attributes: Attributes) -> str | None:
        if "gateway_ip" not in attributes:
            return addresses.default_gateway(block)
        text = attributes["gateway_ip"]
        if text is None:
            return None
        gateway = addresses.parse_address("gateway_ip", text)
        addresses.check_gateway(block, gateway)
        return str(gateway)

    def _changed_gateway(self, tx: Tx, subnet: Subnet, block: Block, text: str | None) -> str | None:
        if text == subnet.gateway_ip:
            return text
        if subnet.gateway_ip is not None and (held := store.holder(tx, FixedIp(subnet.id, subnet.gateway_ip))):
            raise in_use(
                "GatewayIpInUse",
                f"Current gateway ip {subnet.gateway_ip} already in use by port {held}. Unable to update.",
            )
        if text is None:
            return None
        gateway = addresses.parse_address("gateway_ip", text)
        addresses.check_gateway(block, gateway)
        return str(gateway)

    def _nameservers(self, servers: Sequence[str]) -> tuple[str, ...]:
        if len(servers) > self._settings.max_dns_nameservers:
            raise invalid(f"more than {self._settings.max_dns_nameservers} DNS nameservers")
        parsed = tuple(str(addresses.parse_address("dns_nameservers", server)) for server in servers)
        if len(set(parsed)) != len(parsed):
            raise bad_attribute("dns_nameservers", "the list holds duplicates")
        return parsed

    def _host_routes(self, version: int, routes: Sequence[Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
        if len(routes) > self._settings.max_host_routes:
            raise invalid(f"more than {self._settings.max_host_routes} host routes")
        return parse_routes("host_routes", routes, version)


def parse_routes(
    name: str, routes: Sequence[Mapping[str, str]], version: int | None = None
) -> tuple[tuple[str, str], ...]:
    """Routes as pairs of destination and next hop, each of one IP version and none twice."""
    parsed: list[tuple[str, str]] = []
    for route in routes:
        if set(route) != {"destination", "nexthop"}:
            raise bad_attribute(name, f"'{dict(route)}' must have the keys destination and nexthop, and no other")
        destination = addresses.parse_block(name, route["destination"])
        nexthop = addresses.parse_address(name, route["nexthop"])
        if destination.version != nexthop.version or (version is not None and destination.version != version):
            raise bad_attribute(name, f"'{dict(route)}' mixes IP versions")
        pair = (str(destination), str(nexthop))
        if pair in parsed:
            raise bad_attribute(name, f"Duplicate item in the list: '{dict(route)}'")
        parsed.append(pair)
    return tuple(parsed)


def _pairs(pools: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    for pool in pools:
        if set(pool) != {"start", "end"}:
            raise bad_attribute("allocation_pools", f"'{dict(pool)}' must have the keys start and end, and no other")
    return [(pool["start"], pool["end"]) for pool in pools]


def _new_pools(
    block: Block, gateway: str | None, given: Sequence[Mapping[str, str]] | None
) -> tuple[tuple[str, str], ...]:
    if given is None:
        return addresses.default_pools(block, gateway)
    pools = addresses.check_pools(block, _pairs(given))
    addresses.check_gateway_outside(gateway, pools)
    return pools


def _check_block(block: Block, version: int, dhcp: bool) -> None:
    if block.version != version:
        raise invalid(f"cidr '{block}' does not match the ip_version '{version}'")
    if block.prefixlen == 0:
        raise invalid("0 is not allowed as CIDR prefix length")
    if block.is_multicast:
        raise invalid("Multicast IP subnet is not supported")
    if block.is_loopback and dhcp:
        raise invalid("Loopback IP subnet is not supported if enable_dhcp is True")


def _check_modes(block: Block, attributes: Attributes) -> tuple[str | None, str | None]:
    ra_mode, address_mode = attributes.get("ipv6_ra_mode"), attributes.get("ipv6_address_mode")
    for name, mode in (("ipv6_ra_mode", ra_mode), ("ipv6_address_mode", address_mode)):
        if mode not in _IPV6_MODES:
            raise bad_attribute(name, f"'{mode}' is not in {list(_IPV6_MODES[1:])}")
    if ra_mode is None and address_mode is None:
        return None, None
    if block.version == 4:
        raise invalid("ipv6_ra_mode and ipv6_address_mode are not valid when ip_version is 4")
    if not attributes.get("enable_dhcp", True):
        raise invalid("ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False")
    if ra_mode and address_mode and ra_mode != address_mode:
        raise invalid(
            f"ipv6_ra_mode set to '{ra_mode}' with ipv6_address_mode set to '{address_mode}' is not valid. "
            "If both attributes are set, they must be the same value"
        )
    if SLAAC_MODES & {ra_mode, address_mode} and block.prefixlen != 64:
        raise invalid("Invalid CIDR for IPv6 address mode: SLAAC and stateless subnets have a prefix length of 64")
    return ra_mode, address_mode
