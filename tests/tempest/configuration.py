"""tempest.conf for a running cloud: every feature that the cloud has is on, what does not exist yet is off."""

import configparser
from dataclasses import dataclass
from pathlib import Path

from tests.cloud import Cloud

Options = dict[str, dict[str, object]]
ANOTHER_IMAGE_SERVICE = "image-on-another-node"
"""The type in the catalog of the image service as a second node of the same cloud serves it."""
SECURITY_COMPLIANCE = {
    "lockout_failure_attempts": 2, "lockout_duration": 5, "unique_last_password_count": 2, "minimum_password_age": 0,
}  # fmt: skip
"""Settings of `[identity.security_compliance]`; the suite is told the same, as `user_...`."""


@dataclass(frozen=True)
class Prepared:
    """What the suite needs to find in the cloud."""

    image: str
    image_alt: str
    flavor: str
    flavor_alt: str
    public_network: str
    image_file: Path
    raw_url: str  # of an image of each of these formats
    qcow2_url: str
    ssh_user: str
    compute_versions: tuple[str, str]
    network_extensions: tuple[str, ...]


def write(path: Path, cloud: Cloud, prepared: Prepared, scratch: Path, changes: Options) -> None:
    """Write the suite's configuration file, with these changes to what it is for most tests."""
    parser = configparser.ConfigParser(interpolation=None)
    for section, options in {**_basics(cloud, scratch), **_services(prepared), **_guests(prepared)}.items():
        chosen = {**options, **changes.get(section, {})}
        parser[section] = {name: str(value) for name, value in chosen.items()}
    with path.open("w") as out:
        parser.write(out)


def _basics(cloud: Cloud, scratch: Path) -> Options:
    return {
        "DEFAULT": {"log_dir": scratch, "log_file": "tempest.log", "debug": True},
        "oslo_concurrency": {"lock_path": scratch / "lock"},
        "auth": {
            "use_dynamic_credentials": True,
            "tempest_roles": "member",
            "admin_username": "admin",
            "admin_project_name": "admin",
            "admin_password": cloud.admin_password,
            "admin_domain_name": "Default",
            "admin_system": "all",
        },
        "identity": {
            "uri_v3": f"{cloud.url}/identity/v3",
            "auth_version": "v3",
            "region": "RegionOne",
            **{f"user_{name}": value for name, value in SECURITY_COMPLIANCE.items()},
        },
        "identity-feature-enabled": {
            "api_v3": True,
            "trust": True,
            "access_rules": True,
            "domain_specific_drivers": True,
            "security_compliance": True,
            "api_extensions": "all",
        },
        "enforce_scope": dict.fromkeys(("nova", "neutron", "glance", "keystone"), True),
        "service_available": {
            "nova": True,
            "neutron": True,
            "glance": True,
            "cinder": False,
            "swift": False,
            "horizon": False,
        },
    }


def _services(prepared: Prepared) -> Options:
    absent = (
        "resize", "pause", "shelve", "shelve_migrate", "suspend", "cold_migration", "live_migration", "vnc_console",
        "spice_console", "serial_console", "rescue", "stable_rescue", "interface_attach", "snapshot", "swap_volume",
        "volume_multiattach", "attach_encrypted_volume", "block_migration_for_live_migration", "unified_limits",
        "volume_backed_live_migration", "change_password",
    )  # fmt: skip
    return {
        "compute": {
            "image_ref": prepared.image,
            "image_ref_alt": prepared.image_alt,
            "flavor_ref": prepared.flavor,
            "flavor_ref_alt": prepared.flavor_alt,
            "min_microversion": prepared.compute_versions[0],
            "max_microversion": prepared.compute_versions[1],
            "min_compute_nodes": 1,
            "hypervisor_type": "QEMU",
            "build_timeout": 120,
            "build_interval": 1,
        },
        "compute-feature-enabled": {
            **dict.fromkeys(absent, False),
            "console_output": True,
            "metadata_service": True,
            "config_drive": True,
            "disk_config": True,
            "enable_instance_password": True,
            "personality": True,
            "hostname_fqdn_sanitization": True,
            "dhcp_domain": "",
        },
        "image": {
            "container_formats": "bare,ami,ari,aki,ovf,ova,docker,compressed",
            # A test uploads random bytes as each of the first six, and is skipped altogether where it is said that
            # formats are enforced. They are, so those that any bytes are come first, and two of them twice.
            "disk_formats": "raw,ami,ari,aki,raw,ami,qcow2,vhd,vhdx,vmdk,vdi,iso,ploop,gpt",
            "http_image": prepared.raw_url,
            "http_qcow2_image": prepared.qcow2_url,
            "image_caching_enabled": True,
            "alternate_image_endpoint": ANOTHER_IMAGE_SERVICE,
            "hashing_algorithm": "sha512",
        },
        "image-feature-enabled": {
            "api_v2": True,
            "import_image": True,
            "manage_locations": True,
            "image_conversion": True,
            "http_store_enabled": True,
            "store_weight_enabled": True,
            "do_secure_hash": True,
            "os_glance_reserved": True,
            "image_format_enforcement": False,
        },
        "network": {
            "public_network_id": prepared.public_network,
            "floating_network_name": "public",
            "project_network_cidr": "10.100.0.0/16",
            "project_network_mask_bits": 28,
        },
        "network-feature-enabled": {
            "api_extensions": ",".join(prepared.network_extensions),
            "port_security": "port-security" in prepared.network_extensions,
            "floating_ips": True,
            "ipv6": True,
            "ipv6_subnet_attributes": True,
        },
    }


def _guests(prepared: Prepared) -> Options:
    return {
        "validation": {
            "run_validation": True,
            "connect_method": "floating",
            "auth_method": "keypair",
            "image_ssh_user": prepared.ssh_user,
            "image_alt_ssh_user": prepared.ssh_user,
            "network_for_ssh": "public",
            "ssh_key_type": "ecdsa",
            "ping_timeout": 90,
            "connect_timeout": 30,
            "ssh_timeout": 120,
            "ssh_shell_prologue": "set -eu -o pipefail; PATH=$$PATH:/sbin:/usr/sbin;",
        },
        "scenario": {
            "img_file": prepared.image_file,
            "img_disk_format": "qcow2",
            "img_container_format": "bare",
            "dhcp_client": "udhcpc",
        },
    }
