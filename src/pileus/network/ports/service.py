"""Rules of ports."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.network import addresses, ipam, models, rows
from pileus.network.domain import (
    NETWORK_OWNER_PREFIX,
    ROUTER_OWNERS,
    SERVICE_OWNERS,
    Attributes,
    DeviceOwner,
    Network,
    Port,
    PortStatus,
    Subnet,
)
from pileus.network.errors import bad_attribute, in_use, invalid, not_found
from pileus.network.floating_ips import store as floating_store
from pileus.network.lists import ListRequest
from pileus.network.networks import store as network_store
from pileus.network.ports import store
from pileus.network.quotas import Quotas
from pileus.network.security_groups.service import SecurityGroupService
from pileus.network.settings import NetworkSettings
from pileus.network.subnets import store as subnet_store
from pileus.network.sync.marks import Marker

_VNIC_TYPE = "normal"
_PLAIN = ("name", "description", "admin_state_up", "device_id", "device_owner")


class PortService:
    """Shows, creates, changes and deletes ports, users' and the network service's own."""

    listing = store.LISTING

    def __init__(
        self, clock: Clock, settings: NetworkSettings, quotas: Quotas, groups: SecurityGroupService, marker: Marker
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._quotas = quotas
        self._groups = groups
        self._marker = marker

    def get(self, tx: Tx, actor: Actor, port_id: str) -> Port:
        """A port that the caller may see. NotFound else."""
        return store.get(tx, actor, port_id)

    def page(self, tx: Tx, actor: Actor, request: ListRequest) -> tuple[list[Port], bool]:
        """One page of ports, and whether there are more."""
        return store.page(tx, actor, request)

    def find(self, tx: Tx, port_id: str) -> Port:
        """A port whoever may see it. NotFound if it is not there."""
        port = store.find(tx, port_id)
        if port is None:
            raise not_found("port", port_id)
        return port

    # --- users' ports -----------------------------------------------------------------------------------------

    def create(
        self,
        tx: Tx,
        project_id: str,
        network: Network,
        attributes: Attributes,
        *,
        port_id: str | None = None,
        made_by_compute: bool = False,
        hostname: str = "",
    ) -> Port:
        """Make a port with its addresses and security groups. All that can be refused is refused before any insert."""
        self._quotas.reserve(tx, project_id, port=1)
        security = attributes.get("port_security_enabled", network.port_security_enabled)
        owner = attributes.get("device_owner", "")
        groups = self._chosen_groups(tx, project_id, security, owner, attributes)
        host = attributes.get("binding:host_id") or ""
        mac = self._mac(tx, network.id, attributes.get("mac_address"))
        values: dict[str, Any] = {
            **rows.standard(project_id, attributes, self._clock.now(), port_id),
            "network_id": network.id,
            "network_project_id": network.project_id,
            "mac": mac,
            "admin_state_up": attributes.get("admin_state_up", True),
            "status": PortStatus.BUILD if host and owner else PortStatus.DOWN,
            "device_id": attributes.get("device_id", ""),
            "device_owner": owner,
            "host": host,
            "vnic_type": _vnic_type(attributes),
            "profile": attributes.get("binding:profile") or {},
            "port_security_enabled": security,
            "allowed_address_pairs": self._pairs(mac, security, attributes.get("allowed_address_pairs")),
            "made_by_compute": made_by_compute,
            "hostname": hostname,
        }
        awaited = host if made_by_compute else None
        return self._insert(tx, network, values, groups, attributes.get("fixed_ips"), awaited=awaited)

    def _insert(
        self,
        tx: Tx,
        network: Network,
        values: Mapping[str, Any],
        groups: Collection[str],
        fixed_ips: Sequence[Mapping[str, Any]] | None,
        ip_version: int | None = None,
        awaited: str | None = None,
    ) -> Port:
        owner = values["device_owner"]
        subnets = subnet_store.of_network(tx, network.id)
        if ip_version is not None:
            subnets = [subnet for subnet in subnets if subnet.ip_version == ip_version]
        self._check_count(fixed_ips)
        wanted = ipam.plan(network.id, subnets, values["mac"], fixed_ips, router=owner in ROUTER_OWNERS)
        store.insert(tx, values)
        given = ipam.allocate(tx, values["id"], network.id, wanted)
        store.add_groups(tx, values["id"], groups)
        port = Port(**values, fixed_ips=given, security_groups=tuple(sorted(groups)))
        self._marker.mark(tx, self._marker.port_keys(tx, port), awaited)
        return port

    def update(self, tx: Tx, port: Port, attributes: Attributes) -> Port:
        """Change a port; hosts are told of what was and of what is."""
        before = self._marker.port_keys(tx, port)
        changes: dict[str, Any] = {name: attributes[name] for name in _PLAIN if name in attributes}
        if "mac_address" in attributes and addresses.parse_mac("mac_address", attributes["mac_address"]) != port.mac:
            if port.host:
                raise in_use("PortBound", f"Unable to complete operation on port {port.id}, port is already bound.")
            changes["mac"] = self._mac(tx, port.network_id, attributes["mac_address"])
        mac = changes.get("mac", port.mac)
        self._change_security(tx, port, mac, attributes, changes)
        if "fixed_ips" in attributes:
            self._change_addresses(tx, port, mac, attributes["fixed_ips"])
        if "binding:host_id" in attributes:
            changes["host"] = attributes["binding:host_id"] or ""
        if "binding:profile" in attributes:
            changes["profile"] = attributes["binding:profile"] or {}
        if "binding:vnic_type" in attributes:
            changes["vnic_type"] = _vnic_type(attributes)
        if changes.get("host", port.host) != port.host:
            changes["status"] = PortStatus.BUILD if changes["host"] and port.device_owner else PortStatus.DOWN
        rows.change(tx, models.port, port.id, self._clock.now(), changes)
        changed = self.find(tx, port.id)
        self._marker.mark(tx, before | self._marker.port_keys(tx, changed))
        self._marker.servers.of(tx, port, changed)
        return changed

    def delete(self, tx: Tx, port: Port) -> None:
        """Delete a port. ServicePortInUse if it belongs to a router or floating IP; what led to it leads nowhere."""
        if port.device_owner in SERVICE_OWNERS:
            raise in_use(
                "ServicePortInUse",
                f"Port {port.id} cannot be deleted directly via the port API: has device owner {port.device_owner}.",
            )
        self.remove(tx, port)
        self._marker.servers.of(tx, port)
        if port.device_owner == DeviceOwner.DHCP:
            network = network_store.find(tx, port.network_id)
            if network is not None:
                self.ensure_dhcp(tx, network)

    def remove(self, tx: Tx, port: Port) -> None:
        """Delete any port, and disassociate the floating IPs that lead to it."""
        keys = self._marker.port_keys(tx, port)
        for router_id in floating_store.disassociate(tx, port.id, self._clock.now()):
            self._marker.router(tx, router_id)
        store.delete(tx, port.id)
        self._marker.mark(tx, keys)

    # --- the network service's own ports ----------------------------------------------------------------------

    def create_for_service(
        self,
        tx: Tx,
        network: Network,
        owner: DeviceOwner,
        *,
        project_id: str,
        device_id: str,
        fixed_ips: Sequence[Mapping[str, Any]] | None,
        host: str = "",
        ip_version: int | None = None,
    ) -> Port:
        """Make a port of a router, a floating IP or DHCP: outside the quota, without security groups."""
        values = {
            **rows.standard(project_id, {}, self._clock.now()),
            "network_id": network.id,
            "network_project_id": network.project_id,
            "mac": self._mac(tx, network.id, None),
            "admin_state_up": True,
            "status": PortStatus.BUILD if host else PortStatus.DOWN,
            "device_id": device_id,
            "device_owner": str(owner),
            "host": host,
            "vnic_type": _VNIC_TYPE,
            "profile": {},
            "port_security_enabled": False,
            "allowed_address_pairs": (),
            "made_by_compute": False,
            "hostname": "",
        }
        return self._insert(tx, network, values, (), fixed_ips, ip_version)

    def ensure_dhcp(self, tx: Tx, network: Network) -> None:
        """Keep the network's DHCP port: one address in each subnet with DHCP, no port where there is none."""
        subnets = [subnet for subnet in subnet_store.of_network(tx, network.id) if subnet.enable_dhcp]
        port = store.dhcp_port(tx, network.id)
        if not subnets:
            if port is not None:
                self.remove(tx, port)
            return
        fixed_ips = [{"subnet_id": subnet.id} for subnet in subnets]
        if port is None:
            self.create_for_service(
                tx,
                network,
                DeviceOwner.DHCP,
                project_id=network.project_id,
                device_id=f"dhcp-{network.id}",
                fixed_ips=fixed_ips,
            )
        elif {fixed.subnet_id for fixed in port.fixed_ips} != {subnet.id for subnet in subnets}:
            self._change_addresses(tx, port, port.mac, fixed_ips)

    def derive_addresses(self, tx: Tx, subnet: Subnet) -> None:
        """Note the addresses that a new SLAAC subnet gives to the ports that are already there."""
        for port in store.on_network(tx, subnet.network_id):
            if port.device_owner.startswith(NETWORK_OWNER_PREFIX):
                continue
            wanted = [ipam.Wanted((subnet,), addresses.eui64(subnet.cidr, port.mac))]
            ipam.allocate(tx, port.id, subnet.network_id, wanted, first_position=len(port.fixed_ips))
            self._marker.mark(tx, self._marker.port_keys(tx, port))
            self._marker.servers.of(tx, port)

    def mark(self, tx: Tx, port_ids: Collection[str]) -> None:
        """Have hosts told of ports whose addresses are about to change."""
        ports = store.by_ids(tx, port_ids).values()
        for port in ports:
            self._marker.mark(tx, self._marker.port_keys(tx, port))
        self._marker.servers.of(tx, *ports)

    def lock_subnet(self, tx: Tx, subnet_id: str) -> None:
        """Let no other writer take addresses of a subnet until this transaction ends."""
        ipam.lock(tx, [subnet_id])

    # --- parts ------------------------------------------------------------------------------------------------

    def _mac(self, tx: Tx, network_id: str, wanted: str | None) -> str:
        if wanted is None:
            mac = addresses.random_mac()
            while store.mac_taken(tx, network_id, mac):
                mac = addresses.random_mac()
            return mac
        mac = addresses.parse_mac("mac_address", wanted)
        if store.mac_taken(tx, network_id, mac):
            raise in_use(
                "MacAddressInUse",
                f"Unable to complete operation for network {network_id}. The mac address {mac} is in use.",
            )
        return mac

    def _chosen_groups(
        self, tx: Tx, project_id: str, security: bool, owner: str, attributes: Attributes
    ) -> tuple[str, ...]:
        if attributes.get("security_groups") is None:
            if not security or owner.startswith(NETWORK_OWNER_PREFIX) or not project_id:
                return ()
            return (self._groups.ensure_default(tx, project_id),)
        groups = self._groups.check(tx, project_id, attributes["security_groups"])
        if groups and not security:
            raise BadRequest(
                "Port security must be enabled and port must have an IP address in order to use security groups.",
                kind="PortSecurityAndIPRequiredForSecurityGroups",
            )
        return groups

    def _change_security(self, tx: Tx, port: Port, mac: str, attributes: Attributes, changes: dict[str, Any]) -> None:
        security = attributes.get("port_security_enabled", port.port_security_enabled)
        groups: tuple[str, ...] = port.security_groups
        if "security_groups" in attributes:
            groups = self._groups.check(tx, port.project_id, attributes["security_groups"] or ())
            store.set_groups(tx, port.id, groups)
        if groups and not security:
            raise in_use(
                "PortSecurityPortHasSecurityGroup",
                "Port has security group associated. Cannot disable port security or IP address until security group "
                "is removed.",
            )
        pairs = port.allowed_address_pairs
        if "allowed_address_pairs" in attributes:
            pairs = self._pairs(mac, security, attributes["allowed_address_pairs"])
            changes["allowed_address_pairs"] = pairs
        if pairs and not security:
            raise _pairs_need_security()
        if "port_security_enabled" in attributes:
            changes["port_security_enabled"] = security

    def _change_addresses(self, tx: Tx, port: Port, mac: str, fixed_ips: Sequence[Mapping[str, Any]]) -> None:
        self._check_count(fixed_ips)
        subnets = subnet_store.of_network(tx, port.network_id)
        wanted = ipam.plan(port.network_id, subnets, mac, fixed_ips, router=port.device_owner in ROUTER_OWNERS)
        keep, missing = ipam.kept(port, wanted)
        gone = [fixed for fixed in port.fixed_ips if fixed not in keep]
        for fixed in gone:
            if port.device_owner not in SERVICE_OWNERS:
                for router_id in floating_store.disassociate(tx, port.id, self._clock.now(), fixed.ip):
                    self._marker.router(tx, router_id)
        ipam.release(tx, port.id, gone)
        ipam.allocate(tx, port.id, port.network_id, missing, first_position=len(port.fixed_ips))

    def _check_count(self, fixed_ips: Sequence[Mapping[str, Any]] | None) -> None:
        for item in fixed_ips or ():
            if unknown := set(item) - {"subnet_id", "ip_address"}:
                raise bad_attribute("fixed_ips", f"unexpected keys {sorted(unknown)}")
        if fixed_ips is not None and len(fixed_ips) > self._settings.max_fixed_ips_per_port:
            raise invalid("Exceeded maximum amount of fixed ips per port")

    def _pairs(
        self, mac: str, security: bool, pairs: Sequence[Mapping[str, str]] | None
    ) -> tuple[tuple[str, str], ...]:
        if not pairs:
            return ()
        if not security:
            raise _pairs_need_security()
        if len(pairs) > self._settings.max_allowed_address_pairs:
            raise BadRequest(
                f"Exceeded maximum of {self._settings.max_allowed_address_pairs} allowed address pairs.",
                kind="AddressPairsExhausted",
            )
        parsed: list[tuple[str, str]] = []
        for pair in pairs:
            if "ip_address" not in pair or set(pair) - {"ip_address", "mac_address"}:
                raise bad_attribute(
                    "allowed_address_pairs", f"'{dict(pair)}' needs ip_address and may have mac_address"
                )
            text = pair["ip_address"]
            parse = addresses.parse_block if "/" in text else addresses.parse_address
            entry = (
                str(parse("allowed_address_pairs", text)),
                addresses.parse_mac("mac", pair.get("mac_address", mac)),
            )
            if entry in parsed:
                raise BadRequest(
                    f"Request contains duplicate address pair: mac_address {entry[1]} ip_address {entry[0]}.",
                    kind="DuplicateAddressPairInRequest",
                )
            parsed.append(entry)
        return tuple(parsed)


def _pairs_need_security() -> Exception:
    return in_use(
        "AddressPairAndPortSecurityRequired",
        "Port Security must be enabled in order to have allowed address pairs on a port.",
    )


def _vnic_type(attributes: Attributes) -> str:
    wanted = attributes.get("binding:vnic_type", _VNIC_TYPE)
    if wanted != _VNIC_TYPE:
        raise invalid(f"binding:vnic_type '{wanted}' is not supported by the hosts of this cloud")
    return _VNIC_TYPE
