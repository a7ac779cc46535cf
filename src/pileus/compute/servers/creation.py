"""From a request for servers to rows: everything that can be refused is refused here, before anything is made."""

import base64
import binascii
import re
import secrets
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from pileus.agent.api import InjectedFile, PowerState
from pileus.compute.errors import AmbiguousNetworks
from pileus.compute.quotas.service import Quotas
from pileus.compute.servers.domain import Boot, FlavorSnapshot, ImageSnapshot, Task, VmState
from pileus.compute.servers.injection import InjectionChoice, Secrets, check_limits, to_params
from pileus.compute.servers.neighbours import Flavor, Flavors, Hosts, Image, Images, Keypairs, Networks
from pileus.compute.servers.policy import FORCED_HOST, REQUESTED_DESTINATION, ZERO_DISK_FLAVOR
from pileus.compute.servers.specs import hostname_of
from pileus.compute.settings import ComputeSettings
from pileus.kernel.auth import Actor
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Forbidden, NotFound, OverLimit
from pileus.kernel.ids import is_uuid, new_uuid
from pileus.kernel.seal import Seal
from pileus.kernel.signature import Signature
from pileus.network.domain import PlannedNic, RequestedNic

May = Callable[[str], bool]
MAX_USER_DATA = 65535
_GIB = 1 << 30
_CONFUSING = "0O1Il"
_PASSWORD_CHARACTERS = "".join(sorted(set(string.ascii_letters + string.digits) - set(_CONFUSING)))
_HOST_IN_ZONE = re.compile(r"^(?P<zone>[^:]*):(?P<host>[^:]*)(?::(?P<node>[^:]*))?\Z")


class NewServers(msgspec.Struct, frozen=True, kw_only=True):
    """A request to create servers, with the versions' differences removed.

    `nics`: None leaves the choice to the network service as before 2.37, "auto" and "none" are those words.
    `requested_host` is that of 2.74; another way to name one is the availability zone `zone:host`.
    """

    name: str
    flavor_ref: str
    image_ref: str | None = None
    nics: tuple[RequestedNic, ...] | str | None = None
    key_name: str | None = None
    user_data: str | None = None
    config_drive: bool = False
    files: tuple[InjectedFile, ...] = ()
    metadata: dict[str, str] = {}
    security_groups: tuple[str, ...] = ()
    availability_zone: str | None = None
    requested_host: str | None = None
    min_count: int = 1
    max_count: int = 1
    admin_pass: str | None = None
    description: str | None = None
    hostname: str | None = None
    trusted_certificates: tuple[str, ...] = ()  # ids; every image must be of a signer whom one of these vouches for
    tags: tuple[str, ...] = ()
    hints: dict[str, Any] = {}
    access_ip_v4: str | None = None
    access_ip_v6: str | None = None
    auto_disk_config: bool | None = None


