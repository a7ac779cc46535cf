"""From decoded bodies to what the service takes: here the versions' differences end."""

import ipaddress
from collections.abc import Sequence
from typing import Any

from pileus.compute.servers.creation import NewServers
from pileus.compute.servers.injection import files_of
from pileus.compute.servers.schemas import BlockDevice, NetworkItem
from pileus.compute.servers.service import ServerUpdate
from pileus.kernel.errors import BadRequest
from pileus.kernel.fields import UNSET, given
from pileus.kernel.ids import is_uuid
from pileus.kernel.versions import Version
from pileus.network.domain import RequestedNic

MAX_CERTIFICATES = 50
_TAGS_FIRST, _TAGS_GONE, _TAGS_AGAIN = Version(2, 32), Version(2, 37), Version(2, 42)


def new_servers(envelope: Any, version: Version) -> NewServers:
    """The request that a POST /servers body makes. BadRequest where fields contradict each other."""
    body = envelope.wrapped
    least = body.min_count or 1
    return NewServers(
        name=body.name,
        flavor_ref=str(body.flavorRef),
        image_ref=_image(body.imageRef, body.block_device_mapping, body.block_device_mapping_v2),
        nics=_nics(body.networks, version),
        key_name=body.key_name,
        user_data=body.user_data,
        config_drive=bool(body.config_drive),
        files=files_of(getattr(body, "personality", [])),
        metadata=body.metadata,
        security_groups=tuple(dict.fromkeys(group.name for group in body.security_groups)),
        availability_zone=body.availability_zone,
        requested_host=_requested_host(body),
        min_count=least,
        max_count=body.max_count or least,
        admin_pass=body.adminPass,
        description=given(getattr(body, "description", UNSET)),
        hostname=given(getattr(body, "hostname", UNSET)),
        trusted_certificates=_certificates(given(getattr(body, "trusted_image_certificates", UNSET))),
        tags=tuple(dict.fromkeys(given(getattr(body, "tags", UNSET), ()))),
        hints=envelope.os_scheduler_hints or envelope.OS_SCH_HNT_scheduler_hints,
        access_ip_v4=_access_ip("accessIPv4", body.accessIPv4, 4),
        access_ip_v6=_access_ip("accessIPv6", body.accessIPv6, 6),
        auto_disk_config=None if body.OS_DCF_diskConfig is None else body.OS_DCF_diskConfig == "AUTO",
    )


def server_update(body: Any) -> ServerUpdate:
    """What a PUT /servers/{id} body changes."""
    disk_config = body.OS_DCF_diskConfig
    return ServerUpdate(
        name=body.name,
        description=getattr(body, "description", UNSET),
        hostname=getattr(body, "hostname", UNSET),
        access_ip_v4=UNSET if body.accessIPv4 is UNSET else _access_ip("accessIPv4", body.accessIPv4, 4),
        access_ip_v6=UNSET if body.accessIPv6 is UNSET else _access_ip("accessIPv6", body.accessIPv6, 6),
        auto_disk_config=UNSET if disk_config is UNSET else disk_config == "AUTO",
    )


def _image(image_ref: str | None, old: Sequence[Any], devices: Sequence[BlockDevice]) -> str | None:
    """The image to boot from: `imageRef`, or the one block device that says the same in other words."""
    if image_ref and not is_uuid(image_ref):
        raise BadRequest("Invalid imageRef provided.")
    if not old and not devices:
        return image_ref or None
    refusal = (
        "Block Device Mapping is Invalid: volumes and additional disks are not offered. The only block device may be "
        "the image on a local disk: source_type image, destination_type local, boot_index 0."
    )
    if old or len(devices) != 1:
        raise BadRequest(refusal)
    device = devices[0]
    if device.source_type != "image" or device.destination_type not in (None, "local") or device.boot_index != 0:
        raise BadRequest(refusal)
    if device.uuid is None or (image_ref and image_ref != device.uuid):
        raise BadRequest("Block Device Mapping is Invalid: Boot device's image is not the one of imageRef.")
    if not is_uuid(device.uuid):
        raise BadRequest("Invalid image uuid in block_device_mapping_v2.")
    return device.uuid


def _nics(networks: Sequence[NetworkItem] | str | None, version: Version) -> tuple[RequestedNic, ...] | str | None:
    if networks is None or isinstance(networks, str):
        return networks
    for item in networks:
        _check_nic(item, version)
    return tuple(
        RequestedNic(
            network_id=None if item.port else item.uuid, port_id=item.port, fixed_ip=item.fixed_ip, tag=item.tag
        )
        for item in networks
    )


def _check_nic(item: NetworkItem, version: Version) -> None:
    tags = _TAGS_FIRST <= version < _TAGS_GONE or version >= _TAGS_AGAIN
    if item.tag is not None and not tags:
        raise BadRequest("Additional properties are not allowed ('tag' was unexpected)")
    if item.uuid is None and item.port is None:
        raise BadRequest("Bad networks format: each entry needs a 'uuid' or a 'port'.")
    for name, value in (("uuid", item.uuid), ("port", item.port)):
        if value is not None and not is_uuid(value):
            raise BadRequest(f"Bad networks format: network {name} is not in proper format ({value})")
    if item.fixed_ip is None:
        return
    if item.port is not None:
        raise BadRequest("Specified Fixed IP cannot be used with port: the two cannot be specified together.")
    try:
        ipaddress.ip_address(item.fixed_ip)
    except ValueError as err:
        raise BadRequest(f"Invalid fixed IP address ({item.fixed_ip})") from err


def _requested_host(body: Any) -> str | None:
    host: str | None = given(getattr(body, "host", UNSET))
    node: str | None = given(getattr(body, "hypervisor_hostname", UNSET))
    if host and node and host != node:
        raise BadRequest(f"Compute host {host} has no node {node}.")
    return host or node


def _access_ip(name: str, text: str | None, version: int) -> str | None:
    if not text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        address = None
    if address is None or address.version != version:
        raise BadRequest(f"Invalid input for field/attribute {name}. Value: {text}. '{text}' is not an 'ipv{version}'")
    return str(address)


def _certificates(names: Sequence[str] | None) -> tuple[str, ...]:
    """The ids of certificates that the user trusts: none, or 1 to 50 different ones."""
    if names is None:
        return ()
    if not 1 <= len(names) <= MAX_CERTIFICATES or len(set(names)) != len(names) or not all(names):
        raise BadRequest(f"trusted_image_certificates must be 1 to {MAX_CERTIFICATES} different ids, or null.")
    return tuple(names)
