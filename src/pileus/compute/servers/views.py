"""How servers, their ports and their actions look in each version.

A view's getters take a `Shown`: the server with what is beside its row. They are on the hot path of every list.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha224
from operator import attrgetter
from typing import Any

from pileus.compute.servers.domain import POWER_NUMBERS, WITH_FAULT, WITH_PROGRESS, Fault, Server, instance_name
from pileus.compute.servers.policy import EXTENDED_ATTRIBUTES, HOST_STATUS
from pileus.compute.servers.specs import group_names
from pileus.kernel.clock import iso, iso_micro
from pileus.kernel.fields import Field, View
from pileus.kernel.saga import Action, ActionEvent
from pileus.kernel.versions import Version
from pileus.network.domain import PortInfo

May = Callable[[str], bool]


class Shown:
    """A server as it is about to be rendered. `base` is the API's address, `bookmarks` that of version-less links."""

    __slots__ = (
        "base",
        "bookmarks",
        "details",
        "extended",
        "extra_specs",
        "host_status",
        "ports",
        "prefix",
        "server",
        "user_data",
    )

    def __init__(
        self,
        server: Server,
        ports: Sequence[PortInfo],
        base: str,
        *,
        prefix: str = "instance-",
        extended: bool = True,
        extra_specs: bool = True,
        details: bool = False,
        host_status: str = "",
        user_data: str | None = None,
    ) -> None:
        self.server = server
        self.ports = ports
        self.base = base
        self.bookmarks = base.removesuffix("/v2.1")
        self.prefix = prefix
        self.extended = extended  # addresses with their kind and MAC
        self.extra_specs = extra_specs
        self.details = details  # a fault's traceback
        self.host_status = host_status
        self.user_data = user_data


@lru_cache(maxsize=4096)
def host_id(project_id: str, host: str | None) -> str:
    """A name for the host that is another one for every project, so that projects cannot compare."""
    return sha224(f"{project_id}{host}".encode()).hexdigest() if host else ""


def links(base: str, bookmarks: str, kind: str, thing_id: str) -> list[dict[str, str]]:
    """The two links of a resource."""
    return [
        {"rel": "self", "href": f"{base}/{kind}/{thing_id}"},
        {"rel": "bookmark", "href": f"{bookmarks}/{kind}/{thing_id}"},
    ]


def _links(shown: Shown) -> list[dict[str, str]]:
    return links(shown.base, shown.bookmarks, "servers", shown.server.id)


def addresses(ports: Sequence[PortInfo], *, extended: bool) -> dict[str, list[dict[str, Any]]]:
    """Network name -> addresses, fixed ones followed by the floating ones that lead to them."""
    by_network: dict[str, list[dict[str, Any]]] = {}
    for port in ports:
        listed = by_network.setdefault(port.network_name, [])
        for address in port.addresses:
            listed.append(_address(address.ip, address.version, "fixed", port.mac, extended))
            if address.floating_ip is not None:
                listed.append(_address(address.floating_ip, address.version, "floating", port.mac, extended))
    return by_network


def _address(ip: str, version: int, kind: str, mac: str, extended: bool) -> dict[str, Any]:
    if extended:
        return {"version": version, "addr": ip, "OS-EXT-IPS:type": kind, "OS-EXT-IPS-MAC:mac_addr": mac}
    return {"version": version, "addr": ip}


def _image(shown: Shown) -> dict[str, Any] | str:
    image = shown.server.image
    if image is None:
        return ""
    return {"id": image.id, "links": [{"rel": "bookmark", "href": f"{shown.bookmarks}/images/{image.id}"}]}


def _image_with_properties(shown: Shown) -> dict[str, Any] | str:
    document, image = _image(shown), shown.server.image
    if image is None or isinstance(document, str):
        return document
    document["properties"] = image.properties | {
        "base_image_ref": image.id,
        "container_format": image.container_format,
        "disk_format": image.disk_format,
        "min_disk": str(image.min_disk),
        "min_ram": str(image.min_ram),
    }
    return document


def _flavor_link(shown: Shown) -> dict[str, Any]:
    flavorid = shown.server.flavor.flavorid
    return {"id": flavorid, "links": [{"rel": "bookmark", "href": f"{shown.bookmarks}/flavors/{flavorid}"}]}


