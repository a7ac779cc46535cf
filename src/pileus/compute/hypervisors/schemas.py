"""Views of hypervisors."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import msgspec

from pileus.compute.hypervisors.domain import HostedServer, Hypervisor
from pileus.hosts.domain import Host
from pileus.kernel.clock import MICROSECONDS, iso
from pileus.kernel.fields import Field, View

_DAY, _HOUR, _MINUTE = 86400, 3600, 60


def state(host: Host) -> str:
    """Whether a host is alive."""
    return "up" if host.up else "down"


def status(host: Host) -> str:
    """Whether a host takes new servers."""
    return "enabled" if host.enabled else "disabled"


def uptime(host: Host, now: int) -> str | None:
    """For how long a host has been running, in the form in which uptime(1) begins; None if it is down."""
    if not host.up or not host.booted_at:
        return None
    seconds = max(0, now - host.booted_at) // MICROSECONDS
    days, rest = divmod(seconds, _DAY)
    time_of_day = (iso(now) or "")[11:19]
    since = f"{days} day{'' if days == 1 else 's'}, " if days else ""
    return f" {time_of_day} up {since}{rest // _HOUR:2d}:{rest % _HOUR // _MINUTE:02d}"


def _cpu_info(hypervisor: Hypervisor) -> dict[str, Any]:
    inventory = hypervisor.host.inventory
    return {"arch": inventory.arch, "model": inventory.cpu_model}


BRIEF = View(
    Field("id", attrgetter("number"), until="2.52"),
    Field("id", attrgetter("id"), since="2.53"),
    Field("hypervisor_hostname", attrgetter("name")),
    Field("state", state),
    Field("status", status),
)
"""A Host in lists."""


def _service(hypervisor: Hypervisor, service_id: int | str) -> dict[str, Any]:
    host = hypervisor.host
    return {"host": host.name, "id": service_id, "disabled_reason": host.disabled_reason}


DETAIL = View(
    Field("id", attrgetter("host.number"), until="2.52"),
    Field("id", attrgetter("host.id"), since="2.53"),
    Field("hypervisor_hostname", attrgetter("host.name")),
    Field("state", lambda one: state(one.host)),
    Field("status", lambda one: status(one.host)),
    Field("hypervisor_type", attrgetter("host.inventory.hypervisor_type")),
    Field("hypervisor_version", attrgetter("host.inventory.hypervisor_version")),
    Field("host_ip", attrgetter("host.inventory.host_ip")),
    Field("service", lambda one: _service(one, one.host.number), until="2.52"),
    Field("service", lambda one: _service(one, one.host.id), since="2.53"),
    Field("cpu_info", lambda one: msgspec.json.encode(_cpu_info(one)).decode(), until="2.27"),
    Field("cpu_info", _cpu_info, since="2.28", until="2.87"),
    Field("vcpus", attrgetter("host.inventory.vcpus"), until="2.87"),
    Field("vcpus_used", attrgetter("usage.vcpus"), until="2.87"),
    Field("memory_mb", attrgetter("host.inventory.memory_mb"), until="2.87"),
    Field("memory_mb_used", attrgetter("usage.memory_mb"), until="2.87"),
    Field("free_ram_mb", lambda one: one.host.inventory.memory_mb - one.usage.memory_mb, until="2.87"),
    Field("local_gb", attrgetter("host.inventory.disk_gb"), until="2.87"),
    Field("local_gb_used", attrgetter("usage.disk_gb"), until="2.87"),
    Field("free_disk_gb", lambda one: one.host.inventory.disk_gb - one.usage.disk_gb, until="2.87"),
    Field("disk_available_least", attrgetter("host.inventory.disk_gb_free"), until="2.87"),
    Field("running_vms", attrgetter("load.servers"), until="2.87"),
    Field("current_workload", attrgetter("load.busy"), until="2.87"),
)
"""A Hypervisor in detailed lists and by itself. `uptime` and `servers` are added where they are shown."""


def servers(hosted: Sequence[HostedServer]) -> list[dict[str, str]]:
    """The servers of a hypervisor."""
    return [{"uuid": one.id, "name": one.name} for one in hosted]
