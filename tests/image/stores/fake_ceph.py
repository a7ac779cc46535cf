"""Ceph's Python bindings as far as the store uses them, in memory. NOT a Ceph cluster.

Written from the documented API of `rados` and `rbd` (docs.ceph.com, librbd): names, arguments and the
errors that the calls raise. Whether the store works with a real cluster is for a machine that has one to show.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pileus.image.stores.rbd import Bindings


class RadosError(Exception):
    """rados.Error."""


class RbdError(Exception):
    """rbd.Error."""


class ImageNotFound(RbdError):
    """There is no such device."""


class ImageBusy(RbdError):
    """The device, or its snapshot, is in use."""


class ImageHasSnapshots(RbdError):
    """The device has snapshots."""


@dataclass
class Device:
    """What a pool keeps of a device. `clones` counts the devices that were cloned from its snapshot."""

    data: bytearray = field(default_factory=bytearray)
    snapshots: dict[str, bool] = field(default_factory=dict)  # name -> protected
    clones: int = 0


class Cluster:
    """A cluster that can be away."""

    def __init__(self) -> None:
        self.devices: dict[str, Device] = {}
        self.there = True
        self.open = 0

    @property
    def bindings(self) -> Bindings:
        """The modules of this cluster."""
        return Bindings(Rados(self), Rbd(self))

    def check(self) -> None:
        if not self.there:
            raise RadosError("error connecting to the cluster")

    def find(self, name: str) -> Device:
        if name not in self.devices:
            raise ImageNotFound(f"error opening image {name}")
        return self.devices[name]


class Rados:
    """The module `rados`."""

    Error = RadosError

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def Rados(self, conffile: str, rados_id: str) -> "Connection":  # noqa: N802 - the binding's name
        assert conffile
        assert rados_id
        return Connection(self._cluster)


class Connection:
    """rados.Rados."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def connect(self, timeout: int = 0) -> None:
        assert timeout
        self._cluster.check()
        self._cluster.open += 1

    def shutdown(self) -> None:
        self._cluster.open -= 1

    def get_fsid(self) -> str:
        return "5dd8a1c0-0e45-4d4c-a1a6-1a1b7a8c0e55"

    def open_ioctx(self, pool: str) -> "Pool":
        assert pool == "images"
        self._cluster.check()
        return Pool()


class Pool:
    """rados.Ioctx."""

    def close(self) -> None:
        """Let go."""


class Rbd:
    """The module `rbd`."""

    Error = RbdError
    ImageNotFound = ImageNotFound
    ImageBusy = ImageBusy
    ImageHasSnapshots = ImageHasSnapshots
    RBD_FEATURE_LAYERING = 1

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def RBD(self) -> "Devices":  # noqa: N802 - the binding's name
        return Devices(self._cluster)

    def Image(self, _pool: Pool, name: str, read_only: bool = False) -> "OpenDevice":  # noqa: N802 - the binding's name
        self._cluster.check()
        return OpenDevice(self._cluster, self._cluster.find(name), read_only)


class Devices:
    """rbd.RBD."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def create(self, _pool: Pool, name: str, size: int, order: int, old_format: bool = True, features: int = 0) -> None:
        assert (order, old_format, features) == (23, False, 1)
        self._cluster.check()
        assert name not in self._cluster.devices
        self._cluster.devices[name] = Device(bytearray(size))

    def rename(self, _pool: Pool, source: str, target: str) -> None:
        assert target not in self._cluster.devices
        self._cluster.devices[target] = self._cluster.devices.pop(source)

    def remove(self, _pool: Pool, name: str) -> None:
        if self._cluster.find(name).snapshots:
            raise ImageHasSnapshots("error removing image")
        del self._cluster.devices[name]

    def list(self, _pool: Pool) -> list[str]:
        self._cluster.check()
        return list(self._cluster.devices)


class OpenDevice:
    """rbd.Image."""

    def __init__(self, cluster: Cluster, device: Device, read_only: bool) -> None:
        self._cluster = cluster
        self._device = device
        self._read_only = read_only
        self._snapshot = ""

    def size(self) -> int:
        return len(self._device.data)

    def resize(self, size: int) -> None:
        del self._device.data[size:]
        grown = min(size, len(self._device.data) + (64 << 20))  # a real one is sparse; enough for any test
        self._device.data.extend(bytes(grown - len(self._device.data)))

    def write(self, data: bytes, offset: int) -> int:
        assert not self._read_only
        self._cluster.check()
        assert offset + len(data) <= len(self._device.data)
        self._device.data[offset : offset + len(data)] = data
        return len(data)

    def read(self, offset: int, length: int) -> bytes:
        self._cluster.check()
        return bytes(self._device.data[offset : offset + length])

    def flush(self) -> None:
        self._cluster.check()

    def create_snap(self, name: str) -> None:
        self._device.snapshots[name] = False

    def protect_snap(self, name: str) -> None:
        self._device.snapshots[name] = True

    def unprotect_snap(self, name: str) -> None:
        if self._device.clones:
            raise ImageBusy("error unprotecting snapshot")
        self._device.snapshots[name] = False

    def is_protected_snap(self, name: str) -> bool:
        return self._device.snapshots[name]

    def remove_snap(self, name: str) -> None:
        if self._device.snapshots.pop(name):
            raise ImageBusy("error removing a protected snapshot")

    def set_snap(self, name: str) -> None:
        assert name in self._device.snapshots
        self._snapshot = name

    def list_children(self) -> Iterator[tuple[str, str]]:
        assert self._snapshot
        return iter([("vms", f"disk{number}") for number in range(self._device.clones)])

    def list_snaps(self) -> Iterator[dict[str, Any]]:
        return iter([{"name": name} for name in self._device.snapshots])

    def close(self) -> None:
        """Let go."""
