"""Standing truth of servers: power states as hosts report them, and guests that nobody should have.

Every report is compared anew with the rows; nothing is remembered between reports. `plan` decides, without effects.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from pileus.agent.api import PowerState
from pileus.compute.servers import store
from pileus.compute.servers.domain import Server, Task, VmState
from pileus.compute.servers.sagas import REMOVE_ORPHAN
from pileus.compute.servers.service import START, STOP, Servers
from pileus.kernel.clock import MICROSECONDS
from pileus.kernel.db import Tx
from pileus.kernel.errors import NotFound
from pileus.kernel.ids import new_request_id
from pileus.kernel.saga import listing

log = structlog.get_logger("pileus.compute.power")

_OFF = frozenset({PowerState.SHUTDOWN, PowerState.CRASHED, PowerState.NOSTATE})
_COMPARED = frozenset({VmState.ACTIVE, VmState.STOPPED})


@dataclass(frozen=True)
class PowerPlan:
    """What a report means. Pairs of a server and the power state that was seen."""

    noted: list[tuple[Server, PowerState]] = field(default_factory=list)  # only the power state differs
    went_off: list[tuple[Server, PowerState]] = field(default_factory=list)  # the guest shut itself down, or crashed
    to_start: list[Server] = field(default_factory=list)  # it ran before the host was restarted
    to_stop: list[Server] = field(default_factory=list)  # it runs and should not


def plan(
    servers: Sequence[Server],
    states: Mapping[str, PowerState],
    *,
    complete: bool,
    settled_before: int,
    booted_at: int,
    resume: bool,
) -> PowerPlan:
    """Compare the servers of a host with what it reports.

    Servers with which something is being done are left alone, and so are those whose row changed after
    `settled_before`: the report may be older than the change. `complete`: a guest that is not in it does not exist.
    """
    found = PowerPlan()
    for server in servers:
        if server.task_state is not None or server.updated_at > settled_before:
            continue
        seen = states.get(server.id)
        if seen is None:
            if not complete:
                continue
            seen = PowerState.NOSTATE
        if server.vm_state == VmState.ACTIVE and seen in _OFF:
            if resume and server.updated_at < booted_at:
                found.to_start.append(server)
            else:
                found.went_off.append((server, PowerState.SHUTDOWN if seen == PowerState.NOSTATE else seen))
        elif server.vm_state == VmState.STOPPED and seen == PowerState.RUNNING:
            found.to_stop.append(server)
        elif (server.vm_state not in _COMPARED or seen != PowerState.NOSTATE) and seen != server.power_state:
            found.noted.append((server, seen))
    return found


def observe_power(servers: Servers, tx: Tx, host: str, states: Mapping[str, PowerState], *, complete: bool) -> None:
    """Make the rows agree with a host's report, and remove the guests of servers that are deleted or elsewhere."""
    here = store.on_host(tx, host)
    now = servers.clock.now()
    found = plan(
        here,
        states,
        complete=complete,
        settled_before=now - int(servers.settings.power_state_grace * MICROSECONDS),
        booted_at=_booted_at(servers, tx, host),
        resume=servers.settings.resume_guests_state_on_host_boot,
    )
    for server, seen in found.noted:
        _note(tx, server, {"power_state": seen})
    for server, seen in found.went_off:
        changed = {"power_state": seen, "vm_state": VmState.STOPPED, "updated_at": now}
        if _note(tx, server, changed):
            log.info("the guest went off by itself", server=server.id, host=host, power_state=seen)
    for server in found.to_start:
        _act(servers, tx, server, START, Task.POWERING_ON, "the host was restarted, the guest is started again")
    for server in found.to_stop:
        _act(servers, tx, server, STOP, Task.POWERING_OFF, "the guest runs though it should not, it is stopped")
    strangers = set(states) - {server.id for server in here}
    if strangers:
        _remove_strangers(servers, tx, host, strangers)


def _booted_at(servers: Servers, tx: Tx, host: str) -> int:
    try:
        return servers.neighbours.hosts.get(tx, host).booted_at
    except NotFound:
        return 0


def _note(tx: Tx, server: Server, values: Mapping[str, Any]) -> bool:
    return store.change(tx, server.id, values, vm_states=(server.vm_state,), tasks=(None,))


def _act(servers: Servers, tx: Tx, server: Server, saga: str, task: Task, why: str) -> None:
    if not _note(tx, server, {"task_state": task, "updated_at": servers.clock.now()}):
        return
    request_id = new_request_id()
    log.info(why, server=server.id, host=server.host, request_id=request_id)
    servers.sagas.start(
        tx,
        saga,
        resource=server.id,
        project=server.project_id,
        user=server.user_id,
        request_id=request_id,
        params={},
    )


def _remove_strangers(servers: Servers, tx: Tx, host: str, strangers: Collection[str]) -> None:
    """Guests on a host that are no servers of it. Those of deleted servers, and of servers that stand on another
    host, are removed; what never was a server of this cloud is only reported."""
    known = store.known(tx, strangers)
    for server_id in sorted(strangers):
        row = known.get(server_id)
        if row is None:
            log.warning("a guest that belongs to no server", server=server_id, host=host)
        elif (row.host != host and row.task_state is None) or row.deleted:
            if listing(tx, resource=server_id, limit=1):
                continue  # something is being done with it already
            log.info("a guest that was left behind is removed", server=server_id, host=host)
            servers.sagas.start(
                tx,
                REMOVE_ORPHAN,
                resource=server_id,
                project="",
                user="",
                request_id=new_request_id(),
                params={"host": host},
            )
