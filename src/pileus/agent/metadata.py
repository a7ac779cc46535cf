"""What a guest may read of itself, as a tree of paths: OpenStack's and EC2's forms.

The same OpenStack tree is served over HTTP at 169.254.169.254 and written to the config drive. Source: Nova's user
guide, "Metadata", and EC2's "Instance metadata categories".
"""

import base64
import os
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from pileus.agent.api import MetadataSpec

OPENSTACK_VERSIONS = (
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
    "latest",
)
KEPT_FILE = "password"
"""A file that only the service has, no config drive: guests may write it, once."""
EC2_VERSIONS = ("1.0", "2007-01-19", "2008-02-01", "2008-09-01", "2009-04-04", "latest")


def content_name(position: int) -> str:
    """The name of an injected file's content in `openstack/content/`."""
    return f"{position:04}"


def openstack_files(spec: MetadataSpec, *, with_files: bool = False) -> dict[str, bytes]:
    """The files under `openstack/<version>/`: name -> content. All versions have the same ones here. Injected files
    are told of `with_files`: on config drives, which have their content."""
    document = _meta_data(spec)
    if with_files and spec.files:
        document["files"] = [
            {"content_path": f"/content/{content_name(position)}", "path": one.path}
            for position, one in enumerate(spec.files)
        ]
    files = {
        "meta_data.json": msgspec.json.encode(document),
        "network_data.json": msgspec.json.encode(spec.network_data or {"links": [], "networks": [], "services": []}),
        "vendor_data.json": b"{}",
        "vendor_data2.json": b'{"static":{}}',
    }
    if spec.user_data is not None:
        files["user_data"] = base64.b64decode(spec.user_data)
    return files


def _meta_data(spec: MetadataSpec) -> dict[str, Any]:
    document: dict[str, Any] = {
        "uuid": spec.server_id,
        "name": spec.name,
        "hostname": spec.hostname,
        "launch_index": spec.launch_index,
        "availability_zone": spec.availability_zone,
        "project_id": spec.project_id,
        "meta": spec.metadata,
        "devices": [],
        "dedicated_cpus": [],
        "random_seed": base64.b64encode(os.urandom(512)).decode(),  # for the guest's entropy pool: never the same
    }
    if spec.admin_pass is not None:
        document["admin_pass"] = spec.admin_pass
    if spec.public_keys:
        document["public_keys"] = spec.public_keys
        document["keys"] = [{"name": name, "type": "ssh", "data": key} for name, key in spec.public_keys.items()]
    return document


def ec2_meta_data(spec: MetadataSpec) -> dict[str, Any]:
    """EC2's `meta-data` tree: nested dicts are directories, everything else is text."""
    local = next((ip for address in spec.addresses for ip in address.ips if ":" not in ip), "")
    document: dict[str, Any] = {
        "ami-id": f"ami-{_short(spec.image_id)}",
        "ami-launch-index": str(spec.launch_index),
        "ami-manifest-path": "(unknown)",
        "block-device-mapping": {"ami": "vda", "root": "/dev/vda"},
        "hostname": spec.hostname,
        "instance-action": "none",
        "instance-id": f"i-{_short(spec.server_id)}",
        "instance-type": spec.instance_type,
        "local-hostname": spec.hostname,
        "local-ipv4": local,
        "placement": {"availability-zone": spec.availability_zone},
        "public-hostname": spec.hostname,
        "public-ipv4": spec.public_ipv4 or "",
        "reservation-id": spec.reservation_id,
        "security-groups": "\n".join(spec.security_groups),
    }
    if spec.public_keys:
        document["public-keys"] = {
            str(position): _Key(name, {"openssh-key": key})
            for position, (name, key) in enumerate(spec.public_keys.items())
        }
    return document


class _Key(dict[str, str]):
    """A directory that its parent lists as `0=name`."""

    def __init__(self, name: str, files: Mapping[str, str]) -> None:
        super().__init__(files)
        self.name = name


def _short(uuid: str) -> str:
    """EC2's eight hexadecimal digits for a UUID."""
    return uuid.replace("-", "")[:8]


def answer(spec: MetadataSpec, path: str) -> tuple[bytes, str] | None:
    """The content and media type at an HTTP path for one server, or None if there is nothing."""
    parts = [part for part in path.split("?", 1)[0].split("/") if part]
    if not parts:
        return _listing(EC2_VERSIONS)
    if parts[0] == "openstack":
        return _openstack(spec, parts[1:])
    if parts[0] in EC2_VERSIONS:
        return _ec2(spec, parts[1:])
    return None


def is_password(path: str) -> bool:
    """Whether a path is that of the file that guests may write."""
    parts = [part for part in path.split("?", 1)[0].split("/") if part]
    return len(parts) == 3 and parts[0] == "openstack" and parts[1] in OPENSTACK_VERSIONS and parts[2] == KEPT_FILE


def _openstack(spec: MetadataSpec, parts: list[str]) -> tuple[bytes, str] | None:
    if not parts:
        return _listing(OPENSTACK_VERSIONS)
    if parts[0] not in OPENSTACK_VERSIONS:
        return None
    files = openstack_files(spec) | {KEPT_FILE: spec.password.encode()}
    if len(parts) == 1:
        return _listing(sorted(files))
    if len(parts) > 2 or parts[1] not in files:
        return None
    kind = "application/json" if parts[1].endswith(".json") else "application/octet-stream"
    return files[parts[1]], kind


def _ec2(spec: MetadataSpec, parts: list[str]) -> tuple[bytes, str] | None:
    tree: dict[str, Any] = {"meta-data": ec2_meta_data(spec)}
    if spec.user_data is not None:
        tree["user-data"] = base64.b64decode(spec.user_data)
    node: Any = tree
    for part in parts:
        if not isinstance(node, dict) or part not in node:
            return None
        node = node[part]
    if isinstance(node, dict):
        return _listing(_entry(name, child) for name, child in node.items())
    return (node if isinstance(node, bytes) else str(node).encode()), "text/plain; charset=UTF-8"


def _entry(name: str, child: Any) -> str:
    if isinstance(child, _Key):
        return f"{name}={child.name}"
    return f"{name}/" if isinstance(child, dict) else name


def _listing(names: Iterable[str]) -> tuple[bytes, str]:
    return "\n".join(names).encode(), "text/plain; charset=UTF-8"
