"""The hypervisor driver for libvirt.

A domain belongs to a site if its name begins with the site's prefix and its metadata names the site; all others are
invisible here, so that clouds and other users share one libvirtd. The domain's UUID is the guest's id.
"""

import contextlib
import os
import platform
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import libvirt
import structlog

from pileus.agent.api import PowerState
from pileus.drivers.hypervisor.base import (
    Capability,
    GuestNotFound,
    GuestPlan,
    GuestRefused,
    HostFacts,
    HypervisorFailed,
    Watcher,
)
from pileus.drivers.hypervisor.libvirt import console
from pileus.drivers.hypervisor.libvirt.connection import Connection
from pileus.drivers.hypervisor.libvirt.domain import (
    NAMESPACE,
    Traits,
    console_log_of,
    domain_name,
    domain_xml,
    owner_of,
)
from pileus.drivers.hypervisor.libvirt.kvm import KvmVerdict
from pileus.drivers.hypervisor.libvirt.settings import LibvirtSettings
from pileus.kernel.clock import Clock

log = structlog.get_logger("pileus.hypervisor")

T = TypeVar("T")

_STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: PowerState.NOSTATE,
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.RUNNING,  # its QEMU is still there: a start would not start it
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.SHUTDOWN,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.SUSPENDED,
}
_EVENTS = {
    libvirt.VIR_DOMAIN_EVENT_RESUMED: PowerState.RUNNING,  # also when it is started, beside EVENT_STARTED
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_EVENT_STOPPED: PowerState.SHUTDOWN,
    libvirt.VIR_DOMAIN_EVENT_CRASHED: PowerState.CRASHED,
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: PowerState.SUSPENDED,
}
_REFUSALS = (
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    libvirt.VIR_ERR_XML_ERROR,
    libvirt.VIR_ERR_XML_DETAIL,
    libvirt.VIR_ERR_INVALID_ARG,
)
_OUR_METADATA = (libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
_POLL_SECONDS = 0.1
_ASK_AGAIN_SECONDS = 10.0  # a guest that is still booting ignores the first request to shut down
_UNDEFINE_ALL = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)


