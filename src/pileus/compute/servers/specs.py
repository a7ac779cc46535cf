"""From a server to the complete descriptions that its host's agent gets."""

import re
from collections.abc import Sequence
from typing import Any

from pileus.agent.api import DisksSpec, GuestSpec, ImageRef, Injection, MetadataAddress, MetadataSpec, Nic
from pileus.compute.servers.domain import Boot, ImageSnapshot, Server, instance_name
from pileus.network.domain import PortInfo

_HOSTNAME_MAX = 63


def hostname_of(name: str, server_id: str) -> str:
    """A host name made from a server's name, as Nova makes it: letters, digits and dashes, at most 63 of them;
    `server-<id>` if nothing of the name is left."""
    ascii_name = name.encode("latin-1", "ignore").decode("latin-1")
    dashed = re.sub(r"[ _.]", "-", ascii_name)
    plain = re.sub(r"[^a-zA-Z0-9-]+", "", dashed).lower().strip("-")
    return plain[:_HOSTNAME_MAX].rstrip("-") or f"server-{server_id}"


def in_order(boot: Boot, ports: Sequence[PortInfo]) -> list[PortInfo]:
    """A server's ports in the order in which the guest sees them: that of the request, then the later ones."""
    rank = {port_id: index for index, port_id in enumerate(boot.port_ids)}
    return sorted(ports, key=lambda port: rank.get(port.id, len(rank)))


def disks_spec(server: Server, boot: Boot, inject: Injection | None = None) -> DisksSpec:
    """The disks of a server. `inject` counts only where the root disk is made; one that is there stays as it is."""
    return DisksSpec(
        server_id=server.id,
        image=_image_ref(server.image, boot),
        kernel=_image_ref(boot.kernel, boot),
        ramdisk=_image_ref(boot.ramdisk, boot),
        root_gb=server.flavor.disk,
        ephemeral_gb=server.flavor.ephemeral,
        swap_mb=server.flavor.swap,
        config_drive=server.config_drive,
        inject=inject,
    )


def _image_ref(image: ImageSnapshot | None, boot: Boot) -> ImageRef | None:
    if image is None:
        return None
    return ImageRef(
        id=image.id,
        checksum=image.checksum,
        hash_algo=image.hash_algo,
        size=image.size,
        disk_format=image.disk_format,
        min_disk=image.min_disk,
        signature=boot.signatures.get(image.id),
    )


def guest_spec(
    server: Server, boot: Boot, ports: Sequence[PortInfo], prefix: str, *, running: bool = True
) -> GuestSpec:
    """The guest of a server."""
    properties = server.image.properties if server.image is not None else {}
    model = properties.get("hw_vif_model", "virtio")
    return GuestSpec(
        id=server.id,
        name=server.name,
        instance_name=instance_name(prefix, server.number),
        project_id=server.project_id,
        user_id=server.user_id,
        flavor_name=server.flavor.name,
        vcpus=server.flavor.vcpus,
        memory_mb=server.flavor.ram,
        nics=tuple(Nic(port_id=port.id, mac=port.mac, mtu=port.mtu, model=model) for port in in_order(boot, ports)),
        machine_properties={name: value for name, value in properties.items() if name.startswith(("hw_", "os_"))},
        kernel_command_line=properties.get("os_command_line"),
        running=running,
    )


def metadata_spec(
    server: Server,
    boot: Boot,
    user_data: str | None,
    ports: Sequence[PortInfo],
    network_data: dict[str, Any],
) -> MetadataSpec:
    """What the guest may learn of itself."""
    ordered = in_order(boot, ports)
    return MetadataSpec(
        server_id=server.id,
        project_id=server.project_id,
        name=server.name,
        hostname=server.hostname,
        instance_type=server.flavor.name,
        image_id=server.image.id if server.image is not None else "",
        availability_zone=server.availability_zone or "",
        launch_index=server.launch_index,
        reservation_id=server.reservation_id,
        public_ipv4=_public_ipv4(ordered),
        metadata=server.metadata,
        public_keys=boot.public_keys,
        user_data=user_data,
        security_groups=group_names(server, ordered),
        addresses=tuple(
            MetadataAddress(
                network_id=port.network_id,
                port_id=port.id,
                mac=port.mac,
                mtu=port.mtu,
                ips=tuple(address.ip for address in port.addresses),
            )
            for port in ordered
        ),
        network_data=network_data,
    )


def group_names(server: Server, ports: Sequence[PortInfo]) -> tuple[str, ...]:
    """The names of a server's security groups: those of its ports, or before it has any the ones asked for."""
    if not ports:
        return tuple(server.security_groups)
    return tuple(dict.fromkeys(group.name for port in ports for group in port.security_groups))


def _public_ipv4(ports: Sequence[PortInfo]) -> str | None:
    floating = (address.floating_ip for port in ports for address in port.addresses if address.version == 4)
    return next((ip for ip in floating if ip is not None), None)
