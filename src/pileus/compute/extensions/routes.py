"""URLs of extensions.

The API has had none since microversions took their place. The list remains for clients that look whether an operation
is there before they use it, so it names what this cloud answers to.
"""

from typing import Any

from pileus.compute.extensions.policy import EXTENSIONS
from pileus.kernel.errors import NotFound
from pileus.kernel.http import Call, Route

_NAMES = {
    "flavors": "Flavors",
    "ips": "Ips",
    "limits": "Limits",
    "os-attach-interfaces": "AttachInterfaces",
    "os-availability-zone": "AvailabilityZone",
    "os-config-drive": "ConfigDrive",
    "os-console-output": "ConsoleOutput",
    "os-extended-availability-zone": "ExtendedAvailabilityZone",
    "os-extended-server-attributes": "ExtendedServerAttributes",
    "os-extended-status": "ExtendedStatus",
    "os-flavor-access": "FlavorAccess",
    "os-flavor-extra-specs": "FlavorExtraSpecs",
    "os-flavor-manage": "FlavorManage",
    "os-hypervisors": "Hypervisors",
    "os-instance-actions": "InstanceActions",
    "os-keypairs": "Keypairs",
    "os-lock-server": "LockServer",
    "os-multiple-create": "MultipleCreate",
    "os-quota-class-sets": "QuotaClasses",
    "os-quota-sets": "Quotas",
    "os-security-groups": "SecurityGroups",
    "os-server-usage": "ServerUsage",
    "os-services": "Services",
    "os-user-data": "UserData",
    "server-metadata": "ServerMetadata",
    "servers": "Servers",
}


def _rendered(alias: str) -> dict[str, Any]:
    return {
        "alias": alias,
        "name": _NAMES[alias],
        "description": f"{_NAMES[alias]}, a part of the compute API.",
        "namespace": f"http://docs.openstack.org/compute/ext/{alias}/api/v2.1",
        "updated": "2014-12-03T00:00:00Z",
        "links": [],
    }


def list_extensions(_call: Call, _impl: None) -> dict[str, Any]:
    return {"extensions": [_rendered(alias) for alias in _NAMES]}


def show_extension(call: Call, _impl: None) -> dict[str, Any]:
    alias = call.params["alias"]
    if alias not in _NAMES:
        raise NotFound(f"Extension {alias} could not be found.")
    return {"extension": _rendered(alias)}


ROUTES: tuple[Route[None], ...] = (
    Route("GET", "/extensions", list_extensions, EXTENSIONS),
    Route("GET", "/extensions/{alias}", show_extension, EXTENSIONS),
)
