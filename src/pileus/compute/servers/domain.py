"""What a server is, the states it can be in, and which action is allowed in which."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from pileus.agent.api import PowerState
from pileus.kernel.signature import Signature


class VmState(StrEnum):
    """Where a server stands, under Nova's names."""

    BUILDING = "building"
    ACTIVE = "active"
    STOPPED = "stopped"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    RESCUED = "rescued"
    RESIZED = "resized"
    SOFT_DELETED = "soft-delete"
    DELETED = "deleted"
    ERROR = "error"
    SHELVED = "shelved"
    SHELVED_OFFLOADED = "shelved_offloaded"


class Task(StrEnum):
    """What is being done with a server."""

    SCHEDULING = "scheduling"
    NETWORKING = "networking"
    SPAWNING = "spawning"
    POWERING_ON = "powering-on"
    POWERING_OFF = "powering-off"
    REBOOTING = "rebooting"
    REBOOTING_HARD = "rebooting_hard"
    DELETING = "deleting"


POWER_NUMBERS: Mapping[str, int] = {
    PowerState.NOSTATE: 0,
    PowerState.RUNNING: 1,
    PowerState.PAUSED: 3,
    PowerState.SHUTDOWN: 4,
    PowerState.CRASHED: 6,
    PowerState.SUSPENDED: 7,
}
"""Power states as the API shows them."""

_STATUS: Mapping[str, str] = {
    VmState.BUILDING: "BUILD",
    VmState.ACTIVE: "ACTIVE",
    VmState.STOPPED: "SHUTOFF",
    VmState.PAUSED: "PAUSED",
    VmState.SUSPENDED: "SUSPENDED",
    VmState.RESCUED: "RESCUE",
    VmState.RESIZED: "VERIFY_RESIZE",
    VmState.SOFT_DELETED: "SOFT_DELETED",
    VmState.DELETED: "DELETED",
    VmState.ERROR: "ERROR",
    VmState.SHELVED: "SHELVED",
    VmState.SHELVED_OFFLOADED: "SHELVED_OFFLOADED",
}
_REBOOTS = {Task.REBOOTING: "REBOOT", Task.REBOOTING_HARD: "HARD_REBOOT"}
_TASK_STATUS: Mapping[tuple[str, str], str] = {
    (vm_state, task): status
    for vm_state in (VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED, VmState.ERROR)
    for task, status in _REBOOTS.items()
    if vm_state is VmState.ACTIVE or task is Task.REBOOTING_HARD
}
WITH_PROGRESS = frozenset({"ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING"})
WITH_FAULT = frozenset({"ERROR", "DELETED"})


def status_of(vm_state: str, task_state: str | None) -> str:
    """The status that the API shows."""
    if task_state is not None:
        special = _TASK_STATUS.get((vm_state, task_state))
        if special is not None:
            return special
    return _STATUS.get(vm_state, "UNKNOWN")


def states_of(status: str) -> list[tuple[str, Collection[str] | None]]:
    """The states that show as `status` (any case): pairs of a vm_state and the task states that go with it (None: every
    one that has no status of its own). Empty if no state does."""
    wanted = status.upper()
    pairs: list[tuple[str, Collection[str] | None]] = [
        (vm_state, None) for vm_state, shown in _STATUS.items() if shown == wanted
    ]
    by_state: dict[str, list[str]] = {}
    for (vm_state, task), shown in _TASK_STATUS.items():
        if shown == wanted:
            by_state.setdefault(vm_state, []).append(task)
    return [*pairs, *by_state.items()]


def special_tasks(vm_state: str) -> list[str]:
    """The task states in which `vm_state` shows another status than its own."""
    return [task for state, task in _TASK_STATUS if state == vm_state]


@dataclass(frozen=True)
class Transition:
    """An action on a standing server: where it may begin, and the task state that it begins with.

    None among `tasks` is "nothing is being done".
    """

    action: str  # as refusals name it
    vm_states: frozenset[str] | None  # None: any
    tasks: frozenset[str | None]
    task: Task | None = None