class Libvirt:
    """One site's guests under one libvirtd.

    `verdict` says whether KVM works; `revive` may start libvirtd when it cannot be reached.
    `disk_owner` is the user and group id that guests' own disk files are given to; None where libvirtd does that.
    """

    def __init__(
        self,
        settings: LibvirtSettings,
        site: str,
        clock: Clock,
        *,
        uri: str,
        verdict: KvmVerdict,
        revive: Callable[[], object] | None = None,
        disk_owner: tuple[int, int] | None = None,
    ) -> None:
        self._settings = settings
        self._site = site
        self._clock = clock
        self._verdict = verdict
        self._disk_owner = disk_owner
        self._watchers: list[Watcher] = []
        self._virt_type = _virt_type(settings, verdict)
        self._traits = Traits(
            site=site,
            virt_type=self._virt_type,
            cpu_mode=settings.cpu_mode,
            cpu_model=settings.cpu_model,
            machine_type=settings.machine_type,
            disk_cache=settings.disk_cache,
        )
        self._connection = Connection(uri, clock, settings.reconnect_timeout, self._changed, revive)
        self._cpu_model: str | None = None
        self._console_lock = threading.Lock()

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset(Capability)

    def facts(self) -> HostFacts:
        def look(connection: libvirt.virConnect) -> HostFacts:
            if self._cpu_model is None:
                self._cpu_model = _cpu_model_in(connection.getCapabilities())
            info = connection.getInfo()
            memory = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
            free = memory["free"] + memory.get("buffers", 0) + memory.get("cached", 0)
            return HostFacts(
                hypervisor_type=connection.getType(),
                hypervisor_version=connection.getVersion(),
                arch=platform.machine(),
                cpu_model=self._cpu_model,
                vcpus=info[2],
                memory_mb=info[1],
                memory_mb_used=(memory["total"] - free) // 1024,
                acceleration="kvm" if self._virt_type == "kvm" else "none",
                acceleration_reason=self._verdict.reason,
            )

        return self._run(look)

    def ensure_guest(self, plan: GuestPlan) -> None:
        xml, digest = domain_xml(plan, self._traits)
        self._give_disks(plan)

        def ensure(connection: libvirt.virConnect) -> None:
            domain = self._find(connection, plan.spec.id)
            if domain is None or self._owner(domain) != (self._site, digest):
                self._check_machine(connection, plan)
                self._forget_namesake(connection, plan)
                domain = connection.defineXML(xml)
            if plan.spec.running:
                self._start(domain)

        self._run(ensure)

    def ensure_no_guest(self, guest_id: str) -> None:
        def remove(connection: libvirt.virConnect) -> None:
            domain = self._find(connection, guest_id)
            if domain is not None:
                with _absent_is_fine():
                    self._cut_power(domain)
                    domain.undefineFlags(_UNDEFINE_ALL)

        self._run(remove)

    def start(self, guest_id: str) -> None:
        self._on(guest_id, self._start)

    def stop(self, guest_id: str, timeout: float) -> None:
        deadline = self._clock.monotonic() + timeout
        self._on(guest_id, lambda domain: self._stop(domain, deadline))

    def reboot(self, guest_id: str, kind: Literal["soft", "hard"], timeout: float) -> None:
        self.stop(guest_id, timeout if kind == "soft" else 0)
        self.start(guest_id)

    def power_state(self, guest_id: str) -> PowerState | None:
        def look(connection: libvirt.virConnect) -> PowerState | None:
            state = None
            if (domain := self._find(connection, guest_id)) is not None:
                with _absent_is_fine():
                    state = _STATES.get(domain.state()[0], PowerState.NOSTATE)
            return state

        return self._run(look)

    def list_guests(self) -> Mapping[str, PowerState]:
        def look(connection: libvirt.virConnect) -> dict[str, PowerState]:
            found = {}
            for domain, stats in connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE):
                if self._is_ours(domain):
                    found[domain.UUIDString()] = _STATES.get(stats["state.state"], PowerState.NOSTATE)
            return found

        return self._run(look)

    def console_log(self, guest_id: str, lines: int | None) -> str:
        path = self._on(guest_id, lambda domain: console_log_of(domain.XMLDesc()))
        if path is None:
            return ""
        with self._console_lock:
            return console.read(path, lines)

    def watch(self, watcher: Watcher) -> None:
        self._watchers.append(watcher)
        self._run(lambda connection: connection.isAlive())

    def tidy(self) -> None:
        """Shorten console logs that grew over `console_log_size`."""

        def paths(connection: libvirt.virConnect) -> list[Path | None]:
            ours = (domain for domain in connection.listAllDomains() if self._is_ours(domain))
            return [console_log_of(domain.XMLDesc()) for domain in ours]

        for path in self._run(paths):
            if path is not None:
                with self._console_lock:
                    console.shorten(path, self._settings.console_log_size)

    def close(self) -> None:
        self._watchers.clear()
        self._connection.close()

    # --- one domain -----------------------------------------------------------------------------------------

    def _start(self, domain: libvirt.virDomain) -> None:
        if domain.isActive():
            return
        try:
            domain.create()
        except libvirt.libvirtError as err:
            if err.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or not domain.isActive():
                raise

    def _stop(self, domain: libvirt.virDomain, deadline: float) -> None:
        """Ask the domain to shut down until the deadline, then cut its power."""
        ask_at = self._clock.monotonic()
        while (now := self._clock.monotonic()) < deadline and domain.isActive():
            if now >= ask_at:
                ask_at = now + _ASK_AGAIN_SECONDS
                with _inactive_is_fine():
                    domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
            self._clock.sleep(min(_POLL_SECONDS, max(deadline - now, 0)))
        self._cut_power(domain)

    def _cut_power(self, domain: libvirt.virDomain) -> None:
        if domain.isActive():
            with _inactive_is_fine():
                domain.destroy()

    # --- finding domains ------------------------------------------------------------------------------------

    def _find(self, connection: libvirt.virConnect, guest_id: str) -> libvirt.virDomain | None:
        try:
            domain = connection.lookupByUUIDString(guest_id)
        except libvirt.libvirtError as err:
            if err.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_INVALID_ARG):
                return None
            raise
        return domain if self._is_ours(domain) else None

    def _is_ours(self, domain: libvirt.virDomain) -> bool:
        if not domain.name().startswith(domain_name(self._site, "")):
            return False
        owner = self._owner(domain)
        return owner is not None and owner[0] == self._site

    @staticmethod
    def _owner(domain: libvirt.virDomain) -> tuple[str, str] | None:
        try:
            return owner_of(domain.metadata(*_OUR_METADATA))
        except libvirt.libvirtError as err:
            if err.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN):
                return None
            raise

    def _give_disks(self, plan: GuestPlan) -> None:
        """Let QEMU's user read and write what is this guest's alone: not kernels, which guests may share."""
        if self._disk_owner is None:
            return
        for disk in plan.disks:
            if disk.role not in ("kernel", "ramdisk"):
                try:
                    os.chown(disk.path, *self._disk_owner)
                except FileNotFoundError as err:
                    raise HypervisorFailed(f"the disk file {disk.path} is missing") from err

    def _check_machine(self, connection: libvirt.virConnect, plan: GuestPlan) -> None:
        """Refuse by its name a machine that QEMU does not have: a definition with it fails for odd reasons."""
        machine = plan.spec.machine_properties.get("hw_machine_type")
        if machine is not None:
            connection.getDomainCapabilities(None, platform.machine(), machine, self._virt_type)

    def _forget_namesake(self, connection: libvirt.virConnect, plan: GuestPlan) -> None:
        """Undefine a stopped domain of ours that has the guest's name and another id: left from a lost database."""
        name = domain_name(self._site, plan.spec.instance_name)
        with _absent_is_fine():
            domain = connection.lookupByName(name)
            if domain.UUIDString() != plan.spec.id and self._is_ours(domain) and not domain.isActive():
                log.warning("undefined a domain that had the name of another", domain=name, uuid=domain.UUIDString())
                domain.undefineFlags(_UNDEFINE_ALL)

    # --- calling libvirt ------------------------------------------------------------------------------------

    def _run(self, work: Callable[[libvirt.virConnect], T]) -> T:
        try:
            return self._connection.run(work)
        except libvirt.libvirtError as err:
            if err.get_error_code() in _REFUSALS:
                raise GuestRefused(str(err)) from err
            raise HypervisorFailed(str(err)) from err

    def _on(self, guest_id: str, work: Callable[[libvirt.virDomain], T]) -> T:
        def find_and_work(connection: libvirt.virConnect) -> T:
            domain = self._find(connection, guest_id)
            if domain is None:
                raise GuestNotFound(guest_id)
            return work(domain)

        return self._run(find_and_work)

    def _changed(self, guest_id: str, name: str, event: int) -> None:
        state = _EVENTS.get(event)
        if state is not None and name.startswith(domain_name(self._site, "")):
            for watcher in tuple(self._watchers):
                watcher(guest_id, state)


def _virt_type(settings: LibvirtSettings, verdict: KvmVerdict) -> str:
    if settings.virt_type != "auto":
        return settings.virt_type
    return "kvm" if verdict.usable else "qemu"


def _cpu_model_in(capabilities: str) -> str:
    root = ET.fromstring(capabilities)  # noqa: S314 - from libvirt
    return root.findtext("./host/cpu/model", default="")


@contextlib.contextmanager
def _tolerating(*codes: int) -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as err:
        if err.get_error_code() not in codes:
            raise


def _absent_is_fine() -> Any:
    return _tolerating(libvirt.VIR_ERR_NO_DOMAIN)


def _inactive_is_fine() -> Any:
    return _tolerating(libvirt.VIR_ERR_OPERATION_INVALID)