def _flavor_embedded(shown: Shown) -> dict[str, Any]:
    flavor = shown.server.flavor
    embedded: dict[str, Any] = {
        "vcpus": flavor.vcpus,
        "ram": flavor.ram,
        "disk": flavor.disk,
        "ephemeral": flavor.ephemeral,
        "swap": flavor.swap,
        "original_name": flavor.name,
    }
    if shown.extra_specs:
        embedded["extra_specs"] = flavor.extra_specs
    return embedded


def _fault(fault: Fault, details: bool) -> dict[str, Any]:
    document: dict[str, Any] = {"code": fault.code, "message": fault.message, "created": iso(fault.created)}
    if details and fault.details:
        document["details"] = fault.details
    return document


_COMMON = View(
    Field("id", attrgetter("server.id")),
    Field("name", attrgetter("server.name")),
    Field("status", attrgetter("server.status")),
    Field("tenant_id", attrgetter("server.project_id")),
    Field("user_id", attrgetter("server.user_id")),
    Field("metadata", attrgetter("server.metadata")),
    Field("hostId", lambda shown: host_id(shown.server.project_id, shown.server.host)),
    Field("image", _image, until="2.97"),
    Field("image", _image_with_properties, since="2.98"),
    Field("flavor", _flavor_link, until="2.46"),
    Field("flavor", _flavor_embedded, since="2.47"),
    Field("created", lambda shown: iso(shown.server.created_at)),
    Field("updated", lambda shown: iso(shown.server.updated_at)),
    Field("addresses", lambda shown: addresses(shown.ports, extended=shown.extended)),
    Field("accessIPv4", lambda shown: shown.server.access_ip_v4 or ""),
    Field("accessIPv6", lambda shown: shown.server.access_ip_v6 or ""),
    Field("links", _links),
    Field("OS-DCF:diskConfig", lambda shown: "AUTO" if shown.server.auto_disk_config else "MANUAL"),
    Field("locked", lambda shown: shown.server.locked_by is not None, since="2.9"),
    Field("description", attrgetter("server.description"), since="2.19"),
    Field("tags", attrgetter("server.tags"), since="2.26"),
    Field("trusted_image_certificates", attrgetter("server.trusted_certificates"), since="2.63"),
    Field("locked_reason", attrgetter("server.locked_reason"), since="2.73"),
    Field("pinned_availability_zone", attrgetter("server.pinned_zone"), since="2.96"),
    Field("scheduler_hints", attrgetter("server.hints"), since="2.100"),
)
_EXTENDED = View(
    Field("key_name", attrgetter("server.key_name")),
    Field("config_drive", lambda shown: "True" if shown.server.config_drive else ""),
    Field("OS-EXT-AZ:availability_zone", lambda shown: shown.server.availability_zone or ""),
    Field("OS-SRV-USG:launched_at", lambda shown: iso_micro(shown.server.launched_at)),
    Field("OS-SRV-USG:terminated_at", lambda shown: iso_micro(shown.server.terminated_at)),
    Field("OS-EXT-STS:task_state", attrgetter("server.task_state")),
    Field("OS-EXT-STS:vm_state", attrgetter("server.vm_state")),
    Field("OS-EXT-STS:power_state", lambda shown: POWER_NUMBERS.get(shown.server.power_state, 0)),
    Field("os-extended-volumes:volumes_attached", lambda _shown: []),
    Field("OS-EXT-SRV-ATTR:host", attrgetter("server.host"), rule=EXTENDED_ATTRIBUTES),
    Field("OS-EXT-SRV-ATTR:hypervisor_hostname", attrgetter("server.host"), rule=EXTENDED_ATTRIBUTES),
    Field(
        "OS-EXT-SRV-ATTR:instance_name",
        lambda shown: instance_name(shown.prefix, shown.server.number),
        rule=EXTENDED_ATTRIBUTES,
    ),
    Field(
        "OS-EXT-SRV-ATTR:hostname", attrgetter("server.hostname"), since="2.3", until="2.89", rule=EXTENDED_ATTRIBUTES
    ),
    Field("OS-EXT-SRV-ATTR:hostname", attrgetter("server.hostname"), since="2.90"),
    Field("OS-EXT-SRV-ATTR:kernel_id", lambda shown: _part(shown, "kernel_id"), since="2.3", rule=EXTENDED_ATTRIBUTES),
    Field(
        "OS-EXT-SRV-ATTR:ramdisk_id", lambda shown: _part(shown, "ramdisk_id"), since="2.3", rule=EXTENDED_ATTRIBUTES
    ),
    Field("OS-EXT-SRV-ATTR:launch_index", attrgetter("server.launch_index"), since="2.3", rule=EXTENDED_ATTRIBUTES),
    Field("OS-EXT-SRV-ATTR:reservation_id", attrgetter("server.reservation_id"), since="2.3", rule=EXTENDED_ATTRIBUTES),
    Field("OS-EXT-SRV-ATTR:root_device_name", lambda _shown: "/dev/vda", since="2.3", rule=EXTENDED_ATTRIBUTES),
    Field("OS-EXT-SRV-ATTR:user_data", attrgetter("user_data"), since="2.3", rule=EXTENDED_ATTRIBUTES),
    Field("host_status", attrgetter("host_status"), since="2.16", rule=HOST_STATUS),
)
_IN_NO_GROUP = View(Field("server_groups", lambda _shown: [], since="2.71"))

