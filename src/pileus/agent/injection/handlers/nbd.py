"""Disks of any format, shown as a block device by qemu-nbd."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pileus.agent.injection.handlers.base import Disk, Means, root_among
from pileus.agent.injection.handlers.mounted import mounted
from pileus.agent.injection.partitions import partitions
from pileus.agent.injection.programs import CannotOpenError, trusted
from pileus.agent.injection.tree import FileSystem

BLOCK_DEVICES = Path("/sys/block")
DEVICES = Path("/dev")


class NbdHandler:
    """For overlays, where the kernel has the nbd module loaded."""

    name = "nbd"

    def __init__(self, means: Means, block_devices: Path = BLOCK_DEVICES, devices: Path = DEVICES) -> None:
        self._means = means
        self._block_devices = block_devices
        self._devices = devices

    def unfit(self, disk: Disk) -> str | None:
        if not self._names():
            return "the kernel module nbd is not loaded: there is no /dev/nbd0"
        return None

    @contextmanager
    def opened(self, disk: Disk) -> Iterator[FileSystem]:
        means = self._means
        with self._connected(disk) as device:
            found = partitions(device, means.partition, means.memory)
            with root_among(found, lambda one: mounted(device, one, means.scratch)) as files:
                yield files

    @contextmanager
    def _connected(self, disk: Disk) -> Iterator[Path]:
        device = self._connect(disk)
        try:
            yield device
        finally:
            trusted(["qemu-nbd", "--disconnect", str(device)])

    def _connect(self, disk: Disk) -> Path:
        """The first device that is free; one that another process takes meanwhile is passed over."""
        said = "all are in use"
        for name in self._names():
            if (self._block_devices / name / "pid").exists():
                continue
            device = self._devices / name
            try:
                trusted(["qemu-nbd", f"--format={disk.format}", f"--connect={device}", str(disk.path)])
            except CannotOpenError as err:
                said = err.reason
            else:
                return device
        raise CannotOpenError(f"no nbd device can be had: {said}")

    def _names(self) -> list[str]:
        return sorted((path.name for path in self._block_devices.glob("nbd*")), key=lambda name: (len(name), name))
