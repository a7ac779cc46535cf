"""What an agent asks of a hypervisor: the driver protocol, its structs and its errors.

Every verb describes an end and is safe to repeat, also by another process after the first was killed in the midst
of it. A driver keeps no state of its own that the hypervisor does not: a new driver object finds all guests of its
site as the last one left them. Verbs may be called from several threads; the caller sees to it that one guest has
one change at a time. Only a `stop` with a timeout of 0 may come at any time.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Literal, Protocol

from pileus.agent.api import DiskFile, GuestSpec, PowerState, RefusalKind, Spec

CONSOLE_BYTES = 100 * 1024
"""How much of a console log is shown at most, from its end. Nova's own limit."""


class Capability(StrEnum):
    """What a driver may or may not do. Callers ask before they offer it; the conformance suite before it tests it."""

    CLEAN_SHUTDOWN = "clean-shutdown"  # guests are told to shut down before their power is cut
    CONSOLE_LOG = "console-log"
    DIRECT_KERNEL = "direct-kernel"  # boots kernel and ramdisk files
    LIFECYCLE_EVENTS = "lifecycle-events"  # `watch` reports changes that nobody asked for


class GuestPlan(Spec, frozen=True):
    """A guest with everything of this host that it is made from.

    `disks` are in the order that the guest sees them; `taps` maps the port id of each of `spec.nics` to an existing
    interface; the guest's serial console is appended to `console_log`, whose directory exists.
    """

    spec: GuestSpec
    disks: tuple[DiskFile, ...]
    taps: Mapping[str, str]
    console_log: Path


class HostFacts(Spec, frozen=True):
    """The host as its hypervisor sees it. Memory in MiB.

    `acceleration` is "kvm" or "none"; `acceleration_reason` is a sentence for operators that says why.
    """

    hypervisor_type: str
    hypervisor_version: int  # as libvirt counts it: 7002000
    arch: str
    cpu_model: str
    vcpus: int
    memory_mb: int
    memory_mb_used: int
    acceleration: str
    acceleration_reason: str


class HypervisorError(Exception):
    """Base of all that a driver raises. `kind` is what the agent answers to the control plane."""

    kind: ClassVar[RefusalKind] = RefusalKind.FAILED


class GuestNotFound(HypervisorError):
    """This site has no such guest on this host."""

    kind = RefusalKind.NOT_FOUND

    def __init__(self, guest_id: str) -> None:
        super().__init__(f"there is no guest {guest_id} on this host")


class GuestRefused(HypervisorError):
    """The description asks for something that this hypervisor cannot make, now or later."""

    kind = RefusalKind.INVALID


class HypervisorFailed(HypervisorError):
    """The hypervisor did not do as told. Trying again may help."""


class HypervisorUnreachable(HypervisorFailed):
    """The hypervisor's daemon does not answer."""


Watcher = Callable[[str, PowerState], None]
"""Called with guest id and new power state from a thread of the driver; must return soon and must not raise."""


class Hypervisor(Protocol):
    """One host's hypervisor, seen by one site."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this driver can do."""
        ...

    def facts(self) -> HostFacts:
        """What the host has, and how much of its memory is used at this moment."""
        ...

    def ensure_guest(self, plan: GuestPlan) -> None:
        """Make the guest exist as planned, and run if `plan.spec.running` says so.

        A running guest is never disturbed: a changed plan takes effect at its next start. `running` False does not
        stop a guest. GuestRefused if the plan cannot be made true here.
        """
        ...

    def ensure_no_guest(self, guest_id: str) -> None:
        """Make the guest not exist, at once if it runs. Its disk files and taps are not touched."""
        ...

    def start(self, guest_id: str) -> None:
        """Make the guest run. GuestNotFound."""
        ...

    def stop(self, guest_id: str, timeout: float) -> None:
        """Make the guest not run: it gets `timeout` seconds to shut down by itself. GuestNotFound.

        With a timeout of 0 its power is cut at once, and another `stop` that is waiting for the guest returns.
        """
        ...

    def reboot(self, guest_id: str, kind: Literal["soft", "hard"], timeout: float) -> None:
        """Start the guest anew, also one that does not run, with its present definition. GuestNotFound.

        "soft" lets it shut down first, for up to `timeout` seconds; "hard" cuts its power.
        """
        ...

    def power_state(self, guest_id: str) -> PowerState | None:
        """The guest's power state; None if there is no such guest."""
        ...

    def list_guests(self) -> Mapping[str, PowerState]:
        """All guests of this site on this host, running or not."""
        ...

    def console_log(self, guest_id: str, lines: int | None) -> str:
        """The last `lines` lines of the serial console (None: all), of at most CONSOLE_BYTES. GuestNotFound."""
        ...

    def watch(self, watcher: Watcher) -> None:
        """Report changes of power states to `watcher` from now on. Changes may be lost while the hypervisor's
        daemon is away: look at `list_guests` from time to time."""
        ...

    def tidy(self) -> None:
        """Do what must be done now and then, such as shortening console logs that grew large."""
        ...

    def close(self) -> None:
        """Let go of the hypervisor. Guests go on."""
        ...


def tail(text: str, lines: int | None) -> str:
    """The last `lines` lines of `text`; all of it for None."""
    if lines is None:
        return text
    return "".join(text.splitlines(keepends=True)[-lines:]) if lines > 0 else ""