_IDLE: frozenset[str | None] = frozenset({None})
_REBOOTABLE = frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED, VmState.ERROR})
_CHANGEABLE = frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED})

START = Transition("start", frozenset({VmState.STOPPED}), _IDLE, Task.POWERING_ON)
STOP = Transition(
    "stop", frozenset({VmState.ACTIVE, VmState.PAUSED, VmState.RESCUED, VmState.ERROR}), _IDLE, Task.POWERING_OFF
)
SOFT_REBOOT = Transition("reboot", frozenset({VmState.ACTIVE}), _IDLE, Task.REBOOTING)
HARD_REBOOT = Transition(
    "reboot", _REBOOTABLE, frozenset({None, Task.REBOOTING, Task.REBOOTING_HARD}), Task.REBOOTING_HARD
)
RESTORE = Transition("restore", frozenset({VmState.SOFT_DELETED}), _IDLE)
UPDATE_METADATA = Transition("update metadata of", _CHANGEABLE, _IDLE)
DELETE_METADATA = Transition("delete metadata of", _CHANGEABLE, _IDLE)
CHANGE_GROUPS = Transition("change security groups of", None, frozenset({None, *Task} - {Task.DELETING}))
CHANGE_TAGS = Transition("change tags of", None, frozenset({None, *Task} - {Task.DELETING}))

RESETTABLE: Mapping[str, VmState] = {"active": VmState.ACTIVE, "error": VmState.ERROR}


class FlavorSnapshot(msgspec.Struct, frozen=True, gc=False):
    """A flavor as it was when the server was made. Sizes: ram and swap MiB, disk and ephemeral GiB."""

    flavorid: str
    name: str
    vcpus: int
    ram: int
    disk: int
    ephemeral: int
    swap: int
    extra_specs: dict[str, str] = {}


class ImageSnapshot(msgspec.Struct, frozen=True, gc=False):
    """An image as it was when the server was made."""

    id: str
    disk_format: str
    container_format: str
    size: int
    checksum: str
    hash_algo: str
    min_disk: int = 0
    min_ram: int = 0
    properties: dict[str, str] = {}


class Fault(msgspec.Struct, frozen=True):
    """Why a server is in ERROR."""

    code: int
    message: str
    created: int
    details: str = ""


class Server(msgspec.Struct, frozen=True, gc=False):
    """A server's row. The order of the fields is that in which the store selects them."""

    number: int
    id: str
    project_id: str
    user_id: str
    name: str
    description: str | None
    hostname: str
    vm_state: str
    task_state: str | None
    power_state: str
    host: str | None
    availability_zone: str | None  # of its host
    pinned_zone: str | None  # as requested
    flavor: FlavorSnapshot
    image: ImageSnapshot | None
    key_name: str | None
    config_drive: bool
    auto_disk_config: bool
    metadata: dict[str, str]
    tags: list[str]
    trusted_certificates: list[str] | None
    security_groups: list[str]  # names, as requested
    hints: dict[str, Any]
    access_ip_v4: str | None
    access_ip_v6: str | None
    locked_by: str | None  # "owner" or "admin"
    locked_reason: str | None
    reservation_id: str
    launch_index: int
    fault: Fault | None
    created_at: int
    updated_at: int
    launched_at: int | None
    terminated_at: int | None
    deleted: int

    @property
    def status(self) -> str:
        """As the API shows it."""
        return status_of(self.vm_state, self.task_state)


class Boot(msgspec.Struct, frozen=True):
    """What the guest is made from besides what the row shows."""

    port_ids: list[str] = []  # in the order in which the guest sees them
    public_keys: dict[str, str] = {}  # name -> OpenSSH line
    kernel: ImageSnapshot | None = None
    ramdisk: ImageSnapshot | None = None
    signatures: dict[str, Signature] = {}  # id of an image that is signed -> what its bytes must bear out


def instance_name(prefix: str, number: int) -> str:
    """The guest's name under the hypervisor."""
    return f"{prefix}{number:08x}"
