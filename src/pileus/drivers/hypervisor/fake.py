"""A hypervisor in memory, with the semantics of the real ones, for tests and for simulating large clouds."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from pileus.agent.api import PowerState, Spec
from pileus.drivers.hypervisor.base import (
    CONSOLE_BYTES,
    Capability,
    GuestNotFound,
    GuestPlan,
    GuestRefused,
    HostFacts,
    Watcher,
    tail,
)
from pileus.kernel.clock import Clock

_POLL_SECONDS = 0.05
_DISK_BUSES = ("virtio", "scsi", "sata", "ide")


class _Guest(Spec, frozen=True):
    """One simulated guest: `plan` is what it was last described as."""

    plan: GuestPlan
    state: PowerState
    boots: int = 0
    console: str = ""


_ENCODER = msgspec.json.Encoder(enc_hook=str)
_DECODER = msgspec.json.Decoder(_Guest, dec_hook=lambda kind, value: kind(value))  # paths are texts in JSON


class FakeHypervisor:
    """Simulated guests. They outlive the object if it is given a directory, as libvirt's outlive an agent.

    `latency` is how long starting, stopping and removing take on `clock`, in seconds. A guest shuts down cleanly
    unless it was made `deaf`; then `stop` waits for all of its timeout.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        latency: float = 0.0,
        directory: Path | None = None,
        vcpus: int = 4096,
        memory_mb: int = 16 * 1024 * 1024,
    ) -> None:
        self._clock = clock
        self._latency = latency
        self._directory = directory
        self._vcpus = vcpus
        self._memory_mb = memory_mb
        self._lock = threading.Lock()
        self._guests: dict[str, _Guest] = {}
        self._deaf: set[str] = set()
        self._watchers: list[Watcher] = []
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            for path in directory.glob("*.json"):
                self._guests[path.stem] = _DECODER.decode(path.read_bytes())

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset(Capability)

    def facts(self) -> HostFacts:
        with self._lock:
            used = sum(
                guest.plan.spec.memory_mb for guest in self._guests.values() if guest.state is PowerState.RUNNING
            )
        return HostFacts(
            hypervisor_type="fake",
            hypervisor_version=1000,
            arch="x86_64",
            cpu_model="fake",
            vcpus=self._vcpus,
            memory_mb=self._memory_mb,
            memory_mb_used=used,
            acceleration="none",
            acceleration_reason="nothing is run",
        )

    def ensure_guest(self, plan: GuestPlan) -> None:
        bus = plan.spec.machine_properties.get("hw_disk_bus", "virtio")
        if bus not in _DISK_BUSES:
            raise GuestRefused(f"hw_disk_bus {bus!r} is not one of {', '.join(_DISK_BUSES)}")
        guest_id = plan.spec.id
        with self._lock:
            known = self._guests.get(guest_id)
            if known is None or known.plan != plan:
                known = msgspec.structs.replace(known, plan=plan) if known else _Guest(plan, PowerState.SHUTDOWN)
                self._put(guest_id, known)
        if plan.spec.running:
            self.start(guest_id)

    def ensure_no_guest(self, guest_id: str) -> None:
        with self._lock:
            known = self._guests.pop(guest_id, None)
            self._deaf.discard(guest_id)
            if self._directory is not None:
                (self._directory / f"{guest_id}.json").unlink(missing_ok=True)
        if known is not None:
            self._clock.sleep(self._latency)
            if known.state is PowerState.RUNNING:
                self._tell(guest_id, PowerState.SHUTDOWN)

    def start(self, guest_id: str) -> None:
        if self._known(guest_id).state is PowerState.RUNNING:
            return
        self._clock.sleep(self._latency)
        with self._lock:
            guest = self._get(guest_id)
            boot = (
                f"[    0.000000] Linux version 6.1.0 (fake) #{guest.boots + 1}\n"
                f"[    0.000000] Memory: {guest.plan.spec.memory_mb}M\n"
                f"{guest.plan.spec.name} login: \n"
            )
            console = (guest.console + boot)[-CONSOLE_BYTES:]
            self._put(
                guest_id,
                msgspec.structs.replace(guest, state=PowerState.RUNNING, boots=guest.boots + 1, console=console),
            )
        self._tell(guest_id, PowerState.RUNNING)

    def stop(self, guest_id: str, timeout: float) -> None:
        left = timeout if guest_id in self._deaf else min(self._latency, timeout)
        while left > 0 and self._runs(guest_id):
            self._clock.sleep(min(left, _POLL_SECONDS))
            left -= _POLL_SECONDS
        if self._runs(guest_id):
            self.end(guest_id)

    def reboot(self, guest_id: str, kind: Literal["soft", "hard"], timeout: float) -> None:
        self.stop(guest_id, timeout if kind == "soft" else 0)
        self.start(guest_id)

    def power_state(self, guest_id: str) -> PowerState | None:
        with self._lock:
            guest = self._guests.get(guest_id)
            return None if guest is None else guest.state

    def list_guests(self) -> Mapping[str, PowerState]:
        with self._lock:
            return {guest_id: guest.state for guest_id, guest in self._guests.items()}

    def console_log(self, guest_id: str, lines: int | None) -> str:
        return tail(self._known(guest_id).console, lines)

    def watch(self, watcher: Watcher) -> None:
        self._watchers.append(watcher)

    def tidy(self) -> None:
        """Consoles are cut as they grow; there is nothing else to do."""

    def close(self) -> None:
        self._watchers.clear()

    # --- for tests: what a guest may do by itself -----------------------------------------------------------

    def end(self, guest_id: str, state: PowerState = PowerState.SHUTDOWN) -> None:
        """The guest stops running, as if its user had shut it down or (CRASHED) its kernel had failed."""
        with self._lock:
            guest = self._get(guest_id)
            if guest.state is state:
                return
            self._put(guest_id, msgspec.structs.replace(guest, state=state))
        self._tell(guest_id, state)

    def deafen(self, guest_id: str) -> None:
        """The guest no longer heeds requests to shut down."""
        self._deaf.add(guest_id)

    def plan_of(self, guest_id: str) -> GuestPlan:
        """What the guest was last described as."""
        return self._known(guest_id).plan

    def boots_of(self, guest_id: str) -> int:
        """How many times the guest was started."""
        return self._known(guest_id).boots

    def _runs(self, guest_id: str) -> bool:
        return self._known(guest_id).state is PowerState.RUNNING

    def _known(self, guest_id: str) -> _Guest:
        with self._lock:
            return self._get(guest_id)

    def _get(self, guest_id: str) -> _Guest:
        guest = self._guests.get(guest_id)
        if guest is None:
            raise GuestNotFound(guest_id)
        return guest

    def _put(self, guest_id: str, guest: _Guest) -> None:
        self._guests[guest_id] = guest
        if self._directory is not None:
            path = self._directory / f"{guest_id}.json"
            partial = path.with_suffix(".partial")
            partial.write_bytes(_ENCODER.encode(guest))
            partial.replace(path)

    def _tell(self, guest_id: str, state: PowerState) -> None:
        for watcher in tuple(self._watchers):
            watcher(guest_id, state)
