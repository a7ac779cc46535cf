"""Guests on this host: what the control plane describes, with this host's taps and disk files added.

Everything that a guest needs to be made again is in the journal, so that a guest can be started long after the
control plane asked for it, by an agent that was restarted since.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec
import structlog

from pileus.agent.api import GuestSpec, PowerAction, PowerState
from pileus.agent.disks import Disks
from pileus.agent.errors import InvalidRequest, NotHere
from pileus.agent.journal import Journal
from pileus.agent.locks import KeyedLocks
from pileus.drivers.hypervisor.base import GuestNotFound, GuestPlan, Hypervisor

log = structlog.get_logger("pileus.agent.guests")

TapOf = Callable[[str], str | None]


class Guests:
    """Makes, powers and removes guests. One request at a time for each guest; only who cuts its power waits for nobody,
    so that a guest which takes its time to shut down does not keep them."""

    def __init__(self, hypervisor: Hypervisor, disks: Disks, journal: Journal, tap_of: TapOf) -> None:
        self._hypervisor = hypervisor
        self._disks = disks
        self._journal = journal
        self._tap_of = tap_of
        self._locks = KeyedLocks()

    def ensure(self, spec: GuestSpec) -> PowerState:
        """Make the guest be as described, running if it says so."""
        with self._locks.held(spec.id):
            self._journal.put("guests", spec.id, spec)
            self._hypervisor.ensure_guest(self._plan(spec))
            return self._state(spec.id)

    def ensure_none(self, server_id: str) -> None:
        """Make the guest not exist; its disks stay."""
        self._cut(server_id)
        with self._locks.held(server_id):
            self._hypervisor.ensure_no_guest(server_id)
            self._journal.forget("guests", server_id)

    def power(self, server_id: str, action: PowerAction) -> PowerState:
        """Change the guest's power; answer its state afterwards. NotHere if there is no such guest."""
        if action.action == "stop" and action.timeout == 0:
            self._cut(server_id)
        with self._locks.held(server_id):
            spec = self._journal.get("guests", server_id, GuestSpec)
            if spec is None:
                raise NotHere(f"there is no guest {server_id} on this host")
            try:
                self._change(spec, action)
            except GuestNotFound:
                if action.action == "stop":
                    return PowerState.SHUTDOWN
                self._run(spec)
            return self._state(server_id)

    def state(self, server_id: str) -> PowerState:
        """The guest's power state. NotHere if there is no such guest."""
        state = self._hypervisor.power_state(server_id)
        if state is None:
            raise NotHere(f"there is no guest {server_id} on this host")
        return state

    def states(self) -> Mapping[str, PowerState]:
        """All guests of this site on this host."""
        return self._hypervisor.list_guests()

    def console(self, server_id: str, lines: int | None) -> str:
        """The last lines of the guest's serial console, or all of it."""
        try:
            return self._hypervisor.console_log(server_id, lines)
        except GuestNotFound as err:
            raise NotHere(f"there is no guest {server_id} on this host") from err

    def _cut(self, server_id: str) -> None:
        """Cut the guest's power whatever is done with it: a stop that waits for the guest then ends at once."""
        with suppress(GuestNotFound):
            self._hypervisor.stop(server_id, 0)

    def _change(self, spec: GuestSpec, action: PowerAction) -> None:
        match action.action:
            case "start":
                self._run(spec)
            case "stop":
                self._hypervisor.stop(spec.id, action.timeout)
            case "soft-reboot":
                self._hypervisor.reboot(spec.id, "soft", action.timeout)
            case "hard-reboot":
                self._hypervisor.reboot(spec.id, "hard", action.timeout)

    def _run(self, spec: GuestSpec) -> None:
        self._hypervisor.ensure_guest(self._plan(msgspec.structs.replace(spec, running=True)))

    def _plan(self, spec: GuestSpec) -> GuestPlan:
        disks = self._disks.of(spec.id)
        if not disks:
            raise InvalidRequest(f"guest {spec.id} has no disks on this host; make them first")
        taps = {}
        for nic in spec.nics:
            tap = self._tap_of(nic.port_id)
            if tap is None:
                raise InvalidRequest(f"port {nic.port_id} of guest {spec.id} is not on this host; make it first")
            taps[nic.port_id] = tap
        return GuestPlan(spec=spec, disks=disks, taps=taps, console_log=self._disks.console_log(spec.id))

    def _state(self, server_id: str) -> PowerState:
        return self._hypervisor.power_state(server_id) or PowerState.NOSTATE