@dataclass(frozen=True)
class Plan:
    """A request that was found possible. `nics` has one list for each server."""

    new: NewServers
    flavor: FlavorSnapshot
    image: ImageSnapshot
    boot: Boot
    nics: tuple[tuple[PlannedNic, ...], ...]
    group_ids: tuple[str, ...]
    group_names: tuple[str, ...]
    zone: str | None
    host: str | None
    same_hosts: list[str] | None
    different_hosts: list[str]
    admin_pass: str
    config_drive: bool
    guest_gets_password: bool
    reservation_id: str

    @property
    def resources(self) -> dict[str, int]:
        """What each server takes of its host. Swap counts as disk, rounded up, as in Nova."""
        disk = self.flavor.disk + self.flavor.ephemeral + -(-self.flavor.swap // 1024)
        return {"VCPU": self.flavor.vcpus, "MEMORY_MB": self.flavor.ram, "DISK_GB": disk}


class Planner:
    """Checks requests for servers. It only reads."""

    def __init__(
        self,
        settings: ComputeSettings,
        images: Images,
        flavors: Flavors,
        keypairs: Keypairs,
        quotas: Quotas,
        networks: Networks,
        hosts: Hosts,
        hosts_of_servers: Callable[[Tx, Actor, Sequence[str]], list[str]],
        injection: InjectionChoice,
    ) -> None:
        self._settings = settings
        self._images = images
        self._flavors = flavors
        self._keypairs = keypairs
        self._quotas = quotas
        self._networks = networks
        self._hosts = hosts
        self._hosts_of_servers = hosts_of_servers
        self._injection = injection

    def plan(self, tx: Tx, actor: Actor, new: NewServers, may: May) -> Plan:
        """The plan for a request. BadRequest, Forbidden or Conflict say what is wrong with it."""
        _check_counts(new)
        if new.metadata:
            check_metadata_size(new.metadata, self._quotas.limits(tx, actor.owner, actor.user_id)["metadata_items"])
        _check_user_data(new.user_data)
        if new.files:
            check_limits(new.files, self._quotas.limits(tx, actor.owner, actor.user_id))
        config_drive = self._config_drive(new)
        flavor = self._flavor(tx, actor, new.flavor_ref)
        if not new.image_ref:
            raise BadRequest("Block Device Mapping is Invalid: Boot from volume is not offered. Give an imageRef.")
        image = self._image(tx, actor, new.image_ref)
        kernel, ramdisk = self._part(tx, actor, image, "kernel_id"), self._part(tx, actor, image, "ramdisk_id")
        _check_sizes(image, flavor, may)
        zone, host = self._place(tx, new, may)
        same, different = self._neighbours(tx, actor, new.hints)
        groups = self._networks.resolve_security_groups(tx, actor, new.security_groups or ("default",))
        return Plan(
            new=new,
            flavor=_flavor_snapshot(flavor),
            image=_image_snapshot(image),
            boot=Boot(
                public_keys=self._public_keys(tx, actor, new.key_name),
                kernel=_image_snapshot(kernel) if kernel else None,
                ramdisk=_image_snapshot(ramdisk) if ramdisk else None,
                signatures=self._signatures(new.trusted_certificates, image, kernel, ramdisk),
            ),
            nics=self._nics(tx, actor, new),
            group_ids=tuple(group.id for group in groups),
            group_names=tuple(group.name for group in groups),
            zone=zone,
            host=host,
            same_hosts=same,
            different_hosts=different,
            admin_pass=new.admin_pass or generate_password(self._settings.password_length),
            config_drive=config_drive,
            guest_gets_password=config_drive or (self._injection.enabled and self._injection.password),
            reservation_id=f"r-{secrets.token_hex(4)}",
        )

    def _config_drive(self, new: NewServers) -> bool:
        """Whether servers get a config drive: where asked for, and where files would reach them in no other way."""
        lost = bool(new.files) and not self._injection.enabled
        return new.config_drive or self._settings.force_config_drive or lost

    def _flavor(self, tx: Tx, actor: Actor, flavor_ref: str) -> Flavor:
        try:
            return self._flavors.get(tx, actor, flavor_ref)
        except NotFound as err:
            raise BadRequest(f"Flavor {flavor_ref} could not be found.") from err

    def _image(self, tx: Tx, actor: Actor, image_ref: str) -> Image:
        try:
            image = self._images.get(tx, actor, image_ref)
        except NotFound as err:
            raise BadRequest(f"Can not find requested image {image_ref}.") from err
        if image.status != "active":
            raise BadRequest(f"Image {image.id} is not active.")
        return image

    def _part(self, tx: Tx, actor: Actor, image: Image, name: str) -> Image | None:
        part = image.properties.get(name)
        return self._image(tx, actor, part) if part else None

    def _signatures(self, trusted: Sequence[str], *images: Image | None) -> dict[str, Signature]:
        """What the host must see borne out before it uses the images. Who names certificates wants signed ones."""
        found = {}
        for image in images:
            if image is not None:
                signature = self._images.signature(image, trusted)
                if signature is not None:
                    found[image.id] = signature
                elif trusted:
                    raise BadRequest(f"Image {image.id} is not signed, and only images of trusted signers are wanted.")
        return found

    def _public_keys(self, tx: Tx, actor: Actor, name: str | None) -> dict[str, str]:
        if name is None:
            return {}
        try:
            keypair = self._keypairs.get(tx, actor.user_id, name)
        except NotFound as err:
            raise BadRequest("Invalid key_name provided.") from err
        return {keypair.name: keypair.public_key}

    def _nics(self, tx: Tx, actor: Actor, new: NewServers) -> tuple[tuple[PlannedNic, ...], ...]:
        if new.nics == "none":
            return ((),) * new.max_count
        if isinstance(new.nics, tuple) and new.nics:
            requested: Sequence[RequestedNic] = new.nics
            if new.max_count > 1 and any(nic.port_id for nic in requested):
                raise BadRequest("Unable to launch multiple instances with a single configured port ID.")
            if new.max_count > 1 and any(nic.fixed_ip for nic in requested):
                raise BadRequest("Invalid fixed IP: max_count must be 1 if a fixed IP is requested.")
        else:
            requested = [RequestedNic(network_id=one.id) for one in self._networks.default_networks(tx, actor)]
            if len(requested) > 1:
                raise AmbiguousNetworks("Multiple possible networks found, use a Network ID to be more specific.")
            if new.nics == "auto" and not requested:
                raise BadRequest("Unable to automatically allocate a network: the project has none. Create one first.")
        return self._nics_of_all(tx, actor, requested, new)

    def _nics_of_all(
        self, tx: Tx, actor: Actor, requested: Sequence[RequestedNic], new: NewServers
    ) -> tuple[tuple[PlannedNic, ...], ...]:
        """The interfaces of as many servers as the quota of ports lets, up to `max_count`."""
        for count in range(new.max_count, new.min_count - 1, -1):
            try:
                first = self._networks.check_requested(tx, actor, requested, servers=count)
            except OverLimit:
                if count == new.min_count:
                    raise
            else:
                others = [[msgspec.structs.replace(nic, port_id=new_uuid()) for nic in first] for _ in range(count - 1)]
                return tuple(tuple(nics) for nics in [first, *others])
        raise AssertionError("min_count is at least 1 and at most max_count")

    def _place(self, tx: Tx, new: NewServers, may: May) -> tuple[str | None, str | None]:
        """Availability zone and host, where the request names them."""
        zone, host = new.availability_zone, new.requested_host
        if host is not None and not may(REQUESTED_DESTINATION):
            raise Forbidden(f"Policy doesn't allow {REQUESTED_DESTINATION} to be performed.")
        if zone is not None and (forced := _HOST_IN_ZONE.match(zone)):
            if not may(FORCED_HOST):
                raise Forbidden(f"Policy doesn't allow {FORCED_HOST} to be performed.")
            zone, host = forced["zone"] or None, forced["host"] or forced["node"] or host
        if zone is None and host is None:
            return None, None
        known = self._hosts.all(tx)
        if host is not None and host not in {one.name for one in known}:
            raise BadRequest(f"Compute host {host} could not be found.")
        if zone is not None and zone not in {
            self._settings.default_availability_zone,
            *(one.availability_zone for one in known),
        }:
            raise BadRequest("The requested availability zone is not available")
        return zone, host

    def _neighbours(self, tx: Tx, actor: Actor, hints: Mapping[str, Any]) -> tuple[list[str] | None, list[str]]:
        """The hosts that scheduler hints ask for (None: any), and those that they forbid."""
        if hints.get("group"):
            raise BadRequest("Server groups are not offered: the scheduler hint 'group' names none.")
        same = _ids("same_host", hints.get("same_host"))
        different = _ids("different_host", hints.get("different_host"))
        return (
            self._hosts_of_servers(tx, actor, same) if same else None,
            self._hosts_of_servers(tx, actor, different) if different else [],
        )


def rows_of(plan: Plan, actor: Actor, now: int) -> list[dict[str, Any]]:
    """The rows of a plan's servers."""
    new = plan.new
    rows = []
    for index, nics in enumerate(plan.nics):
        server_id = new_uuid()
        suffix = f"-{index + 1}" if new.max_count > 1 else ""
        name = f"{new.name}{suffix}"
        rows.append(
            {
                "id": server_id,
                "project_id": actor.owner,
                "user_id": actor.user_id,
                "name": name,
                "description": new.description,
                "hostname": f"{new.hostname}{suffix}" if new.hostname else hostname_of(name, server_id),
                "vm_state": VmState.BUILDING,
                "task_state": Task.SCHEDULING,
                "power_state": PowerState.NOSTATE,
                "pinned_zone": plan.zone,
                "flavor": plan.flavor,
                "image": plan.image,
                "key_name": new.key_name,
                "config_drive": plan.config_drive,
                "auto_disk_config": new.auto_disk_config is not False,
                "metadata": new.metadata,
                "tags": sorted(new.tags),
                "security_groups": list(plan.group_names),
                "hints": new.hints,
                "access_ip_v4": new.access_ip_v4,
                "access_ip_v6": new.access_ip_v6,
                "reservation_id": plan.reservation_id,
                "launch_index": index,
                "created_at": now,
                "updated_at": now,
                "deleted": 0,
                "trusted_certificates": list(new.trusted_certificates) or None,
                "user_data": new.user_data,
                "boot": msgspec.structs.replace(plan.boot, port_ids=[nic.port_id for nic in nics]),
                "vcpus": plan.flavor.vcpus,
                "memory_mb": plan.flavor.ram,
                "flavorid": plan.flavor.flavorid,
                "image_id": plan.image.id,
            }
        )
    return rows


def saga_params(plan: Plan, nics: Sequence[PlannedNic], seal: Seal) -> dict[str, Any]:
    """What the saga of one of the plan's servers is started with. The password is there only if the guest
    gets it before it boots: by its config drive or in its disk."""
    return {
        "resources": plan.resources,
        "nics": msgspec.to_builtins(list(nics)),
        "groups": list(plan.group_ids),
        "zone": plan.zone,
        "host": plan.host,
        "same_hosts": plan.same_hosts,
        "different_hosts": plan.different_hosts,
        **to_params(Secrets(plan.new.files, plan.admin_pass if plan.guest_gets_password else None), seal),
        "tried": [],
        "reasons": [],
    }


def generate_password(length: int) -> str:
    """A random password without characters that look alike."""
    return "".join(secrets.choice(_PASSWORD_CHARACTERS) for _ in range(length))


def check_metadata_size(metadata: Mapping[str, str], limit: int) -> None:
    """Forbidden if there are more items than a server may have."""
    if limit >= 0 and len(metadata) > limit:
        raise Forbidden(f"Maximum number of metadata items exceeds {limit}")


def _check_counts(new: NewServers) -> None:
    if new.min_count > new.max_count:
        raise BadRequest("min_count must be <= max_count")
    if new.hostname and new.max_count > 1:
        raise BadRequest("A hostname cannot be given to more than one server.")


def _check_user_data(user_data: str | None) -> None:
    if user_data is None:
        return
    if len(user_data) > MAX_USER_DATA:
        raise BadRequest(f"User data is longer than {MAX_USER_DATA} characters.")
    try:
        base64.b64decode("".join(user_data.split()), validate=True)
    except (binascii.Error, ValueError) as err:
        raise BadRequest("User data is not valid base64.") from err


def _check_sizes(image: Image, flavor: Flavor, may: May) -> None:
    if image.min_ram > flavor.ram:
        raise BadRequest("Flavor's memory is too small for requested image.")
    if flavor.disk == 0:
        if not may(ZERO_DISK_FLAVOR):
            raise Forbidden("Only volume-backed servers are allowed for flavors with zero disk.")
        return
    if image.min_disk > flavor.disk:
        raise BadRequest(
            "Flavor's disk is smaller than the minimum size specified in image metadata. "
            f"Flavor disk is {flavor.disk * _GIB} bytes, minimum size is {image.min_disk * _GIB} bytes."
        )
    size = max(image.virtual_size or 0, image.size or 0)
    if size > flavor.disk * _GIB:
        raise BadRequest(
            "Flavor's disk is too small for requested image. "
            f"Flavor disk is {flavor.disk * _GIB} bytes, image is {size} bytes."
        )


def _ids(name: str, hint: Any) -> list[str]:
    ids = [hint] if isinstance(hint, str) else list(hint or [])
    if not all(isinstance(one, str) and is_uuid(one) for one in ids):
        raise BadRequest(f"The scheduler hint '{name}' must hold server ids.")
    return ids


def _flavor_snapshot(flavor: Flavor) -> FlavorSnapshot:
    return FlavorSnapshot(
        flavorid=flavor.flavorid,
        name=flavor.name,
        vcpus=flavor.vcpus,
        ram=flavor.ram,
        disk=flavor.disk,
        ephemeral=flavor.ephemeral,
        swap=flavor.swap,
        extra_specs=dict(flavor.extra_specs),
    )


def _image_snapshot(image: Image) -> ImageSnapshot:
    return ImageSnapshot(
        id=image.id,
        disk_format=image.disk_format or "",
        container_format=image.container_format or "",
        size=image.size or 0,
        checksum=image.os_hash_value or "",
        hash_algo=image.os_hash_algo or "",
        min_disk=image.min_disk,
        min_ram=image.min_ram,
        properties=dict(image.properties),
    )
