"""Descriptions of guests for tests of hypervisor drivers."""

import subprocess
from pathlib import Path

from pileus.agent.api import DiskFile, GuestSpec
from pileus.drivers.hypervisor.base import GuestPlan
from pileus.kernel.ids import new_uuid

DISK_BYTES = 16 << 20


def plan_of(directory: Path, guest_id: str | None = None, **changes: object) -> GuestPlan:
    """A guest of one processor and 32 MiB with an empty disk, whose files are in `directory`/id."""
    guest_id = guest_id or new_uuid()
    home = directory / guest_id
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    disk = home / "disk.qcow2"
    if not disk.exists():
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, str(DISK_BYTES)], check=True)
    fields: dict[str, object] = {
        "id": guest_id,
        "name": "a guest",
        "instance_name": f"instance-{guest_id[:8]}",
        "project_id": "project",
        "user_id": "user",
        "flavor_name": "tiny",
        "vcpus": 1,
        "memory_mb": 32,
    }
    return GuestPlan(
        spec=GuestSpec(**{**fields, **changes}),  # type: ignore[arg-type]
        disks=(DiskFile(role="root", path=str(disk), format="qcow2", size=DISK_BYTES),),
        taps={},
        console_log=home / "console.log",
    )