DETAIL_VIEW = _COMMON + _EXTENDED
"""A server of GET /servers/detail."""
SHOW_VIEW = DETAIL_VIEW + _IN_NO_GROUP
"""A server of GET /servers/{id}, and from 2.75 of PUT."""
UPDATE_VIEW = _COMMON + _IN_NO_GROUP
"""A server of PUT up to 2.74."""
FULL_UPDATE_SINCE = Version(2, 75)


def _part(shown: Shown, name: str) -> str:
    image = shown.server.image
    return image.properties.get(name, "") if image is not None else ""


def render(view: View, shown: Shown, version: Version | None, may: May) -> dict[str, Any]:
    """A server through one of the views, with the keys that are there only in some states."""
    document = view.render(shown, version, may=may)
    server = shown.server
    status = document["status"]
    if status in WITH_PROGRESS:
        document["progress"] = 0
    if server.fault is not None and status in WITH_FAULT:
        document["fault"] = _fault(server.fault, shown.details)
    if shown.extended:
        names = group_names(server, shown.ports)
        if names:
            document["security_groups"] = [{"name": name} for name in names]
    return document


def render_brief(server: Server, base: str) -> dict[str, Any]:
    """A server of GET /servers."""
    return {
        "id": server.id,
        "name": server.name,
        "links": links(base, base.removesuffix("/v2.1"), "servers", server.id),
    }


def render_interface(port: PortInfo, version: Version | None) -> dict[str, Any]:
    """A port of a server as os-interface shows it."""
    document: dict[str, Any] = {
        "net_id": port.network_id,
        "port_id": port.id,
        "mac_addr": port.mac,
        "port_state": port.status,
        "fixed_ips": [{"subnet_id": address.subnet_id, "ip_address": address.ip} for address in port.addresses],
    }
    if version is not None and version >= Version(2, 70):
        document["tag"] = None
    return document


ACTION_VIEW = View(
    Field("action", attrgetter("action")),
    Field("instance_uuid", attrgetter("resource")),
    Field("request_id", attrgetter("request_id")),
    Field("user_id", attrgetter("user")),
    Field("project_id", attrgetter("project")),
    Field("start_time", lambda action: iso_micro(action.started_at)),
    Field("message", lambda action: "Error" if action.failed else None),
    Field("updated_at", lambda action: iso_micro(action.updated_at), since="2.58"),
)
"""An action on a server."""


def render_event(
    event: ActionEvent, action: Action, version: Version | None, *, administrator: bool, details: bool
) -> dict[str, Any]:
    """A step of an action. Administrators see tracebacks and hosts."""
    document: dict[str, Any] = {
        "event": event.event,
        "start_time": iso_micro(event.started_at),
        "finish_time": iso_micro(event.finished_at),
        "result": event.result,
    }
    if administrator:
        document["traceback"] = event.traceback or None
    if version is not None and version >= Version(2, 62):
        document["hostId"] = host_id(action.project, event.host)
        if administrator:
            document["host"] = event.host or ""
    if version is not None and version >= Version(2, 84):
        shown = event.message if event.expected or details else event.error
        document["details"] = shown if event.result == "Error" else None
    return document
